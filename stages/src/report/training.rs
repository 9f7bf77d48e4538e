//! The optimiser's steps, and the preference margins before and after training.

use super::columns::Columns;
use crate::contract::{StageError, StageResult};

/// One measured quantity over the steps; empty when the table does not hold it.
pub(super) struct Curve {
    pub name: &'static str,
    /// (step, value)
    pub points: Vec<(f64, f64)>,
}

/// The steps of a training run.
pub(super) struct Training {
    pub steps: usize,
    pub epochs: f64,
    pub first_loss: f64,
    pub last_loss: f64,
    /// Whether the table holds preference columns (not when pre-training).
    pub preference: bool,
    pub curves: Vec<Curve>,
}

impl Training {
    /// Reads the step metrics.
    ///
    /// # Errors
    /// `Input` when there are no steps, or they are not in order.
    pub fn read(table: &Columns) -> StageResult<Self> {
        let steps = table.counts("step")?;
        if let Some(row) = (1..steps.len()).find(|&row| steps[row] <= steps[row - 1]) {
            return Err(table.wrong(row, "step", format!("step {} follows step {}", steps[row], steps[row - 1])));
        }
        let losses = table.numbers("loss")?;
        let (Some(&first_loss), Some(&last_loss)) = (losses.first(), losses.last()) else {
            return Err(table.refuse("the table has no steps"));
        };
        let along = |values: Vec<Option<f64>>| -> Vec<(f64, f64)> {
            steps.iter().zip(values).filter_map(|(&step, value)| Some((f64::from(step), value?))).collect()
        };
        let curves = ["loss", "margin", "accuracy", "grad_norm", "learning_rate"]
            .into_iter()
            .map(|name| Ok(Curve { name, points: along(table.optional_numbers(name)?) }))
            .collect::<StageResult<Vec<Curve>>>()?;
        let preference = curves.iter().any(|curve| curve.name == "margin" && !curve.points.is_empty());
        let epochs = table.numbers("epoch")?.last().copied().unwrap_or_default();
        Ok(Self { steps: steps.len(), epochs, first_loss, last_loss, preference, curves })
    }
}

/// The pairs of one split, before and after training.
pub(super) struct Split {
    pub name: String,
    /// Implicit reward margins after training, in the order of the table; before it they are 0 by definition.
    pub margins: Vec<f64>,
    /// Share of pairs whose chosen response is the likelier one (sums of log-probabilities).
    pub likelier_before: f64,
    pub likelier_after: f64,
}

impl Split {
    /// Mean margin after training.
    pub fn mean_margin(&self) -> f64 {
        self.margins.iter().sum::<f64>() / self.margins.len() as f64
    }

    /// Share of pairs with a margin above 0 after training.
    pub fn accuracy(&self) -> f64 {
        share(self.margins.iter().map(|&margin| margin > 0.0))
    }
}

/// The margins of all splits, held-out first.
pub(super) struct Margins {
    pub splits: Vec<Split>,
}

impl Margins {
    /// Reads the margins of every pair.
    ///
    /// # Errors
    /// `Input` when there are none, or a split is neither `train` nor `held-out`.
    pub fn read(table: &Columns) -> StageResult<Self> {
        const SPLITS: [&str; 2] = ["held-out", "train"];
        let names = table.texts("split")?;
        if let Some(row) = names.iter().position(|name| !SPLITS.contains(&name.as_str())) {
            return Err(table.wrong(row, "split", format!("`{}` is neither `train` nor `held-out`", names[row])));
        }
        let margins = table.numbers("margin_after")?;
        let (chosen_before, rejected_before) = (table.numbers("chosen_before")?, table.numbers("rejected_before")?);
        let (chosen_after, rejected_after) = (table.numbers("chosen_after")?, table.numbers("rejected_after")?);
        let mut splits = Vec::new();
        for split in SPLITS {
            let rows: Vec<usize> = (0..names.len()).filter(|&row| names[row] == split).collect();
            if rows.is_empty() {
                continue;
            }
            splits.push(Split {
                name: split.to_owned(),
                margins: rows.iter().map(|&row| margins[row]).collect(),
                likelier_before: share(rows.iter().map(|&row| chosen_before[row] > rejected_before[row])),
                likelier_after: share(rows.iter().map(|&row| chosen_after[row] > rejected_after[row])),
            });
        }
        if splits.is_empty() { Err(table.refuse("the table has no pairs")) } else { Ok(Self { splits }) }
    }
}

/// The share of `true`; the iterator is not empty.
fn share(values: impl ExactSizeIterator<Item = bool>) -> f64 {
    let count = values.len() as f64;
    values.filter(|&value| value).count() as f64 / count
}

/// A curve of at most `most` points: consecutive steps are averaged in equal groups.
///
/// # Errors
/// `Internal` when `most` is 0.
pub(super) fn thinned(points: &[(f64, f64)], most: usize) -> StageResult<Vec<(f64, f64)>> {
    if most == 0 {
        return Err(StageError::internal("a curve needs at least one point"));
    }
    let group = points.len().div_ceil(most).max(1);
    Ok(points
        .chunks(group)
        .map(|chunk| {
            let count = chunk.len() as f64;
            let sum = chunk.iter().fold((0.0, 0.0), |sum, point| (sum.0 + point.0, sum.1 + point.1));
            (sum.0 / count, sum.1 / count)
        })
        .collect())
}
