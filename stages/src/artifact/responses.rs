//! The responses artifact: a row per sampled response, those that became no pair as well.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float64Array, LargeStringArray, RecordBatch, StringArray, UInt32Array};

use super::{Media, schema, table};
use crate::contract::{StageError, StageResult};

/// One response, and what became of it. Texts are those of the caller.
#[derive(Debug, Clone, PartialEq)]
pub struct ResponseRow<'a> {
    /// The row id of the pair it was sampled for.
    pub row_id: String,
    /// Which of the samples of its prompt, from 0.
    pub sample_index: u32,
    /// `chosen`, `rejected`, or `candidate` where a judge took neither.
    pub side: &'static str,
    /// `kept`, or why there is no pair.
    pub fate: &'static str,
    pub prompt_tokens: u32,
    /// Generated tokens, thoughts and the end token included.
    pub tokens: u32,
    /// Why it ended; `None` where there is no response.
    pub stop: Option<&'static str>,
    /// Whether the most tokens were reached.
    pub truncated: bool,
    /// Whether it ends in one piece said over and over.
    pub looping: bool,
    /// The judge's score.
    pub score: Option<f64>,
    /// What the model thought before it answered.
    pub reasoning: Option<&'a str>,
    pub text: Option<&'a str>,
    /// The last turn of the prompt.
    pub prompt: Option<&'a str>,
    /// Why there is no response, or no score.
    pub problem: Option<&'a str>,
}

/// Writes the rows in their order.
///
/// # Errors
/// `Environment` when the file cannot be written.
pub fn write(path: &Path, rows: &[ResponseRow<'_>]) -> StageResult<()> {
    let numbers = |value: fn(&ResponseRow) -> u32| -> ArrayRef {
        Arc::new(UInt32Array::from_iter_values(rows.iter().map(value)))
    };
    let names = |value: fn(&ResponseRow) -> Option<&'static str>| -> ArrayRef {
        Arc::new(StringArray::from_iter(rows.iter().map(value)))
    };
    let texts = |value: for<'r> fn(&'r ResponseRow) -> Option<&'r str>| -> ArrayRef {
        Arc::new(LargeStringArray::from_iter(rows.iter().map(value)))
    };
    let flags = |value: fn(&ResponseRow) -> bool| -> ArrayRef {
        Arc::new(BooleanArray::from(rows.iter().map(value).collect::<Vec<bool>>()))
    };
    let columns = vec![
        Arc::new(StringArray::from_iter_values(rows.iter().map(|row| &row.row_id))) as ArrayRef,
        numbers(|row| row.sample_index),
        names(|row| Some(row.side)),
        names(|row| Some(row.fate)),
        numbers(|row| row.prompt_tokens),
        numbers(|row| row.tokens),
        names(|row| row.stop),
        flags(|row| row.truncated),
        flags(|row| row.looping),
        Arc::new(Float64Array::from_iter(rows.iter().map(|row| row.score))),
        texts(|row| row.reasoning),
        texts(|row| row.text),
        texts(|row| row.prompt),
        Arc::new(StringArray::from_iter(rows.iter().map(|row| row.problem))),
    ];
    let schema = schema::of(Media::Responses).ok_or_else(|| StageError::internal("responses have no schema"))?;
    let batch = RecordBatch::try_new(Arc::new(schema), columns)
        .map_err(|error| StageError::internal(format!("responses do not fit their schema: {error}")))?;
    table::write(path, Media::Responses, &batch)
}
