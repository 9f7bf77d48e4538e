//! An open row map.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::super::Store;
use super::file::{self, AfterDamage, RowKey, Seal};
use super::index::{Growing, Index};
use super::log::{CLAIMS, Log, OPEN, ROWS};
use super::segment;
use crate::{CacheError, CacheResult, Key, disk, hash, lock};

/// From this many segments on, all but the largest few are merged.
const MERGE_FROM: usize = 16;
/// How many of them are.
const MERGE: usize = 12;
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
    store: Store,
    folder: PathBuf,
    fields: Vec<u8>,
    seal: Seal,
    sources: Vec<Source>,
    own: Option<Log>,
}

/// A segment, or the log of another writer.
#[derive(Debug)]
struct Source {
    path: PathBuf,
    file: File,
    identity: (u64, u64),
    index: Index,
    /// How far a log was read; `None` for a segment.
    read_until: Option<u64>,
    /// Rows that turned out damaged.
    damaged: HashSet<RowKey>,
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
        let mut mine = Vec::new();
        let whose = |row: &RowKey| match row {
            row if self.contains(row) => Claim::Kept,
            row if elsewhere.contains(row) => Claim::Elsewhere,
            row => {
                mine.push(*row);
                Claim::Mine
            }
        };
        let claims: Vec<Claim> = rows.into_iter().map(whose).collect();
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

    fn new_log(&self) -> CacheResult<Log> {
        let durability = self.store.options().durability;
        Log::create(&self.folder, self.store.layout().host(), &self.seal, &self.fields, durability)
    }

    /// Where frames start in a file whose own beginning is damaged.
    fn header_length(&self) -> u64 {
        file::header(&self.seal, &self.fields).map_or(0, |header| header.len() as u64)
    }

    /// The map's lock. It is held for moments only.
    fn lock(&self) -> CacheResult<File> {
        lock_map(&self.folder)
    }

    /// Takes note of what came since the last time, and makes segments of the logs of dead writers. Gives the rows that
    /// living ones are making. The map's lock is held.
    fn refresh(&mut self) -> CacheResult<HashSet<RowKey>> {
        let mut elsewhere = HashSet::new();
        for source in &mut self.sources {
            source.read_on(&self.seal)?;
        }
        self.replace_damaged()?;
        for path in files(&self.folder)? {
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

    /// Puts segments with damaged rows aside, their sound rows in new ones.
    fn replace_damaged(&mut self) -> CacheResult<()> {
        let is_damaged = |source: &Source| !source.damaged.is_empty() && source.read_until.is_none();
        let (damaged, sound) = std::mem::take(&mut self.sources).into_iter().partition(is_damaged);
        self.sources = sound;
        let damaged: Vec<Source> = damaged;
        damaged.iter().try_for_each(|source| self.replace(source))
    }

    /// Puts one segment aside, if it is still there, and its sound rows in a new one.
    fn replace(&self, source: &Source) -> CacheResult<()> {
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
    fn rewrite(&self, sources: &[&Source]) -> CacheResult<Option<PathBuf>> {
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
    fn merge(&mut self) -> CacheResult<()> {
        self.refresh()?;
        let mut segments = Vec::new();
        for path in files(&self.folder)? {
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

impl Drop for RowMap {
    fn drop(&mut self) {
        // What was put is in the log, and stays there for the next who opens the map.
        let _ = self.close();
    }
}

impl Source {
    fn new(path: &Path, file: File, identity: (u64, u64), index: Index, read_until: Option<u64>) -> Self {
        Self { path: path.to_path_buf(), file, identity, index, read_until, damaged: HashSet::new() }
    }

    /// Takes in what the writer of a log has added.
    fn read_on(&mut self, seal: &Seal) -> CacheResult<()> {
        if self.read_until.is_some() { self.walk(seal, 0, AfterDamage::Stop) } else { Ok(()) }
    }

    fn walk(&mut self, seal: &Seal, header_length: u64, after: AfterDamage) -> CacheResult<()> {
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

/// Takes the lock of the map in this folder, which is made where it is missing, and notes that it was used.
pub(super) fn lock_map(folder: &Path) -> CacheResult<File> {
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
        if lock::is_still_at(&file, &path).map_err(failed)? {
            // Writing sets the time also where another user owns the file.
            file.write_all_at(b"\n", 0).map_err(failed)?;
            return Ok(file);
        }
    }
}

/// Everything in a map's folder, by name.
pub(super) fn files(folder: &Path) -> CacheResult<Vec<PathBuf>> {
    let failed = |error: io::Error| CacheError::store_io("list", folder, &error);
    let mut names: Vec<OsString> = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        names.push(entry.map_err(failed)?.file_name());
    }
    names.sort();
    Ok(names.into_iter().map(|name| folder.join(name)).collect())
}

/// A file of the map with what tells it from every other; `None` when it is gone, or no file.
fn open(path: &Path) -> CacheResult<Option<(File, (u64, u64))>> {
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
        if path.exists() {
            disk::remove_file(&path)?;
        }
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
