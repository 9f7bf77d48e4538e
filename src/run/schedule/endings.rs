//! How stages end, and what follows for those that read them.

use std::collections::BTreeSet;

use retmask_stages::contract::Fault;

use super::super::events::{Event, fault_name};
use super::super::execute::Made;
use super::{Outcome, Scheduler, Status};
use crate::error::{Error, Result};
use crate::pipeline::StageIndex;

/// How often one stage may find its inputs lost before the disk is blamed.
const MOST_LOSSES: u32 = 3;

impl Scheduler<'_> {
    /// Takes what a stage ended with, and moves its readers on.
    pub(super) fn ended(&mut self, stage: StageIndex, outcome: Result<Outcome>, seconds: f64) -> Result<()> {
        match outcome {
            Ok(Outcome::Made(Made { record, differs }, rows)) => {
                let (name, key) = (self.name(stage), record.key.to_string());
                if !differs.is_empty() {
                    let (stage, key) = (name.clone(), key.clone());
                    self.events.emit(&Event::StageDiffers { stage, key, ports: differs });
                }
                let outputs = record.outputs.clone();
                self.events.emit(&Event::StageFinished { stage: name, key, outputs, seconds, rows });
                self.rows[stage.0] = rows;
                self.results[stage.0] = Some(record);
                self.status[stage.0] = Status::Done { hit: false };
                self.advance_readers(stage)
            }
            Ok(Outcome::Found(record)) => {
                self.hit(stage, record);
                self.advance_readers(stage)
            }
            Ok(Outcome::Lost(lost)) => self.make_again(stage, lost),
            Err(error) => {
                self.failed(stage, error, seconds);
                Ok(())
            }
        }
    }

    fn advance_readers(&mut self, stage: StageIndex) -> Result<()> {
        if self.stopping() {
            return Ok(());
        }
        for reader in self.planner.pipeline().readers(stage) {
            self.advance(reader)?;
        }
        Ok(())
    }

    /// Stored inputs were lost since they were looked up: their stages run again first.
    fn make_again(&mut self, stage: StageIndex, lost: Vec<(StageIndex, String)>) -> Result<()> {
        self.status[stage.0] = Status::Pending;
        self.losses[stage.0] += 1;
        if self.losses[stage.0] > MOST_LOSSES {
            let what = lost.into_iter().map(|(_, what)| what).collect::<Vec<_>>().join("; ");
            let error = Error::environment(format!("its stored inputs were lost again and again: {what}"))
                .with_hint("check the disk of the cache folder");
            self.failed(stage, error, 0.0);
            return Ok(());
        }
        for (upstream, what) in lost {
            let (stage, remade) = (self.name(stage), self.name(upstream));
            self.events.emit(&Event::InputLost { stage, remade, what });
            self.results[upstream.0] = None;
            self.status[upstream.0] = Status::Pending;
            for reader in self.planner.pipeline().readers(upstream) {
                if matches!(self.status[reader.0], Status::Ready { .. }) {
                    self.status[reader.0] = Status::Pending;
                }
            }
            self.advance(upstream)?;
        }
        self.advance(stage)
    }

    /// Takes down why a stage failed; nothing new is started unless the run is to keep going.
    pub(super) fn failed(&mut self, stage: StageIndex, error: Error, seconds: f64) {
        let fault = error.fault().unwrap_or(Fault::Internal);
        // What the machine lacks it lacks for the others as well.
        self.halted |= !self.keep_going || fault == Fault::Environment;
        self.status[stage.0] = if fault == Fault::Interrupted { Status::Skipped } else { Status::Failed };
        if fault == Fault::Interrupted {
            self.events.emit(&Event::StageSkipped { stage: self.name(stage), because: Vec::new() });
            return;
        }
        let (message, hint) = match &error {
            Error::Message { message, hint, .. } => (message.clone(), hint.clone()),
            Error::Pipeline(_) | Error::OutputClosed => (String::new(), None),
        };
        let (name, fault) = (self.name(stage), fault_name(fault));
        self.events.emit(&Event::StageFailed { stage: name, fault, message, hint, seconds });
        self.failures.push((stage, error));
    }

    /// What never ran: told with the failed stages it depends on.
    pub(super) fn skip_the_rest(&mut self) {
        let mut because: Vec<BTreeSet<StageIndex>> = vec![BTreeSet::new(); self.status.len()];
        for &stage in self.planner.pipeline().order() {
            if matches!(self.status[stage.0], Status::Failed) {
                because[stage.0].insert(stage);
            }
            let own = because[stage.0].clone();
            for reader in self.planner.pipeline().readers(stage) {
                because[reader.0].extend(&own);
            }
            if matches!(self.status[stage.0], Status::Pending | Status::Ready { .. } | Status::Awaited) {
                self.status[stage.0] = Status::Skipped;
                let because = own.iter().map(|&failed| self.name(failed)).collect();
                self.events.emit(&Event::StageSkipped { stage: self.name(stage), because });
            }
        }
    }
}
