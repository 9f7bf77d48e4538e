//! A repository's files, from the question "which" to their lying in the cache.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::api::{Listing, resolve};
use super::cache::Cache;
use super::content::hash_file;
use super::download::{Downloader, Transfer};
use super::http::{Client, Waiting};
use super::lock_file::{Known, Pinned, PinnedFile};
use super::names::{Repository, Revision};
use super::selection::{Selected, Wanted, add_shards, select};
use super::settings::Settings;
use crate::error::{Error, Result};

/// Files fetched at the same time: one connection rarely fills a line.
const AT_ONCE: usize = 4;
/// The largest index of shards that is read, in bytes.
const LARGEST_INDEX: u64 = 64 << 20;

/// Told what happens while files come in; from several threads.
pub trait Watcher: Sync {
    /// `done` of `total` bytes are there, `fetched` of them since this download began.
    fn progress(&self, done: u64, total: u64, fetched: u64);
    /// Something to know: a wait, another process.
    fn note(&self, text: &str);
}

/// The hub and its cache, as this process sees them.
#[derive(Debug)]
pub struct Hub {
    client: Client,
    cache: Cache,
    offline: bool,
    known: Known,
}

impl Hub {
    /// `known` is a folder of its own for what commits were found to hold.
    pub fn new(settings: &Settings, known: PathBuf) -> Self {
        Self {
            client: Client::new(settings),
            cache: Cache::new(settings.cache.clone()),
            offline: settings.offline,
            known: Known::new(known),
        }
    }

    pub fn cache(&self) -> &Cache {
        &self.cache
    }

    pub fn is_offline(&self) -> bool {
        self.offline
    }

    /// What a revision stood for when it was last asked for, as far as that is known without a network.
    ///
    /// # Errors
    /// `Environment` when the cache cannot be read; offline, `Input` when what is cached is not what is wanted.
    pub fn last_known(&self, repository: &Repository, revision: &Revision, wanted: &Wanted) -> Result<Option<Pinned>> {
        let Some(commit) = self.cache.commit_of(repository, revision) else { return Ok(None) };
        if let Some(pinned) = self.known.find(repository, revision, wanted, &commit) {
            return Ok(Some(pinned));
        }
        if !self.offline {
            return Ok(None);
        }
        // Nobody can be asked what else there is: the snapshot is taken to be whole where it has what is needed.
        let Some(files) = self.cache.snapshot_files(repository, &commit)? else { return Ok(None) };
        let listing = Listing { commit, files };
        self.choose(repository, revision, wanted, &listing, None).map(Some)
    }

    /// What a revision stands for. Asks the hub, unless the revision is a commit that is known.
    ///
    /// # Errors
    /// `Input` when there is no such thing, it may not be read, or lacks what is wanted; `Environment` when the hub
    /// cannot be asked, or the cache not be written.
    pub fn resolve(
        &self,
        repository: &Repository,
        revision: &Revision,
        wanted: &Wanted,
        watcher: &dyn Watcher,
    ) -> Result<Pinned> {
        if self.offline {
            return self.last_known(repository, revision, wanted)?.ok_or_else(|| self.not_cached(repository, revision));
        }
        if let Some(commit) = revision.commit()
            && let Some(pinned) = self.known.find(repository, revision, wanted, &commit)
        {
            return Ok(pinned);
        }
        let listing = resolve(&self.client, repository, revision, &Notes(watcher))?;
        let pinned = self.choose(repository, revision, wanted, &listing, Some(watcher))?;
        // Both only save asking again: a cache that others fill may be read-only.
        if let Err(Error::Message { message, .. }) = self.cache.keep_reference(repository, revision, &listing.commit) {
            watcher.note(&message);
        }
        if let Err(error) = self.known.keep(repository, wanted, &pinned) {
            watcher.note(&format!("what {repository} holds cannot be remembered: {error}"));
        }
        Ok(pinned)
    }

    fn not_cached(&self, repository: &Repository, revision: &Revision) -> Error {
        Error::input(format!(
            "{repository} at {revision} is not in the Hugging Face cache {}, and HF_HUB_OFFLINE is set",
            self.cache.root().display()
        ))
        .with_hint("unset HF_HUB_OFFLINE to download it")
    }

    /// Chooses what is wanted; an index of shards is fetched where it must be read, if there is a watcher.
    fn choose(
        &self,
        repository: &Repository,
        revision: &Revision,
        wanted: &Wanted,
        listing: &Listing,
        watcher: Option<&dyn Watcher>,
    ) -> Result<Pinned> {
        let commit = &listing.commit;
        let place = if watcher.is_some() { "" } else { ", as far as it is cached," };
        let lacks = |(why, hint): (String, String)| {
            Error::input(format!("{repository} at {revision}{place} {why}")).with_hint(hint)
        };
        let pin = |files: Vec<&PinnedFile>| {
            let contents = files.into_iter().cloned().collect();
            Pinned::new(repository, revision, wanted, commit.clone(), contents)
        };
        let (others, index) = match select(wanted, &listing.files).map_err(lacks)? {
            Selected::Files(files) => return Ok(pin(files)),
            Selected::Sharded { others, index } => (others, index),
        };
        if index.size > LARGEST_INDEX {
            return Err(Error::input(format!("{} of {repository} has {} bytes: no index", index.path, index.size)));
        }
        let mut content = self.read(repository, commit, index)?;
        if let (None, Some(watcher)) = (&content, watcher) {
            self.download(repository, &pin(vec![index]), std::slice::from_ref(index), watcher)?;
            content = self.read(repository, commit, index)?;
        }
        let content = content.ok_or_else(|| lacks((format!("lacks {}", index.path), String::new())))?;
        let files = add_shards(others, index, &content, &listing.files);
        Ok(pin(files.map_err(|why| Error::input(format!("{repository} at {revision}{place}: {why}")))?))
    }

    /// A small file's content from the cache, if it is there and right.
    fn read(
        &self,
        repository: &Repository,
        commit: &super::names::Commit,
        file: &PinnedFile,
    ) -> Result<Option<Vec<u8>>> {
        for path in self.cache.candidates(repository, commit, file) {
            let unreadable = |error: std::io::Error| super::cache::failed("read", &path, &error);
            if hash_file(&path, &file.digest).map_err(unreadable)? == file.digest {
                return std::fs::read(&path).map(Some).map_err(unreadable);
            }
        }
        Ok(None)
    }

    /// Bytes that fetching these files would take.
    pub fn to_fetch<'a>(&self, repository: &Repository, files: impl IntoIterator<Item = &'a PinnedFile>) -> u64 {
        let missing = |file: &PinnedFile| file.size - self.cache.begun(repository, file);
        files.into_iter().map(missing).fold(0, u64::saturating_add)
    }

    /// Brings files of a commit into the cache. Every file is whole and checked, or is not there; what was fetched
    /// of it is kept for the next time.
    ///
    /// # Errors
    /// `Input` when the hub refuses; `Environment` when offline, out of reach or out of space, or when a content is
    /// not what its digest says.
    pub fn download(
        &self,
        repository: &Repository,
        pinned: &Pinned,
        files: &[PinnedFile],
        watcher: &dyn Watcher,
    ) -> Result<()> {
        if self.offline {
            let names: Vec<&str> = files.iter().take(5).map(|file| file.path.as_str()).collect();
            let more = if files.len() > names.len() {
                format!(" and {} more", files.len() - names.len())
            } else {
                String::new()
            };
            return Err(Error::input(format!(
                "{}{more} of {repository} at {} are not in the Hugging Face cache {}, and HF_HUB_OFFLINE is set",
                names.join(", "),
                pinned.commit,
                self.cache.root().display()
            ))
            .with_hint("unset HF_HUB_OFFLINE to download them"));
        }
        self.check_space(repository, files)?;
        let total = files.iter().map(|file| file.size).fold(0, u64::saturating_add);
        let state = State {
            watcher,
            total,
            done: AtomicU64::new(total - self.to_fetch(repository, files)),
            fetched: AtomicU64::new(0),
            stopped: AtomicBool::new(false),
        };
        let downloader = Downloader { client: &self.client, cache: &self.cache, repository, pinned, transfer: &state };
        let (next, failure) = (AtomicUsize::new(0), Mutex::new(None));
        let work = || {
            while !state.is_stopped()
                && let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed))
            {
                if let Err(error) = downloader.file(file) {
                    state.stopped.store(true, Ordering::Relaxed);
                    // The first failure stands: the others were told to stop because of it.
                    failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..files.len().min(AT_ONCE) {
                scope.spawn(work);
            }
        });
        match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Refuses to begin what the disk has no room for.
    fn check_space(&self, repository: &Repository, files: &[PinnedFile]) -> Result<()> {
        let needed = self.to_fetch(repository, files);
        let mut folder = self.cache.root();
        while !folder.exists()
            && let Some(parent) = folder.parent()
        {
            folder = parent;
        }
        // A file system that does not say how much is free is written to as far as it goes.
        let Ok(facts) = rustix::fs::statvfs(folder) else { return Ok(()) };
        let free = facts.f_bavail.saturating_mul(facts.f_frsize);
        if needed <= free {
            return Ok(());
        }
        Err(Error::environment(format!(
            "{repository} needs {needed} bytes, and {} has {free} left",
            self.cache.root().display()
        ))
        .with_hint("free space there, or name another folder with HF_HOME"))
    }
}

/// Waits are notes.
struct Notes<'a>(&'a dyn Watcher);

impl Waiting for Notes<'_> {
    fn waiting(&self, text: &str) {
        self.0.note(text);
    }
}

/// The downloads of one call.
struct State<'a> {
    watcher: &'a dyn Watcher,
    total: u64,
    done: AtomicU64,
    fetched: AtomicU64,
    stopped: AtomicBool,
}

impl Waiting for State<'_> {
    fn waiting(&self, text: &str) {
        self.watcher.note(text);
    }
}

impl Transfer for State<'_> {
    fn gained(&self, bytes: u64) {
        let done = self.done.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let fetched = self.fetched.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.watcher.progress(done, self.total, fetched);
    }

    fn lost(&self, bytes: u64) {
        self.done.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }
}
