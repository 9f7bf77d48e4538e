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
        let built = Self::environment(path, format!("cannot {what} {}: {error}", path.display()));
        match error.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::NOSPC | Errno::DQUOT) => built.with_hint(format!(
                "free space on the file system of {}, or name another cache folder",
                path.display()
            )),
            Some(Errno::ACCESS | Errno::PERM | Errno::ROFS) => built
                .with_hint("the cache folder must be writable: change its permissions, or name another cache folder"),
            Some(Errno::NOLCK | Errno::NOTSUP | Errno::NOSYS) => {
                built.with_hint("this file system lacks what the cache needs; name a cache folder on a local disk")
            }
            _ => built,
        }
    }

    /// An I/O failure on a path that the user named: a missing file is the input's fault, all else the machine's.
    pub(crate) fn user_io(what: &str, path: &Path, error: &io::Error) -> Self {
        let message = format!("cannot {what} {}: {error}", path.display());
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Self::input(path, message),
            _ => Self::environment(path, message),
        }
    }
}
