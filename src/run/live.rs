//! Runs that go on: whether a run still does, what its stages do, and how far they are.

use std::collections::{BTreeMap, HashMap};
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::events::{Event, Reporter, Stamped};
use super::folder::{RunFacts, RunFolder, RunState};
use crate::error::{Error, Result};

/// Locked by a run as long as it goes on, so that one that was killed can be told from one that runs: the kernel lets go
/// of a lock when its holder dies.
const ALIVE: &str = "alive";
const PROGRESS: &str = "progress.json";
/// The shortest time between two writes of the progress.
const PAUSE: Duration = Duration::from_secs(1);

/// How a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    Running,
    Finished,
    Failed,
    Interrupted,
    /// It says that it is running, and its process is gone.
    Killed,
}

impl Standing {
    /// The word for tables and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Finished => "finished",
            Self::Failed => "failed",
            Self::Interrupted => "interrupted",
            Self::Killed => "killed",
        }
    }
}

/// How a run stands now.
///
/// # Errors
/// `Environment` when its folder cannot be read.
pub fn standing(folder: &Path, facts: &RunFacts) -> Result<Standing> {
    Ok(match facts.state {
        RunState::Finished => Standing::Finished,
        RunState::Failed => Standing::Failed,
        RunState::Interrupted => Standing::Interrupted,
        RunState::Running if is_locked(&folder.join(ALIVE))? => Standing::Running,
        RunState::Running => Standing::Killed,
    })
}

/// Whether the process of a run is at work, whatever its record says.
///
/// # Errors
/// `Environment` when its folder cannot be read.
pub fn goes_on(folder: &Path) -> Result<bool> {
    is_locked(&folder.join(ALIVE))
}

fn is_locked(path: &Path) -> Result<bool> {
    let failed = |error: std::io::Error| Error::environment(format!("cannot look at {}: {error}", path.display()));
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(failed(error)),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

/// Says that a run goes on, until it is dropped.
#[derive(Debug)]
pub struct Alive {
    path: PathBuf,
    // Closing the file releases the lock.
    _file: File,
}

impl Drop for Alive {
    fn drop(&mut self) {
        // A file that stays is not locked, and so says nothing.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl RunFolder {
    /// Says that the run goes on, as long as what is returned is there.
    ///
    /// # Errors
    /// `Environment` when the file cannot be made or locked.
    pub fn stay_alive(&self) -> Result<Alive> {
        let path = self.path().join(ALIVE);
        let failed = |error: std::io::Error| Error::environment(format!("cannot lock {}: {error}", path.display()));
        let file = File::create(&path).map_err(failed)?;
        file.lock().map_err(failed)?;
        Ok(Alive { path, _file: file })
    }

    /// The reporter that writes how far the running stages are.
    pub fn progress(&self) -> Box<dyn Reporter> {
        Box::new(ProgressFile { folder: self.clone(), stages: BTreeMap::new(), written: None })
    }
}

/// How far a stage is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StageProgress {
    pub phase: String,
    pub unit: String,
    pub done: u64,
    pub total: u64,
    pub tokens: u64,
    /// Since the phase began.
    pub seconds: f64,
}

/// Keeps `progress.json` up to date while stages run.
struct ProgressFile {
    folder: RunFolder,
    stages: BTreeMap<String, StageProgress>,
    written: Option<Instant>,
}

impl Reporter for ProgressFile {
    fn event(&mut self, event: &Stamped<'_>) {
        match event.event {
            Event::StageProgress { stage, phase, unit, done, total, tokens, seconds } => {
                let (phase, unit) = (phase.clone(), unit.clone());
                let progress =
                    StageProgress { phase, unit, done: *done, total: *total, tokens: *tokens, seconds: *seconds };
                self.stages.insert(stage.clone(), progress);
            }
            Event::StageFinished { stage, .. } | Event::StageFailed { stage, .. } => drop(self.stages.remove(stage)),
            _ => return,
        }
        if self.written.is_none_or(|written| written.elapsed() >= PAUSE) {
            self.written = Some(Instant::now());
            // What cannot be written is missing in `retmask status`, and nowhere else.
            let _ = self.folder.write_json(PROGRESS, &self.stages);
        }
    }
}

impl Drop for ProgressFile {
    fn drop(&mut self) {
        // One that stays is read only while the run goes on.
        let _ = std::fs::remove_file(self.folder.path().join(PROGRESS));
    }
}

/// What a stage of a run that goes on does.
#[derive(Debug, Clone, Serialize)]
pub struct Doing {
    pub stage: String,
    /// Since then.
    pub since: Timestamp,
    /// Who makes the result that it waits for (`host.process`, where known); nothing when it runs itself.
    pub waits_for: Option<String>,
    pub key: Option<String>,
    pub progress: Option<StageProgress>,
}

/// What the stages of a run do, by its events: those that run and those that wait, in the order in which they began.
///
/// # Errors
/// `Environment` when the events cannot be read.
pub fn doing(folder: &Path) -> Result<Vec<Doing>> {
    let path = folder.join("events.ndjson");
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(Error::environment(format!("cannot read {}: {error}", path.display()))),
    };
    let progress: HashMap<String, StageProgress> = std::fs::read(folder.join(PROGRESS))
        .ok()
        .and_then(|text| serde_json::from_slice(&text).ok())
        .unwrap_or_default();
    let mut doing: Vec<Doing> = Vec::new();
    // The last line may be half written.
    for event in text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        let text = |name: &str| event[name].as_str().map(str::to_owned);
        let (Some(stage), Some(name)) = (text("stage"), event["event"].as_str()) else { continue };
        match name {
            "stage-started" | "stage-waiting" => {
                doing.retain(|other| other.stage != stage);
                let waits_for = (name == "stage-waiting").then(|| text("holder").unwrap_or_default());
                let since = text("time").and_then(|time| time.parse().ok()).unwrap_or_default();
                let progress = progress.get(&stage).filter(|_| waits_for.is_none()).cloned();
                doing.push(Doing { stage, since, waits_for, key: text("key"), progress });
            }
            "stage-finished" | "stage-failed" | "stage-hit" | "stage-skipped" => {
                doing.retain(|other| other.stage != stage);
            }
            _ => {}
        }
    }
    Ok(doing)
}
