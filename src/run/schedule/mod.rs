//! The scheduler: what is ready runs as soon as its resources are free; what became a hit meanwhile does not.
//!
//! One thread owns all state and waits for messages; each running stage has a thread of its own. A stage whose
//! key is locked by another process is waited for without holding resources, and looked up again.

mod budget;
mod endings;
mod threads;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::Scope;
use std::time::{Duration, Instant};

use retmask_cache::Key;
use retmask_stages::contract::{Cancel, RowCounts};

use super::events::{Event, Events};
use super::execute::Made;
use super::folder::{RunFolder, StageOutputs, StageState};
use super::pools::Pools;
use super::remote::RunRemote;
pub use budget::Budget;
use budget::Free;
use threads::Start;

use crate::error::{Error, Result};
use crate::pipeline::StageIndex;
use crate::plan::{Found, Planner, Reason, Resolved, Results, StagePlan, State};

/// How long what can be done for many stages at once is put off.
const PUT_OFF: Duration = Duration::from_secs(1);

/// Where a stage is.
enum Status {
    /// Some input is not known yet.
    Pending,
    /// Its key is known, and nothing is recorded under it.
    Ready {
        resolved: Arc<Resolved>,
        reason: Reason,
    },
    /// Another process makes it.
    Awaited,
    Running,
    Done {
        hit: bool,
    },
    Failed,
    Skipped,
}

/// What the threads say to the scheduler.
enum Message {
    /// The lock of another process is gone (or the wait was given up).
    Freed(StageIndex, Result<()>),
    /// A stage ended; `seconds` of wall time.
    Ended(StageIndex, Result<Outcome>, f64),
}

enum Outcome {
    /// And where the results of its rows came from, if it works row by row.
    Made(Made, Option<RowCounts>),
    /// Another process made it between the look-up and the lock.
    Found(Arc<retmask_cache::Record>),
    /// Inputs of these stages are lost.
    Lost(Vec<(StageIndex, String)>),
}

/// Runs everything a pipeline needs.
pub struct Scheduler<'a> {
    planner: &'a Planner<'a>,
    folder: &'a RunFolder,
    pools: &'a Pools,
    events: Arc<Events>,
    cancel: Cancel,
    /// A store elsewhere that results are taken from and given to.
    remote: Option<Arc<RunRemote>>,
    free: Free,
    /// The GPUs that running stages have.
    gpus: Vec<Vec<String>>,
    status: Vec<Status>,
    results: Results,
    keys: Vec<Option<Key>>,
    losses: Vec<u32>,
    rows: Vec<Option<RowCounts>>,
    /// Failed stages with why, in the order in which they failed.
    failures: Vec<(StageIndex, Error)>,
    /// After a failure of a stage go on with what does not need it.
    keep_going: bool,
    /// Since when `outputs.json` is behind.
    unsaved: Option<Instant>,
    /// After a failure that ends the run nothing new is started.
    halted: bool,
}

impl<'a> Scheduler<'a> {
    pub fn new(
        planner: &'a Planner<'a>,
        folder: &'a RunFolder,
        pools: &'a Pools,
        events: Arc<Events>,
        cancel: Cancel,
        budget: Budget,
        keep_going: bool,
    ) -> Self {
        let count = planner.pipeline().stages().len();
        Self {
            planner,
            folder,
            pools,
            events,
            cancel,
            remote: None,
            free: Free::new(budget),
            gpus: vec![Vec::new(); count],
            status: (0..count).map(|_| Status::Pending).collect(),
            results: vec![None; count],
            keys: vec![None; count],
            losses: vec![0; count],
            rows: vec![None; count],
            failures: Vec::new(),
            keep_going,
            unsaved: None,
            halted: false,
        }
    }

    /// Takes results from this remote and gives results to it.
    pub fn share(&mut self, remote: Option<RunRemote>) {
        self.remote = remote.map(Arc::new);
    }

    /// Takes over what planning has found out.
    ///
    /// # Errors
    /// `Environment` when the record of the run cannot be written.
    pub fn settle(&mut self, plan: &[StagePlan]) -> Result<()> {
        for StagePlan { stage, resolved, state } in plan {
            self.keys[stage.0] = resolved.as_ref().map(|resolved| resolved.key);
            match (state, resolved) {
                (State::Hit(record), _) => self.hit(*stage, record.clone()),
                (State::Run(reason), Some(resolved)) => {
                    self.status[stage.0] = Status::Ready { resolved: resolved.clone(), reason: reason.clone() };
                }
                _ => {}
            }
        }
        self.save()
    }

    /// Whether every stage has its result.
    pub fn is_done(&self) -> bool {
        self.status.iter().all(|status| matches!(status, Status::Done { .. }))
    }

    /// Runs what is not done, until nothing more can run.
    ///
    /// # Errors
    /// `Environment` when the store cannot be used. Failed stages are in [`Self::failures`].
    pub fn run(&mut self) -> Result<()> {
        let (sender, receiver) = channel();
        let outcome = std::thread::scope(|scope| {
            let outcome = self.serve(scope, &sender, &receiver);
            if outcome.is_err() {
                // The scope waits for its threads; they are to stop soon.
                self.cancel.cancel();
            }
            outcome
        });
        self.skip_the_rest();
        let saved = self.save();
        let settled = self.planner.store().settle();
        outcome?;
        settled?;
        // What made a stage fail, a full disk say, is what is to be told.
        if self.failures.is_empty() { saved } else { Ok(()) }
    }

    /// Failed stages and why.
    pub fn into_failures(self) -> Vec<(StageIndex, Error)> {
        self.failures
    }

    /// Every stage's state and outputs, in file order.
    pub fn outputs(&self) -> Vec<StageOutputs> {
        let stages = self.planner.pipeline().stages().iter().enumerate();
        stages
            .map(|(index, stage)| {
                let record = self.results[index].as_ref();
                StageOutputs {
                    stage: stage.name.clone(),
                    kind: stage.kind.name.to_owned(),
                    state: match &self.status[index] {
                        Status::Pending | Status::Ready { .. } | Status::Awaited | Status::Running => {
                            StageState::Pending
                        }
                        Status::Done { hit: true } => StageState::Hit,
                        Status::Done { hit: false } => StageState::Ran,
                        Status::Failed => StageState::Failed,
                        Status::Skipped => StageState::Skipped,
                    },
                    seconds: record.map(|record| record.provenance.duration_milliseconds as f64 / 1000.0),
                    rows: self.rows[index],
                    key: self.keys[index],
                    outputs: record.map(|record| record.outputs.clone()).unwrap_or_default(),
                }
            })
            .collect()
    }

    fn serve<'scope>(
        &mut self,
        scope: &'scope Scope<'scope, '_>,
        sender: &Sender<Message>,
        receiver: &Receiver<Message>,
    ) -> Result<()>
    where
        'a: 'scope,
    {
        loop {
            self.start_what_fits(scope, sender)?;
            let active = self.status.iter().any(|status| matches!(status, Status::Running | Status::Awaited));
            if !active {
                return Ok(());
            }
            let Some(message) = self.next(receiver)? else { continue };
            match message {
                Message::Freed(stage, waited) => {
                    waited?;
                    self.status[stage.0] = Status::Pending;
                    if !self.stopping() {
                        self.advance(stage)?;
                    }
                }
                Message::Ended(stage, outcome, seconds) => {
                    let resources = self.planner.pipeline().stage(stage).resources;
                    let gpus = std::mem::take(&mut self.gpus[stage.0]);
                    self.free.release(self.free.demand(resources), gpus);
                    self.ended(stage, outcome, seconds)?;
                    self.unsaved.get_or_insert_with(Instant::now);
                }
            }
        }
    }

    /// The next message; nothing when it was time for what is put off: to sync quick results, and to write down how the
    /// stages stand.
    fn next(&mut self, receiver: &Receiver<Message>) -> Result<Option<Message>> {
        let lost = || Error::internal("the scheduler lost its threads");
        let since = self.planner.store().unsettled_since().into_iter().chain(self.unsaved).min();
        let Some(since) = since else { return receiver.recv().map(Some).map_err(|_| lost()) };
        let left = PUT_OFF.saturating_sub(since.elapsed());
        if !left.is_zero() {
            match receiver.recv_timeout(left) {
                Ok(message) => return Ok(Some(message)),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(lost()),
            }
        }
        self.planner.store().settle()?;
        self.unsaved = None;
        // Written again at the end, where a failure counts.
        let _ = self.save();
        Ok(None)
    }

    fn stopping(&self) -> bool {
        self.halted || self.cancel.is_cancelled()
    }

    /// Moves a pending stage on: to done when its key is known and recorded, else to ready. What reads a stage
    /// that is done is moved on as well.
    fn advance(&mut self, first: StageIndex) -> Result<()> {
        let mut queue = BTreeSet::from([first]);
        while let Some(stage) = queue.pop_first() {
            if !matches!(self.status[stage.0], Status::Pending) {
                continue;
            }
            let Some(resolved) = self.planner.resolve(stage, &self.results)? else { continue };
            self.keys[stage.0] = Some(resolved.key);
            match self.planner.look_up(stage, &resolved.key)? {
                Found::Hit(record) => {
                    self.hit(stage, record);
                    queue.extend(self.planner.pipeline().readers(stage));
                }
                Found::Miss(miss) => {
                    let reason = self.planner.explain(stage, &resolved.fields(), &miss)?;
                    self.status[stage.0] = Status::Ready { resolved: Arc::new(resolved), reason };
                }
                Found::Forced => {
                    self.status[stage.0] = Status::Ready { resolved: Arc::new(resolved), reason: Reason::Forced };
                }
            }
        }
        Ok(())
    }

    fn hit(&mut self, stage: StageIndex, record: Arc<retmask_cache::Record>) {
        self.events.emit(&Event::StageHit {
            stage: self.name(stage),
            key: record.key.to_string(),
            outputs: record.outputs.clone(),
            saved_seconds: record.provenance.duration_milliseconds as f64 / 1000.0,
        });
        self.results[stage.0] = Some(record);
        self.status[stage.0] = Status::Done { hit: true };
    }

    fn start_what_fits<'scope>(&mut self, scope: &'scope Scope<'scope, '_>, sender: &Sender<Message>) -> Result<()>
    where
        'a: 'scope,
    {
        for &stage in self.planner.pipeline().order() {
            if self.stopping() {
                break;
            }
            let Status::Ready { resolved, reason } = &self.status[stage.0] else { continue };
            let demand = self.free.demand(self.planner.pipeline().stage(stage).resources);
            if let Some(there) = self.free.too_few_gpus(demand) {
                let message = format!("it asks for {} GPUs, and this run has {there}", demand.gpus);
                let hint =
                    "`--gpus` names those that stages may use; without it, CUDA_VISIBLE_DEVICES, else all there are";
                self.failed(stage, Error::input(message).with_hint(hint), 0.0);
                continue;
            }
            if !self.free.fits(demand) {
                continue;
            }
            let (resolved, reason) = (resolved.clone(), reason.clone());
            match self.planner.store().try_lock(&resolved.key)? {
                None => self.wait_for(scope, stage, resolved.key, sender.clone()),
                Some(lock) => {
                    let gpus = self.free.take(demand);
                    self.gpus[stage.0].clone_from(&gpus);
                    let job = Start { stage, resolved, reason, lock, threads: demand.cpus, gpus };
                    self.start(scope, job, sender.clone());
                }
            }
        }
        Ok(())
    }

    fn save(&self) -> Result<()> {
        self.folder.write_json("outputs.json", &self.outputs())
    }

    fn name(&self, stage: StageIndex) -> String {
        self.planner.pipeline().stage(stage).name.clone()
    }
}
