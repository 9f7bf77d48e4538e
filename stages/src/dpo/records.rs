//! What the stage tells of a training run, as tables.

use std::path::Path;

use retmask_model::train::{Measured, StepReport};

use super::{Batches, PairSet, Parameters, statistic};
use crate::artifact::pair_margins::{self, MarginRow};
use crate::artifact::training_evaluation::{self, EvaluationRow, Weights};
use crate::artifact::training_metrics::{self, PreferenceStatistics, StepRow};
use crate::contract::{Context, StageResult};

/// A run that is over.
pub struct Records<'a> {
    pub parameters: &'a Parameters,
    pub batches: &'a Batches<'a>,
    pub trained: PairSet<'a>,
    pub held_out: PairSet<'a>,
    /// Log-probability sums under the stored weights, of trained and then of held-out pairs.
    pub after: &'a [[f64; 2]],
}

impl Records<'_> {
    /// A row per step.
    pub fn write_metrics(&self, path: &Path, reports: &[StepReport]) -> StageResult<()> {
        let rows = reports.iter().map(|report| StepRow {
            step: report.step as u32,
            epoch: self.batches.epoch_after(report.step),
            loss: report.loss,
            grad_norm: report.grad_norm,
            learning_rate: report.learning_rate,
            tokens: report.tokens,
            preference: Some(preference(&report.statistics)),
        });
        training_metrics::write(path, &rows.collect::<Vec<_>>())
    }

    /// A row per pair.
    pub fn write_margins(&self, path: &Path) -> StageResult<()> {
        let mut rows = Vec::with_capacity(self.after.len());
        for (set, after, held_out) in self.splits() {
            for (((pair, tokens), &before), &after) in set.pairs.iter().zip(set.tokens).zip(set.reference).zip(after) {
                let margin = self.parameters.loss.margin(self.parameters.beta, after, tokens.response_tokens(), before);
                rows.push(MarginRow {
                    row_id: pair.row_id.clone(),
                    sample_index: pair.sample_index,
                    held_out,
                    before,
                    after,
                    margin_after: margin,
                });
            }
        }
        pair_margins::write(path, &rows)
    }

    /// The start model, what was measured between, and the stored model.
    pub fn write_evaluation(&self, path: &Path, reports: &[StepReport], context: &Context) -> StageResult<()> {
        let mut rows = Vec::new();
        for (set, _, held_out) in self.splits() {
            rows.push(self.row(0, Weights::Stored, &set, held_out, &self.measure(&set, set.reference)));
        }
        for report in reports {
            if let Some(measured) = &report.evaluation {
                rows.push(self.row(report.step, Weights::Trained, &self.held_out, true, measured));
            }
        }
        for (set, after, held_out) in self.splits() {
            let measured = self.measure(&set, after);
            rows.push(self.row(reports.len(), Weights::Stored, &set, held_out, &measured));
            context.progress().log(&format!(
                "{} pairs {}, under the stored weights: loss {:.4}, margin {:.4}, accuracy {:.2}",
                set.len(),
                if held_out { "held out" } else { "trained on" },
                measured.loss,
                measured.statistics[statistic::MARGIN],
                measured.statistics[statistic::ACCURACY],
            ));
        }
        training_evaluation::write(path, &rows)
    }

    /// The splits that have pairs, with the sums after training and whether they were held out.
    fn splits(&self) -> impl Iterator<Item = (PairSet<'_>, &[[f64; 2]], bool)> {
        let (trained, held_out) = self.after.split_at(self.trained.len());
        [(self.trained, trained, false), (self.held_out, held_out, true)]
            .into_iter()
            .filter(|(set, ..)| !set.is_empty())
    }

    fn measure(&self, set: &PairSet, sums: &[[f64; 2]]) -> Measured {
        let tokens: Vec<[usize; 2]> = set.tokens.iter().map(|pair| pair.response_tokens()).collect();
        self.parameters.objective(set.reference.to_vec(), set.len()).of_sums(sums, &tokens)
    }

    fn row(&self, step: usize, weights: Weights, set: &PairSet, held_out: bool, measured: &Measured) -> EvaluationRow {
        EvaluationRow {
            step: step as u32,
            weights,
            held_out,
            pairs: set.len() as u32,
            loss: measured.loss,
            preference: preference(&measured.statistics),
        }
    }
}

fn preference(statistics: &[f64]) -> PreferenceStatistics {
    PreferenceStatistics {
        margin: statistics[statistic::MARGIN],
        accuracy: statistics[statistic::ACCURACY],
        chosen_logprob: statistics[statistic::CHOSEN_LOGPROB],
        rejected_logprob: statistics[statistic::REJECTED_LOGPROB],
    }
}
