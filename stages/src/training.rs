//! What the stages that train share: the line of each step, progress, and checkpoints in the durable folder.

use std::time::Instant;

use retmask_model::flops::measured_peak;
use retmask_model::train::{Checkpoints, Observer, StepReport};
use retmask_model::{ModelError, ModelResult, Numerics};

use crate::contract::Context;

/// Reports training to the stage's progress and log, and stops it when the user asks to.
pub struct TrainingLog<'a> {
    context: &'a Context,
    /// What the objective has to say of a step: `, margin 0.1`.
    describe: &'a dyn Fn(&StepReport) -> String,
    /// Work in each step, in any unit.
    work: Vec<f64>,
    /// FLOP/s of this machine.
    peak: f64,
    /// When this process began to train, and after how many steps.
    began: (Instant, usize),
    step_began: Instant,
}

impl<'a> TrainingLog<'a> {
    /// Opens the phase of `work.len()` steps.
    pub fn new(
        context: &'a Context,
        work: Vec<f64>,
        numerics: Numerics,
        describe: &'a dyn Fn(&StepReport) -> String,
    ) -> Self {
        context.progress().phase("train", "steps", work.len() as u64);
        let peak = measured_peak(numerics);
        let gigaflops = peak / 1e9;
        context.progress().log(&format!(
            "MFU is given of {gigaflops:.0} GFLOP/s, which this program's {numerics} matrix product was measured to reach here"
        ));
        let now = Instant::now();
        Self { context, describe, work, peak, began: (now, 0), step_began: now }
    }

    /// Checkpoints in the stage's durable folder, where it has one.
    pub fn checkpoints(&self) -> Option<Checkpoints> {
        let folder = self.context.durable()?;
        Some(Checkpoints::new(folder, self.context.checkpoint_interval()))
    }

    /// Seconds left after `done` steps, at this process's pace.
    fn seconds_left(&self, done: usize) -> f64 {
        let work = |steps: &[f64]| steps.iter().sum::<f64>();
        let (began, first) = self.began;
        let here = work(&self.work[first.min(done)..done]);
        began.elapsed().as_secs_f64() / here.max(f64::MIN_POSITIVE) * work(&self.work[done..])
    }
}

impl Observer for TrainingLog<'_> {
    fn resumed(&mut self, reports: &[StepReport]) -> ModelResult<()> {
        let done = reports.len();
        self.context.progress().log(&format!("an earlier run came to step {done}; going on from its checkpoint"));
        self.context.progress().advance(done as u64);
        self.began = (Instant::now(), done);
        self.step_began = Instant::now();
        Ok(())
    }

    fn processed(&mut self, tokens: usize) -> ModelResult<()> {
        self.context.progress().tokens(tokens as u64);
        if self.context.cancel().is_cancelled() { Err(ModelError::interrupted()) } else { Ok(()) }
    }

    fn step(&mut self, report: &StepReport) -> ModelResult<()> {
        let seconds = self.step_began.elapsed().as_secs_f64().max(1e-9);
        self.step_began = Instant::now();
        self.context.progress().advance(1);
        self.context.progress().log(&format!(
            "step {} of {}: loss {:.4}{}, gradient norm {:.3}, learning rate {:.2e}, {:.0} tokens/s, MFU {:.0} %, {} left",
            report.step,
            self.work.len(),
            report.loss,
            (self.describe)(report),
            report.grad_norm,
            report.learning_rate,
            report.tokens as f64 / seconds,
            100.0 * report.flops / seconds / self.peak,
            duration(self.seconds_left(report.step.min(self.work.len()))),
        ));
        if self.context.cancel().is_cancelled() { Err(ModelError::interrupted()) } else { Ok(()) }
    }

    fn note(&mut self, line: &str) {
        self.context.progress().log(line);
    }
}

/// Two units at most: `1 h 5 min`, `3 min 20 s`, `12 s`.
fn duration(seconds: f64) -> String {
    let seconds = seconds.round().min(1e12) as u64;
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::duration;

    #[test]
    fn durations_have_two_units_at_most() {
        let texts = [0.4, 59.6, 200.0, 3900.0, 360_000.0].map(duration);
        assert_eq!(texts, ["0 s", "1 min 0 s", "3 min 20 s", "1 h 5 min", "100 h 0 min"]);
    }
}
