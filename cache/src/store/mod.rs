//! The local content-addressed store.

use std::path::{Path, PathBuf};

use crate::lock::{KeyLock, UseLock};
use crate::memo::Memo;
use crate::record::{Form, Output, Record};
use crate::{CacheError, CacheResult, Digest, Key};

/// How much a publish waits for the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// Nothing is synced: a power loss may lose results (found and re-made, never served).
    None,
    /// Results are synced before they are committed, many files with one call.
    #[default]
    Batch,
    /// Every file and folder is synced by itself.
    Strict,
}

/// When a blob's bytes are compared with its digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Verify {
    /// At the first read, and again whenever its inode, size, mtime or ctime changed.
    #[default]
    First,
    /// At every read.
    Always,
}

/// Settings of an open store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options {
    pub durability: Durability,
    pub verify: Verify,
}

/// A content-addressed store in one folder. Cheap to open and to clone; safe to use from many threads
/// and many processes at once.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
}

/// A private folder on the store's file system, removed when dropped. Folders of dead processes are
/// removed when the store is next opened.
#[derive(Debug)]
pub struct Staging {
    path: PathBuf,
}

impl Staging {
    pub fn path(&self) -> &Path {
        &self.path
    }
}

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

/// Why there is no usable result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MissReason {
    #[error("nothing is recorded under this key")]
    NoRecord,
    #[error("the record {path} is damaged ({problem}) and was put aside")]
    DamagedRecord { path: PathBuf, problem: String },
    #[error("the record {path} is of version {version}, which this program does not know")]
    UnknownVersion { path: PathBuf, version: String },
    #[error("the stored file {digest} of output `{port}` is missing")]
    MissingBlob { port: String, digest: Digest },
    #[error("the stored file {digest} of output `{port}` is damaged and was put aside as {quarantined}")]
    DamagedBlob { port: String, digest: Digest, quarantined: PathBuf },
}

/// The answer to a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup {
    Hit(Box<Record>),
    Miss(MissReason),
}

/// A verified artifact, to be read and not written, for as long as this value lives.
#[derive(Debug)]
pub struct Readable {
    path: PathBuf,
    _staging: Option<Staging>,
}

impl Readable {
    /// A file, or a folder with the tree's files.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// An artifact asked for, or why it must be made again.
#[derive(Debug)]
pub enum Reading {
    Ready(Readable),
    Lost(MissReason),
}

/// What a commit did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Committed {
    /// The record is new; it is what a lookup finds now.
    New,
    /// A usable record with the same outputs was there already and was kept.
    Already,
    /// A usable record with other digests at these ports was there already. Lookups go on finding that one
    /// (returned here): the work is not deterministic.
    Differs { kept: Box<Record>, ports: Vec<String> },
}

impl Store {
    /// Opens the store in `root`, making it when the folder is absent or empty.
    pub fn open(root: &Path) -> CacheResult<Self> {
        Self::open_with(root, Options::default())
    }

    /// As `open`, with settings.
    pub fn open_with(root: &Path, options: Options) -> CacheResult<Self> {
        Err(CacheError::internal(format!("cannot yet open {} with {options:?}", root.display())))
    }

    /// The store's folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Digests of the user's files, remembered.
    pub fn memo(&self) -> &Memo {
        &Memo {}
    }

    /// The folder that holds a folder per run; it exists.
    pub fn runs_folder(&self) -> CacheResult<PathBuf> {
        Err(self.unfinished())
    }

    /// A new private folder for a stage's outputs or scratch files.
    pub fn stage(&self) -> CacheResult<Staging> {
        Err(self.unfinished())
    }

    /// Takes files and folders out of `staging` (paths inside it) into the store, in one sync. Nothing refers to
    /// them until a record that does is committed.
    pub fn publish(&self, staging: &Staging, paths: &[PathBuf]) -> CacheResult<Vec<Published>> {
        Err(CacheError::internal(format!("cannot yet publish {paths:?} of {}", staging.path().display())))
    }

    /// Makes a result known. Every blob it names must have been published.
    pub fn commit(&self, record: &Record) -> CacheResult<Committed> {
        Err(CacheError::internal(format!("cannot yet commit {}", record.key)))
    }

    /// The usable result of a key: its record is whole and all blobs are there in their size. Contents are verified
    /// when read (`read`) or when asked (`verify`).
    pub fn lookup(&self, key: &Key) -> CacheResult<Lookup> {
        Err(CacheError::internal(format!("cannot yet look up {key}")))
    }

    /// Compares every blob of a record with its digest (remembered); the first that is lost, if any.
    pub fn verify(&self, record: &Record) -> CacheResult<Option<MissReason>> {
        Err(CacheError::internal(format!("cannot yet verify {}", record.key)))
    }

    /// A verified output, as a path to read.
    pub fn read(&self, output: &Output) -> CacheResult<Reading> {
        Err(CacheError::internal(format!("cannot yet read {}", output.blob)))
    }

    /// Copies an output out of the store. `destination` must not exist unless `overwrite`; it appears whole or not
    /// at all. A lost blob is given back as the reason.
    pub fn export(&self, output: &Output, destination: &Path, overwrite: bool) -> CacheResult<Option<MissReason>> {
        Err(CacheError::internal(format!("cannot yet export {} {} {overwrite}", output.blob, destination.display())))
    }

    /// The lock of a key if it is free, at once.
    pub fn try_lock(&self, key: &Key) -> CacheResult<Option<KeyLock>> {
        Err(CacheError::internal(format!("cannot yet lock {key}")))
    }

    /// Waits for the lock of a key. `waiting` is called about ten times a second with who holds it
    /// (`host.pid`, where known); when it says false the wait ends with `None`.
    pub fn lock(&self, key: &Key, waiting: &mut dyn FnMut(Option<&str>) -> bool) -> CacheResult<Option<KeyLock>> {
        waiting(None);
        Err(CacheError::internal(format!("cannot yet lock {key}")))
    }

    /// Held by a run so that nothing it may read is collected.
    pub fn use_lock(&self) -> CacheResult<UseLock> {
        Err(self.unfinished())
    }

    /// Held by the collector: `None` while anyone uses the store.
    pub fn try_exclusive_lock(&self) -> CacheResult<Option<UseLock>> {
        Err(self.unfinished())
    }

    /// Every record that can be read, in the order of keys; damaged ones as the reason.
    pub fn records(&self) -> CacheResult<Vec<Result<Record, MissReason>>> {
        Err(self.unfinished())
    }

    fn unfinished(&self) -> CacheError {
        CacheError::internal(format!("the store at {} cannot do this yet", self.root.display()))
    }
}
