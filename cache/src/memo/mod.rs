//! The digests of files that have not changed since they were last hashed.

mod log;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use self::log::Entry;
use crate::hash::{self, Identity};
use crate::tree::walk::{Rules, walk};
use crate::tree::{Manifest, TreeEntry};
use crate::{CacheError, CacheResult, Digest};

/// A file that changed this shortly before it was hashed is not remembered: it may change again within the
/// granularity of its time stamps (2 s on FAT) and look the same. git's "racily clean" rule.
const RACY: Duration = Duration::from_secs(2);

/// What a path must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    File,
    Folder,
    Either,
}

/// Remembers the digests of files by (device, inode, size, mtime, ctime), in one file per host.
///
/// Disposable: without it, or when it is damaged or cannot be written, files are hashed again. It is read
/// when first asked. Other processes may write to it meanwhile.
#[derive(Debug)]
pub struct Memo {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// (device, inode) -> the newest entry. `None` until it was read.
    known: Option<HashMap<(u64, u64), Entry>>,
    /// Entries that are not yet in the file.
    fresh: Vec<Entry>,
    trouble: Option<CacheError>,
}

impl Memo {
    /// The memo in this file, which need not exist.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, state: Mutex::default() }
    }

    /// The digest of a file (`b3`) or folder (`t3`) of the user, hashed only where it changed.
    ///
    /// # Errors
    /// Input: the path is missing, not what is expected, or a folder no tree can be made of. Environment: it
    /// cannot be read.
    pub fn digest(&self, path: &Path, expected: Expected) -> CacheResult<Digest> {
        let metadata = std::fs::metadata(path).map_err(|error| CacheError::user_io("read", path, &error))?;
        match expected {
            Expected::File if !metadata.is_file() => {
                Err(CacheError::input(path, format!("{} is not a file, where one is expected", path.display())))
            }
            Expected::Folder if !metadata.is_dir() => {
                Err(CacheError::input(path, format!("{} is not a folder, where one is expected", path.display())))
            }
            _ if metadata.is_dir() => Ok(self.tree(path)?.digest()),
            _ => Ok(self.file(path)?.0),
        }
    }

    /// The `b3` digest and the size in bytes of a file of the user.
    ///
    /// # Errors
    /// As `digest`.
    pub fn file(&self, path: &Path) -> CacheResult<(Digest, u64)> {
        let found = self.hash_user_file(path);
        self.save();
        found
    }

    /// The manifest of a folder of the user: symbolic links are followed and their targets hashed by content;
    /// names that begin with a dot are left out.
    ///
    /// # Errors
    /// As `digest`.
    pub fn tree(&self, path: &Path) -> CacheResult<Manifest> {
        let entries = walk(path, Rules::User)?
            .into_iter()
            .map(|found| {
                let (digest, size) = self.hash_user_file(&found.path)?;
                Ok(TreeEntry { path: found.relative, executable: found.executable, size, digest })
            })
            .collect::<CacheResult<_>>();
        self.save();
        Manifest::new(entries?).map_err(|why| CacheError::input(path, format!("{}: {why}", path.display())))
    }

    /// Why the memo could not be written, if it could not: everything still works, but is hashed each time.
    pub fn trouble(&self) -> Option<CacheError> {
        self.state().trouble.clone()
    }

    fn hash_user_file(&self, path: &Path) -> CacheResult<(Digest, u64)> {
        let unreadable = |error| CacheError::user_io("read", path, &error);
        let mut file = hash::open(path, true).map_err(unreadable)?;
        let metadata = file.metadata().map_err(unreadable)?;
        if !metadata.is_file() {
            return Err(CacheError::input(path, format!("{} is not a file", path.display())));
        }
        if let Some(digest) = self.recall(&Identity::of(&metadata)) {
            return Ok((digest, metadata.len()));
        }
        let now = SystemTime::now();
        let (digest, identity) = hash::hash_file(&mut file).map_err(unreadable)?;
        self.remember(identity, digest, now);
        Ok((digest, identity.size))
    }

    /// The digest of the file with this identity, if it is remembered.
    pub(crate) fn recall(&self, identity: &Identity) -> Option<Digest> {
        let mut state = self.state();
        let State { known, fresh, .. } = &mut *state;
        let known = known.get_or_insert_with(|| {
            let entries = log::read(&self.path).into_iter().chain(fresh.iter().copied());
            entries.map(|entry| (place(&entry.identity), entry)).collect()
        });
        known.get(&place(identity)).filter(|entry| entry.identity == *identity).map(|entry| entry.digest)
    }

    /// Remembers a digest that was taken from `now` on, unless the file is too young. Not written before `save`.
    pub(crate) fn remember(&self, identity: Identity, digest: Digest, now: SystemTime) {
        if racy(&identity, now) {
            return;
        }
        let entry = Entry { identity, digest };
        let mut state = self.state();
        state.fresh.push(entry);
        if let Some(known) = &mut state.known {
            known.insert(place(&identity), entry);
        }
    }

    /// Writes what is newly remembered. A failure is kept as `trouble`: the memo only saves time.
    pub(crate) fn save(&self) {
        let mut state = self.state();
        if state.fresh.is_empty() || state.trouble.is_some() {
            return;
        }
        let fresh = std::mem::take(&mut state.fresh);
        if let Err(error) = log::append(&self.path, &fresh) {
            state.trouble = Some(CacheError::store_io("write", &self.path, &error));
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change of the state is complete before anything can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn place(identity: &Identity) -> (u64, u64) {
    (identity.device, identity.inode)
}

/// Whether a file changed (or claims to change in the future) less than `RACY` before `now`.
fn racy(identity: &Identity, now: SystemTime) -> bool {
    let Some(limit) = now.duration_since(SystemTime::UNIX_EPOCH).ok().and_then(|since| since.checked_sub(RACY)) else {
        return true;
    };
    let limit = (i64::try_from(limit.as_secs()).unwrap_or(i64::MAX), i64::from(limit.subsec_nanos()));
    identity.modified.max(identity.changed) > limit
}

#[cfg(test)]
mod tests;
