//! A file that rows are read from.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::file::{self, AfterDamage, RowKey, Seal};
use super::index::Index;
use crate::{CacheError, CacheResult};

/// A segment, or the log of another writer.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) path: PathBuf,
    pub(super) file: File,
    pub(super) identity: (u64, u64),
    pub(super) index: Index,
    /// How far a log was read; `None` for a segment.
    pub(super) read_until: Option<u64>,
    /// Rows that turned out damaged.
    pub(super) damaged: HashSet<RowKey>,
}

impl Source {
    pub(super) fn new(path: &Path, file: File, identity: (u64, u64), index: Index, read_until: Option<u64>) -> Self {
        Self { path: path.to_path_buf(), file, identity, index, read_until, damaged: HashSet::new() }
    }

    /// Takes in what the writer of a log has added.
    pub(super) fn read_on(&mut self, seal: &Seal) -> CacheResult<()> {
        if self.read_until.is_some() { self.walk(seal, 0, AfterDamage::Stop) } else { Ok(()) }
    }

    pub(super) fn walk(&mut self, seal: &Seal, header_length: u64, after: AfterDamage) -> CacheResult<()> {
        let failed = |error: io::Error| CacheError::store_io("read", &self.path, &error);
        let start = match self.read_until {
            Some(until) => until,
            None => match file::read_header(&self.file, seal).map_err(failed)? {
                Some((_, start)) => start,
                None => header_length,
            },
        };
        let Index::Growing(places) = &mut self.index else { return Ok(()) };
        let mut add = |row, place| {
            places.insert(row, place);
        };
        let until = file::walk(&self.file, seal, start, after, &mut add).map_err(failed)?;
        if let Some(read_until) = &mut self.read_until {
            *read_until = until;
        }
        Ok(())
    }
}
