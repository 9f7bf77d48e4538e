//! The two tables of scores.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float64Array, RecordBatch, StringArray, UInt32Array};

use super::{ExampleScore, Note, SummaryRow};
use crate::artifact::{Media, schema, table};
use crate::contract::{StageError, StageResult};

/// Writes a row per example and metric.
///
/// # Errors
/// `Environment` when the file cannot be written.
pub fn write_scores(path: &Path, scores: &[ExampleScore]) -> StageResult<()> {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(scores.iter().map(|score| &score.dataset))),
        Arc::new(UInt32Array::from_iter_values(scores.iter().map(|score| score.length))),
        Arc::new(UInt32Array::from_iter_values(scores.iter().map(|score| score.example))),
        Arc::new(StringArray::from_iter_values(scores.iter().map(|score| &score.cluster))),
        Arc::new(StringArray::from_iter_values(scores.iter().map(|score| score.metric))),
        Arc::new(Float64Array::from_iter_values(scores.iter().map(|score| score.value))),
    ];
    write(path, Media::ExampleScores, columns)
}

/// Writes a row per mean.
///
/// # Errors
/// `Environment` when the file cannot be written.
pub fn write_summary(path: &Path, rows: &[SummaryRow]) -> StageResult<()> {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.category))),
        Arc::new(StringArray::from_iter_values(rows.iter().map(|row| &row.dataset))),
        Arc::new(UInt32Array::from_iter_values(rows.iter().map(|row| row.length))),
        Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.metric))),
        Arc::new(BooleanArray::from_iter(rows.iter().map(|row| Some(row.primary)))),
        Arc::new(Float64Array::from_iter_values(rows.iter().map(|row| row.interval.value))),
        Arc::new(Float64Array::from_iter_values(rows.iter().map(|row| row.interval.low))),
        Arc::new(Float64Array::from_iter_values(rows.iter().map(|row| row.interval.high))),
        Arc::new(UInt32Array::from_iter_values(rows.iter().map(|row| row.examples))),
    ];
    write(path, Media::ScoreSummary, columns)
}

/// Writes a row per note.
///
/// # Errors
/// `Environment` when the file cannot be written.
pub fn write_notes(path: &Path, notes: &[Note]) -> StageResult<()> {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(notes.iter().map(|note| note.category))),
        Arc::new(StringArray::from_iter_values(notes.iter().map(|note| note.dataset))),
        Arc::new(UInt32Array::from_iter_values(notes.iter().map(|note| note.length))),
        Arc::new(StringArray::from_iter_values(notes.iter().map(|note| note.metric))),
        Arc::new(StringArray::from_iter_values(notes.iter().map(|note| &note.note))),
    ];
    write(path, Media::ScoreNotes, columns)
}

fn write(path: &Path, media: Media, columns: Vec<ArrayRef>) -> StageResult<()> {
    let schema = schema::of(media).ok_or_else(|| StageError::internal(format!("{} has no schema", media.name())))?;
    let batch = RecordBatch::try_new(Arc::new(schema), columns)
        .map_err(|error| StageError::internal(format!("the rows do not fit {}: {error}", media.name())))?;
    table::write(path, media, &batch)
}
