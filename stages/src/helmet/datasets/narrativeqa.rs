//! NarrativeQA: questions about novels and film scripts (Kočiský et al. 2018), from the data set's Parquet files.

use std::fs::File;
use std::path::Path;

use arrow::array::{Array, AsArray, RecordBatch, StructArray};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Map;

use super::infbench::introduced;
use super::long_documents::first_cuts;
use crate::contract::{StageError, StageResult};
use crate::helmet::dataset::{Answered, Dataset, Example, Outside, Records, Request, Scored};
use crate::helmet::lengths;
use crate::helmet::random::{permutation, text_seed};
use crate::helmet::score::best_of_raw_and_parsed;
use crate::helmet::template::Fields;

/// The set.
pub struct NarrativeQa;

const FOLDER: &str = "narrativeqa/data";
const DEMONSTRATIONS: usize = 2;
const NEW_TOKENS: usize = 100;
/// Tokens kept for the instructions and demonstrations when a story is first cut.
const INSTRUCTIONS: usize = 200;
/// Stories up to this long are left out.
const SHORT: usize = 131_072;
/// Rows read at once: stories are long.
const BATCH: usize = 64;

/// A question, and its story where that was asked for.
struct Row {
    document: String,
    story: String,
    question: String,
    answers: Vec<String>,
}

impl Dataset for NarrativeQa {
    fn name(&self) -> &'static str {
        "narrativeqa"
    }

    fn max_new_tokens(&self) -> usize {
        NEW_TOKENS
    }

    fn chat(&self) -> bool {
        true
    }

    /// Its files have names that change with the data set's commit; they are looked for when they are read.
    fn files(&self, _length: usize, _records: Records) -> StageResult<Vec<String>> {
        Ok(Vec::new())
    }

    fn needs_data(&self, _records: Records) -> bool {
        true
    }

    fn hint(&self) -> &'static str {
        "the data set deepmind/narrativeqa on the Hugging Face hub has them; its folder `data` goes to narrativeqa/data"
    }

    fn cuts_documents(&self) -> bool {
        true
    }

    fn examples(&self, request: &Request<'_>) -> StageResult<Vec<Example>> {
        let data = request.data(self.name())?;
        let mut rows = Vec::new();
        for file in data.parquet_files(FOLDER, "test-", self.hint())? {
            read(&file, true, &mut rows)?;
        }
        let mut train = Vec::new();
        for file in data.parquet_files(FOLDER, "train-", self.hint())? {
            read(&file, false, &mut train)?;
        }
        let room = request.room.length.saturating_sub(INSTRUCTIONS + NEW_TOKENS);
        let stories: Vec<&str> = rows.iter().map(|row| row.story.as_str()).collect();
        let cuts = first_cuts(request, &stories, |tokens| tokens > SHORT, room)?;
        let long = permutation(request.seed, rows.len()).into_iter().filter(|&row| cuts[row].is_some());
        let count = lengths::demonstrations(DEMONSTRATIONS, request.room.length);
        if train.len() < count {
            return Err(StageError::input(format!("{FOLDER}: {} training rows, {count} are shown", train.len())));
        }
        let one = |number: usize| {
            (request.check)()?;
            let row = &rows[number];
            let shown = permutation(text_seed(&row.document, request.seed), train.len()).into_iter().take(count);
            let demo = |place: usize| {
                let row: &Row = &train[place];
                let answer = row.answers.first().cloned().unwrap_or_default();
                request.template.render("demo", &Fields::from([("question", row.question.clone()), ("answer", answer)]))
            };
            let demos = shown.map(demo).collect::<StageResult<Vec<_>>>()?;
            Ok(Example {
                fields: Fields::from([
                    ("context", cuts[number].clone().unwrap_or_default()),
                    ("demo", introduced(request, &demos)?),
                    ("question", row.question.clone()),
                ]),
                answers: row.answers.clone(),
                cluster: row.document.clone(),
                facts: Map::from_iter([("question".to_owned(), row.question.clone().into())]),
            })
        };
        long.take(request.samples).map(one).collect()
    }

    fn score(&self, answered: Answered<'_>) -> Scored {
        Ok(best_of_raw_and_parsed(answered, "Answer:"))
    }

    fn outside(&self) -> Option<Outside> {
        Some(Outside::JudgedAnswer)
    }
}

/// Adds a file's rows; stories only where `stories` asks for them.
fn read(path: &Path, stories: bool, rows: &mut Vec<Row>) -> StageResult<()> {
    let file = File::open(path).map_err(|error| StageError::io("read", path, &error))?;
    let bad = |why: &dyn std::fmt::Display| StageError::input(format!("{}: {why}", path.display()));
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| bad(&error))?;
    let mut columns = vec!["document.id", "question.text", "answers"];
    columns.extend(stories.then_some("document.text"));
    let mask = ProjectionMask::columns(builder.parquet_schema(), columns.iter().copied());
    let reader = builder.with_projection(mask).with_batch_size(BATCH).build().map_err(|error| bad(&error))?;
    for batch in reader {
        add(&batch.map_err(|error| bad(&error))?, stories, rows).map_err(|column| {
            bad(&format!("column `{column}` is missing, empty in places, or not as deepmind/narrativeqa has it"))
        })?;
    }
    Ok(())
}

/// Adds a batch's rows, or names the column that is not as expected.
fn add(batch: &RecordBatch, stories: bool, rows: &mut Vec<Row>) -> Result<(), &'static str> {
    let structure = |name: &'static str| batch.column_by_name(name).and_then(|column| column.as_struct_opt());
    let document = structure("document").ok_or("document")?;
    let question = structure("question").ok_or("question")?;
    let answers = batch.column_by_name("answers").and_then(|column| column.as_list_opt::<i32>()).ok_or("answers")?;
    for row in 0..batch.num_rows() {
        let items = answers.value(row);
        let items = items.as_struct_opt().ok_or("answers")?;
        let golds = (0..items.len()).map(|item| text(items, "text", item)).collect::<Option<Vec<_>>>();
        rows.push(Row {
            document: text(document, "id", row).ok_or("document.id")?,
            story: if stories { text(document, "text", row).ok_or("document.text")? } else { String::new() },
            question: text(question, "text", row).ok_or("question.text")?,
            answers: golds.filter(|golds| !golds.is_empty()).ok_or("answers.text")?,
        });
    }
    Ok(())
}

fn text(columns: &StructArray, name: &str, row: usize) -> Option<String> {
    let column = columns.column_by_name(name)?;
    if column.is_null(row) {
        return None;
    }
    let short = column.as_string_opt::<i32>().map(|texts| texts.value(row));
    short.or_else(|| column.as_string_opt::<i64>().map(|texts| texts.value(row))).map(str::to_owned)
}
