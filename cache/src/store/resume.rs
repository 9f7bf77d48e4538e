//! What work that was stopped or killed goes on from, and removing what nobody goes on from.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::Store;
use super::records::list;
use crate::{CacheError, CacheResult, Key, disk, lock};

/// What the unfinished work of a key has left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResumeFacts {
    pub key: Key,
    /// Bytes of all its files.
    pub bytes: u64,
    /// When something in it was last written: milliseconds since 1970-01-01 UTC.
    pub changed: u64,
    /// Whether the key has its result, so that nothing is to be gone on with.
    pub finished: bool,
}

/// What removing them did, or would do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CollectedResume {
    /// Those that went, in the order of their keys.
    pub removed: Vec<ResumeFacts>,
    pub freed: u64,
    pub kept: u64,
    pub kept_bytes: u64,
}

impl Store {
    /// The folder in which the work of a key keeps what it can go on from after it was stopped or killed. It is there
    /// once something was kept. Only the holder of the key's lock may make and use it. What is found there may be
    /// half-written.
    pub fn resume_folder(&self, key: &Key) -> PathBuf {
        self.layout().resume(key)
    }

    /// Removes a key's [`Store::resume_folder`], if there is one, for the holder of the key's lock.
    ///
    /// # Errors
    /// Environment: it cannot be removed.
    pub fn remove_resume_folder(&self, key: &Key) -> CacheResult<()> {
        let folder = self.layout().resume(key);
        match disk::remove_folder(&folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(CacheError::store_io("remove the folder", &folder, &error))
            }
            _ => Ok(()),
        }
    }

    /// Removes the resume folders of keys that have their result, and those in which nothing was written since
    /// `kept_since` (milliseconds since 1970-01-01 UTC). One whose key somebody works at stays.
    ///
    /// # Errors
    /// Environment: the store cannot be read or changed.
    pub fn collect_resume(&self, kept_since: u64, dry_run: bool) -> CacheResult<CollectedResume> {
        let mut collected = CollectedResume::default();
        for folder in list(&self.layout().all_resume())? {
            // Whatever is not named by a key is not ours.
            let Some(key) = folder.file_name().and_then(|name| name.to_str()?.parse().ok()) else { continue };
            let mut found = ResumeFacts { key, bytes: 0, changed: 0, finished: self.usable(&key)?.is_ok() };
            measure(&folder, &mut found)?;
            let abandoned = found.finished || found.changed < kept_since;
            if abandoned && self.remove_abandoned(&key, dry_run)? {
                collected.freed += found.bytes;
                collected.removed.push(found);
            } else {
                collected.kept += 1;
                collected.kept_bytes += found.bytes;
            }
        }
        Ok(collected)
    }

    /// Whether nobody works at a key; its folder is then removed, unless it is only asked for.
    fn remove_abandoned(&self, key: &Key, dry_run: bool) -> CacheResult<bool> {
        if dry_run {
            return lock::is_held(&self.layout().key_lock(key)).map(|held| !held);
        }
        match self.try_lock(key)? {
            Some(_lock) => self.remove_resume_folder(key).map(|()| true),
            None => Ok(false),
        }
    }
}

/// Adds up a folder's files, and takes note of the youngest of all times. What goes away meanwhile does not count; links
/// are not followed.
fn measure(path: &Path, found: &mut ResumeFacts) -> CacheResult<()> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(CacheError::store_io("read", path, &error)),
    };
    let since = metadata.modified().ok().and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok());
    let changed = since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
    found.changed = found.changed.max(changed);
    if metadata.is_dir() {
        return list(path)?.iter().try_for_each(|inner| measure(inner, found));
    }
    found.bytes += metadata.len();
    Ok(())
}
