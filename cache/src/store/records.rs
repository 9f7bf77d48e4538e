//! Records: committing a result, and finding it again.

use std::fs;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::blobs::BlobState;
use super::layout::Layout;
use super::uses::Use;
use super::{Store, Verify};
use crate::record::{Form, MAX_BYTES, Output, Record, Unreadable};
use crate::tree::Manifest;
use crate::{CacheError, CacheResult, Digest, Key, disk};

/// Why there is no usable result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MissReason {
    #[error("nothing is recorded under this key")]
    NoRecord,
    #[error("a record was damaged ({problem}); it was put aside as {}", quarantined.display())]
    DamagedRecord { problem: String, quarantined: PathBuf },
    #[error("the record {} is of version `{}`, which this program does not know", path.display(), version.escape_debug())]
    UnknownVersion { path: PathBuf, version: String },
    #[error("the stored file {digest} of output `{port}` is missing")]
    MissingBlob { port: String, digest: Digest },
    #[error("the stored file {digest} of output `{port}` was damaged; it was put aside as {}", quarantined.display())]
    DamagedBlob { port: String, digest: Digest, quarantined: PathBuf },
    #[error("it is its maker's alone: nobody can say what model made it, for no revision was declared")]
    Private,
    #[error("the record and the stored files of output `{port}` contradict each other: {problem}")]
    Contradiction { port: String, problem: String },
}

/// What a record's file turned out to be.
pub(super) enum Peeked {
    /// The record and the digest of its body.
    Sound(Box<Record>, Digest),
    Gone,
    /// Of this version, which this program does not know.
    Unknown(String),
    Damaged(String),
}

/// The answer to a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup {
    Hit(Box<Record>),
    Miss(MissReason),
}

impl From<Result<(Record, Digest, PathBuf), MissReason>> for Lookup {
    fn from(found: Result<(Record, Digest, PathBuf), MissReason>) -> Self {
        match found {
            Ok((record, ..)) => Self::Hit(Box::new(record)),
            Err(reason) => Self::Miss(reason),
        }
    }
}

/// What a commit did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Committed {
    /// The record is new; it is what a lookup finds now.
    New,
    /// A usable record whose outputs have the same digests was there already and was kept (returned here).
    Already(Box<Record>),
    /// A usable record with other outputs at these ports was there already. It is kept (returned here) and the new
    /// one is not written: the work is not deterministic.
    Differs { kept: Box<Record>, ports: Vec<String> },
}

impl Store {
    /// The usable result of a key: its record is whole, and all its blobs are there in their sizes. Contents are
    /// verified when read (`read`, `export`) or when asked (`verify`). Of several usable records the oldest counts.
    ///
    /// # Errors
    /// Environment: the store cannot be read.
    pub fn lookup(&self, key: &Key) -> CacheResult<Lookup> {
        self.usable(key).map(Lookup::from)
    }

    /// As `lookup`, and the contents are compared with their digests (once per unchanged file).
    ///
    /// # Errors
    /// Environment: the store cannot be read, or a damaged file cannot be put aside.
    pub fn lookup_verified(&self, key: &Key) -> CacheResult<Lookup> {
        let found = self.usable_as(key, Some(self.options().verify));
        self.memo().save();
        found.map(Lookup::from)
    }

    /// The oldest usable record of a key with the digest of its body and its file, or why there is none.
    pub(super) fn usable(&self, key: &Key) -> CacheResult<Result<(Record, Digest, PathBuf), MissReason>> {
        self.usable_as(key, None)
    }

    /// As `usable`, judged by presence and size, or by content with `verify`.
    fn usable_as(
        &self,
        key: &Key,
        verify: Option<Verify>,
    ) -> CacheResult<Result<(Record, Digest, PathBuf), MissReason>> {
        self.announce([Use::Key(*key)])?;
        let mut usable: Option<(Record, Digest, PathBuf)> = None;
        let mut reason = MissReason::NoRecord;
        for path in list(&self.layout().records(key))? {
            let (record, digest) = match self.load_record(&path, key)? {
                Ok(loaded) => loaded,
                Err(problem) => {
                    reason = problem;
                    continue;
                }
            };
            if let Some(problem) = self.first_lost(&record, verify)? {
                reason = problem;
                continue;
            }
            let age = |record: &Record, digest: &Digest| (record.provenance.created_milliseconds, *digest);
            if usable.as_ref().is_none_or(|(best, of_best, _)| age(&record, &digest) < age(best, of_best)) {
                usable = Some((record, digest, path));
            }
        }
        Ok(usable.ok_or(reason))
    }

    /// Compares every blob of a record with its digest (once per unchanged file); the first that is lost, if any.
    ///
    /// # Errors
    /// Environment: the store cannot be read, or a damaged file cannot be put aside.
    pub fn verify(&self, record: &Record) -> CacheResult<Option<MissReason>> {
        let lost = self.first_lost(record, Some(self.options().verify));
        self.memo().save();
        lost
    }

    /// Makes a result known. Every blob it names must have been published.
    ///
    /// # Errors
    /// Internal: the record contradicts itself, or names what was not published. Environment: the store cannot be
    /// written; nothing is known then.
    pub fn commit(&self, record: &Record) -> CacheResult<Committed> {
        let wrong = |why| CacheError::internal(format!("the record of {} cannot be committed: {why}", record.key));
        let (bytes, digest) = record.to_bytes().map_err(wrong)?;
        self.adopt(record, &bytes, &digest)
    }

    /// As `commit`, for a record whose bytes are there already, with the digest of its body.
    pub(super) fn adopt(&self, record: &Record, bytes: &[u8], digest: &Digest) -> CacheResult<Committed> {
        let key = &record.key;
        let session = self.session()?;
        session.announce([Use::Key(*key)])?;
        if let Some(reason) = self.first_lost(record, None)? {
            return Err(CacheError::internal(format!("the record of {key} cannot be committed: {reason}")));
        }
        if let Lookup::Hit(kept) = self.lookup(key)? {
            let ports = differing_ports(record, &kept);
            return Ok(if ports.is_empty() { Committed::Already(kept) } else { Committed::Differs { kept, ports } });
        }
        let staged = session.unused_path();
        disk::write_new(&staged, bytes, 0o444)?;
        self.sync_files([staged.as_path()].into_iter())?;
        let folder = self.layout().records(key);
        let mut touched = disk::make_folders(&folder)?;
        touched.push(folder.clone());
        if !disk::rename_new(&staged, &folder.join(Layout::record_name(digest)))? {
            // The very same record, from another process.
            disk::remove_file(&staged)?;
        }
        self.sync_files(touched.iter().map(PathBuf::as_path))?;
        Ok(Committed::New)
    }

    /// Every record that can be read, in the order of keys; for those that cannot, why. Blobs are not looked at.
    ///
    /// # Errors
    /// Environment: the store cannot be read.
    pub fn records(&self) -> CacheResult<Vec<Result<Record, MissReason>>> {
        let mut records = Vec::new();
        self.each_record(|found| {
            records.push(found);
            Ok(())
        })?;
        Ok(records)
    }

    /// Calls `visit` with every record, in the order of keys.
    pub(super) fn each_record(
        &self,
        mut visit: impl FnMut(Result<Record, MissReason>) -> CacheResult<()>,
    ) -> CacheResult<()> {
        for fan_out in list(&self.layout().all_records())? {
            for folder in list(&fan_out)? {
                // Whatever is not named by a key is not ours.
                let Some(key) = folder.file_name().and_then(|name| name.to_str()?.parse().ok()) else { continue };
                for path in list(&folder)? {
                    visit(self.load_record(&path, &key)?.map(|(record, _)| record))?;
                }
            }
        }
        Ok(())
    }

    /// Reads one record of `key`; one that is damaged is put aside.
    fn load_record(&self, path: &Path, key: &Key) -> CacheResult<Result<(Record, Digest), MissReason>> {
        Ok(Err(match self.peek_record(path, key)? {
            Peeked::Sound(record, digest) => return Ok(Ok((*record, digest))),
            // Another process has just put it aside.
            Peeked::Gone => MissReason::NoRecord,
            Peeked::Unknown(version) => MissReason::UnknownVersion { path: path.to_path_buf(), version },
            Peeked::Damaged(problem) => MissReason::DamagedRecord { problem, quarantined: self.set_aside(path)? },
        }))
    }

    /// Reads one record of `key` and leaves it where it is.
    pub(super) fn peek_record(&self, path: &Path, key: &Key) -> CacheResult<Peeked> {
        let unreadable = |error: io::Error| CacheError::store_io("read the record", path, &error);
        // Room for most records: fewer reads.
        let mut bytes = Vec::with_capacity(8 << 10);
        match crate::hash::open(path, false) {
            Ok(file) => file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Peeked::Gone),
            Err(_) if path.is_symlink() => return Ok(Peeked::Damaged("it is a symbolic link".to_owned())),
            Err(error) => return Err(unreadable(error)),
        };
        Ok(match Record::from_bytes(&bytes) {
            Ok((record, _)) if record.key != *key => {
                Peeked::Damaged(format!("it is a record of the key {}", record.key))
            }
            Ok((record, digest)) => {
                let named =
                    path.file_name().is_some_and(|name| name.as_bytes() == Layout::record_name(&digest).as_bytes());
                if named {
                    Peeked::Sound(Box::new(record), digest)
                } else {
                    Peeked::Damaged("its name is not that of its digest".to_owned())
                }
            }
            Err(Unreadable::Version(version)) => Peeked::Unknown(version),
            Err(Unreadable::Damaged(problem)) => Peeked::Damaged(problem),
        })
    }

    /// The first output that is not whole: judged by presence and size, or by content with `verify`.
    pub(super) fn first_lost(&self, record: &Record, verify: Option<Verify>) -> CacheResult<Option<MissReason>> {
        for output in &record.outputs {
            let lost = match output.form {
                Form::File => self.lost_file(&output.port, &output.blob, output.size, verify)?,
                Form::Tree => match self.load_manifest(output)? {
                    Ok(manifest) => self.lost_in_tree(&output.port, &manifest, verify)?,
                    Err(reason) => Some(reason),
                },
            };
            if lost.is_some() {
                return Ok(lost);
            }
        }
        Ok(None)
    }

    /// The manifest of a tree, compared with both its digests.
    pub(super) fn load_manifest(&self, output: &Output) -> CacheResult<Result<Manifest, MissReason>> {
        let port = output.port.as_str();
        let bytes = match self.read_blob(&output.blob)? {
            Ok(bytes) => bytes,
            Err(state) => return Ok(Err(lost(port, &output.blob, state))),
        };
        let contradiction = |problem| Ok(Err(MissReason::Contradiction { port: port.to_owned(), problem }));
        match Manifest::from_bytes(&bytes) {
            Err(problem) => contradiction(problem),
            Ok(manifest) if manifest.digest() != output.digest => {
                contradiction(format!("the manifest has the digest {}, not {}", manifest.digest(), output.digest))
            }
            Ok(manifest) if manifest.size() != output.size => {
                contradiction(format!("the files have {} bytes, not {}", manifest.size(), output.size))
            }
            Ok(manifest) => Ok(Ok(manifest)),
        }
    }

    pub(super) fn lost_in_tree(
        &self,
        port: &str,
        manifest: &Manifest,
        verify: Option<Verify>,
    ) -> CacheResult<Option<MissReason>> {
        for entry in manifest.entries() {
            if let Some(reason) = self.lost_file(port, &entry.digest, entry.size, verify)? {
                return Ok(Some(reason));
            }
        }
        Ok(None)
    }

    pub(super) fn lost_file(
        &self,
        port: &str,
        digest: &Digest,
        size: u64,
        verify: Option<Verify>,
    ) -> CacheResult<Option<MissReason>> {
        let state = match verify {
            Some(verify) => self.verify_blob_as(digest, verify)?,
            None => match self.blob_size(digest)? {
                Some(found) if found == size => return Ok(None),
                // Not the size it should have: find out which of the two is wrong.
                _ => self.verify_blob(digest)?,
            },
        };
        Ok(match state {
            BlobState::Sound(found) if found == size => None,
            BlobState::Sound(found) => Some(MissReason::Contradiction {
                port: port.to_owned(),
                problem: format!("{digest} has {found} bytes, not {size}"),
            }),
            state => Some(lost(port, digest, state)),
        })
    }
}

/// The reason that goes with a blob that is not sound.
pub(super) fn lost(port: &str, digest: &Digest, state: BlobState) -> MissReason {
    let (port, digest) = (port.to_owned(), *digest);
    match state {
        BlobState::Damaged(quarantined) => MissReason::DamagedBlob { port, digest, quarantined },
        BlobState::Missing | BlobState::Sound(_) => MissReason::MissingBlob { port, digest },
    }
}

/// Where the blobs of a record may be.
pub(super) trait Parts {
    /// The size of a blob; `None` when it is not there.
    fn size_of(&self, digest: &Digest) -> CacheResult<Option<u64>>;

    /// A manifest with the size of its blob, or what is wrong with it; `None` when it is not there.
    fn manifest(&self, digest: &Digest) -> CacheResult<Option<Result<(Manifest, u64), String>>>;
}

impl Parts for Store {
    fn size_of(&self, digest: &Digest) -> CacheResult<Option<u64>> {
        self.blob_size(digest)
    }

    fn manifest(&self, digest: &Digest) -> CacheResult<Option<Result<(Manifest, u64), String>>> {
        self.peek_manifest(digest)
    }
}

/// The first output of which something is missing or contradicts the record, as far as sizes and manifests tell.
/// Nothing is moved or changed.
pub(super) fn first_missing(record: &Record, parts: &dyn Parts) -> CacheResult<Option<String>> {
    for output in &record.outputs {
        let port = &output.port;
        let mut wanted = vec![(output.blob, output.size)];
        if output.form == Form::Tree {
            let (manifest, size) = match parts.manifest(&output.blob)? {
                Some(Ok(found)) => found,
                Some(Err(problem)) => return Ok(Some(format!("the manifest of output `{port}`: {problem}"))),
                None => return Ok(Some(format!("the manifest {} of output `{port}` is not there", output.blob))),
            };
            if manifest.digest() != output.digest || manifest.size() != output.size {
                return Ok(Some(format!("the manifest of output `{port}` is not that of the record")));
            }
            wanted = manifest.entries().iter().map(|entry| (entry.digest, entry.size)).collect();
            wanted.push((output.blob, size));
        }
        for (digest, size) in wanted {
            match parts.size_of(&digest)? {
                Some(found) if found == size => {}
                Some(found) => {
                    return Ok(Some(format!("the file {digest} of output `{port}` has {found} bytes, not {size}")));
                }
                None => return Ok(Some(format!("the file {digest} of output `{port}` is not there"))),
            }
        }
    }
    Ok(None)
}

/// The ports whose artifacts differ between two records, in order and once each.
fn differing_ports(new: &Record, kept: &Record) -> Vec<String> {
    let artifact = |record: &Record, port: &str| {
        record.output(port).map(|output| (output.media.clone(), output.form, output.digest))
    };
    let all = new.outputs.iter().chain(&kept.outputs).map(|output| output.port.as_str());
    let ports: std::collections::BTreeSet<&str> = all.collect();
    let differs = |port: &&str| artifact(new, port) != artifact(kept, port);
    ports.into_iter().filter(differs).map(str::to_owned).collect()
}

/// The paths in a folder in the order of their names; none when there is no such folder.
pub(super) fn list(folder: &Path) -> CacheResult<Vec<PathBuf>> {
    let failed = |error: io::Error| CacheError::store_io("read the folder", folder, &error);
    match fs::read_dir(folder) {
        Ok(entries) => {
            let paths = entries.map(|entry| entry.map(|entry| entry.path()));
            let mut paths = paths.collect::<Result<Vec<_>, _>>().map_err(failed)?;
            paths.sort_unstable();
            Ok(paths)
        }
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(Vec::new()),
        Err(error) => Err(failed(error)),
    }
}
