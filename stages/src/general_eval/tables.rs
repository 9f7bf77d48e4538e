//! The three tables.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray, UInt32Array};

use super::score::{AnswerRow, Results, ScoreRow, SummaryRow};
use crate::artifact::{Media, schema, table};
use crate::contract::{Outputs, StageError, StageResult};

/// Writes all tables.
///
/// # Errors
/// `Environment` when a file cannot be written.
pub fn write(outputs: &Outputs, results: &Results) -> StageResult<()> {
    fn texts<R>(rows: &[R], pick: impl Fn(&R) -> &str) -> ArrayRef {
        Arc::new(StringArray::from_iter_values(rows.iter().map(pick)))
    }
    fn counts<R>(rows: &[R], pick: impl Fn(&R) -> u32) -> ArrayRef {
        Arc::new(UInt32Array::from_iter_values(rows.iter().map(pick)))
    }
    let Results { answers, scores, summary } = results;
    let facts = answers.iter().map(|row| serde_json::Value::Object(row.facts.clone()).to_string());
    let columns = vec![
        texts(answers, |row: &AnswerRow| &row.task),
        counts(answers, |row| row.example),
        counts(answers, |row| row.prompt_tokens),
        counts(answers, |row| row.generated_tokens),
        texts(answers, |row| row.stop),
        texts(answers, |row| &row.output),
        texts(answers, |row| &row.expected),
        Arc::new(StringArray::from_iter_values(facts)) as ArrayRef,
    ];
    one(outputs, "answers", Media::GeneralAnswers, columns)?;
    let columns = vec![
        texts(scores, |row: &ScoreRow| &row.task),
        counts(scores, |row| row.example),
        texts(scores, |row| &row.cluster),
        texts(scores, |row| row.metric),
        Arc::new(Float64Array::from_iter_values(scores.iter().map(|row| row.value))) as ArrayRef,
    ];
    one(outputs, "scores", Media::GeneralScores, columns)?;
    let reals = |pick: &dyn Fn(&SummaryRow) -> Option<f64>| -> ArrayRef {
        Arc::new(summary.iter().map(pick).collect::<Float64Array>())
    };
    let columns = vec![
        texts(summary, |row: &SummaryRow| &row.task),
        texts(summary, |row| row.kind.name()),
        texts(summary, |row| row.metric),
        reals(&|row| row.value),
        reals(&|row| row.interval.map(|[low, _]| low)),
        reals(&|row| row.interval.map(|[_, high]| high)),
        counts(summary, |row| row.examples),
        texts(summary, |row| &row.note),
    ];
    one(outputs, "summary", Media::GeneralSummary, columns)
}

fn one(outputs: &Outputs, port: &str, media: Media, columns: Vec<ArrayRef>) -> StageResult<()> {
    let schema = schema::of(media).ok_or_else(|| StageError::internal(format!("{} has no schema", media.name())))?;
    let batch = RecordBatch::try_new(Arc::new(schema), columns)
        .map_err(|error| StageError::internal(format!("the rows do not fit {}: {error}", media.name())))?;
    table::write(&outputs.path(port), media, &batch)
}
