//! The reference log-probabilities artifact: a row per pair.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Float64Array, RecordBatch, StringArray, UInt32Array};
use arrow::datatypes::{Float64Type, UInt32Type};
use retmask_model::Numerics;

use super::{Media, schema, table};
use crate::contract::{StageError, StageResult};

/// Log-probability sums of one pair under the reference model.
#[derive(Debug, Clone, PartialEq)]
pub struct ReferenceRow {
    pub row_id: String,
    pub sample_index: u32,
    pub chosen: f64,
    pub rejected: f64,
    pub chosen_tokens: u32,
    pub rejected_tokens: u32,
    /// The class of arithmetic they were computed in.
    pub numerics: Numerics,
}

/// Writes the rows in their order.
///
/// # Errors
/// `Environment` when the file cannot be written.
pub fn write(path: &Path, rows: &[ReferenceRow]) -> StageResult<()> {
    let sums =
        |value: fn(&ReferenceRow) -> f64| Arc::new(Float64Array::from_iter_values(rows.iter().map(value))) as ArrayRef;
    let counts =
        |value: fn(&ReferenceRow) -> u32| Arc::new(UInt32Array::from_iter_values(rows.iter().map(value))) as ArrayRef;
    let columns = vec![
        Arc::new(StringArray::from_iter_values(rows.iter().map(|row| &row.row_id))) as ArrayRef,
        counts(|row| row.sample_index),
        sums(|row| row.chosen),
        sums(|row| row.rejected),
        counts(|row| row.chosen_tokens),
        counts(|row| row.rejected_tokens),
        Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.numerics.name()))) as ArrayRef,
    ];
    let schema = schema::of(Media::ReferenceLogprobs)
        .ok_or_else(|| StageError::internal("reference log-probabilities have no schema"))?;
    let batch = RecordBatch::try_new(Arc::new(schema), columns).map_err(|error| {
        StageError::internal(format!("reference log-probabilities do not fit their schema: {error}"))
    })?;
    table::write(path, Media::ReferenceLogprobs, &batch)
}

/// Reads all rows in order.
///
/// # Errors
/// `Input` when the table is another, or names a class of arithmetic that there is not.
pub fn read(path: &Path) -> StageResult<Vec<ReferenceRow>> {
    let schema = schema::of(Media::ReferenceLogprobs)
        .ok_or_else(|| StageError::internal("reference log-probabilities have no schema"))?;
    let batch = table::read(path, &schema)?;
    let column = |name: &str| {
        batch.column_by_name(name).ok_or_else(|| StageError::internal(format!("column `{name}` was checked for")))
    };
    let ids = column("row_id")?.as_string::<i32>();
    let numbers = |name: &str| Ok::<_, StageError>(column(name)?.as_primitive::<UInt32Type>());
    let sums = |name: &str| Ok::<_, StageError>(column(name)?.as_primitive::<Float64Type>());
    let (samples, chosen, rejected) = (numbers("sample_index")?, sums("chosen")?, sums("rejected")?);
    let (chosen_tokens, rejected_tokens) = (numbers("chosen_tokens")?, numbers("rejected_tokens")?);
    let numerics = column("numerics")?.as_string::<i32>();
    (0..batch.num_rows())
        .map(|row| {
            let class = numerics.value(row).parse();
            Ok(ReferenceRow {
                row_id: ids.value(row).to_owned(),
                sample_index: samples.value(row),
                chosen: chosen.value(row),
                rejected: rejected.value(row),
                chosen_tokens: chosen_tokens.value(row),
                rejected_tokens: rejected_tokens.value(row),
                numerics: class.map_err(|problem: String| {
                    StageError::input(format!("{}, row {row}, `numerics`: {problem}", path.display()))
                })?,
            })
        })
        .collect()
}
