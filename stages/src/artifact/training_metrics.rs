//! The training metrics artifact: a row per optimiser step.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, RecordBatch, UInt32Array, UInt64Array};

use super::{Media, schema, table};
use crate::contract::{StageError, StageResult};

/// One step.
#[derive(Debug, Clone, PartialEq)]
pub struct StepRow {
    /// Counted from 1.
    pub step: u32,
    pub epoch: f64,
    pub loss: f64,
    pub grad_norm: f64,
    pub learning_rate: f64,
    pub tokens: u64,
    /// Absent when pre-training.
    pub preference: Option<PreferenceStatistics>,
}

/// Means over the pairs of a step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PreferenceStatistics {
    pub margin: f64,
    pub accuracy: f64,
    pub chosen_logprob: f64,
    pub rejected_logprob: f64,
}

/// Writes the rows in their order.
///
/// # Errors
/// `Environment` when the file cannot be written.
pub fn write(path: &Path, rows: &[StepRow]) -> StageResult<()> {
    let floats =
        |value: fn(&StepRow) -> f64| Arc::new(Float64Array::from_iter_values(rows.iter().map(value))) as ArrayRef;
    let preference = |value: fn(PreferenceStatistics) -> f64| {
        Arc::new(rows.iter().map(|row| row.preference.map(value)).collect::<Float64Array>()) as ArrayRef
    };
    let columns = vec![
        Arc::new(UInt32Array::from_iter_values(rows.iter().map(|row| row.step))) as ArrayRef,
        floats(|row| row.epoch),
        floats(|row| row.loss),
        floats(|row| row.grad_norm),
        floats(|row| row.learning_rate),
        Arc::new(UInt64Array::from_iter_values(rows.iter().map(|row| row.tokens))) as ArrayRef,
        preference(|statistics| statistics.margin),
        preference(|statistics| statistics.accuracy),
        preference(|statistics| statistics.chosen_logprob),
        preference(|statistics| statistics.rejected_logprob),
    ];
    let schema =
        schema::of(Media::TrainingMetrics).ok_or_else(|| StageError::internal("training metrics have no schema"))?;
    let batch = RecordBatch::try_new(Arc::new(schema), columns)
        .map_err(|error| StageError::internal(format!("training metrics do not fit their schema: {error}")))?;
    table::write(path, Media::TrainingMetrics, &batch)
}
