//! The training evaluation artifact: what the loss is on the trained and on the held-out pairs, as training goes on.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray, UInt32Array};

use super::training_metrics::PreferenceStatistics;
use super::{Media, schema, table};
use crate::contract::{StageError, StageResult};

/// Which weights were measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weights {
    /// Those in training, f32.
    Trained,
    /// Those of the checkpoint that the stage gives, as it stores them.
    Stored,
}

/// One measurement.
#[derive(Debug, Clone, PartialEq)]
pub struct EvaluationRow {
    /// Optimiser steps done.
    pub step: u32,
    pub weights: Weights,
    pub held_out: bool,
    pub pairs: u32,
    pub loss: f64,
    /// Means over the pairs.
    pub preference: PreferenceStatistics,
}

/// Writes the rows in their order.
///
/// # Errors
/// `Environment` when the file cannot be written.
pub fn write(path: &Path, rows: &[EvaluationRow]) -> StageResult<()> {
    let floats =
        |value: fn(&EvaluationRow) -> f64| Arc::new(Float64Array::from_iter_values(rows.iter().map(value))) as ArrayRef;
    let numbers =
        |value: fn(&EvaluationRow) -> u32| Arc::new(UInt32Array::from_iter_values(rows.iter().map(value))) as ArrayRef;
    let texts = |value: fn(&EvaluationRow) -> &'static str| {
        Arc::new(StringArray::from_iter_values(rows.iter().map(value))) as ArrayRef
    };
    let columns = vec![
        numbers(|row| row.step),
        texts(|row| match row.weights {
            Weights::Trained => "trained",
            Weights::Stored => "stored",
        }),
        texts(|row| if row.held_out { "held-out" } else { "train" }),
        numbers(|row| row.pairs),
        floats(|row| row.loss),
        floats(|row| row.preference.margin),
        floats(|row| row.preference.accuracy),
        floats(|row| row.preference.chosen_logprob),
        floats(|row| row.preference.rejected_logprob),
    ];
    let schema = schema::of(Media::TrainingEvaluation)
        .ok_or_else(|| StageError::internal("training evaluations have no schema"))?;
    let batch = RecordBatch::try_new(Arc::new(schema), columns)
        .map_err(|error| StageError::internal(format!("training evaluations do not fit their schema: {error}")))?;
    table::write(path, Media::TrainingEvaluation, &batch)
}
