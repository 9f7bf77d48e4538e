//! Taking files and folders into the store.
//!
//! Order: hash, sync, rename into place without replacing, sync the folders. A blob in place is whole and durable;
//! until a record names it nobody looks for it, so dying at any point leaves at worst unused blobs.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::blobs::BlobState;
use super::staging::Staging;
use super::uses::Use;
use super::{Durability, Store};
use crate::hash::{self, Identity};
use crate::record::Form;
use crate::tree::walk::{Rules, walk};
use crate::tree::{Manifest, TreeEntry};
use crate::{CacheError, CacheResult, Digest, disk};

/// From this many files or folders on, one sync of the whole file system is quicker than one of each.
const SYNC_TOGETHER_FROM: usize = 8;

/// What publishing gave: the parts of an `Output` that the store knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Published {
    pub form: Form,
    /// `b3` of the file or `t3` of the tree.
    pub digest: Digest,
    /// The `b3` of the file, or of the tree's manifest.
    pub blob: Digest,
    /// Bytes of the file, or of all the tree's files together.
    pub size: u64,
}

/// A file on its way into the store, read-only and hashed.
struct Candidate {
    path: PathBuf,
    identity: Identity,
}

impl Store {
    /// Takes files and folders out of `staging` (paths inside it) into the store, in one sync. Nothing refers to
    /// them until a record that does is committed. The files are moved: read them through the store afterwards.
    ///
    /// # Errors
    /// Internal: a path is outside `staging`, missing, written to meanwhile, or a folder that cannot be a tree.
    /// Environment: the store cannot be written. Nothing half-written is left in either case.
    pub fn publish(&self, staging: &Staging, paths: &[PathBuf]) -> CacheResult<Vec<Published>> {
        let mut candidates = BTreeMap::new();
        let mut published = Vec::with_capacity(paths.len());
        for path in paths {
            published.push(self.prepare(staging, path, &mut candidates)?);
        }
        // Before looking what is there already: from now on it stays.
        staging.session().announce(candidates.keys().copied().map(Use::Blob))?;
        let mut fresh = Vec::new();
        for (digest, candidate) in candidates {
            match self.verify_blob(&digest)? {
                BlobState::Sound(_) => disk::remove_file(&candidate.path)?,
                BlobState::Missing | BlobState::Damaged(_) => fresh.push((digest, candidate)),
            }
        }
        self.memo().save();
        self.sync_files(fresh.iter().map(|(_, candidate)| candidate.path.as_path()))?;
        let mut touched = BTreeSet::new();
        for (digest, candidate) in &fresh {
            touched.extend(self.put_in_place(digest, candidate)?);
        }
        self.sync_files(touched.iter().map(PathBuf::as_path))?;
        Ok(published)
    }

    /// Hashes one file or folder and adds its files, and a folder's manifest, to `candidates`.
    fn prepare(
        &self,
        staging: &Staging,
        path: &Path,
        candidates: &mut BTreeMap<Digest, Candidate>,
    ) -> CacheResult<Published> {
        let failed = |error: io::Error| CacheError::store_io("publish", path, &error);
        let metadata = match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(CacheError::internal(format!("{} was to be published but was never made", path.display())));
            }
            other => other.map_err(failed)?,
        };
        let real = fs::canonicalize(path).map_err(failed)?;
        let inside = real.strip_prefix(staging.path()).is_ok_and(|rest| !rest.as_os_str().is_empty());
        if !inside || metadata.is_symlink() || !(metadata.is_file() || metadata.is_dir()) {
            let message = format!("{} is not a file or folder inside {}", path.display(), staging.path().display());
            return Err(CacheError::internal(message));
        }
        if metadata.is_file() {
            let (digest, size) = self.add_candidate(staging, path, false, candidates)?;
            return Ok(Published { form: Form::File, digest, blob: digest, size });
        }
        let mut entries = Vec::new();
        for found in walk(path, Rules::Own)? {
            let (digest, size) = self.add_candidate(staging, &found.path, found.linked, candidates)?;
            entries.push(TreeEntry { path: found.relative, executable: found.executable, size, digest });
        }
        let manifest = Manifest::new(entries)
            .map_err(|why| CacheError::internal(format!("the tree {} cannot be published: {why}", path.display())))?;
        let manifest_path = staging.session().unused_path();
        disk::write_new(&manifest_path, &manifest.to_bytes(), 0o600)?;
        let (blob, _) = self.add_candidate(staging, &manifest_path, false, candidates)?;
        Ok(Published { form: Form::Tree, digest: manifest.digest(), blob, size: manifest.size() })
    }

    fn add_candidate(
        &self,
        staging: &Staging,
        path: &Path,
        linked: bool,
        candidates: &mut BTreeMap<Digest, Candidate>,
    ) -> CacheResult<(Digest, u64)> {
        let failed = |error: io::Error| CacheError::store_io("publish", path, &error);
        // A file with a second name (or reached through a link) could be written to by that name later.
        let shared = linked || fs::symlink_metadata(path).map_err(failed)?.nlink() > 1;
        let path = if shared {
            let copy = staging.session().unused_path();
            disk::copy_new(path, &copy)?;
            copy
        } else {
            path.to_path_buf()
        };
        disk::set_mode(&path, 0o444)?;
        let (digest, identity) =
            hash::open(&path, false).and_then(|mut file| hash::hash_file(&mut file)).map_err(failed)?;
        match candidates.entry(digest) {
            Entry::Vacant(place) => {
                place.insert(Candidate { path, identity });
            }
            // The same file named twice: setting its rights again changed its ctime.
            Entry::Occupied(mut place) if place.get().path == path => place.get_mut().identity = identity,
            // A file of the stage stays until the staging folder goes: a link may still lead to it.
            Entry::Occupied(_) if shared => disk::remove_file(&path)?,
            Entry::Occupied(_) => {}
        }
        Ok((digest, identity.size))
    }

    /// Renames a synced file to its blob's name. Gives the folders that are to be synced.
    fn put_in_place(&self, digest: &Digest, candidate: &Candidate) -> CacheResult<Vec<PathBuf>> {
        let Candidate { path, identity } = candidate;
        let metadata = fs::symlink_metadata(path).map_err(|error| CacheError::store_io("publish", path, &error))?;
        if Identity::of(&metadata) != *identity {
            return Err(CacheError::internal(format!("{} was written to while it was published", path.display())));
        }
        let blob = self.layout().blob(digest);
        let folder = blob.parent().unwrap_or(self.root());
        let mut touched = disk::make_folders(folder)?;
        touched.push(folder.to_path_buf());
        if !disk::rename_new(path, &blob)? {
            // Another process published it meanwhile. The old one is kept if it is sound.
            match self.verify_blob(digest)? {
                BlobState::Sound(size) if size == identity.size => disk::remove_file(path)?,
                state => {
                    if !disk::rename_new(path, &blob)? {
                        let message = format!("cannot publish {}: {state:?} stays in its place", blob.display());
                        return Err(CacheError::environment(&blob, message));
                    }
                }
            }
        }
        Ok(touched)
    }

    /// Syncs files or folders as the durability asks for.
    pub(super) fn sync_files<'a>(&self, paths: impl Iterator<Item = &'a Path>) -> CacheResult<()> {
        let paths: Vec<_> = paths.collect();
        let together = match self.options().durability {
            Durability::None => return Ok(()),
            Durability::Batch if self.1 => {
                self.put_off(Instant::now());
                return Ok(());
            }
            Durability::Batch => paths.len() >= SYNC_TOGETHER_FROM,
            Durability::Strict => false,
        };
        if together && disk::sync_file_system(self.root())? {
            return Ok(());
        }
        paths.into_iter().try_for_each(disk::sync)
    }
}
