//! Private folders on the store's file system, and the removal of those whose owner died.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::layout::Layout;
use super::uses::{Announcer, Gathering, Use};
use crate::{CacheError, CacheResult, disk, lock};

/// Name of the file whose lock tells that the owner of a staging folder lives.
pub(super) const OWNER: &str = "owner";

/// This process's folder `tmp/<host>.<pid>.<random>/`, with a folder or file in it for each use.
#[derive(Debug)]
pub(super) struct Session {
    folder: PathBuf,
    next: AtomicU64,
    announcer: Announcer,
    // Held for the life of the process; the kernel releases it.
    _owner: File,
}

impl Session {
    pub(super) fn new(layout: &Layout) -> CacheResult<Self> {
        let staging = layout.staging();
        disk::make_folders(&staging)?;
        // Whoever removes folders of the dead must not see this one before it is owned.
        let _making = lock::wait_shared(&layout.staging_lock())?;
        let failed = |error: io::Error| CacheError::store_io("make a staging folder in", &staging, &error);
        let folder = tempfile::Builder::new()
            .prefix(&format!("{}.{}.", layout.host(), std::process::id()))
            .make_in(&staging, disk::make_folder)
            .and_then(|folder| folder.into_temp_path().keep().map_err(io::Error::from))
            .map_err(failed)?;
        let owner = File::create_new(folder.join(OWNER)).and_then(|file| file.lock().map(|()| file));
        let made = owner.map_err(failed).and_then(|owner| {
            let announcer = Announcer::new(&folder, layout)?;
            Ok(Self { folder: folder.clone(), next: AtomicU64::new(0), announcer, _owner: owner })
        });
        if made.is_err() {
            // The error matters more than what is left: the next one to open the store removes it.
            let _ = disk::remove_folder(&folder);
        }
        made
    }

    /// Makes sure that what is named stays in the store while this process lives, from now on.
    pub(super) fn announce(&self, uses: impl IntoIterator<Item = Use>) -> CacheResult<()> {
        self.announcer.announce(uses)
    }

    /// Puts off listing what is announced, while collectors wait.
    pub(super) fn gather(&self) -> CacheResult<Gathering<'_>> {
        self.announcer.gather()
    }

    /// A path that nothing else uses.
    pub(super) fn unused_path(&self) -> PathBuf {
        self.folder.join(self.next.fetch_add(1, Ordering::Relaxed).to_string())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // What cannot be removed now is removed when the store is next opened.
        let _ = disk::remove_folder(&self.folder);
    }
}

/// A private folder on the store's file system, removed when dropped. Folders of dead processes are
/// removed when the store is next opened.
#[derive(Debug)]
pub struct Staging {
    path: PathBuf,
    session: Arc<Session>,
}

impl Staging {
    pub(super) fn new(session: Arc<Session>) -> CacheResult<Self> {
        let path = session.unused_path();
        disk::make_private_folder(&path)
            .map_err(|error| CacheError::store_io("make the staging folder", &path, &error))?;
        Ok(Self { path, session })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn session(&self) -> &Session {
        &self.session
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // What cannot be removed now goes with the session's folder.
        let _ = disk::remove_folder(&self.path);
    }
}

/// Removes the staging folders that dead processes of this host left. Those of other hosts cannot be judged.
pub(super) fn remove_orphans(layout: &Layout) -> CacheResult<()> {
    let staging = layout.staging();
    let failed = |error: io::Error| CacheError::store_io("clean", &staging, &error);
    let entries = match fs::read_dir(&staging) {
        Ok(entries) => entries.collect::<Result<Vec<_>, _>>().map_err(failed)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    let ours = format!("{}.", layout.host());
    let ours: Vec<_> = entries.iter().filter(|entry| entry.file_name().to_string_lossy().starts_with(&ours)).collect();
    if ours.is_empty() {
        return Ok(());
    }
    // Busy: another process is making a folder or cleaning; the next to open the store will do this.
    let Some(_cleaning) = lock::try_exclusive(&layout.staging_lock())? else { return Ok(()) };
    for entry in ours {
        let folder = entry.path();
        let dead = match File::options().write(true).open(folder.join(OWNER)) {
            // Locked again only so that it is known to be free; nobody else can want it.
            Ok(owner) => owner.try_lock().is_ok(),
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        };
        if dead {
            match disk::remove_folder(&folder) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(CacheError::store_io("remove the abandoned folder", &folder, &error));
                }
                _ => {}
            }
        }
    }
    Ok(())
}
