//! Records of old runs, with their logs: which of them go.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use retmask_cache::Store;

use super::runs::{Keep, RunUses, kept};
use crate::error::{Error, Result};
use crate::run::{goes_on, run_name};

/// The record of a run that goes.
#[derive(Debug, Clone)]
pub struct OldRun {
    /// The name of its folder.
    pub run: String,
    /// Milliseconds since 1970-01-01 UTC.
    pub began: u64,
    /// Bytes of its record and its logs.
    pub bytes: u64,
}

/// Removes the records of runs that began before this time (milliseconds since 1970-01-01 UTC), oldest first; of runs that
/// ended before they had a record, what there is. What `keep` keeps stays, as do runs that go on.
///
/// # Errors
/// `Environment` when the store cannot be read or changed.
pub fn collect(store: &Store, runs: &[RunUses], keep: Keep, before: u64, dry_run: bool) -> Result<Vec<OldRun>> {
    let kept = kept(runs, keep);
    let stays: BTreeSet<&Path> =
        kept.iter().filter(|(_, why)| why.is_some()).map(|(run, _)| run.folder.as_path()).collect();
    let mut removed = Vec::new();
    for folder in folders(store)? {
        let known = runs.iter().find(|run| run.folder == folder);
        let began = known.map_or_else(|| changed(&folder), |run| run.started);
        if began >= before || stays.contains(folder.as_path()) || goes_on(&folder)? {
            continue;
        }
        removed.push(OldRun { run: run_name(&folder), began, bytes: size(&folder)? });
        if !dry_run {
            remove(&folder)?;
        }
    }
    Ok(removed)
}

/// The folders of all runs, by name, which is the order in which they began.
fn folders(store: &Store) -> Result<Vec<PathBuf>> {
    let runs = store.root().join("runs");
    if !runs.is_dir() {
        return Ok(Vec::new());
    }
    let mut folders = entries(&runs)?;
    folders.retain(|path| path.is_dir() && !path.is_symlink());
    folders.sort_unstable();
    Ok(folders)
}

/// Removes a record. What makes it one goes first, so that half a record is none.
fn remove(folder: &Path) -> Result<()> {
    let outputs = folder.join("outputs.json");
    let first = match fs::remove_file(&outputs) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    };
    match first.and_then(|()| fs::remove_dir_all(folder)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(failed("remove", folder, &error)),
        _ => Ok(()),
    }
}

/// Bytes of all files below.
fn size(folder: &Path) -> Result<u64> {
    let mut sum = 0;
    for path in entries(folder)? {
        let facts = match fs::symlink_metadata(&path) {
            Ok(facts) => facts,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(failed("read", &path, &error)),
        };
        sum += if facts.is_dir() { size(&path)? } else { facts.len() };
    }
    Ok(sum)
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let read = || -> std::io::Result<Vec<PathBuf>> {
        fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect()
    };
    match read() {
        // Removed by another collector since it was listed.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        other => other.map_err(|error| failed("read", folder, &error)),
    }
}

fn changed(folder: &Path) -> u64 {
    let time = fs::metadata(folder).and_then(|facts| facts.modified()).ok();
    let since = time.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    // One whose time is not known counts as young.
    since.map_or(u64::MAX, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

fn failed(what: &str, path: &Path, error: &std::io::Error) -> Error {
    Error::environment(format!("cannot {what} {}: {error}", path.display()))
}
