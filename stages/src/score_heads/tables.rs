//! What `score-heads` writes besides the scores: the trials table and the one-row summary.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, ListBuilder, RecordBatch, StringArray, UInt32Array, UInt32Builder,
};
use arrow::datatypes::{DataType, Field};

use super::gini::gini;
use super::trials::Trial;
use crate::artifact::head_scores::HeadScores;
use crate::artifact::{Media, schema, table};
use crate::contract::{StageError, StageResult};
use crate::rows::{Reader, RowResult, Writer};

/// What a trial gave.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The generated text without special tokens and outer white space.
    pub response: String,
    pub output_ids: Vec<u32>,
    /// From 0 to 1.
    pub rouge1_recall: f64,
    /// Scores of all heads (`layer * heads + head`) when the trial counted.
    pub scores: Option<Vec<f64>>,
}

impl RowResult for Outcome {
    fn write(&self, bytes: &mut Writer) {
        bytes.text(&self.response);
        bytes.numbers(&self.output_ids);
        bytes.real(self.rouge1_recall);
        bytes.byte(u8::from(self.scores.is_some()));
        bytes.reals(self.scores.as_deref().unwrap_or_default());
    }

    fn read(bytes: &mut Reader<'_>) -> Option<Self> {
        let (response, output_ids, rouge1_recall) = (bytes.text()?, bytes.numbers()?, bytes.real()?);
        let counted = bytes.byte()? == 1;
        let scores = Some(bytes.reals()?).filter(|_| counted);
        Some(Self { response, output_ids, rouge1_recall, scores })
    }
}

/// Writes the trials table: a row per trial, in trial order.
///
/// # Errors
/// `Environment` when the file cannot be written.
pub fn write_trials(path: &Path, trials: &[Trial], outcomes: &[Outcome]) -> StageResult<()> {
    let numbers =
        |value: fn(&Trial) -> u32| Arc::new(UInt32Array::from_iter_values(trials.iter().map(value))) as ArrayRef;
    let places = |value: fn(&std::ops::Range<usize>) -> usize| {
        Arc::new(trials.iter().map(|trial| trial.span.as_ref().map(|span| value(span) as u32)).collect::<UInt32Array>())
            as ArrayRef
    };
    let mut output_ids = ListBuilder::new(UInt32Builder::new()).with_field(Field::new("item", DataType::UInt32, false));
    for outcome in outcomes {
        output_ids.values().append_slice(&outcome.output_ids);
        output_ids.append(true);
    }
    let columns: Vec<ArrayRef> = vec![
        numbers(|trial| trial.needle),
        numbers(|trial| trial.context_length),
        numbers(|trial| trial.depth),
        numbers(|trial| trial.prompt.len() as u32),
        places(|span| span.start),
        places(|span| span.end),
        Arc::new(StringArray::from_iter_values(outcomes.iter().map(|outcome| &outcome.response))),
        Arc::new(output_ids.finish()),
        Arc::new(Float64Array::from_iter_values(outcomes.iter().map(|outcome| outcome.rouge1_recall))),
        Arc::new(BooleanArray::from_iter(outcomes.iter().map(|outcome| Some(outcome.scores.is_some())))),
    ];
    write(path, Media::Trials, columns)
}

/// Writes the summary of the scores.
///
/// # Errors
/// `Environment` when the file cannot be written.
pub fn write_summary(path: &Path, trials: usize, scores: &HeadScores) -> StageResult<()> {
    let means = scores.means();
    let number = |value: usize| Arc::new(UInt32Array::from(vec![value as u32])) as ArrayRef;
    let real = |value: f64| Arc::new(Float64Array::from(vec![value])) as ArrayRef;
    let columns = vec![
        number(trials),
        number(scores.counted()),
        number(means.len()),
        number(means.iter().filter(|mean| **mean == 0.0).count()),
        real(means.iter().copied().fold(0.0, f64::max)),
        real(gini(&means)),
    ];
    write(path, Media::HeadScoreSummary, columns)
}

fn write(path: &Path, media: Media, columns: Vec<ArrayRef>) -> StageResult<()> {
    let schema = schema::of(media).ok_or_else(|| StageError::internal(format!("{} is no table", media.name())))?;
    let batch = RecordBatch::try_new(Arc::new(schema), columns)
        .map_err(|error| StageError::internal(format!("{} does not fit its schema: {error}", media.name())))?;
    table::write(path, media, &batch)
}
