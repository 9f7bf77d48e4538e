//! The pair margins artifact: a row per pair, before and after training.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray, UInt32Array};

use super::{Media, schema, table};
use crate::contract::{StageError, StageResult};

/// One pair; sums are [chosen, rejected] log-probabilities.
#[derive(Debug, Clone, PartialEq)]
pub struct MarginRow {
    pub row_id: String,
    pub sample_index: u32,
    /// Whether the pair was kept out of training.
    pub held_out: bool,
    pub before: [f64; 2],
    pub after: [f64; 2],
    pub margin_after: f64,
}

/// Writes the rows in their order.
///
/// # Errors
/// `Environment` when the file cannot be written.
pub fn write(path: &Path, rows: &[MarginRow]) -> StageResult<()> {
    let floats =
        |value: fn(&MarginRow) -> f64| Arc::new(Float64Array::from_iter_values(rows.iter().map(value))) as ArrayRef;
    let split = |row: &MarginRow| if row.held_out { "held-out" } else { "train" };
    let columns = vec![
        Arc::new(StringArray::from_iter_values(rows.iter().map(|row| &row.row_id))) as ArrayRef,
        Arc::new(UInt32Array::from_iter_values(rows.iter().map(|row| row.sample_index))) as ArrayRef,
        Arc::new(StringArray::from_iter_values(rows.iter().map(split))) as ArrayRef,
        floats(|row| row.before[0]),
        floats(|row| row.before[1]),
        floats(|row| row.after[0]),
        floats(|row| row.after[1]),
        floats(|row| row.margin_after),
    ];
    let schema = schema::of(Media::PairMargins).ok_or_else(|| StageError::internal("pair margins have no schema"))?;
    let batch = RecordBatch::try_new(Arc::new(schema), columns)
        .map_err(|error| StageError::internal(format!("pair margins do not fit their schema: {error}")))?;
    table::write(path, Media::PairMargins, &batch)
}
