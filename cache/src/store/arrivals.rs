//! What came from elsewhere: laid down beside the store and checked before any of it counts.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::Store;
use super::records::Parts;
use super::staging::Staging;
use crate::tree::Manifest;
use crate::{CacheError, CacheResult, Digest};

/// Blobs in a staging folder, each of which was compared with its digest; behind them those of the store.
#[derive(Debug)]
pub(super) struct Arrivals<'s> {
    pub store: &'s Store,
    pub staging: Staging,
    blobs: BTreeMap<Digest, u64>,
}

impl<'s> Arrivals<'s> {
    pub(super) fn new(store: &'s Store) -> CacheResult<Self> {
        Ok(Self { store, staging: store.stage()?, blobs: BTreeMap::new() })
    }

    /// Where a blob lies, or is to be laid.
    pub(super) fn path(&self, digest: &Digest) -> PathBuf {
        self.staging.path().join(digest.hex())
    }

    /// Takes note of a blob that lies there; says whether it is the first of its digest.
    pub(super) fn add(&mut self, digest: Digest, size: u64) -> bool {
        self.blobs.insert(digest, size).is_none()
    }

    pub(super) fn count(&self) -> u64 {
        self.blobs.len() as u64
    }

    /// Bytes of all of them.
    pub(super) fn bytes(&self) -> u64 {
        self.blobs.values().sum()
    }

    /// Moves all of them into the store.
    pub(super) fn publish(&self) -> CacheResult<()> {
        let paths: Vec<PathBuf> = self.blobs.keys().map(|digest| self.path(digest)).collect();
        for (published, digest) in self.store.publish(&self.staging, &paths)?.iter().zip(self.blobs.keys()) {
            if published.blob != *digest {
                let path = self.path(digest);
                return Err(CacheError::environment(&path, format!("{} changed on its way", Path::display(&path))));
            }
        }
        Ok(())
    }
}

impl Parts for Arrivals<'_> {
    fn size_of(&self, digest: &Digest) -> CacheResult<Option<u64>> {
        match self.blobs.get(digest) {
            Some(size) => Ok(Some(*size)),
            None => self.store.size_of(digest),
        }
    }

    fn manifest(&self, digest: &Digest) -> CacheResult<Option<Result<(Manifest, u64), String>>> {
        if !self.blobs.contains_key(digest) {
            return self.store.manifest(digest);
        }
        let path = self.path(digest);
        let bytes = fs::read(&path).map_err(|error| CacheError::store_io("read", &path, &error))?;
        Ok(Some(Manifest::from_bytes(&bytes).map(|manifest| (manifest, bytes.len() as u64))))
    }
}
