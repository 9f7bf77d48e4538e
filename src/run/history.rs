//! What earlier runs left in the store.

use std::path::{Path, PathBuf};

use retmask_cache::Store;

use super::folder::{RunFacts, StageOutputs};
use crate::error::{Error, Result};

/// The folders of all runs that got as far as listing their stages, oldest first.
///
/// # Errors
/// `Environment` when the store cannot be read.
pub fn run_folders(store: &Store) -> Result<Vec<PathBuf>> {
    let folder = store.root().join("runs");
    let failed = |error: std::io::Error| Error::environment(format!("cannot read {}: {error}", folder.display()));
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut runs = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        if path.join("outputs.json").is_file() {
            runs.push(path);
        }
    }
    runs.sort_unstable();
    Ok(runs)
}

/// The folder of a run by its name; the latest without one, or as `latest`.
///
/// # Errors
/// `Input` when there is no such run.
pub fn find_run<'r>(store: &Store, runs: &'r [PathBuf], name: Option<&str>) -> Result<&'r PathBuf> {
    let latest = runs.last().ok_or_else(|| {
        Error::input(format!("the cache {} has no runs yet", store.root().display()))
            .with_hint("`retmask run FILE` makes one; another cache is named with --cache DIR or RETMASK_CACHE")
    })?;
    match name {
        None | Some("latest") => Ok(latest),
        Some(name) => runs.iter().find(|folder| run_name(folder) == name).ok_or_else(|| {
            let names: Vec<String> = runs.iter().rev().take(5).map(|folder| run_name(folder)).collect();
            Error::input(format!("there is no run `{name}`")).with_hint(format!("the latest are: {}", names.join(", ")))
        }),
    }
}

/// A run's name: that of its folder.
pub fn run_name(folder: &Path) -> String {
    folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// What a run wrote about its stages.
///
/// # Errors
/// `Environment` when the record cannot be read or is damaged.
pub fn stages_of(folder: &Path) -> Result<Vec<StageOutputs>> {
    read_json(folder, "outputs.json")
}

/// What a run wrote about itself.
///
/// # Errors
/// `Environment` when the record cannot be read or is damaged.
pub fn facts_of(folder: &Path) -> Result<RunFacts> {
    read_json(folder, "run.json")
}

fn read_json<T: serde::de::DeserializeOwned>(folder: &Path, name: &str) -> Result<T> {
    let path = folder.join(name);
    let text =
        std::fs::read(&path).map_err(|error| Error::environment(format!("cannot read {}: {error}", path.display())))?;
    serde_json::from_slice(&text).map_err(|error| {
        Error::environment(format!("the record of run {} is damaged: {}: {error}", run_name(folder), path.display()))
    })
}
