//! The training loop.

use super::checkpoint::Checkpoints;
use super::gradients::MaskedHeads;
use super::packing::{Group, groups};
use super::{AdamW, AdamWSettings, Evaluation, Gradients, LearningRate, Objective, scored_logprobs};
use crate::decoder::Decoder;
use crate::flops::{Work, forward_flops};
use crate::{Fault, ModelError, ModelResult};

/// One sequence to learn from.
#[derive(Debug, Clone, Default)]
pub struct TrainingSequence {
    pub ids: Vec<u32>,
    /// Per token: whether its log-probability enters the objective (never for the first token).
    pub scored: Vec<bool>,
    /// Per head (layer * query_heads + head): whether its output is multiplied by 0 for this sequence.
    pub masked_heads: Option<MaskedHeads>,
}

impl TrainingSequence {
    /// Positions of the scored tokens; the first token has nothing before it and is never scored.
    pub(super) fn scored_positions(&self) -> impl Iterator<Item = usize> + '_ {
        (1..self.ids.len()).filter(|&position| self.scored[position])
    }

    /// How many tokens are scored.
    pub fn scored_tokens(&self) -> usize {
        self.scored_positions().count()
    }
}

/// Sequences that go through the model together, with the objective that judges them.
pub struct MicroBatch {
    pub sequences: Vec<TrainingSequence>,
    pub objective: Box<dyn Objective>,
    /// What errors call it.
    pub name: String,
}

/// Where the data of each step comes from.
pub trait BatchSource {
    /// The number of optimiser steps.
    fn steps(&self) -> usize;
    /// The micro-batches of a step (from 0), in order; at least one scored token in all. The same step gives the same
    /// micro-batches however often it is asked for.
    ///
    /// # Errors
    /// Whatever making them can meet.
    fn micro_batches(&mut self, step: usize) -> ModelResult<Vec<MicroBatch>>;
    /// What is measured, and not trained on, after this many steps; nothing at most steps.
    ///
    /// # Errors
    /// Whatever making it can meet.
    fn evaluation(&mut self, _steps_done: usize) -> ModelResult<Option<MicroBatch>> {
        Ok(None)
    }
}

/// What happened in one step.
#[derive(Debug, Clone, PartialEq)]
pub struct StepReport {
    /// Counted from 1.
    pub step: usize,
    pub loss: f64,
    /// Before clipping.
    pub grad_norm: f64,
    pub learning_rate: f64,
    /// Tokens that went through the model, scored or not.
    pub tokens: u64,
    /// Floating-point operations of the step, in the convention of model FLOPs utilisation: the forward pass, twice as many
    /// for the backward pass (once where the weights are frozen), nothing for what is computed again, nor for corrections of
    /// low rank; beginnings that sequences share count once.
    pub flops: f64,
    /// The objective's statistics, added over micro-batches.
    pub statistics: Vec<f64>,
    /// What was measured after the step, where something was.
    pub evaluation: Option<Measured>,
}

/// Loss and statistics of what is not trained on.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    pub loss: f64,
    pub statistics: Vec<f64>,
}

/// Sees training go on. An error from any of its functions stops the run.
pub trait Observer {
    /// An earlier run came this far; what it reported.
    fn resumed(&mut self, _reports: &[StepReport]) -> ModelResult<()> {
        Ok(())
    }
    /// This many tokens went through the model.
    fn processed(&mut self, _tokens: usize) -> ModelResult<()> {
        Ok(())
    }
    /// A step is done.
    fn step(&mut self, report: &StepReport) -> ModelResult<()>;
    /// Something to know that changes no result.
    fn note(&mut self, _line: &str) {}
}

impl<F: FnMut(&StepReport) -> ModelResult<()>> Observer for F {
    fn step(&mut self, report: &StepReport) -> ModelResult<()> {
        self(report)
    }
}

/// How to train.
#[derive(Debug, Clone, Copy)]
pub struct TrainingSettings {
    pub schedule: LearningRate,
    pub optimiser: AdamWSettings,
}

/// Trains `decoder` in place and returns every step's report. With `checkpoints`, a run that was stopped goes on from
/// the last one.
///
/// The result's bits depend on the data, the micro-batches and the settings; not on the number of threads, nor on
/// whether and where the run was stopped.
///
/// # Errors
/// `Input`, naming the micro-batch, when loss or gradients are not finite; whatever `source` and `observer` return.
pub fn train(
    decoder: &Decoder,
    source: &mut dyn BatchSource,
    settings: TrainingSettings,
    checkpoints: Option<&mut Checkpoints>,
    observer: &mut dyn Observer,
) -> ModelResult<Vec<StepReport>> {
    let optimiser = AdamW::new(decoder, settings.optimiser)?;
    let gradients = Gradients::new(decoder)?;
    let mut training = Training { decoder, settings, optimiser, gradients, reports: Vec::new() };
    let Some(checkpoints) = checkpoints else {
        while training.reports.len() < source.steps() {
            training.step(source, observer)?;
        }
        return Ok(training.reports);
    };
    if let Some(reports) = checkpoints.resume(decoder, &mut training.optimiser, observer)? {
        training.reports = reports;
        observer.resumed(&training.reports)?;
        // It may have been stopped while it measured.
        training.measure(source, observer)?;
    }
    while training.reports.len() < source.steps() {
        let outcome = training.step(source, observer);
        let steps = training.reports.len();
        let stopped = matches!(&outcome, Err(error) if error.fault == Fault::Interrupted);
        let due = outcome.is_ok() && steps < source.steps() && checkpoints.are_due();
        if due || (stopped && !checkpoints.hold(steps)) {
            checkpoints.keep(decoder, &training.optimiser, &training.reports, observer);
        }
        outcome?;
    }
    Ok(training.reports)
}

struct Training<'a> {
    decoder: &'a Decoder,
    settings: TrainingSettings,
    optimiser: AdamW,
    gradients: Gradients,
    reports: Vec<StepReport>,
}

impl Training<'_> {
    /// One optimiser step. After an error parameters, optimiser and reports are those of some whole number of steps.
    fn step(&mut self, source: &mut dyn BatchSource, observer: &mut dyn Observer) -> ModelResult<()> {
        let step = self.reports.len();
        self.gradients.clear();
        let mut report = StepReport {
            step: step + 1,
            loss: 0.0,
            grad_norm: 0.0,
            learning_rate: self.settings.schedule.at(step, source.steps()),
            tokens: 0,
            flops: 0.0,
            statistics: Vec::new(),
            evaluation: None,
        };
        for batch in source.micro_batches(step)? {
            let evaluation = self
                .gradients
                .accumulate(self.decoder, &batch.sequences, &*batch.objective)
                .map_err(|error| ModelError { message: format!("step {}: {}", step + 1, error.message), ..error })?;
            if !evaluation.loss.is_finite() {
                let what = format!("the loss is {} at {}", evaluation.loss, batch.name);
                return Err(diverged(step, &what));
            }
            let tokens: usize = batch.sequences.iter().map(|sequence| sequence.ids.len()).sum();
            report.loss += evaluation.loss;
            report.tokens += tokens as u64;
            report.flops += self.flops(&batch.sequences);
            report.statistics.resize(evaluation.statistics.len().max(report.statistics.len()), 0.0);
            report.statistics.iter_mut().zip(&evaluation.statistics).for_each(|(sum, value)| *sum += value);
            observer.processed(tokens)?;
        }
        report.grad_norm = self.optimiser.update(self.decoder, &self.gradients, report.learning_rate)?;
        if !report.grad_norm.is_finite() {
            return Err(self.blame(source, step)?);
        }
        self.reports.push(report);
        self.measure(source, observer)?;
        self.reports.last().map_or(Ok(()), |report| observer.step(report))
    }

    /// Floating-point operations of training on these sequences.
    fn flops(&self, sequences: &[TrainingSequence]) -> f64 {
        let work = groups(sequences).into_iter().flat_map(|Group { sequences, shared }| {
            let beginning = Work { position: 0, tokens: shared, logits: 0 };
            let of_sequence = move |sequence: &TrainingSequence| Work {
                position: shared,
                tokens: sequence.ids.len() - shared,
                logits: sequence.scored_tokens(),
            };
            std::iter::once(beginning).chain(sequences.iter().map(of_sequence))
        });
        let passes = if self.decoder.is_adapted() { 2.0 } else { 3.0 };
        passes * forward_flops(self.decoder.spec(), work)
    }

    /// Measures what is to be measured after the last step, unless that was done.
    fn measure(&mut self, source: &mut dyn BatchSource, observer: &mut dyn Observer) -> ModelResult<()> {
        let steps = self.reports.len();
        let Some(report) = self.reports.last_mut().filter(|report| report.evaluation.is_none()) else { return Ok(()) };
        if let Some(batch) = source.evaluation(steps)? {
            let measured = measure(self.decoder, &batch, observer)?;
            report.evaluation = Some(Measured { loss: measured.loss, statistics: measured.statistics });
        }
        Ok(())
    }

    /// Which micro-batch of a step has a gradient that is not finite: each is computed again by itself.
    fn blame(&mut self, source: &mut dyn BatchSource, step: usize) -> ModelResult<ModelError> {
        for batch in source.micro_batches(step)? {
            self.gradients.clear();
            self.gradients.accumulate(self.decoder, &batch.sequences, &*batch.objective)?;
            let norm = self.gradients.norm();
            if !norm.is_finite() {
                return Ok(diverged(step, &format!("the gradient norm is {norm} at {}", batch.name)));
            }
        }
        Ok(diverged(step, "the gradient norm is not finite, though that of each of its micro-batches is"))
    }
}

fn diverged(step: usize, what: &str) -> ModelError {
    ModelError::input(format!("step {}: {what}", step + 1))
        .with_hint("lower the learning rate, or look at what is named")
}

/// The objective's value without gradients, from the same arithmetic as training's.
///
/// # Errors
/// `Input` when a token is outside the vocabulary; whatever `observer` returns.
pub fn measure(decoder: &Decoder, batch: &MicroBatch, observer: &mut dyn Observer) -> ModelResult<Evaluation> {
    let logprobs = scored_logprobs(decoder, &batch.sequences, &mut |tokens| observer.processed(tokens))?;
    Ok(batch.objective.evaluate(&logprobs))
}
