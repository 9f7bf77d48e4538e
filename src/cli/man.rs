//! `retmask man`: manual pages, written from what the program says of its commands.

use std::path::PathBuf;

use super::Settings;
use crate::error::{Error, Result};

/// What `retmask man` takes.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Write a page for every command into this folder, in place of the program's own to standard output
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
}

/// Executes `retmask man`.
///
/// # Errors
/// `Environment` when standard output or the folder cannot be written.
pub fn execute(arguments: &Arguments, settings: &Settings) -> Result<()> {
    let command = super::command();
    match &arguments.to {
        Some(folder) => std::fs::create_dir_all(folder)
            .and_then(|()| clap_mangen::generate_to(command, folder))
            .map_err(|error| Error::environment(format!("cannot write manual pages to {}: {error}", folder.display()))),
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(command)
                .render(&mut page)
                .map_err(|error| Error::internal(format!("the manual page cannot be written: {error}")))?;
            settings.printer.data(&String::from_utf8_lossy(&page))
        }
    }
}
