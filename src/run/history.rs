//! What earlier runs left in the store.

use std::path::{Path, PathBuf};

use retmask_cache::{Digest, Key, Store};
use serde::{Deserialize, Serialize};

use super::folder::{RunFacts, StageOutputs, StageState};
use crate::error::{Error, Result};
use crate::plan::HubFacts;

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

/// The run and the stage that made the result of a key: the latest that computed it, else the latest that found it.
/// Runs whose records are damaged are passed over.
///
/// # Errors
/// `Environment` when the store cannot be read.
pub fn maker(store: &Store, key: &Key) -> Result<Option<MadeBy>> {
    let mut found_by = None;
    for folder in run_folders(store)?.iter().rev() {
        let Ok(stages) = stages_of(folder) else { continue };
        for stage in stages.into_iter().filter(|stage| stage.key.as_ref() == Some(key)) {
            let by = MadeBy { run: run_name(folder), stage: stage.stage };
            match stage.state {
                StageState::Ran => return Ok(Some(by)),
                StageState::Hit => drop(found_by.get_or_insert(by)),
                StageState::Pending | StageState::Failed | StageState::Skipped => {}
            }
        }
    }
    Ok(found_by)
}

/// A stage of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MadeBy {
    pub run: String,
    pub stage: String,
}

/// The content of each source of a run, by name, as far as it was known.
///
/// # Errors
/// `Environment` when the record cannot be read or is damaged.
pub fn sources_of(folder: &Path) -> Result<Vec<SourceContent>> {
    #[derive(Deserialize)]
    struct Planned {
        sources: Vec<SourceContent>,
    }
    Ok(read_json::<Planned>(folder, "plan.json")?.sources)
}

/// A source of a run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SourceContent {
    pub source: String,
    pub media: String,
    pub digest: Option<Digest>,
    /// What it stood for, when it is from the Hugging Face hub.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hub: Option<HubFacts>,
}

fn read_json<T: serde::de::DeserializeOwned>(folder: &Path, name: &str) -> Result<T> {
    let path = folder.join(name);
    let text =
        std::fs::read(&path).map_err(|error| Error::environment(format!("cannot read {}: {error}", path.display())))?;
    serde_json::from_slice(&text).map_err(|error| {
        Error::environment(format!("the record of run {} is damaged: {}: {error}", run_name(folder), path.display()))
    })
}
