//! What happens during a run, as one stream of events that feeds every reporter.

use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use retmask_cache::Output;
use retmask_stages::contract::{Fault, RowCounts};
use serde::Serialize;

use crate::plan::Reason;

/// One event. Seconds are wall time.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// `files` of a source are fetched from the Hugging Face hub, `bytes` in all; `commit` is what its revision
    /// stands for.
    SourceStarted {
        source: String,
        repo: String,
        revision: String,
        commit: String,
        files: usize,
        bytes: u64,
    },
    /// Of the `total` bytes of what is fetched, `done` are there, `fetched` of them in these `seconds`.
    SourceProgress {
        source: String,
        done: u64,
        total: u64,
        fetched: u64,
        seconds: f64,
    },
    /// Something to know about a source on its way: a wait, another process.
    SourceNote {
        source: String,
        text: String,
    },
    SourceFinished {
        source: String,
        bytes: u64,
        seconds: f64,
    },
    RunStarted {
        run: String,
        pipeline: String,
        stages: usize,
        folder: String,
    },
    /// The result was in the store; `saved_seconds` is what making it took.
    StageHit {
        stage: String,
        key: String,
        outputs: Vec<Output>,
        saved_seconds: f64,
    },
    /// Another process is making this very result; `holder` is its host and process, where known.
    StageWaiting {
        stage: String,
        key: String,
        holder: Option<String>,
    },
    StageStarted {
        stage: String,
        kind: String,
        key: String,
        reason: Reason,
    },
    StagePhase {
        stage: String,
        phase: String,
        unit: String,
        total: u64,
    },
    /// `seconds` since the phase began.
    StageProgress {
        stage: String,
        phase: String,
        unit: String,
        done: u64,
        total: u64,
        tokens: u64,
        seconds: f64,
    },
    /// A stage that works row by row begins: of its `total` rows, `reused` are kept from before and `computed` are to be
    /// computed. What is missing in the sum another process is computing.
    StageRows {
        stage: String,
        #[serde(flatten)]
        rows: RowCounts,
    },
    /// `rows` of stages that work row by row.
    StageFinished {
        stage: String,
        key: String,
        outputs: Vec<Output>,
        seconds: f64,
        #[serde(skip_serializing_if = "Option::is_none")]
        rows: Option<RowCounts>,
    },
    /// The result was not here and came from the remote: so many files and bytes of it were lacking.
    RemoteFetched {
        stage: String,
        key: String,
        files: u64,
        bytes: u64,
        seconds: f64,
    },
    /// The result was given to the remote, which lacked so many files and bytes of it.
    RemoteStored {
        stage: String,
        key: String,
        files: u64,
        bytes: u64,
        seconds: f64,
    },
    /// So many rows that the stage would have computed came from the remote, in so many files and bytes.
    RowsFetched {
        stage: String,
        scope: String,
        rows: u64,
        files: u64,
        bytes: u64,
        seconds: f64,
    },
    /// The rows of the stage were given to the remote, which lacked so many files and bytes of them.
    RowsStored {
        stage: String,
        scope: String,
        rows: u64,
        files: u64,
        bytes: u64,
        seconds: f64,
    },
    /// The remote did not answer, refused, or holds something damaged; the run goes on without.
    RemoteFailed {
        stage: String,
        what: String,
    },
    /// The work is not deterministic: another result was recorded under this key before, and is kept.
    StageDiffers {
        stage: String,
        key: String,
        ports: Vec<String>,
    },
    /// A stored input of `stage` was lost or damaged, so `remade` runs again.
    InputLost {
        stage: String,
        remade: String,
        what: String,
    },
    /// The user asked to stop; running stages end at their next safe point.
    Stopping,
    StageFailed {
        stage: String,
        fault: &'static str,
        message: String,
        hint: Option<String>,
        seconds: f64,
    },
    /// Not run, because of these stages, or because the run was stopped (then `because` is empty).
    StageSkipped {
        stage: String,
        because: Vec<String>,
    },
    RunFinished {
        run: String,
        hits: usize,
        ran: usize,
        failed: usize,
        skipped: usize,
        seconds: f64,
    },
}

/// An event with its time.
#[derive(Debug, Clone, Serialize)]
pub struct Stamped<'a> {
    pub time: Timestamp,
    #[serde(flatten)]
    pub event: &'a Event,
}

impl Stamped<'_> {
    /// One line of JSON, with its line feed.
    pub fn line(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self).map(|line| line + "\n")
    }
}

/// The name of a fault in events and records.
pub const fn fault_name(fault: Fault) -> &'static str {
    match fault {
        Fault::Input => "input",
        Fault::Environment => "environment",
        Fault::Internal => "internal",
        Fault::Interrupted => "interrupted",
    }
}

/// Shows or keeps events.
pub trait Reporter: Send {
    /// Takes one event, in the order in which they happened.
    fn event(&mut self, event: &Stamped<'_>);
}

/// Hands every event to every reporter, one at a time.
#[derive(Default)]
pub struct Events {
    reporters: Mutex<Vec<Box<dyn Reporter>>>,
}

impl Events {
    /// Events for these reporters.
    pub fn new(reporters: Vec<Box<dyn Reporter>>) -> Self {
        Self { reporters: Mutex::new(reporters) }
    }

    /// One more reporter, before the others.
    pub fn add(&self, reporter: Box<dyn Reporter>) {
        self.reporters.lock().unwrap_or_else(PoisonError::into_inner).insert(0, reporter);
    }

    /// Reports one event.
    pub fn emit(&self, event: &Event) {
        let stamped = Stamped { time: Timestamp::now(), event };
        // A reporter that panicked has lost a line, not its state.
        let mut reporters = self.reporters.lock().unwrap_or_else(PoisonError::into_inner);
        for reporter in reporters.iter_mut() {
            reporter.event(&stamped);
        }
    }
}
