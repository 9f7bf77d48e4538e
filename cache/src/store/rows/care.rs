//! Looking after all row maps: what there is, whether it is sound, and removing what nobody needs.

use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::super::records::list;
use super::super::{Limits, Store};
use super::file::{self, Seal};
use super::log::{OPEN, ROWS, segment_name};
use super::map::lock_map;
use super::segment;
use crate::{CacheError, CacheResult, Key, disk, hash};

/// One row map, from outside.
#[derive(Debug, Clone, PartialEq)]
pub struct RowMapFacts {
    pub scope: Key,
    /// What the scope stands for, in readable form; nothing where no file says it.
    pub fields: serde_json::Value,
    /// Rows in segments; some may stand in several.
    pub rows: u64,
    pub segments: usize,
    /// Bytes of all its files.
    pub bytes: u64,
    /// When it was last opened: milliseconds since 1970-01-01 UTC.
    pub used: u64,
    /// Whether somebody is writing to it.
    pub in_use: bool,
}

impl RowMapFacts {
    /// The kind of stage whose rows these are, as the fields say.
    pub fn kind(&self) -> &str {
        self.fields.get("kind").and_then(serde_json::Value::as_str).unwrap_or("rows")
    }
}

/// What checking all segments found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RowsCheck {
    pub segments: usize,
    pub bytes: u64,
    /// Segments whose bytes are not those they are named for. With `repair` they were put aside, and their sound rows
    /// kept.
    pub damaged: Vec<PathBuf>,
}

/// What removing unused row maps did, or would do.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CollectedRows {
    /// Those that went, used longest ago first.
    pub removed: Vec<RowMapFacts>,
    pub freed: u64,
    pub kept: u64,
    pub kept_bytes: u64,
}

impl Store {
    /// Removes row maps that were last used before `kept_since` and that nobody writes to, as far as the limits ask for
    /// it (`max_bytes` is about row maps alone), those used longest ago first. Nothing refers to rows, so what goes costs
    /// time only.
    ///
    /// # Errors
    /// Environment: the store cannot be read or changed.
    pub fn collect_rows(&self, kept_since: u64, limits: Limits, dry_run: bool) -> CacheResult<CollectedRows> {
        let mut maps = self.row_maps()?;
        maps.sort_by_key(|map| (map.used, map.scope));
        let mut left: u64 = maps.iter().map(|map| map.bytes).sum();
        let mut collected = CollectedRows::default();
        for map in maps {
            let too_old = limits.used_since.is_some_and(|since| map.used < since);
            let too_much = limits.max_bytes.is_some_and(|most| left > most);
            let goes = limits == Limits::default() || too_old || too_much;
            let unused = map.used < kept_since && !map.in_use && goes;
            if unused && (dry_run || self.remove_rows(&map.scope)?) {
                left -= map.bytes;
                collected.freed += map.bytes;
                collected.removed.push(map);
            } else {
                collected.kept += 1;
                collected.kept_bytes += map.bytes;
            }
        }
        Ok(collected)
    }

    /// All row maps, in the order of their scopes.
    ///
    /// # Errors
    /// Environment: the store cannot be read.
    pub fn row_maps(&self) -> CacheResult<Vec<RowMapFacts>> {
        self.scopes()?.into_iter().map(|(scope, folder)| facts(scope, &folder)).collect()
    }

    /// Compares every segment with its name. With `repair`, what is damaged is put aside and its sound rows are kept;
    /// those that are lost are made again by who needs them.
    ///
    /// # Errors
    /// Environment: the store cannot be read, or not be repaired.
    pub fn check_rows(&self, repair: bool) -> CacheResult<RowsCheck> {
        let mut check = RowsCheck::default();
        for (scope, folder) in self.scopes()? {
            let mut damaged = Vec::new();
            for path in segments(&folder)? {
                let failed = |error: io::Error| CacheError::store_io("read", &path, &error);
                let (digest, identity) = match hash::open(&path, false) {
                    Ok(mut file) => hash::hash_file(&mut file).map_err(failed)?,
                    // Merged meanwhile.
                    Err(error) if error.kind() == ErrorKind::NotFound => continue,
                    Err(error) => return Err(failed(error)),
                };
                check.segments += 1;
                check.bytes += identity.size;
                if path.file_name().is_none_or(|name| name != segment_name(&digest).as_str()) {
                    damaged.push(path);
                }
            }
            if repair && !damaged.is_empty() {
                let fields = fields_of(&folder, &Seal::new(&scope))?;
                self.row_map(&scope, &fields)?.replace_all(&damaged)?;
            }
            check.damaged.extend(damaged);
        }
        Ok(check)
    }

    /// Removes the row map of a scope; `false` when somebody is writing to it, or it is gone. To be called by the
    /// collector alone.
    ///
    /// # Errors
    /// Environment: it cannot be removed.
    pub fn remove_rows(&self, scope: &Key) -> CacheResult<bool> {
        let folder = self.layout().row_map(scope);
        if !folder.is_dir() {
            return Ok(false);
        }
        let _lock = lock_map(&folder)?;
        if in_use(&folder)? {
            return Ok(false);
        }
        // Out of the way as a whole first: who opens the map meanwhile makes a new folder, of which nothing is removed.
        let gone = self.session()?.unused_path();
        fs::rename(&folder, &gone).map_err(|error| CacheError::store_io("remove", &folder, &error))?;
        disk::remove_folder(&gone).map_err(|error| CacheError::store_io("remove", &gone, &error))?;
        Ok(true)
    }

    /// The scope and the folder of every row map.
    fn scopes(&self) -> CacheResult<Vec<(Key, PathBuf)>> {
        let mut scopes = Vec::new();
        for fan_out in list(&self.layout().row_maps())? {
            for folder in list(&fan_out)? {
                // Whatever is not named by a key is not ours.
                if let Some(scope) = folder.file_name().and_then(|name| name.to_str()?.parse().ok()) {
                    scopes.push((scope, folder));
                }
            }
        }
        Ok(scopes)
    }
}

fn facts(scope: Key, folder: &Path) -> CacheResult<RowMapFacts> {
    let seal = Seal::new(&scope);
    let failed = |path: &Path, error: &io::Error| CacheError::store_io("read", path, error);
    let lock = fs::metadata(folder.join("lock")).and_then(|lock| lock.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
    let used = lock.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_millis());
    let used = u64::try_from(used).unwrap_or(u64::MAX);
    let mut found = RowMapFacts {
        scope,
        fields: fields_of(folder, &seal)?,
        rows: 0,
        segments: 0,
        bytes: 0,
        used,
        in_use: in_use(folder)?,
    };
    for path in list(folder)? {
        match hash::open(&path, false) {
            Ok(file) => {
                found.bytes += file.metadata().map_err(|error| failed(&path, &error))?.len();
                if path.extension().is_some_and(|extension| extension == ROWS) {
                    found.segments += 1;
                    let index = segment::index(&file, &seal).map_err(|error| failed(&path, &error))?;
                    found.rows += index.map_or(0, |index| index.len() as u64);
                }
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(failed(&path, &error)),
        }
    }
    Ok(found)
}

/// The fields that a file of the map states.
fn fields_of(folder: &Path, seal: &Seal) -> CacheResult<serde_json::Value> {
    for path in list(folder)? {
        let is_ours = path.extension().is_some_and(|extension| extension == ROWS || extension == OPEN);
        if is_ours
            && let Ok(file) = hash::open(&path, false)
            && let Ok(Some((fields, _))) = file::read_header(&file, seal)
            && let Ok(fields) = serde_json::from_slice(&fields)
        {
            return Ok(fields);
        }
    }
    Ok(serde_json::Value::Null)
}

fn segments(folder: &Path) -> CacheResult<Vec<PathBuf>> {
    let mut segments = list(folder)?;
    segments.retain(|path| path.extension().is_some_and(|extension| extension == ROWS));
    Ok(segments)
}

/// Whether a living writer has a log there.
fn in_use(folder: &Path) -> CacheResult<bool> {
    for path in list(folder)? {
        if path.extension().is_some_and(|extension| extension == OPEN)
            && let Ok(file) = File::open(&path)
            && matches!(file.try_lock(), Err(TryLockError::WouldBlock))
        {
            return Ok(true);
        }
    }
    Ok(false)
}
