//! The tables of scores and notes.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, RecordBatch, StringArray, UInt32Array};
use arrow::datatypes::{Float64Type, UInt32Type};

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

/// A row of scores as it is read: the metric may be any.
pub struct ScoreRow {
    pub dataset: String,
    pub length: u32,
    pub example: u32,
    pub cluster: String,
    pub metric: String,
    pub value: f64,
}

/// A row of notes as it is read: names may be any.
pub struct NoteRow {
    pub dataset: String,
    pub length: u32,
    pub metric: String,
    pub note: String,
}

/// Reads a row per example and metric.
///
/// # Errors
/// `Input` when the file is not such a table or a value is missing.
pub fn read_scores(path: &Path) -> StageResult<Vec<ScoreRow>> {
    let table = Columns::read(path, Media::ExampleScores)?;
    let values = table.column("value")?.as_primitive_opt::<Float64Type>().ok_or_else(|| table.refuse("value"))?;
    let (datasets, clusters, metrics) = (table.texts("dataset")?, table.texts("cluster")?, table.texts("metric")?);
    let (lengths, examples) = (table.counts("length")?, table.counts("example")?);
    let row = |row: usize| ScoreRow {
        dataset: datasets.value(row).into(),
        length: lengths.value(row),
        example: examples.value(row),
        cluster: clusters.value(row).into(),
        metric: metrics.value(row).into(),
        value: values.value(row),
    };
    Ok((0..table.batch.num_rows()).map(row).collect())
}

/// Reads a row per note.
///
/// # Errors
/// `Input` when the file is not such a table or a value is missing.
pub fn read_notes(path: &Path) -> StageResult<Vec<NoteRow>> {
    let table = Columns::read(path, Media::ScoreNotes)?;
    let (datasets, metrics, notes) = (table.texts("dataset")?, table.texts("metric")?, table.texts("note")?);
    let lengths = table.counts("length")?;
    let row = |row: usize| NoteRow {
        dataset: datasets.value(row).into(),
        length: lengths.value(row),
        metric: metrics.value(row).into(),
        note: notes.value(row).into(),
    };
    Ok((0..table.batch.num_rows()).map(row).collect())
}

/// A table whose columns are there, without a missing value.
struct Columns<'a> {
    path: &'a Path,
    batch: RecordBatch,
}

impl<'a> Columns<'a> {
    fn read(path: &'a Path, media: Media) -> StageResult<Self> {
        let schema =
            schema::of(media).ok_or_else(|| StageError::internal(format!("{} has no schema", media.name())))?;
        Ok(Self { path, batch: table::read(path, &schema)? })
    }

    fn refuse(&self, name: &str) -> StageError {
        StageError::input(format!("{}: column `{name}` has a missing value", self.path.display()))
    }

    fn column(&self, name: &str) -> StageResult<&ArrayRef> {
        let column = self.batch.column_by_name(name).filter(|column| column.logical_null_count() == 0);
        column.ok_or_else(|| self.refuse(name))
    }

    fn texts(&self, name: &str) -> StageResult<&StringArray> {
        self.column(name)?.as_string_opt::<i32>().ok_or_else(|| self.refuse(name))
    }

    fn counts(&self, name: &str) -> StageResult<&UInt32Array> {
        self.column(name)?.as_primitive_opt::<UInt32Type>().ok_or_else(|| self.refuse(name))
    }
}

fn write(path: &Path, media: Media, columns: Vec<ArrayRef>) -> StageResult<()> {
    let schema = schema::of(media).ok_or_else(|| StageError::internal(format!("{} has no schema", media.name())))?;
    let batch = RecordBatch::try_new(Arc::new(schema), columns)
        .map_err(|error| StageError::internal(format!("the rows do not fit {}: {error}", media.name())))?;
    table::write(path, media, &batch)
}
