//! Reads pairs: this program's table, or a ready-made preference set.

use std::path::Path;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, UInt32Type};
use retmask_model::text::ChatMessage;

use super::set;
use crate::artifact::{Media, table};
use crate::contract::{Input, StageError, StageResult};

/// A pair as it stands in the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreferencePair {
    pub row_id: String,
    pub sample_index: u32,
    pub prompt: Vec<ChatMessage>,
    pub chosen: Vec<ChatMessage>,
    pub rejected: Vec<ChatMessage>,
}

/// Reads what stands at a port of preference pairs.
///
/// # Errors
/// `Input` naming the file, the row and the field for what is not a preference set.
pub fn read(input: &Input) -> StageResult<Vec<PreferencePair>> {
    if input.media == Media::PreferenceSet { set::read(&input.path) } else { read_table(&input.path) }
}

/// Reads all pairs in order. `row_id` and `sample_index` may be absent; the row's number stands in for them.
///
/// # Errors
/// `Input` naming the file, the row and the column for a table that is not a conversational preference set.
fn read_table(path: &Path) -> StageResult<Vec<PreferencePair>> {
    let batch = table::read_any(path)?;
    if batch.num_rows() == 0 {
        return Err(StageError::input(format!("{} holds no pairs", path.display())));
    }
    let conversation = |name: &'static str| -> StageResult<Vec<Vec<ChatMessage>>> {
        let column = batch.column_by_name(name).ok_or_else(|| {
            StageError::input(format!("{}: column `{name}` is missing", path.display()))
                .with_hint("pairs have the columns prompt, chosen and rejected, each a list of {role, content}")
        })?;
        (0..batch.num_rows())
            .map(|row| {
                turns(column, row).ok_or_else(|| {
                    StageError::input(format!(
                        "{}: row {row}, column `{name}` is not a list of {{role, content}} turns",
                        path.display()
                    ))
                })
            })
            .collect()
    };
    let ids = texts(&batch, "row_id");
    let samples = numbers(&batch, "sample_index");
    let columns = conversation("prompt")?.into_iter().zip(conversation("chosen")?).zip(conversation("rejected")?);
    Ok(columns
        .enumerate()
        .map(|(row, ((prompt, chosen), rejected))| PreferencePair {
            row_id: ids.as_ref().map_or_else(|| row.to_string(), |ids| ids[row].clone()),
            sample_index: samples.as_ref().map_or(0, |samples| samples[row]),
            prompt,
            chosen,
            rejected,
        })
        .collect())
}

fn texts(batch: &RecordBatch, name: &str) -> Option<Vec<String>> {
    let column = batch.column_by_name(name)?.as_string_opt::<i32>()?;
    (column.null_count() == 0).then(|| column.iter().flatten().map(str::to_owned).collect())
}

fn numbers(batch: &RecordBatch, name: &str) -> Option<Vec<u32>> {
    let column = batch.column_by_name(name)?.as_primitive_opt::<UInt32Type>()?;
    (column.null_count() == 0).then(|| column.values().to_vec())
}

/// The turns of one row; `None` unless it is a non-empty list of structs with text `role` and `content`.
fn turns(column: &ArrayRef, row: usize) -> Option<Vec<ChatMessage>> {
    let list = match column.data_type() {
        DataType::List(_) if !column.is_null(row) => column.as_list::<i32>().value(row),
        DataType::LargeList(_) if !column.is_null(row) => column.as_list::<i64>().value(row),
        _ => return None,
    };
    let turns = list.as_struct_opt()?;
    let (roles, contents) = (turns.column_by_name("role")?, turns.column_by_name("content")?);
    let text = |column: &ArrayRef, index: usize| -> Option<String> {
        match column.data_type() {
            _ if column.is_null(index) => None,
            DataType::Utf8 => Some(column.as_string::<i32>().value(index).to_owned()),
            DataType::LargeUtf8 => Some(column.as_string::<i64>().value(index).to_owned()),
            _ => None,
        }
    };
    if turns.is_empty() {
        return None;
    }
    (0..turns.len())
        .map(|index| Some(ChatMessage { role: text(roles, index)?, content: text(contents, index)? }))
        .collect()
}
