//! The remote store as it is named on the command line or in the environment.

use retmask_cache::{Access, Remote};

use crate::error::Result;

/// A store elsewhere. It is a setting and not part of the pipeline file: whom to trust with results, and to whom to give
/// them, is for who runs a pipeline to say.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Remote store")]
pub struct RemoteArguments {
    /// A store elsewhere to take results from and give them to: file:///FOLDER or s3://BUCKET/FOLDER
    #[arg(long, value_name = "URL", env = "RETMASK_REMOTE")]
    remote: Option<String>,
    /// What is done with it
    #[arg(long, value_name = "MODE", env = "RETMASK_REMOTE_MODE", default_value = "read-write")]
    remote_mode: RemoteMode,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum RemoteMode {
    /// A run takes what it lacks and gives what it makes
    ReadWrite,
    /// A run takes what it lacks; nothing is ever given
    ReadOnly,
    /// A run leaves it alone; `cache push` and `cache pull` use it
    Explicit,
}

impl RemoteArguments {
    /// Whether one is named at all.
    pub fn is_given(&self) -> bool {
        self.address().is_some()
    }

    /// The remote that a run uses by itself.
    ///
    /// # Errors
    /// As [`Remote::open`].
    pub fn of_run(&self) -> Result<Option<Remote>> {
        match self.remote_mode {
            RemoteMode::Explicit => Ok(None),
            RemoteMode::ReadWrite | RemoteMode::ReadOnly => self.open(),
        }
    }

    /// The remote, to be used because it was asked for.
    ///
    /// # Errors
    /// As [`Remote::open`].
    pub fn open(&self) -> Result<Option<Remote>> {
        let access = if self.remote_mode == RemoteMode::ReadOnly { Access::ReadOnly } else { Access::ReadWrite };
        Ok(self.address().map(|address| Remote::open(address, access)).transpose()?)
    }

    /// An empty value means none, as for most programs.
    fn address(&self) -> Option<&str> {
        self.remote.as_deref().filter(|address| !address.is_empty())
    }
}
