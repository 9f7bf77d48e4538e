//! Writing rows anew: those of damaged segments, and those of many small ones.

use std::io;
use std::path::PathBuf;

use super::super::records::list;
use super::file;
use super::log::ROWS;
use super::map::{RowMap, open};
use super::source::Source;
use crate::{CacheError, CacheResult, disk, lock};

/// From this many segments on, all but the largest few are merged.
const MERGE_FROM: usize = 16;
/// How many of them are.
const MERGE: usize = 12;

impl RowMap {
    /// Puts segments with damaged rows aside, their sound rows in new ones.
    pub(super) fn replace_damaged(&mut self) -> CacheResult<()> {
        let is_damaged = |source: &Source| !source.damaged.is_empty() && source.read_until.is_none();
        let (damaged, sound) = std::mem::take(&mut self.sources).into_iter().partition(is_damaged);
        self.sources = sound;
        let damaged: Vec<Source> = damaged;
        damaged.iter().try_for_each(|source| self.replace(source))
    }

    /// Puts one segment aside, if it is still there, and its sound rows in a new one.
    pub(super) fn replace(&self, source: &Source) -> CacheResult<()> {
        let failed = |error: io::Error| CacheError::store_io("read", &source.path, &error);
        if !lock::is_still_at(&source.file, &source.path).map_err(failed)? {
            return Ok(());
        }
        // Aside first: the new one may have its name, which is that of the bytes before the damage.
        self.store.set_aside(&source.path)?;
        self.rewrite(&[source]).map(|_| ())
    }

    /// Puts these segments aside, their sound rows in new ones.
    pub(super) fn replace_all(&mut self, paths: &[PathBuf]) -> CacheResult<()> {
        let _lock = self.lock()?;
        self.refresh()?;
        let known = self.sources.iter().filter(|source| paths.contains(&source.path));
        known.into_iter().try_for_each(|source| self.replace(source))
    }

    /// Writes the sound rows of these files, each once, as one segment. Gives its path if there is any.
    pub(super) fn rewrite(&self, sources: &[&Source]) -> CacheResult<Option<PathBuf>> {
        let mut log = self.new_log()?;
        for source in sources {
            let mut rows = Vec::with_capacity(source.index.len());
            source.index.each(&mut |row, place| rows.push((row, place)));
            // In the order in which they were written, which is also quickest to read.
            rows.sort_unstable_by_key(|(_, place)| place.offset);
            for (row, place) in rows {
                let failed = |error: io::Error| CacheError::store_io("read", &source.path, &error);
                if log.places.contains_key(&row) {
                    continue;
                }
                if let Some(result) = file::read_result(&source.file, &self.seal, &row, place).map_err(failed)? {
                    log.put(&row, &result)?;
                }
            }
        }
        log.finish()
    }

    /// Merges the smallest segments when there are many. The map's lock is held; who reads the old ones goes on doing so.
    pub(super) fn merge(&mut self) -> CacheResult<()> {
        self.refresh()?;
        let mut segments = Vec::new();
        for path in list(&self.folder)? {
            if path.extension().is_some_and(|extension| extension == ROWS)
                && let Some((file, identity)) = open(&path)?
            {
                let size = file.metadata().map_err(|error| CacheError::store_io("read", &path, &error))?.len();
                segments.push((size, path, identity));
            }
        }
        if segments.len() < MERGE_FROM {
            return Ok(());
        }
        segments.sort_unstable();
        let small: Vec<&Source> = segments[..MERGE]
            .iter()
            .filter_map(|(_, _, identity)| self.sources.iter().find(|source| source.identity == *identity))
            .collect();
        let merged = self.rewrite(&small)?;
        // One that held all of them already is what was written, and stays.
        let old = small.iter().map(|source| &source.path).filter(|path| Some(*path) != merged.as_ref());
        old.into_iter().try_for_each(|path| disk::remove_file(path))
    }
}
