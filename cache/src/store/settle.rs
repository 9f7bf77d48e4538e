//! Syncs that are put off, so that many small results share one.

use std::sync::PoisonError;
use std::time::Instant;

use super::Store;
use crate::{CacheResult, disk};

impl Store {
    /// The same store, but what is published and committed through it is synced by the next [`Self::settle`] only. Until
    /// then a power loss may lose it; lost results are found out and made again, never served. A process that is killed
    /// loses nothing. Where every file is to be synced by itself, nothing is put off.
    pub fn soon(&self) -> Self {
        Self(self.0.clone(), cfg!(any(target_os = "linux", target_os = "android")))
    }

    /// Since when something waits to be synced.
    pub fn unsettled_since(&self) -> Option<Instant> {
        *self.0.unsettled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Syncs all that was put off, with one call.
    ///
    /// # Errors
    /// Environment: the disk does not take it.
    pub fn settle(&self) -> CacheResult<()> {
        // Taken first: what is put off meanwhile may be too late for this call.
        let since = self.0.unsettled.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(since) = since else { return Ok(()) };
        match disk::sync_file_system(self.root()) {
            Ok(_) => Ok(()),
            Err(error) => {
                self.put_off(since);
                Err(error)
            }
        }
    }

    /// Remembers that something waits since then.
    pub(super) fn put_off(&self, since: Instant) {
        let mut unsettled = self.0.unsettled.lock().unwrap_or_else(PoisonError::into_inner);
        *unsettled = Some(unsettled.map_or(since, |earlier| earlier.min(since)));
    }
}
