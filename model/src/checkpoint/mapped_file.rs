//! A model file mapped into memory, read only.

use std::fs::File;
use std::ops::Range;
use std::path::Path;

use memmap2::{Mmap, UncheckedAdvice};

use crate::{ModelError, ModelResult};

/// A mapped regular file.
pub struct MappedFile {
    map: Mmap,
}

impl MappedFile {
    /// Maps a whole file.
    ///
    /// # Errors
    /// `Input` when it is missing, empty or not a regular file; `Environment` when it cannot be mapped.
    pub fn open(path: &Path) -> ModelResult<Self> {
        let file = File::open(path).map_err(|error| io_error("read", path, &error))?;
        let metadata = file.metadata().map_err(|error| io_error("read", path, &error))?;
        if !metadata.is_file() {
            return Err(ModelError::input(format!("{} is not a regular file", path.display())));
        }
        if metadata.len() == 0 {
            return Err(ModelError::input(format!("{} is empty", path.display())));
        }
        // SAFETY: the map is private to this process and never written through. Should another program
        // cut the file short meanwhile, reading past its end raises SIGBUS: the run stops, nothing is published.
        let map = unsafe { Mmap::map(&file) }.map_err(|error| io_error("map", path, &error))?;
        Ok(Self { map })
    }

    /// Lets the system take back the memory of bytes that were read, so that a model does not lie in memory twice.
    /// Reading them again reads the file again.
    pub fn release(&self, bytes: Range<usize>) {
        // SAFETY: the pages are a file's, never written to: what is dropped comes back from the file unchanged.
        let advised = unsafe { self.map.unchecked_advise_range(UncheckedAdvice::DontNeed, bytes.start, bytes.len()) };
        // Without it the pages stay until the system needs them: slower at worst.
        drop(advised);
    }

    /// All its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.map
    }
}

/// A failed file operation: a missing file is the input's fault, all else the machine's.
pub(crate) fn io_error(what: &str, path: &Path, error: &std::io::Error) -> ModelError {
    let message = format!("cannot {what} {}: {error}", path.display());
    match error.kind() {
        std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory => ModelError::input(message),
        _ => ModelError::environment(message),
    }
}
