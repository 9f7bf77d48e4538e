//! An open row map.

use std::collections::HashSet;
use std::fs::{File, TryLockError};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::super::Store;
use super::super::records::list;
use super::file::{self, AfterDamage, RowKey, Seal};
use super::index::{Growing, Index};
use super::log::{CLAIMS, Log, OPEN, ROWS};
use super::segment;
use super::source::Source;
use crate::lock::{self, Hold};
use crate::{CacheError, CacheResult, Key, disk, hash};

/// Claims of more rows than this are not read: nobody makes so many at once.
const MAX_CLAIMS: u64 = 32 << 25;

/// Whose a row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// Its result is kept.
    Kept,
    /// The caller's, to be made and put.
    Mine,
    /// Another writer is making it.
    Elsewhere,
}

/// The results of all rows of one scope: those kept by anybody, and a log for the caller's own.
#[derive(Debug)]
pub struct RowMap {
    pub(super) store: Store,
    pub(super) folder: PathBuf,
    fields: Vec<u8>,
    pub(super) seal: Seal,
    pub(super) sources: Vec<Source>,
    own: Option<Log>,
}

impl Store {
    /// The row map of a scope. `fields` say readably what the scope stands for; they are kept with the rows.
    ///
    /// # Errors
    /// Environment: the store cannot be read or written.
    pub fn row_map(&self, scope: &Key, fields: &serde_json::Value) -> CacheResult<RowMap> {
        let fields = serde_json::to_vec(fields)
            .map_err(|error| CacheError::internal(format!("the fields of a row map are no JSON: {error}")))?;
        let folder = self.layout().row_map(scope);
        let mut map =
            RowMap { store: self.clone(), folder, fields, seal: Seal::new(scope), sources: Vec::new(), own: None };
        let _lock = map.lock()?;
        map.refresh()?;
        Ok(map)
    }
}

impl RowMap {
    /// Whether a result is kept under this key, as far as is known; `get` says whether it is sound.
    pub fn contains(&self, row: &[u8; 32]) -> bool {
        let own = self.own.as_ref().is_some_and(|log| log.places.contains_key(row));
        own || self.sources.iter().any(|source| source.index.find(row).is_some() && !source.damaged.contains(row))
    }

    /// The result kept under this key, verified; `None` where there is none. One that is damaged counts as missing
    /// from then on.
    ///
    /// # Errors
    /// Environment: the store cannot be read.
    pub fn get(&mut self, row: &[u8; 32]) -> CacheResult<Option<Vec<u8>>> {
        if let Some(log) = &mut self.own
            && let Some(place) = log.places.get(row)
        {
            let failed = |error: io::Error| CacheError::store_io("read", log.path(), &error);
            if let Some(result) = file::read_result(log.file(), &self.seal, row, *place).map_err(failed)? {
                return Ok(Some(result));
            }
            log.places.remove(row);
        }
        for source in &mut self.sources {
            let Some(place) = source.index.find(row) else { continue };
            if source.damaged.contains(row) {
                continue;
            }
            let failed = |error: io::Error| CacheError::store_io("read", &source.path, &error);
            match file::read_result(&source.file, &self.seal, row, place).map_err(failed)? {
                Some(result) => return Ok(Some(result)),
                None => source.damaged.insert(*row),
            };
        }
        Ok(None)
    }

    /// Says of each row whose it is. Those that are `Mine` are promised to the caller: others leave them alone until he
    /// puts them or goes. Segments with rows that turned out damaged are put aside, their sound rows kept.
    ///
    /// # Errors
    /// Environment: the store cannot be read or written.
    pub fn claim<'r>(&mut self, rows: impl IntoIterator<Item = &'r [u8; 32]>) -> CacheResult<Vec<Claim>> {
        let _lock = self.lock()?;
        let elsewhere = self.refresh()?;
        let rows: Vec<&RowKey> = rows.into_iter().collect();
        let whose = |row: &RowKey| match row {
            row if self.contains(row) => Claim::Kept,
            row if elsewhere.contains(row) => Claim::Elsewhere,
            _ => Claim::Mine,
        };
        // Of hundreds of thousands of rows, nearly each look-up waits for memory.
        let claims: Vec<Claim> = rows.par_iter().with_min_len(1_024).map(|row| whose(row)).collect();
        let mine = claims.iter().zip(&rows).filter(|(claim, _)| **claim == Claim::Mine);
        let mine: Vec<RowKey> = mine.map(|(_, row)| **row).collect();
        if !mine.is_empty() {
            self.own_log()?.claim(&mine)?;
        }
        Ok(claims)
    }

    /// Keeps a result; it is there for everybody, and after this process's death, when this returns.
    ///
    /// # Errors
    /// Environment: the store cannot be written. Internal: the result is longer than 4 GiB.
    pub fn put(&mut self, row: &[u8; 32], result: &[u8]) -> CacheResult<()> {
        if self.own.is_none() {
            let _lock = self.lock()?;
            self.own_log()?;
        }
        self.own_log()?.put(row, result)
    }

    /// Ends the writing: what was put becomes a segment, and claims end. Dropping does the same, but tells no error.
    ///
    /// # Errors
    /// Environment: the store cannot be written. What was put is kept nevertheless.
    pub fn finish(mut self) -> CacheResult<()> {
        self.close()
    }

    fn close(&mut self) -> CacheResult<()> {
        let Some(log) = self.own.take() else { return Ok(()) };
        let _lock = self.lock()?;
        log.finish()?;
        self.merge()
    }

    fn own_log(&mut self) -> CacheResult<&mut Log> {
        let log = match self.own.take() {
            Some(log) => log,
            None => self.new_log()?,
        };
        Ok(self.own.insert(log))
    }

    pub(super) fn new_log(&self) -> CacheResult<Log> {
        let durability = self.store.options().durability;
        Log::create(&self.folder, self.store.layout().host(), &self.seal, &self.fields, durability)
    }

    /// Where frames start in a file whose own beginning is damaged.
    fn header_length(&self) -> u64 {
        file::header(&self.seal, &self.fields).map_or(0, |header| header.len() as u64)
    }

    /// The map's lock. It is held for moments only.
    pub(super) fn lock(&self) -> CacheResult<Hold> {
        lock_map(&self.folder)
    }

    /// Takes note of what came since the last time, and makes segments of the logs of dead writers. Gives the rows that
    /// living ones are making. The map's lock is held.
    pub(super) fn refresh(&mut self) -> CacheResult<HashSet<RowKey>> {
        let mut elsewhere = HashSet::new();
        for source in &mut self.sources {
            source.read_on(&self.seal)?;
        }
        self.replace_damaged()?;
        for path in list(&self.folder)? {
            match path.extension().and_then(|extension| extension.to_str()) {
                Some(ROWS) => self.add_segment(&path)?,
                Some(OPEN) if self.own.as_ref().is_none_or(|own| own.path() != path) => {
                    elsewhere.extend(self.add_log(&path)?);
                }
                _ => {}
            }
        }
        Ok(elsewhere)
    }

    fn add_segment(&mut self, path: &Path) -> CacheResult<()> {
        let Some((file, identity)) = open(path)? else { return Ok(()) };
        if let Some(known) = self.sources.iter_mut().find(|source| source.identity == identity) {
            // A log that was read before has become a segment.
            if known.read_until.take().is_some() {
                known.path = path.to_path_buf();
            }
            return Ok(());
        }
        let failed = |error: io::Error| CacheError::store_io("read", path, &error);
        match segment::index(&file, &self.seal).map_err(failed)? {
            Some(index) => self.sources.push(Source::new(path, file, identity, index, None)),
            None => {
                // Its frames may be sound where its ends are not.
                let mut source = Source::new(path, file, identity, Index::Growing(Growing::default()), None);
                source.walk(&self.seal, self.header_length(), AfterDamage::Skip)?;
                self.replace(&source)?;
                self.sources.push(source);
            }
        }
        Ok(())
    }

    /// Reads the log of another writer. Gives its claims; one that is dead has none, and its log becomes a segment.
    fn add_log(&mut self, path: &Path) -> CacheResult<Vec<RowKey>> {
        let Some((file, identity)) = open(path)? else { return Ok(Vec::new()) };
        let failed = |error: io::Error| CacheError::store_io("read", path, &error);
        let living = match file.try_lock() {
            Ok(()) => false,
            Err(TryLockError::WouldBlock) => true,
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        };
        let known = self.sources.iter().position(|source| source.identity == identity);
        let at = match known {
            Some(at) => at,
            None => {
                let Some((_, start)) = file::read_header(&file, &self.seal).map_err(failed)? else {
                    // Its writer died before it wrote anything, or it is not of this map.
                    return if living { Ok(Vec::new()) } else { abandon(path).map(|()| Vec::new()) };
                };
                let copy = file.try_clone().map_err(failed)?;
                let empty = Index::Growing(Growing::default());
                self.sources.push(Source::new(path, copy, identity, empty, Some(start)));
                self.sources.len() - 1
            }
        };
        if living {
            self.sources[at].read_on(&self.seal)?;
            return read_claims(&path.with_extension(CLAIMS));
        }
        // All that is sound counts, also behind a frame that is not.
        let header_length = self.header_length();
        self.sources[at].walk(&self.seal, header_length, AfterDamage::Skip)?;
        let source = self.sources.swap_remove(at);
        // Where this fails, a full disk say, the log stays as it is and serves as well.
        let kept = self.rewrite(&[&source]).and_then(|_| abandon(path));
        let _ = kept;
        file.unlock().map_err(failed)?;
        self.sources.push(source);
        Ok(Vec::new())
    }
}

impl Drop for RowMap {
    fn drop(&mut self) {
        // What was put is in the log, and stays there for the next who opens the map.
        let _ = self.close();
    }
}

/// Takes the lock of the map in this folder, which is made where it is missing, and notes that it was used.
pub(super) fn lock_map(folder: &Path) -> CacheResult<Hold> {
    let path = folder.join("lock");
    let failed = |error: io::Error| CacheError::store_io("lock", &path, &error);
    loop {
        disk::make_folders(folder)?;
        let opened = File::options().read(true).write(true).create(true).truncate(false).open(&path);
        let file = match opened {
            // Removed by a collector since it was made.
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            other => other.map_err(failed)?,
        };
        file.lock().map_err(failed)?;
        let is_still_there = lock::is_still_at(&file, &path).map_err(failed)?;
        if is_still_there {
            // Writing sets the time also where another user owns the file.
            file.write_all_at(b"\n", 0).map_err(failed)?;
        }
        let hold = Hold::of(file);
        if is_still_there {
            return Ok(hold);
        }
    }
}

/// A file of the map with what tells it from every other; `None` when it is gone, or no file.
pub(super) fn open(path: &Path) -> CacheResult<Option<(File, (u64, u64))>> {
    let opened = hash::open(path, false).and_then(|file| file.metadata().map(|metadata| (file, metadata)));
    match opened {
        Ok((file, metadata)) if metadata.is_file() => Ok(Some((file, (metadata.dev(), metadata.ino())))),
        Ok(_) => Ok(None),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(CacheError::store_io("read", path, &error)),
    }
}

/// Removes the log of a dead writer, and its claims.
fn abandon(path: &Path) -> CacheResult<()> {
    for path in [path.with_extension(CLAIMS), path.to_path_buf()] {
        disk::remove_if_there(&path)?;
    }
    Ok(())
}

/// The rows that a living writer is making. A torn end is no claim.
fn read_claims(path: &Path) -> CacheResult<Vec<RowKey>> {
    let Some((file, _)) = open(path)? else { return Ok(Vec::new()) };
    let mut bytes = Vec::new();
    file.take(MAX_CLAIMS).read_to_end(&mut bytes).map_err(|error| CacheError::store_io("read", path, &error))?;
    Ok(bytes.as_chunks::<32>().0.to_vec())
}
