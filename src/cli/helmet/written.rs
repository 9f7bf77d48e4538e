//! Files that are there whole or not at all.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// A new file that takes its name when all is in it.
pub struct Written {
    path: PathBuf,
    writer: BufWriter<tempfile::NamedTempFile>,
}

impl Written {
    /// A file that will be `path`.
    ///
    /// # Errors
    /// `Input` when there is no such folder, or `path` is one; `Environment` when it cannot be written.
    pub fn new(path: &Path) -> Result<Self> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if path.is_dir() {
            return Err(Error::input(format!("--out {} is a folder; name a file", path.display())));
        }
        let file = tempfile::Builder::new()
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666))
            .tempfile_in(folder);
        let file = file.map_err(|error| unwritable(path, &error))?;
        Ok(Self { path: path.to_owned(), writer: BufWriter::new(file) })
    }

    /// Writes a text behind what is there.
    ///
    /// # Errors
    /// `Environment` when it cannot be written.
    pub fn text(&mut self, text: &str) -> Result<()> {
        self.writer.write_all(text.as_bytes()).map_err(|error| unwritable(&self.path, &error))
    }

    /// Gives the file its name, in the place of one that had it.
    ///
    /// # Errors
    /// `Environment` when that fails; then the old file is as it was.
    pub fn keep(self) -> Result<()> {
        let failed = |error: std::io::Error| unwritable(&self.path, &error);
        let file = self.writer.into_inner().map_err(|error| failed(error.into_error()))?;
        file.as_file().sync_all().map_err(failed)?;
        file.persist(&self.path).map(drop).map_err(|error| failed(error.error))
    }
}

fn unwritable(path: &Path, error: &std::io::Error) -> Error {
    let message = format!("cannot write {}: {error}", path.display());
    match error.kind() {
        std::io::ErrorKind::NotFound => Error::input(message),
        _ => Error::environment(message),
    }
}
