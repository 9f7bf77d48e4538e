//! The local content-addressed store.

mod archive;
mod arrivals;
mod blobs;
mod check;
mod collect;
mod elsewhere;
mod exchange;
mod export;
mod inventory;
mod layout;
mod pins;
mod publish;
mod read;
mod records;
mod resume;
mod rows;
mod settle;
mod staging;
mod uses;

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use self::layout::Layout;
use self::staging::Session;
use self::uses::Use;
use crate::lock::{self, Attempt, KeyLock};
use crate::memo::Memo;
use crate::{CacheError, CacheResult, Key, disk, sharing};

pub use archive::{Packed, RunFile, Unpacked};
pub use check::{Check, Problem};
pub use collect::{Collected, Limits, Removed, Roots};
pub use elsewhere::RecordsThere;
pub use exchange::{Pulled, Pushed};
pub use export::Unfinished;
pub use inventory::{Area, Inventory, Stored};
pub use publish::Published;
pub use read::{Readable, Reading};
pub use records::{Committed, Lookup, MissReason};
pub use resume::{CollectedResume, ResumeFacts};
pub use rows::{Claim, CollectedRows, RowMap, RowMapFacts, RowsCheck, RowsMoved};
pub use staging::Staging;

/// Content of `VERSION`.
const VERSION: &str = "retmask-cache 1\n";

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

/// Keeps what a process uses of a store from being collected; see [`Store::begin_use`].
#[derive(Debug)]
pub struct InUse(#[expect(dead_code, reason = "held, not read")] Arc<Session>);

/// A content-addressed store in one folder. Cheap to open and to clone; safe to use from many threads
/// and many processes at once.
#[derive(Debug, Clone)]
pub struct Store(
    Arc<Inner>,
    /// Whether syncs are put off.
    bool,
);

#[derive(Debug)]
struct Inner {
    layout: Layout,
    options: Options,
    memo: Memo,
    session: Mutex<Option<Arc<Session>>>,
    /// Since when syncs are put off.
    unsettled: Mutex<Option<Instant>>,
}

impl Store {
    /// Opens the store in `root`, making it when the folder is absent or empty, and removes what dead processes
    /// left in its staging area.
    ///
    /// # Errors
    /// Input: `root` is a file, holds other things, or a store of another version. Environment: it cannot be
    /// read or made.
    pub fn open(root: &Path) -> CacheResult<Self> {
        Self::open_with(root, Options::default())
    }

    /// As `open`, with settings.
    ///
    /// # Errors
    /// As `open`.
    pub fn open_with(root: &Path, options: Options) -> CacheResult<Self> {
        if root.exists() && !root.is_dir() {
            return Err(CacheError::input(root, format!("the cache {} is not a folder", root.display())));
        }
        disk::make_folders(root)?;
        let real = fs::canonicalize(root).map_err(|error| CacheError::store_io("open the cache", root, &error))?;
        sharing::follow(&real)?;
        let layout = Layout::new(real);
        check_version(&layout)?;
        // Leftovers only take space. What keeps them from being removed (a read-only store, say) comes up by
        // itself where it matters.
        let _ = staging::remove_orphans(&layout);
        let memo = Memo::new(layout.memo());
        let (session, unsettled) = (Mutex::new(None), Mutex::new(None));
        Ok(Self(Arc::new(Inner { layout, options, memo, session, unsettled }), false))
    }

    /// The store's folder.
    pub fn root(&self) -> &Path {
        self.layout().root()
    }

    /// Digests of the user's files, remembered.
    pub fn memo(&self) -> &Memo {
        &self.0.memo
    }

    /// The folder that holds a folder per run; it exists.
    ///
    /// # Errors
    /// Environment: it cannot be made.
    pub fn runs_folder(&self) -> CacheResult<PathBuf> {
        let folder = self.layout().runs();
        disk::make_folders(&folder)?;
        Ok(folder)
    }

    /// A new private folder for a stage's outputs or scratch files.
    ///
    /// # Errors
    /// Environment: it cannot be made.
    pub fn stage(&self) -> CacheResult<Staging> {
        Staging::new(self.session()?)
    }

    /// The lock of a key if it is free, at once.
    ///
    /// # Errors
    /// Environment: the lock file cannot be made, or the file system has no locks.
    pub fn try_lock(&self, key: &Key) -> CacheResult<Option<KeyLock>> {
        Ok(match self.attempt_lock(key)? {
            Attempt::Held(lock) => Some(lock),
            Attempt::Busy(_) => None,
        })
    }

    /// Waits for the lock of a key. `waiting` is called before each of about ten tries a second with who holds it
    /// (`host.pid`, where known); when it says false the wait ends with `None`. Look the key up again once the
    /// lock is held: the former holder may have made the result.
    ///
    /// # Errors
    /// As `try_lock`.
    pub fn lock(&self, key: &Key, waiting: &mut dyn FnMut(Option<&str>) -> bool) -> CacheResult<Option<KeyLock>> {
        let mut pause = Duration::from_millis(5);
        loop {
            match self.attempt_lock(key)? {
                Attempt::Held(lock) => return Ok(Some(lock)),
                Attempt::Busy(holder) if !waiting(holder.as_deref()) => return Ok(None),
                Attempt::Busy(_) => {}
            }
            std::thread::sleep(pause);
            pause = (2 * pause).min(Duration::from_millis(100));
        }
    }

    /// From now on, what this process looks up in the store or publishes stays there until the result is dropped and
    /// the store is closed, whatever a collector does. Call it before anything that is to be relied on is looked up.
    ///
    /// # Errors
    /// Environment: the staging folder that lists what is used cannot be made.
    pub fn begin_use(&self) -> CacheResult<InUse> {
        self.session().map(InUse)
    }

    /// Does work that looks many results up. What it uses is listed once, at its end; a collector waits so long.
    ///
    /// # Errors
    /// Environment: the list of what is used cannot be written, or the file system has no locks.
    pub fn look_up_together<T>(&self, work: impl FnOnce() -> T) -> CacheResult<T> {
        let session = self.0.session.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(session) = session else { return Ok(work()) };
        let gathering = session.gather()?;
        let done = work();
        gathering.finish()?;
        Ok(done)
    }

    /// Lists what is used from now on, if this process uses the store (rather than looking at it).
    fn announce(&self, uses: impl IntoIterator<Item = Use>) -> CacheResult<()> {
        let session = self.0.session.lock().unwrap_or_else(PoisonError::into_inner).clone();
        session.map_or(Ok(()), |session| session.announce(uses))
    }

    fn attempt_lock(&self, key: &Key) -> CacheResult<Attempt> {
        let note = format!("{}.{}", self.layout().host(), std::process::id());
        lock::try_key(&self.layout().key_lock(key), &note)
    }

    fn layout(&self) -> &Layout {
        &self.0.layout
    }

    fn options(&self) -> Options {
        self.0.options
    }

    fn session(&self) -> CacheResult<Arc<Session>> {
        // The guarded value is replaced in one step, so a panic elsewhere cannot have left it half-made.
        let mut session = self.0.session.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(session) = &*session {
            return Ok(Arc::clone(session));
        }
        let made = Arc::new(Session::new(self.layout())?);
        *session = Some(Arc::clone(&made));
        Ok(made)
    }
}

/// Accepts a store of this version, makes one of an empty folder, and refuses everything else.
fn check_version(layout: &Layout) -> CacheResult<()> {
    let root = layout.root();
    let path = layout.version();
    match fs::read(&path) {
        Ok(content) if content == VERSION.as_bytes() => return Ok(()),
        Ok(content) => {
            let found = String::from_utf8_lossy(&content[..content.len().min(60)]).trim_end().to_owned();
            return Err(CacheError::input(
                root,
                format!(
                    "{} says `{}`, where this program knows `{}` only",
                    path.display(),
                    found.escape_debug(),
                    VERSION.trim_end()
                ),
            )
            .with_hint("name another cache folder, or use the program version that made this one"));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(CacheError::store_io("read", &path, &error)),
    }
    let failed = |error: io::Error| CacheError::store_io("make the cache in", root, &error);
    for entry in fs::read_dir(root).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        // `VERSION.<random>`: another process is making the store right now, or died doing so. It may be done
        // by now, and have put more there.
        if !name.as_encoded_bytes().starts_with(b"VERSION") {
            if path.exists() {
                return check_version(layout);
            }
            return Err(CacheError::input(
                root,
                format!("{} is not a cache: it has no file VERSION, but holds {}", root.display(), name.display()),
            )
            .with_hint("name an empty or a new folder"));
        }
    }
    let mut file = tempfile::Builder::new().prefix("VERSION.").tempfile_in(root).map_err(failed)?;
    file.write_all(VERSION.as_bytes()).map_err(failed)?;
    disk::set_mode(file.path(), 0o644)?;
    disk::sync(file.path())?;
    // Not being the first is as good: the content is the same.
    disk::rename_new(file.path(), &path)?;
    disk::sync(root)
}

#[cfg(test)]
mod tests;
