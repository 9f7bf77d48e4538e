//! The readable record of a run: a folder `runs/<run>` in the store.
//!
//!     run.json        pipeline, overrides, versions, threads, sources from the hub, when, how it ended
//!     pipeline.yaml   the pipeline file as it was
//!     extended-1.yaml the file it extends, extended-2.yaml the one that extends, ...
//!     plan.json       what was to happen, and why
//!     events.ndjson   what happened
//!     outputs.json    state, time and outputs of every stage
//!     progress.json   how far the running stages are; while it runs
//!     alive           locked while it runs
//!     logs/<stage>.log

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use retmask_cache::{Output, Store};
use retmask_stages::contract::RowCounts;
use serde::{Deserialize, Serialize};

use super::events::{Reporter, Stamped};
use crate::error::{Error, Result};
use crate::pipeline::Pipeline;
use crate::plan::{HubFacts, Planner};

/// How a run stands by its record. One that was killed still says that it is running; see [`super::standing`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunState {
    Running,
    Finished,
    Failed,
    Interrupted,
}

/// The content of `run.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RunFacts {
    pub run: String,
    pub pipeline: String,
    pub file: PathBuf,
    pub overrides: Vec<String>,
    /// What `--only` named; empty when the whole pipeline was to run.
    #[serde(default)]
    pub only: Vec<String>,
    pub state: RunState,
    pub started: Timestamp,
    pub finished: Option<Timestamp>,
    pub versions: BTreeMap<String, String>,
    pub threads: usize,
    pub cpus: usize,
    pub process: u32,
    /// The sources from the Hugging Face hub; records before there were any have no such list.
    #[serde(default)]
    pub sources: Vec<SourceFacts>,
    /// The lock file that said what these sources are, where there was one.
    #[serde(default)]
    pub lock: Option<PathBuf>,
}

/// What a source from the hub stood for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SourceFacts {
    pub source: String,
    #[serde(flatten)]
    pub hub: HubFacts,
}

impl SourceFacts {
    /// Of every source from the hub that a stage reads.
    pub fn of(planner: &Planner<'_>) -> Vec<Self> {
        let facts = planner.hub_facts().into_iter();
        facts.map(|(source, hub)| Self { source: source.to_owned(), hub: hub.clone() }).collect()
    }
}

/// How a stage of a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StageState {
    Pending,
    Hit,
    Ran,
    Failed,
    Skipped,
}

/// One stage in `outputs.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StageOutputs {
    pub stage: String,
    pub kind: String,
    pub state: StageState,
    /// Wall time of making the result, whenever that was.
    pub seconds: Option<f64>,
    /// Of a stage that ran row by row in this run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<RowCounts>,
    pub key: Option<retmask_cache::Key>,
    /// In the kind's declared order; empty until the stage has a result.
    pub outputs: Vec<Output>,
}

/// The folder of one run.
#[derive(Debug, Clone)]
pub struct RunFolder {
    id: String,
    path: PathBuf,
}

/// Where the log of a stage of a run is.
pub fn log_of(folder: &Path, stage: &str) -> PathBuf {
    folder.join("logs").join(format!("{stage}.log"))
}

/// Names with a version that stand in records of runs and results.
pub fn versions() -> BTreeMap<String, String> {
    BTreeMap::from([
        ("retmask".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
        ("target".to_owned(), format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS)),
    ])
}

impl RunFolder {
    /// Makes the folder of a new run. Its name is the time in UTC, to the second, and the pipeline's name: readable,
    /// and sorted as the runs were.
    ///
    /// # Errors
    /// `Environment` when it cannot be made.
    pub fn create(store: &Store, pipeline: &Pipeline) -> Result<Self> {
        let runs = store.runs_folder()?;
        let time = Timestamp::now().strftime("%Y%m%d-%H%M%S");
        let name: String =
            pipeline.name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(40).collect();
        let mut attempt = 1;
        loop {
            // The count stands before the name, so that runs of one second still sort in their order.
            let id = format!("{time}-{attempt:02}-{name}");
            let path = runs.join(&id);
            match std::fs::create_dir(&path) {
                Ok(()) => return Ok(Self { id, path }),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => attempt += 1,
                Err(error) => return Err(failed(&path, &error)),
            }
        }
    }

    pub fn id(&self) -> &str {
        &self.id
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where a stage's log is.
    pub fn log(&self, stage: &str) -> PathBuf {
        log_of(&self.path, stage)
    }

    /// Writes a file as JSON for people and programs; it appears whole or not at all.
    ///
    /// # Errors
    /// `Environment` when it cannot be written.
    pub fn write_json(&self, name: &str, content: &impl Serialize) -> Result<()> {
        let mut text = serde_json::to_vec_pretty(content)
            .map_err(|error| Error::internal(format!("{name} cannot be written as JSON: {error}")))?;
        text.push(b'\n');
        self.write(name, &text)
    }

    /// Writes a file; it appears whole or not at all.
    ///
    /// # Errors
    /// `Environment` when it cannot be written.
    pub fn write(&self, name: &str, content: &[u8]) -> Result<()> {
        let path = self.path.join(name);
        let part = self.path.join(format!(".{name}.part"));
        std::fs::write(&part, content)
            .and_then(|()| std::fs::rename(&part, &path))
            .map_err(|error| failed(&path, &error))
    }

    /// The reporter that writes `events.ndjson`.
    ///
    /// # Errors
    /// `Environment` when it cannot be made.
    pub fn events(&self) -> Result<Box<dyn Reporter>> {
        let path = self.path.join("events.ndjson");
        let file = std::fs::File::create(&path).map_err(|error| failed(&path, &error))?;
        Ok(Box::new(EventFile { file, pending: Vec::new() }))
    }
}

fn failed(path: &Path, error: &std::io::Error) -> Error {
    Error::environment(format!("cannot write the record of this run, {}: {error}", path.display()))
        .with_hint("the cache folder must be writable and have free space; name another one with --cache DIR")
}

/// Appends events to a file. Hits come in bursts and are written together with what follows them.
struct EventFile {
    file: std::fs::File,
    pending: Vec<u8>,
}

impl EventFile {
    /// A line that cannot be written is not worth a result: the files beside it say the same at the end.
    fn flush(&mut self) {
        if self.file.write_all(&self.pending).is_ok() {
            self.pending.clear();
        }
    }
}

impl Reporter for EventFile {
    fn event(&mut self, event: &Stamped<'_>) {
        use super::events::Event::{RunStarted, StageHit, StageProgress};
        if matches!(event.event, StageProgress { .. }) {
            return;
        }
        if let Ok(line) = event.line() {
            self.pending.extend(line.as_bytes());
        }
        if !matches!(event.event, StageHit { .. } | RunStarted { .. }) {
            self.flush();
        }
    }
}

impl Drop for EventFile {
    fn drop(&mut self) {
        self.flush();
    }
}
