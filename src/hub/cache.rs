//! The hub's cache folder, in the layout its Python tools use:
//!
//! ```text
//! models--OWNER--NAME/refs/REVISION              the commit a revision stood for when it was last asked for
//! models--OWNER--NAME/blobs/DIGEST               contents
//! models--OWNER--NAME/blobs/DIGEST.incomplete    the beginning of one
//! models--OWNER--NAME/snapshots/COMMIT/PATH      symbolic links into blobs
//! .locks/models--OWNER--NAME/DIGEST.lock         held while a content is fetched
//! ```

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use super::content::{ContentDigest, hash_file};
use super::lock_file::PinnedFile;
use super::names::{Commit, Repository, Revision, check_path};
use crate::error::{Error, Result};

/// The most files of one snapshot that are looked at.
const MOST_FILES: usize = 100_000;
/// The most folders of a snapshot one in another.
const DEEPEST: usize = 64;

/// The cache. The folder need not exist.
#[derive(Debug, Clone)]
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    fn repository(&self, repository: &Repository) -> PathBuf {
        self.root.join(repository.folder())
    }

    fn reference(&self, repository: &Repository, revision: &Revision) -> PathBuf {
        self.repository(repository).join("refs").join(revision.as_str())
    }

    fn snapshot(&self, repository: &Repository, commit: &Commit) -> PathBuf {
        self.repository(repository).join("snapshots").join(commit.as_str())
    }

    pub(super) fn blob(&self, repository: &Repository, digest: &ContentDigest) -> PathBuf {
        self.repository(repository).join("blobs").join(digest.digits())
    }

    pub(super) fn incomplete(&self, repository: &Repository, digest: &ContentDigest) -> PathBuf {
        self.repository(repository).join("blobs").join(format!("{}.incomplete", digest.digits()))
    }

    pub(super) fn lock(&self, repository: &Repository, digest: &ContentDigest) -> PathBuf {
        self.root.join(".locks").join(repository.folder()).join(format!("{}.lock", digest.digits()))
    }

    /// The commit a revision stood for when it was last asked for.
    pub fn commit_of(&self, repository: &Repository, revision: &Revision) -> Option<Commit> {
        if let Some(commit) = revision.commit() {
            return Some(commit);
        }
        // A reference that cannot be read or is none is as good as absent: it is asked for again.
        let text = fs::read_to_string(self.reference(repository, revision)).ok()?;
        Commit::new(text.trim()).ok()
    }

    /// Keeps what a revision stands for now.
    ///
    /// # Errors
    /// `Environment` when it cannot be written.
    pub(super) fn keep_reference(&self, repository: &Repository, revision: &Revision, commit: &Commit) -> Result<()> {
        if self.commit_of(repository, revision).as_ref() == Some(commit) {
            return Ok(());
        }
        let path = self.reference(repository, revision);
        let folder = path.parent().unwrap_or(&self.root);
        let write = || {
            fs::create_dir_all(folder)?;
            // As the umask says: others may read a shared cache.
            let mut file =
                tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o666)).tempfile_in(folder)?;
            file.write_all(commit.as_str().as_bytes())?;
            file.persist(&path).map(|_| ()).map_err(io::Error::from)
        };
        write().map_err(|error| failed("write", &path, &error))
    }

    /// Where a file's content may lie, and has the right size: the snapshot's file, then the blob.
    pub fn candidates(&self, repository: &Repository, commit: &Commit, file: &PinnedFile) -> Vec<PathBuf> {
        let places = [self.snapshot(repository, commit).join(&file.path), self.blob(repository, &file.digest)];
        let mut found: Vec<PathBuf> = Vec::new();
        for place in places {
            // What is not there, or leads nowhere, is fetched.
            let Ok(real) = fs::canonicalize(&place) else { continue };
            let fits = fs::metadata(&real).is_ok_and(|facts| facts.is_file() && facts.len() == file.size);
            if fits && !found.contains(&real) {
                found.push(real);
            }
        }
        found
    }

    /// Where a snapshot has a file of this name, whatever its content.
    pub fn snapshot_file(&self, repository: &Repository, commit: &Commit, file: &PinnedFile) -> Option<PathBuf> {
        let place = self.snapshot(repository, commit).join(&file.path);
        std::fs::metadata(&place).is_ok_and(|facts| facts.is_file()).then_some(place)
    }

    /// Bytes of a file that an interrupted download left, at most its size.
    pub fn begun(&self, repository: &Repository, file: &PinnedFile) -> u64 {
        fs::metadata(self.incomplete(repository, &file.digest)).map_or(0, |facts| facts.len().min(file.size))
    }

    /// Links a blob into a snapshot, where it is not.
    ///
    /// # Errors
    /// `Environment` when the link cannot be made, or would lie outside the snapshot.
    pub(super) fn link(&self, repository: &Repository, commit: &Commit, file: &PinnedFile) -> Result<()> {
        let snapshot = self.snapshot(repository, commit);
        let path = snapshot.join(&file.path);
        let blob = self.blob(repository, &file.digest);
        let make = || {
            let folder = path.parent().unwrap_or(&snapshot);
            fs::create_dir_all(folder)?;
            // A link among the folders would lead the new link out of the snapshot.
            if !fs::canonicalize(folder)?.starts_with(fs::canonicalize(&snapshot)?) {
                return Err(io::Error::other("a symbolic link among its folders leads out of the snapshot"));
            }
            if fs::canonicalize(&path).is_ok_and(|real| fs::canonicalize(&blob).is_ok_and(|blob| blob == real)) {
                return Ok(());
            }
            let up = "../".repeat(2 + file.path.matches('/').count());
            let target = format!("{up}blobs/{}", file.digest.digits());
            let fresh = tempfile::Builder::new().make_in(folder, |path| symlink(&target, path))?;
            fresh.into_temp_path().persist(&path).map_err(io::Error::from)
        };
        make().map_err(|error| failed("link", &path, &error))
    }

    /// The files of a snapshot as they lie in the cache, sorted by path; `None` when there is no such snapshot.
    ///
    /// # Errors
    /// `Environment` when the snapshot cannot be read.
    pub(super) fn snapshot_files(&self, repository: &Repository, commit: &Commit) -> Result<Option<Vec<PinnedFile>>> {
        let folder = self.snapshot(repository, commit);
        if !folder.is_dir() {
            return Ok(None);
        }
        let mut files = Vec::new();
        walk(&folder, "", 0, &mut files).map_err(|error| failed("read", &folder, &error))?;
        files.sort_by(|left: &PinnedFile, right| left.path.cmp(&right.path));
        Ok(Some(files))
    }
}

/// Folders behind symbolic links are not part of a snapshot: its links are to files.
fn walk(folder: &Path, prefix: &str, depth: usize, files: &mut Vec<PinnedFile>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().into_string().map_err(|_| io::Error::other("a file name in it is not UTF-8"))?;
        let path = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
        if entry.file_type()?.is_dir() {
            if depth >= DEEPEST {
                return Err(io::Error::other("more than 64 folders lie one in another"));
            }
            walk(&entry.path(), &path, depth + 1, files)?;
            continue;
        }
        check_path(&path).map_err(io::Error::other)?;
        // A link that leads nowhere is no file that is there.
        let Ok(real) = fs::canonicalize(entry.path()) else { continue };
        let facts = fs::metadata(&real)?;
        if !facts.is_file() {
            continue;
        }
        if files.len() >= MOST_FILES {
            return Err(io::Error::other("it has more than a hundred thousand files"));
        }
        let named = real.file_name().and_then(|name| name.to_str()).and_then(ContentDigest::from_blob_name);
        let digest = match named {
            Some(digest) => digest,
            None => hash_file(&real, &ContentDigest::Sha256([0; 32]))?,
        };
        files.push(PinnedFile { path, size: facts.len(), digest });
    }
    Ok(())
}

/// What cannot be done in the cache.
pub(super) fn failed(what: &str, path: &Path, error: &io::Error) -> Error {
    Error::environment(format!("cannot {what} {} in the Hugging Face cache: {error}", path.display()))
        .with_hint("the cache must be writable and have free space; name another one with HF_HOME")
}
