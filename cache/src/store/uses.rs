//! What the living processes use, so that a collector beside them leaves it alone.
//!
//! Each process lists the keys it looked up and the blobs it published in a file of its staging folder, before it
//! relies on them. A collector removes only while it holds `lock/collect` alone, and reads the lists after it got it;
//! a process adds to its list only while it shares that lock. So whatever is looked up is either listed before the
//! collector reads, and stays, or looked up after the collector is done, and is found as it is then.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::layout::Layout;
use super::records::list;
use super::staging::OWNER;
use crate::failpoint::step;
use crate::record::{Form, Output};
use crate::{CacheError, CacheResult, Digest, Key, lock};

/// Name of the list in a staging folder.
const USES: &str = "uses";
/// A free lock of another machine's process may only mean that locks do not reach this far: for so long after the
/// last use it counts as living all the same.
const DOUBT: Duration = Duration::from_secs(7 * 24 * 3600);

/// What a process relies on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Use {
    /// Every record of this key, with its blobs.
    Key(Key),
    /// This blob.
    Blob(Digest),
    /// This manifest, with the blobs it lists.
    Tree(Digest),
}

impl Use {
    /// What an artifact consists of.
    pub(super) fn of(output: &Output) -> Self {
        match output.form {
            Form::File => Self::Blob(output.blob),
            Form::Tree => Self::Tree(output.blob),
        }
    }

    fn line(&self) -> String {
        match self {
            Self::Key(key) => format!("key {key}\n"),
            Self::Blob(digest) => format!("blob {digest}\n"),
            Self::Tree(digest) => format!("tree {digest}\n"),
        }
    }

    fn from_line(line: &str) -> Option<Self> {
        let (what, name) = line.split_once(' ')?;
        match what {
            "key" => name.parse().ok().map(Self::Key),
            "blob" => name.parse().ok().map(Self::Blob),
            "tree" => name.parse().ok().map(Self::Tree),
            _ => None,
        }
    }
}

/// The list of this process.
#[derive(Debug)]
pub(super) struct Announcer {
    path: PathBuf,
    lock: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    list: File,
    lock: File,
    known: HashSet<Use>,
    /// What is to be added to the list, while the lock is kept to look up many.
    gathered: Option<String>,
}

/// While it lives, what is announced is gathered and collectors wait.
#[derive(Debug)]
pub(super) struct Gathering<'a>(Option<&'a Announcer>);

impl Gathering<'_> {
    /// Lists what was gathered, and lets collectors work.
    pub(super) fn finish(mut self) -> CacheResult<()> {
        self.0.take().map_or(Ok(()), Announcer::list_gathered)
    }
}

impl Drop for Gathering<'_> {
    fn drop(&mut self) {
        // Only where the work panicked: what it looked up is used by nobody.
        if let Some(announcer) = self.0.take() {
            let _ = announcer.list_gathered();
        }
    }
}

impl Announcer {
    /// An empty list in the staging folder of this process.
    pub(super) fn new(folder: &Path, layout: &Layout) -> CacheResult<Self> {
        let path = folder.join(USES);
        let open = || {
            step()?;
            OpenOptions::new().append(true).create_new(true).mode(0o666).open(&path)
        };
        let list = open().map_err(|error| CacheError::store_io("write", &path, &error))?;
        let lock = layout.collect_lock();
        let state = State { list, lock: lock::open(&lock)?, known: HashSet::new(), gathered: None };
        Ok(Self { path, lock, state: Mutex::new(state) })
    }

    /// Adds to the list, waiting for a collector that removes something right now.
    pub(super) fn announce(&self, uses: impl IntoIterator<Item = Use>) -> CacheResult<()> {
        // What is known is on the list: it is entered after it was written.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh: Vec<Use> = uses.into_iter().filter(|used| !state.known.contains(used)).collect();
        if fresh.is_empty() {
            return Ok(());
        }
        let text: String = fresh.iter().map(Use::line).collect();
        if let Some(gathered) = &mut state.gathered {
            gathered.push_str(&text);
        } else {
            state.lock.lock_shared().map_err(|error| self.not_locked(&error))?;
            self.write_and_unlock(&mut state, &text)?;
        }
        state.known.extend(fresh);
        Ok(())
    }

    /// Keeps collectors waiting from now on, and puts off listing what is announced until they may work again.
    pub(super) fn gather(&self) -> CacheResult<Gathering<'_>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.gathered.is_some() {
            return Ok(Gathering(None));
        }
        state.lock.lock_shared().map_err(|error| self.not_locked(&error))?;
        state.gathered = Some(String::new());
        Ok(Gathering(Some(self)))
    }

    fn list_gathered(&self) -> CacheResult<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let text = state.gathered.take().unwrap_or_default();
        let written = self.write_and_unlock(&mut state, &text);
        if written.is_err() {
            state.known.clear();
        }
        written
    }

    fn write_and_unlock(&self, state: &mut State, text: &str) -> CacheResult<()> {
        let written = step().and_then(|()| state.list.write_all(text.as_bytes()));
        state.lock.unlock().map_err(|error| self.not_locked(&error))?;
        written.map_err(|error| CacheError::store_io("write", &self.path, &error))
    }

    fn not_locked(&self, error: &io::Error) -> CacheError {
        CacheError::store_io("lock", &self.lock, error)
    }
}

/// What all living processes use. To be asked while `lock/collect` is held alone.
pub(super) fn in_use(layout: &Layout) -> CacheResult<HashSet<Use>> {
    let mut uses = HashSet::new();
    for folder in list(&layout.staging())? {
        if !is_living(&folder, layout)? {
            continue;
        }
        let path = folder.join(USES);
        match fs::read_to_string(&path) {
            // A half-written last line is of a process that died writing it.
            Ok(text) => uses.extend(text.lines().filter_map(Use::from_line)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(CacheError::store_io("read what another process uses,", &path, &error)),
        }
    }
    Ok(uses)
}

/// Whether the owner of a staging folder lives, as far as can be known: in doubt it does.
fn is_living(folder: &Path, layout: &Layout) -> CacheResult<bool> {
    let path = folder.join(OWNER);
    let owner = match File::open(&path) {
        Ok(owner) => owner,
        // Not yet made, or just removed: nothing is listed, or nobody uses it.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(false);
        }
        Err(error) => return Err(CacheError::store_io("read what another process uses,", &path, &error)),
    };
    if owner.try_lock_shared().is_err() {
        return Ok(true);
    }
    let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if name.starts_with(&format!("{}.", layout.host())) {
        return Ok(false);
    }
    let changed = fs::metadata(folder.join(USES)).and_then(|metadata| metadata.modified());
    Ok(changed.is_ok_and(|changed| changed.elapsed().is_ok_and(|age| age < DOUBT)))
}
