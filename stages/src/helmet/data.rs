//! HELMET's data files: read by fixed names, refused by name when missing or malformed.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use crate::contract::{StageError, StageResult};

/// A folder in HELMET's layout.
#[derive(Debug, Clone)]
pub struct DataFolder {
    root: PathBuf,
}

/// A file's content and its name for messages.
pub struct DataFile {
    place: PathBuf,
    bytes: Vec<u8>,
}

impl DataFolder {
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// Checks that the files are there before anything is computed.
    ///
    /// # Errors
    /// `Input` naming every missing file and the command that brings it.
    pub fn require(&self, files: &[&str]) -> StageResult<()> {
        let missing: Vec<&str> = files.iter().copied().filter(|file| !self.root.join(file).is_file()).collect();
        if missing.is_empty() {
            return Ok(());
        }
        Err(StageError::input(format!("{} lacks {}", self.root.display(), missing.join(", "))).with_hint(HINT))
    }

    /// Reads a file of this layout; `name` is one of the fixed names in this crate.
    ///
    /// # Errors
    /// `Input` when it is missing, `Environment` when it cannot be read.
    pub fn read(&self, name: &str) -> StageResult<DataFile> {
        let place = self.root.join(name);
        let bytes = std::fs::read(&place).map_err(|error| StageError::io("read", &place, &error).with_hint(HINT))?;
        Ok(DataFile { place, bytes })
    }
}

/// How to get the data.
pub const HINT: &str = "`scripts/fetch-data` brings the files from their publishers";

impl DataFile {
    /// The content as it is.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The content as text.
    ///
    /// # Errors
    /// `Input` when it is not UTF-8.
    pub fn text(&self) -> StageResult<&str> {
        std::str::from_utf8(&self.bytes).map_err(|error| self.refuse(format!("not UTF-8: {error}")))
    }

    /// The lines of a list, one item each.
    ///
    /// # Errors
    /// `Input` when it is not UTF-8 or an item stands there twice.
    pub fn list(&self) -> StageResult<Vec<String>> {
        let items: Vec<String> = self.text()?.lines().map(str::to_owned).collect();
        let mut seen = std::collections::BTreeSet::new();
        match items.iter().position(|item| item.is_empty() || !seen.insert(item)) {
            Some(line) => Err(self.wrong(line + 1, "the name is empty or stands there twice")),
            None => Ok(items),
        }
    }

    /// An input error about the file as a whole.
    pub fn refuse(&self, why: impl Display) -> StageError {
        StageError::input(format!("{}: {why}", self.place.display()))
    }

    /// An input error about a line, counted from 1.
    pub fn wrong(&self, line: usize, why: impl Display) -> StageError {
        StageError::input(format!("{}:{line}: {why}", self.place.display()))
    }
}
