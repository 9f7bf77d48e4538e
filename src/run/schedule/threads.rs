//! The threads of a run: one per running stage, one per lock that is waited for.

use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread::Scope;
use std::time::Instant;

use retmask_cache::{Key, KeyLock};

use super::super::events::Event;
use super::super::execute::{Job, Preparation, prepare};
use super::super::progress::StageProgress;
use super::super::rows::Elsewhere;
use super::{Message, Outcome, Scheduler, Status};
use crate::error::Error;
use crate::pipeline::StageIndex;
use crate::plan::{Found, Reason, Resolved};

/// A stage to be started: its resources are taken and its key is locked.
pub(super) struct Start {
    pub stage: StageIndex,
    pub resolved: Arc<Resolved>,
    pub reason: Reason,
    pub lock: KeyLock,
    pub threads: NonZeroUsize,
    pub gpus: Vec<String>,
}

impl<'a> Scheduler<'a> {
    /// Waits, without resources, until another process lets go of a key.
    pub(super) fn wait_for<'scope>(
        &mut self,
        scope: &'scope Scope<'scope, '_>,
        stage: StageIndex,
        key: Key,
        sender: Sender<Message>,
    ) where
        'a: 'scope,
    {
        self.status[stage.0] = Status::Awaited;
        let (store, cancel) = (self.planner.store(), self.cancel.clone());
        let (events, name) = (self.events.clone(), self.name(stage));
        scope.spawn(move || {
            let mut told = false;
            let mut waiting = |holder: Option<&str>| {
                if !std::mem::replace(&mut told, true) {
                    let holder = holder.map(str::to_owned);
                    events.emit(&Event::StageWaiting { stage: name.clone(), key: key.to_string(), holder });
                }
                !cancel.is_cancelled()
            };
            let waited = store.lock(&key, &mut waiting).map(drop).map_err(Error::from);
            // The scheduler outlives its threads.
            let _ = sender.send(Message::Freed(stage, waited));
        });
    }

    /// Runs a stage on a thread of its own.
    pub(super) fn start<'scope>(&mut self, scope: &'scope Scope<'scope, '_>, start: Start, sender: Sender<Message>)
    where
        'a: 'scope,
    {
        let Start { stage, resolved, reason, lock, threads, gpus } = start;
        self.status[stage.0] = Status::Running;
        let name = self.name(stage);
        let progress = Arc::new(StageProgress::new(&name, self.events.clone(), &self.folder.log(&name)));
        let (planner, cancel, events) = (self.planner, self.cancel.clone(), self.events.clone());
        let (results, pools, remote) = (self.results.clone(), self.pools, self.remote.clone());
        scope.spawn(move || {
            let began = Instant::now();
            let mut leftovers = Vec::new();
            let attempt = || {
                // Whoever held the lock before may have made it.
                if let Found::Hit(record) = planner.look_up(stage, &resolved.key)? {
                    return Ok(Outcome::Found(record));
                }
                if let Some(remote) = &remote
                    && !planner.is_forced(stage)
                    && remote.fetch(planner.store(), &name, &resolved.key, &events, &cancel)?
                    && let Found::Hit(record) = planner.look_up(stage, &resolved.key)?
                {
                    return Ok(Outcome::Found(record));
                }
                let prepared = match prepare(planner, stage, &results)? {
                    Preparation::Lost(lost) => return Ok(Outcome::Lost(lost)),
                    Preparation::Ready(prepared) => prepared,
                };
                let facts = planner.pipeline().stage(stage);
                let (kind, key) = (facts.kind.name.to_owned(), resolved.key.to_string());
                events.emit(&Event::StageStarted { stage: name.clone(), kind, key, reason });
                let job = Job {
                    planner,
                    index: stage,
                    stage: facts,
                    resolved: &resolved,
                    pools,
                    threads,
                    gpus,
                    progress: progress.clone(),
                    cancel: cancel.clone(),
                    // What is forced to run is to be compared with what it made before, row for row.
                    reuse_rows: !planner.is_forced(stage),
                    elsewhere: remote.clone().map(|remote| Elsewhere {
                        remote,
                        stage: name.clone(),
                        events: events.clone(),
                        cancel: cancel.clone(),
                    }),
                };
                let made = job.run(&prepared, &mut leftovers)?;
                if let Some(remote) = &remote {
                    let store = planner.store();
                    remote.give(store, &name, &resolved.key, &events, &cancel)?;
                    remote.give_rows(store, &name, &made.record.provenance.rows, &events, &cancel)?;
                }
                Ok(Outcome::Made(made, progress.row_counts()))
            };
            let outcome = catch_unwind(AssertUnwindSafe(attempt))
                .unwrap_or_else(|_| Err(Error::internal("the engine panicked while it ran this stage")));
            drop(lock);
            let _ = sender.send(Message::Ended(stage, outcome, began.elapsed().as_secs_f64()));
            drop(leftovers);
        });
    }
}
