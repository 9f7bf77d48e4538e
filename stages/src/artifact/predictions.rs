//! The predictions artifact: what a model wrote for every evaluation example.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListBuilder, RecordBatch, StringArray, StringBuilder, UInt32Array};
use arrow::datatypes::{DataType, Field, UInt32Type};

use super::{Media, schema, table};
use crate::contract::{StageError, StageResult};

/// One evaluation example as answered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Prediction {
    pub dataset: String,
    /// Tokens of prompt and answer together that were asked for.
    pub length: u32,
    /// Counted from 0 within (dataset, length).
    pub example: u32,
    /// The independent unit the example belongs to.
    pub cluster: String,
    pub prompt_tokens: u32,
    pub generated_tokens: u32,
    /// Why the answer ended: `stop` or `length`.
    pub stop: String,
    /// What is scored: the assistant prefix and what the model wrote after it.
    pub output: String,
    pub answers: Vec<String>,
    /// A JSON object with what the metrics need besides the answers.
    pub facts: String,
}

/// Writes the rows in their order.
///
/// # Errors
/// `Environment` when the file cannot be written.
pub fn write(path: &Path, rows: &[Prediction]) -> StageResult<()> {
    let texts =
        |pick: fn(&Prediction) -> &str| -> ArrayRef { Arc::new(StringArray::from_iter_values(rows.iter().map(pick))) };
    let counts =
        |pick: fn(&Prediction) -> u32| -> ArrayRef { Arc::new(UInt32Array::from_iter_values(rows.iter().map(pick))) };
    let item = Field::new("item", DataType::Utf8, false);
    let mut answers = ListBuilder::new(StringBuilder::new()).with_field(item);
    for row in rows {
        row.answers.iter().for_each(|answer| answers.values().append_value(answer));
        answers.append(true);
    }
    let columns: Vec<ArrayRef> = vec![
        texts(|row| &row.dataset),
        counts(|row| row.length),
        counts(|row| row.example),
        texts(|row| &row.cluster),
        counts(|row| row.prompt_tokens),
        counts(|row| row.generated_tokens),
        texts(|row| &row.stop),
        texts(|row| &row.output),
        Arc::new(answers.finish()),
        texts(|row| &row.facts),
    ];
    let schema = schema::of(Media::Predictions).ok_or_else(|| StageError::internal("predictions have no schema"))?;
    let batch = RecordBatch::try_new(Arc::new(schema), columns)
        .map_err(|error| StageError::internal(format!("predictions do not fit their schema: {error}")))?;
    table::write(path, Media::Predictions, &batch)
}

/// Reads predictions.
///
/// # Errors
/// `Input` when the file is not such a table or a value is missing.
pub fn read(path: &Path) -> StageResult<Vec<Prediction>> {
    let schema = schema::of(Media::Predictions).ok_or_else(|| StageError::internal("predictions have no schema"))?;
    let batch = table::read(path, &schema)?;
    for field in schema.fields() {
        let column = batch.column_by_name(field.name()).filter(|column| column.logical_null_count() == 0);
        if column.is_none() {
            let message = format!("{}: column `{}` has a missing value", path.display(), field.name());
            return Err(StageError::input(message));
        }
    }
    let unchecked = |name: &str| StageError::internal(format!("{}: column `{name}` was not checked", path.display()));
    let texts = |name: &str| {
        let column = batch.column_by_name(name).and_then(|column| column.as_string_opt::<i32>());
        column.ok_or_else(|| unchecked(name))
    };
    let counts = |name: &str| {
        let column = batch.column_by_name(name).and_then(|column| column.as_primitive_opt::<UInt32Type>());
        column.ok_or_else(|| unchecked(name))
    };
    let answers = batch.column_by_name("answers").and_then(|column| column.as_list_opt::<i32>());
    let answers = answers.ok_or_else(|| unchecked("answers"))?;
    let (datasets, clusters, stops) = (texts("dataset")?, texts("cluster")?, texts("stop")?);
    let (outputs, facts) = (texts("output")?, texts("facts")?);
    let (lengths, examples) = (counts("length")?, counts("example")?);
    let (prompts, generated) = (counts("prompt_tokens")?, counts("generated_tokens")?);
    let row = |row: usize| {
        let golds = answers.value(row);
        let golds = golds.as_string_opt::<i32>().filter(|golds| golds.null_count() == 0).ok_or_else(|| {
            StageError::input(format!("{}: row {row}, column `answers`: an answer is missing", path.display()))
        })?;
        Ok(Prediction {
            dataset: datasets.value(row).into(),
            length: lengths.value(row),
            example: examples.value(row),
            cluster: clusters.value(row).into(),
            prompt_tokens: prompts.value(row),
            generated_tokens: generated.value(row),
            stop: stops.value(row).into(),
            output: outputs.value(row).into(),
            answers: golds.iter().flatten().map(str::to_owned).collect(),
            facts: facts.value(row).into(),
        })
    };
    (0..batch.num_rows()).map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_as_they_were_written() {
        let rows: Vec<Prediction> = (0..3)
            .map(|example| Prediction {
                dataset: "d".into(),
                length: 64,
                example,
                answers: vec!["a".into(); example as usize],
                output: format!("o{example}"),
                facts: "{}".into(),
                ..Prediction::default()
            })
            .collect();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("predictions");
        write(&path, &rows).unwrap();
        assert_eq!(read(&path).unwrap(), rows);
    }
}
