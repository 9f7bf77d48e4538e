//! Errors of this crate, by fault.

use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

/// Who has to act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// What the user named is wrong: a missing file, a folder that no tree can be made of.
    Input,
    /// The machine is: disk full, no permission, no locks on this file system.
    Environment,
    /// This program is.
    Internal,
}

/// One clear message, whose fault it is, the path it is about, and what would be right where that is known.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct CacheError {
    pub fault: Fault,
    pub message: String,
    pub path: Option<PathBuf>,
    pub hint: Option<String>,
}

/// The result of cache work.
pub type CacheResult<T> = Result<T, CacheError>;

impl CacheError {
    /// The user's file or folder `path` is not what it must be; the message names the path.
    pub fn input(path: &Path, message: impl Into<String>) -> Self {
        Self { fault: Fault::Input, message: message.into(), path: Some(path.to_path_buf()), hint: None }
    }

    /// The machine cannot do what is needed at `path`; the message names the path.
    pub fn environment(path: &Path, message: impl Into<String>) -> Self {
        Self { fault: Fault::Environment, message: message.into(), path: Some(path.to_path_buf()), hint: None }
    }

    /// A promise between this crate and its caller was broken.
    pub fn internal(message: impl Into<String>) -> Self {
        Self { fault: Fault::Internal, message: message.into(), path: None, hint: None }
    }

    /// Adds what the user can do about it.
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// An I/O failure inside the store, always the machine's fault. `what` completes "cannot ...".
    pub(crate) fn store_io(what: &str, path: &Path, error: &io::Error) -> Self {
        Self::environment(path, format!("cannot {what} {}: {error}", path.display())).with_hint_for(error)
    }

    /// An I/O failure on a path that the user named: a missing file is the input's fault, all else the machine's.
    pub(crate) fn user_io(what: &str, path: &Path, error: &io::Error) -> Self {
        let built = Self::store_io(what, path, error);
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Self { fault: Fault::Input, ..built },
            _ => built,
        }
    }

    fn with_hint_for(self, error: &io::Error) -> Self {
        match error.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::NOSPC | Errno::DQUOT) => self.with_hint("free space there, or name a folder on another disk"),
            Some(Errno::ACCESS | Errno::PERM | Errno::ROFS) => {
                self.with_hint("change the permissions there, or name another folder")
            }
            Some(Errno::NOLCK | Errno::NOTSUP | Errno::NOSYS) => {
                self.with_hint("the file system there lacks what is needed; name a folder on a local disk")
            }
            _ => self,
        }
    }
}
