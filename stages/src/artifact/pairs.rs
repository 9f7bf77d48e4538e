//! The pairs artifact: a row per preference pair, in the conversational form TRL and `datasets` read.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, ListBuilder, RecordBatch, StringArray, StringBuilder, StructBuilder, UInt32Array};
use arrow::datatypes::{DataType, Field};
use retmask_model::text::ChatMessage;

use super::{Media, schema, table};
use crate::contract::{StageError, StageResult};

/// One side of a pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    pub text: String,
    /// Generated tokens, the end token included.
    pub tokens: u32,
    /// Why generation ended: `stop` or `length`.
    pub stop: &'static str,
}

/// One preference pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// A digest of the prompt and the sample index.
    pub row_id: String,
    /// The turns before the response.
    pub prompt: Vec<ChatMessage>,
    pub chosen: Response,
    pub rejected: Response,
    /// Which of the samples of this prompt, from 0.
    pub sample_index: u32,
    /// Tokens of the templated prompt.
    pub prompt_tokens: u32,
}

/// Writes the pairs in their order.
///
/// # Errors
/// `Environment` when the file cannot be written.
pub fn write(path: &Path, pairs: &[Pair]) -> StageResult<()> {
    let texts = |value: fn(&Pair) -> &str| Arc::new(StringArray::from_iter_values(pairs.iter().map(value))) as ArrayRef;
    let numbers =
        |value: fn(&Pair) -> u32| Arc::new(UInt32Array::from_iter_values(pairs.iter().map(value))) as ArrayRef;
    let columns = vec![
        texts(|pair| &pair.row_id),
        conversations(pairs.iter().map(|pair| turns(&pair.prompt)))?,
        conversations(pairs.iter().map(|pair| vec![("assistant", pair.chosen.text.as_str())]))?,
        conversations(pairs.iter().map(|pair| vec![("assistant", pair.rejected.text.as_str())]))?,
        numbers(|pair| pair.sample_index),
        texts(|pair| pair.chosen.stop),
        texts(|pair| pair.rejected.stop),
        numbers(|pair| pair.prompt_tokens),
        numbers(|pair| pair.chosen.tokens),
        numbers(|pair| pair.rejected.tokens),
    ];
    let schema = schema::of(Media::Pairs).ok_or_else(|| StageError::internal("pairs have no schema"))?;
    let batch = RecordBatch::try_new(Arc::new(schema), columns)
        .map_err(|error| StageError::internal(format!("pairs do not fit their schema: {error}")))?;
    table::write(path, Media::Pairs, &batch)
}

fn turns(messages: &[ChatMessage]) -> Vec<(&str, &str)> {
    messages.iter().map(|message| (message.role.as_str(), message.content.as_str())).collect()
}

/// A column of conversations, each a list of (role, content).
fn conversations<'a>(rows: impl Iterator<Item = Vec<(&'a str, &'a str)>>) -> StageResult<ArrayRef> {
    let DataType::Struct(fields) = schema::message() else {
        return Err(StageError::internal("a conversation turn is not a struct"));
    };
    let item = Field::new("item", schema::message(), false);
    let mut list = ListBuilder::new(StructBuilder::from_fields(fields, 0)).with_field(item);
    for row in rows {
        for (role, content) in row {
            let turn = list.values();
            for (index, text) in [role, content].into_iter().enumerate() {
                let Some(column) = turn.field_builder::<StringBuilder>(index) else {
                    return Err(StageError::internal("a conversation turn has no text there"));
                };
                column.append_value(text);
            }
            turn.append(true);
        }
        list.append(true);
    }
    Ok(Arc::new(list.finish()))
}
