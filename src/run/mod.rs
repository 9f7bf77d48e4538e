//! Executes a pipeline: hits are taken, the rest runs, everything is told and recorded.

mod events;
mod execute;
mod folder;
mod history;
mod interrupt;
mod live;
mod pools;
mod progress;
mod remote;
pub mod report;
mod rows;
mod schedule;
mod sources;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;

pub use events::{Events, Reporter};
pub use folder::{RunFacts, StageOutputs, StageState, log_of};
pub use history::{MadeBy, SourceContent, facts_of, find_run, maker, run_folders, run_name, sources_of, stages_of};
pub use interrupt::Interrupts;
pub use live::{Doing, Standing, doing, goes_on, standing};
pub use remote::RunRemote;
pub use sources::fetch_sources;

use crate::error::{Error, Result};
use crate::pipeline::StageIndex;
use crate::plan::{Planner, SourceState, StagePlan, plan_json};
use events::Event;
use folder::{RunFolder, RunState, SourceFacts, versions};
use schedule::{Budget, Scheduler};

/// What to run with.
pub struct Options<'p> {
    /// CPUs that running stages share.
    pub cpus: NonZeroUsize,
    /// GPUs that running stages share, by their ids.
    pub gpus: Vec<String>,
    /// Threads of this process, for the record.
    pub threads: NonZeroUsize,
    /// Values set on the command line, for the record.
    pub overrides: Vec<String>,
    /// The stages asked for on the command line, for the record; all when empty.
    pub only: Vec<String>,
    /// After a failure go on with what does not need what failed.
    pub keep_going: bool,
    /// The pipeline's lock file, where there is one, for the record.
    pub lock: Option<PathBuf>,
    /// A store elsewhere to share results with.
    pub remote: Option<RunRemote>,
    /// What is to happen.
    pub plan: &'p [StagePlan],
}

/// How a run went.
pub struct Outcome {
    pub run: String,
    pub folder: PathBuf,
    /// Every stage, in file order.
    pub stages: Vec<StageOutputs>,
    pub seconds: f64,
    /// Failed stages, in the order in which they failed.
    pub failures: Vec<(StageIndex, Error)>,
    pub interrupted: bool,
}

/// Refuses to run with sources missing: names each and what brings it.
///
/// # Errors
/// `Input` when a source that a stage reads is missing.
pub fn require_sources(planner: &Planner<'_>) -> Result<()> {
    let (mut messages, mut hints) = (Vec::new(), Vec::new());
    for index in planner.missing() {
        if let SourceState::Missing { message, hint } = planner.source(index) {
            messages.push(message.clone());
            hints.extend(hint.clone().filter(|hint| !hints.contains(hint)));
        }
    }
    if messages.is_empty() {
        return Ok(());
    }
    let error = Error::input(messages.join("\n  "));
    Err(if hints.is_empty() { error } else { error.with_hint(hints.join("; ")) })
}

/// Runs a pipeline whose sources are all there. `events` tell what happens; the record of the run is kept in the
/// store whatever happens.
///
/// # Errors
/// `Environment` when the store cannot be used. Stages that fail are in the outcome.
pub fn run(
    planner: &Planner<'_>,
    options: Options<'_>,
    events: Arc<Events>,
    interrupts: &Interrupts,
) -> Result<Outcome> {
    let began = Instant::now();
    let pipeline = planner.pipeline();
    let folder = RunFolder::create(planner.store(), pipeline)?;
    let mut facts = RunFacts {
        run: folder.id().to_owned(),
        pipeline: pipeline.name.clone(),
        file: pipeline.path.clone(),
        overrides: options.overrides,
        only: options.only,
        state: RunState::Running,
        started: Timestamp::now(),
        finished: None,
        versions: versions(),
        threads: options.threads.get(),
        cpus: options.cpus.get(),
        process: std::process::id(),
        sources: SourceFacts::of(planner),
        lock: options.lock,
    };
    folder.write_json("run.json", &facts)?;
    folder.write_json("plan.json", &plan_json(planner, options.plan))?;
    for (index, text) in pipeline.texts.files().enumerate() {
        let name = if index == 0 { "pipeline.yaml".to_owned() } else { format!("extended-{index}.yaml") };
        folder.write(&name, text.as_bytes())?;
    }
    let _alive = folder.stay_alive()?;
    events.add(folder.events()?);
    events.add(folder.progress());
    events.emit(&Event::RunStarted {
        run: folder.id().to_owned(),
        pipeline: pipeline.name.clone(),
        stages: pipeline.stages().len(),
        folder: folder.path().display().to_string(),
    });
    let cancel = interrupts.stages_run(&events);
    let pools = pools::Pools::default();
    let budget = Budget { cpus: options.cpus, memory: retmask_model::machine::memory_bytes(), gpus: options.gpus };
    let mut scheduler =
        Scheduler::new(planner, &folder, &pools, events.clone(), cancel.clone(), budget, options.keep_going);
    scheduler.share(options.remote);
    scheduler.settle(options.plan)?;
    let ran = if scheduler.is_done() { Ok(()) } else { scheduler.run() };
    let stages = scheduler.outputs();
    let failures = scheduler.into_failures();
    let interrupted = cancel.is_cancelled() && stages.iter().any(|stage| stage.state == StageState::Skipped);
    let count = |state| stages.iter().filter(|stage| stage.state == state).count();
    let seconds = began.elapsed().as_secs_f64();
    events.emit(&Event::RunFinished {
        run: folder.id().to_owned(),
        hits: count(StageState::Hit),
        ran: count(StageState::Ran),
        failed: count(StageState::Failed),
        skipped: count(StageState::Skipped),
        seconds,
    });
    facts.finished = Some(Timestamp::now());
    facts.state = match (&ran, interrupted, failures.is_empty()) {
        (_, true, _) => RunState::Interrupted,
        (Err(_), ..) | (_, _, false) => RunState::Failed,
        _ => RunState::Finished,
    };
    let written = folder.write_json("run.json", &facts);
    ran?;
    if failures.is_empty() && !interrupted {
        written?;
    }
    let (run, folder) = (folder.id().to_owned(), folder.path().to_path_buf());
    Ok(Outcome { run, folder, stages, seconds, failures, interrupted })
}
