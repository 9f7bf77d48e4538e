//! Pins: results that are kept until they are unpinned.

use std::collections::BTreeMap;
use std::io::{self, Read};

use super::Store;
use super::records::list;
use crate::{CacheError, CacheResult, Key, disk, lock};

/// Longest note of a pin that is read back.
const MAX_NOTE: u64 = 4096;

impl Store {
    /// Keeps the results of a key from being collected; says whether they were not pinned before. The note tells
    /// people why.
    ///
    /// # Errors
    /// Environment: the pin cannot be written.
    pub fn pin(&self, key: &Key, note: &str) -> CacheResult<bool> {
        let folder = self.layout().pins();
        let mut touched = disk::make_folders(&folder)?;
        touched.push(folder);
        let staged = self.session()?.unused_path();
        disk::write_new(&staged, note.as_bytes(), 0o444)?;
        disk::sync(&staged)?;
        // Not while something is removed: what is found after pinning is there to stay.
        let _not_collecting = lock::wait_shared(&self.layout().collect_lock())?;
        let fresh = disk::rename_new(&staged, &self.layout().pin(key))?;
        if !fresh {
            disk::remove_file(&staged)?;
        }
        touched.iter().try_for_each(|folder| disk::sync(folder))?;
        Ok(fresh)
    }

    /// Lets the results of a key be collected; says whether they were pinned.
    ///
    /// # Errors
    /// Environment: the pin cannot be removed.
    pub fn unpin(&self, key: &Key) -> CacheResult<bool> {
        let pinned = disk::remove_if_there(&self.layout().pin(key))?;
        if pinned {
            disk::sync(&self.layout().pins())?;
        }
        Ok(pinned)
    }

    /// Every pinned key with its note.
    ///
    /// # Errors
    /// Environment: the pins cannot be read.
    pub fn pins(&self) -> CacheResult<BTreeMap<Key, String>> {
        let mut pins = BTreeMap::new();
        for path in list(&self.layout().pins())? {
            // Whatever is not named by a key is not ours.
            let Some(key) = path.file_name().and_then(|name| name.to_str()?.parse().ok()) else { continue };
            let mut note = Vec::new();
            match crate::hash::open(&path, false).and_then(|file| file.take(MAX_NOTE).read_to_end(&mut note)) {
                Ok(_) => {}
                // Unpinned since it was listed.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(CacheError::store_io("read the pin", &path, &error)),
            }
            pins.insert(key, String::from_utf8_lossy(&note).into_owned());
        }
        Ok(pins)
    }
}
