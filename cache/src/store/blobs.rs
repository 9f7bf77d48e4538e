//! Blobs: whether they are there, whether they are what their name says, and where bad ones go.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::{Store, Verify};
use crate::hash::{self, Identity};
use crate::{CacheError, CacheResult, Digest, disk, lock};

/// How it stands with a blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum BlobState {
    /// Its bytes have the digest it is named by, and this many of them.
    Sound(u64),
    Missing,
    /// It was put aside here.
    Damaged(PathBuf),
}

impl Store {
    /// The size of a blob if it is there; its content is not looked at.
    pub(super) fn blob_size(&self, digest: &Digest) -> CacheResult<Option<u64>> {
        let path = self.layout().blob(digest);
        match fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_file() => Ok(Some(metadata.len())),
            // Something else in its place: verification puts it aside.
            Ok(_) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(CacheError::store_io("read", &path, &error)),
        }
    }

    /// Compares a blob with its digest, unless it is remembered that it did not change since. A bad one is put aside.
    pub(super) fn verify_blob(&self, digest: &Digest) -> CacheResult<BlobState> {
        self.verify_blob_as(digest, self.options().verify)
    }

    pub(super) fn verify_blob_as(&self, digest: &Digest, verify: Verify) -> CacheResult<BlobState> {
        let path = self.layout().blob(digest);
        let unreadable = |error: io::Error| CacheError::store_io("read", &path, &error);
        let found = match fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_file() => Identity::of(&metadata),
            Ok(_) => return self.set_aside(&path).map(BlobState::Damaged),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BlobState::Missing),
            Err(error) => return Err(unreadable(error)),
        };
        if verify == Verify::First && self.memo().recall(&found) == Some(*digest) {
            return Ok(BlobState::Sound(found.size));
        }
        let mut file = match hash::open(&path, false) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BlobState::Missing),
            Err(error) => return Err(unreadable(error)),
        };
        let now = SystemTime::now();
        let (found, identity) = hash::hash_file(&mut file).map_err(unreadable)?;
        if found == *digest {
            self.memo().remember(identity, found, now);
            return Ok(BlobState::Sound(identity.size));
        }
        self.put_aside_if_same(&file, &path)
    }

    /// The bytes of a small blob (a manifest), always compared with the digest.
    pub(super) fn read_blob(&self, digest: &Digest) -> CacheResult<Result<Vec<u8>, BlobState>> {
        let path = self.layout().blob(digest);
        let unreadable = |error: io::Error| CacheError::store_io("read", &path, &error);
        let mut file = match hash::open(&path, false) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Err(BlobState::Missing)),
            // A symbolic link in its place.
            Err(_) if path.is_symlink() => return self.set_aside(&path).map(|aside| Err(BlobState::Damaged(aside))),
            Err(error) => return Err(unreadable(error)),
        };
        if !file.metadata().map_err(unreadable)?.is_file() {
            return self.set_aside(&path).map(|aside| Err(BlobState::Damaged(aside)));
        }
        let mut bytes = Vec::new();
        io::Read::read_to_end(&mut file, &mut bytes).map_err(unreadable)?;
        if Digest::of_bytes(&bytes) == *digest {
            return Ok(Ok(bytes));
        }
        self.put_aside_if_same(&file, &path).map(Err)
    }

    /// Puts a bad blob aside, unless another process already has (and perhaps put a good one there).
    pub(super) fn put_aside_if_same(&self, file: &File, path: &Path) -> CacheResult<BlobState> {
        let same = lock::is_still_at(file, path).map_err(|error| CacheError::store_io("read", path, &error))?;
        if same { self.set_aside(path).map(BlobState::Damaged) } else { Ok(BlobState::Missing) }
    }

    /// Moves a bad file of the store into quarantine.
    pub(super) fn set_aside(&self, path: &Path) -> CacheResult<PathBuf> {
        let folder = self.layout().quarantine();
        disk::make_folders(&folder)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // The folder with the random name makes room that nobody else can take.
        let aside = tempfile::Builder::new()
            .prefix(&format!("{name}."))
            .permissions(fs::Permissions::from_mode(0o777))
            .tempdir_in(&folder)
            .map_err(|error| CacheError::store_io("put a damaged file aside in", &folder, &error))?
            .keep()
            .join(name);
        match fs::rename(path, &aside) {
            // Gone: another process put it aside.
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(CacheError::store_io("put aside the damaged file", path, &error))
            }
            _ => Ok(aside),
        }
    }
}
