//! What the command line and the environment mean together.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use super::GlobalArguments;
use crate::error::{Error, Result};
use crate::output::Printer;

/// Resolved settings of one invocation.
#[derive(Debug)]
pub struct Settings {
    /// The only way to standard output and standard error.
    pub printer: Printer,
    /// Threads every pool of this process has.
    pub threads: NonZeroUsize,
    cache: Option<PathBuf>,
}

impl Settings {
    /// Resolves what was typed, and tells the thread pools their size. They start when first used, so a
    /// command that computes nothing starts none. Call before any thread exists.
    ///
    /// # Errors
    /// `Input` for a thread count that is no number.
    pub(super) fn resolve(arguments: &GlobalArguments, printer: Printer) -> Result<Self> {
        let threads = match arguments.threads {
            Some(threads) => threads,
            None => threads_from_environment()?.unwrap_or_else(available_threads),
        };
        for variable in ["RAYON_NUM_THREADS", "CANDLE_NUM_THREADS"] {
            // SAFETY: `main` calls this first, while the process has one thread.
            unsafe { std::env::set_var(variable, threads.to_string()) };
        }
        Ok(Self { printer, threads, cache: arguments.cache.clone() })
    }

    /// The folder of the result store: `--cache`, `RETMASK_CACHE`, else `retmask` in the user's cache folder.
    /// It need not exist yet.
    ///
    /// # Errors
    /// `Environment` when no home folder is known.
    pub fn cache_folder(&self) -> Result<PathBuf> {
        if let Some(folder) = &self.cache {
            return Ok(folder.clone());
        }
        // The XDG base directory rules: a relative XDG_CACHE_HOME is to be ignored.
        let absolute = |variable: &str| std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
        absolute("XDG_CACHE_HOME")
            .or_else(|| absolute("HOME").map(|home| home.join(Path::new(".cache"))))
            .map(|folder| folder.join("retmask"))
            .ok_or_else(|| {
                Error::environment("neither XDG_CACHE_HOME nor HOME names a folder for the result store")
                    .with_hint("give one with --cache DIR or RETMASK_CACHE")
            })
    }
}

/// `RAYON_NUM_THREADS`; unset, empty and 0 mean "not given", as in rayon.
fn threads_from_environment() -> Result<Option<NonZeroUsize>> {
    let Some(value) = std::env::var_os("RAYON_NUM_THREADS").filter(|value| !value.is_empty()) else {
        return Ok(None);
    };
    let text = value.to_string_lossy();
    let number: usize = text
        .parse()
        .map_err(|_| Error::input(format!("RAYON_NUM_THREADS is `{text}`, expected a number of threads")))?;
    Ok(NonZeroUsize::new(number))
}

/// CPUs this process may use (affinity and cgroup quota included).
fn available_threads() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

/// Makes a panic say that it is a bug, where it happened, and what to do; `main` turns it into exit code 70.
pub(super) fn install_panic_message() {
    std::panic::set_hook(Box::new(|info| {
        use std::io::Write;
        let message = info.payload_as_str().unwrap_or("no message");
        let place = info.location().map(|place| format!(" at {}:{}", place.file(), place.line())).unwrap_or_default();
        // A failure to write here has nowhere to go.
        let _ = writeln!(
            std::io::stderr(),
            "internal error: {message}{place}\n  this is a bug in retmask; please report it with the command and this message"
        );
    }));
}
