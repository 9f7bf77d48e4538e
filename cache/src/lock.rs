//! Locks that the kernel releases when their holder dies, however it dies.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::{CacheError, CacheResult, disk};

/// Longest note of a holder that is read back.
const MAX_NOTE: u64 = 200;

/// Single flight: while it is held, no other process or thread holds the lock of the same key. Released
/// when dropped.
#[derive(Debug)]
pub struct KeyLock {
    path: PathBuf,
    // Released after `drop` removed its name.
    _hold: Hold,
}

impl Drop for KeyLock {
    fn drop(&mut self) {
        // Removed while it is held, so nobody else's lock file can be meant. One that stays does no harm.
        let _ = fs::remove_file(&self.path);
    }
}

/// A lock without a note, shared or not. Released when dropped.
#[derive(Debug)]
pub(crate) struct Hold(File);

impl Hold {
    /// Of a file that is locked.
    pub(crate) fn of(file: File) -> Self {
        Self(file)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        // Closing is not enough: a program that is being started at this moment has the file open as well, until it has
        // become that program, and would keep the lock so long. Where this fails, closing remains.
        let _ = self.0.unlock();
    }
}

/// A lock taken, or who holds it (as far as known).
pub(crate) enum Attempt {
    Held(KeyLock),
    Busy(Option<String>),
}

/// Takes the lock in `path` at once if it is free; `note` tells others who holds it.
pub(crate) fn try_key(path: &Path, note: &str) -> CacheResult<Attempt> {
    let failed = |error: io::Error| CacheError::store_io("lock", path, &error);
    loop {
        let mut file = open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut note = String::new();
                let read = (&file).take(MAX_NOTE).read_to_string(&mut note);
                return Ok(Attempt::Busy(read.ok().filter(|&length| length > 0).map(|_| note)));
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        if is_still_at(&file, path).map_err(failed)? {
            let lock = KeyLock { path: path.to_path_buf(), _hold: Hold(file.try_clone().map_err(failed)?) };
            file.set_len(0).and_then(|()| file.write_all(note.as_bytes())).map_err(failed)?;
            return Ok(Attempt::Held(lock));
        }
        // The former holder removed the file between opening and locking.
    }
}

/// Takes the lock in `path` together with others, waiting for one who has it alone.
pub(crate) fn wait_shared(path: &Path) -> CacheResult<Hold> {
    let file = open(path)?;
    file.lock_shared().map_err(|error| CacheError::store_io("lock", path, &error))?;
    Ok(Hold(file))
}

/// Takes the lock in `path` alone, waiting for all who have it.
pub(crate) fn wait_exclusive(path: &Path) -> CacheResult<Hold> {
    let file = open(path)?;
    file.lock().map_err(|error| CacheError::store_io("lock", path, &error))?;
    Ok(Hold(file))
}

/// Takes the lock in `path` alone if it is free.
pub(crate) fn try_exclusive(path: &Path) -> CacheResult<Option<Hold>> {
    let file = open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(Hold(file))),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(CacheError::store_io("lock", path, &error)),
    }
}

/// Whether somebody holds the lock in `path`; nothing is made there.
pub(crate) fn is_held(path: &Path) -> CacheResult<bool> {
    let failed = |error: io::Error| CacheError::store_io("look at the lock", path, &error);
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(failed(error)),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

/// The file of a lock, made where it is missing.
pub(crate) fn open(path: &Path) -> CacheResult<File> {
    if let Some(folder) = path.parent() {
        disk::make_folders(folder)?;
    }
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .map_err(|error| CacheError::store_io("open the lock", path, &error))
}

/// Whether `path` still names this open file.
pub(crate) fn is_still_at(file: &File, path: &Path) -> io::Result<bool> {
    let held = file.metadata()?;
    match fs::symlink_metadata(path) {
        Ok(now) => Ok((now.dev(), now.ino()) == (held.dev(), held.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A process that is being started has a copy of every open file until it has become its program. Such a copy, made
    /// here by hand, keeps no lock.
    #[test]
    fn a_lock_that_was_given_back_is_free_whoever_has_a_copy_of_its_file() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("lock");
        let held = try_exclusive(&path).expect("lock").expect("free");
        let copy = held.0.try_clone().expect("a copy");
        assert!(try_exclusive(&path).expect("lock").is_none());
        drop(held);
        assert!(try_exclusive(&path).expect("lock").is_some());
        drop(copy);
        let Attempt::Held(of_key) = try_key(&path, "me").expect("lock") else { panic!("free") };
        let copy = of_key._hold.0.try_clone().expect("a copy");
        drop(of_key);
        // The name is gone; who opened the file before is let in as well.
        assert!(copy.try_clone().expect("a copy").try_lock().is_ok());
        assert!(!path.exists());
    }
}
