//! What a running stage may ask of the engine: progress, cancellation, a scratch folder, a place to log.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::{NoRows, RowCounts, RowKeeper, RowScope, Rows, StageError, StageResult};

/// A flag that asks the work to stop at the next safe point.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Asks the work to stop.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether stopping was asked for.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Where a stage tells how far it is. Shown as a bar on a terminal, as lines or events elsewhere.
pub trait Progress: Send + Sync {
    /// Starts a phase of `total` units (`unit` in the plural: "trials", "rows", "steps").
    fn phase(&self, name: &str, unit: &str, total: u64);
    /// Says that `count` more units of the current phase are done.
    fn advance(&self, count: u64);
    /// Says how many tokens were processed, for a rate beside the bar.
    fn tokens(&self, count: u64);
    /// Says where the results of the stage's rows come from: before the work, as far as is known, and behind it.
    fn rows(&self, _counts: RowCounts) {}
    /// Writes a line to the stage's log (and to nothing else).
    fn log(&self, line: &str);
}

/// A progress that says nothing, for tests and library use.
#[derive(Debug, Clone, Copy, Default)]
pub struct SilentProgress;

impl Progress for SilentProgress {
    fn phase(&self, _name: &str, _unit: &str, _total: u64) {}
    fn advance(&self, _count: u64) {}
    fn tokens(&self, _count: u64) {}
    fn log(&self, _line: &str) {}
}

/// How long a stage works between two checkpoints unless something else is asked for.
pub const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(600);

/// Handed to a running stage. Nothing in it may change the output bytes.
pub struct Context {
    progress: Arc<dyn Progress>,
    cancel: Cancel,
    scratch: PathBuf,
    gpus: Vec<String>,
    rows: Arc<dyn RowKeeper>,
    durable: Option<PathBuf>,
    checkpoint_interval: Duration,
}

impl Context {
    /// A context with a scratch folder that exists and belongs to this stage key alone. It keeps no rows.
    pub fn new(progress: Arc<dyn Progress>, cancel: Cancel, scratch: impl Into<PathBuf>) -> Self {
        Self {
            progress,
            cancel,
            scratch: scratch.into(),
            gpus: Vec::new(),
            durable: None,
            checkpoint_interval: CHECKPOINT_INTERVAL,
            rows: Arc::new(NoRows),
        }
    }

    /// With a folder, made when something is kept in it, that outlives a run that is stopped or killed, and how often
    /// to write a checkpoint there.
    pub fn with_durable(mut self, folder: impl Into<PathBuf>, checkpoint_interval: Duration) -> Self {
        (self.durable, self.checkpoint_interval) = (Some(folder.into()), checkpoint_interval);
        self
    }

    /// The same with a keeper of rows.
    pub fn with_rows(self, rows: Arc<dyn RowKeeper>) -> Self {
        Self { rows, ..self }
    }

    /// The kept results of a scope.
    ///
    /// # Errors
    /// `Environment`: they cannot be read.
    pub fn rows(&self, scope: &RowScope) -> StageResult<Box<dyn Rows>> {
        self.rows.open(scope)
    }

    /// The same with GPUs, by their ids, that belong to this stage while it runs.
    pub fn with_gpus(self, gpus: Vec<String>) -> Self {
        Self { gpus, ..self }
    }

    /// The GPUs of this stage.
    pub fn gpus(&self) -> &[String] {
        &self.gpus
    }

    /// Where to report progress.
    pub fn progress(&self) -> &dyn Progress {
        &*self.progress
    }

    /// The flag to hand to long computations.
    pub fn cancel(&self) -> &Cancel {
        &self.cancel
    }

    /// A private folder for temporary files.
    pub fn scratch(&self) -> &Path {
        &self.scratch
    }

    /// A folder to keep what a later run of this very stage key can go on from, made by who keeps something; `None`
    /// where nothing is kept. It goes once the result is published. A killed process may have left anything in it: check what is read.
    pub fn durable(&self) -> Option<&Path> {
        self.durable.as_deref()
    }

    /// How long to work between two checkpoints in the durable folder.
    pub fn checkpoint_interval(&self) -> Duration {
        self.checkpoint_interval
    }

    /// Call between units of work.
    ///
    /// # Errors
    /// `Interrupted` once the user has asked to stop.
    pub fn check_cancelled(&self) -> StageResult<()> {
        if self.cancel.is_cancelled() { Err(StageError::interrupted()) } else { Ok(()) }
    }
}
