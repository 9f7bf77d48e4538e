//! Instruction sets: JSONL, JSONL.gz or Parquet of several record styles, read into plain prompts.

mod lines;
mod record;
pub(crate) mod records;
mod rows;

use std::collections::HashSet;
use std::fmt;
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::record::Extracted;
use crate::contract::{StageError, StageResult};

/// The fields that hold something for any style of record.
const COLUMNS: [&str; 8] =
    ["conversation", "messages", "instruction", "input", "instances", "prompt", "redacted", "language"];

/// The style of an instruction set's records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// The style of the first record.
    #[default]
    Auto,
    /// LMSYS-Chat-1M: `conversation` (turns with `role` and `content`), and where given `redacted`, `language`.
    Lmsys,
    /// `messages`: turns with `role` and `content`.
    Messages,
    /// `instruction`, with an input from `input` or `instances[0].input` where there is one.
    Instruction,
    /// `prompt`: the text itself.
    Prompt,
}

/// Why records gave no instruction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Skipped {
    /// `redacted` is true.
    pub redacted: usize,
    /// `language` is another one than asked for.
    pub other_language: usize,
    /// No user turn, or an empty text.
    pub empty: usize,
    /// The same text stood in an earlier record.
    pub duplicates: usize,
}

impl fmt::Display for Skipped {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} redacted, {} in another language, {} empty, {} duplicates",
            self.redacted, self.other_language, self.empty, self.duplicates
        )
    }
}

/// What an instruction set holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Instructions {
    /// The first user turn of every record that was kept, in file order, each text once.
    pub prompts: Vec<String>,
    /// Records read.
    pub records: usize,
    pub skipped: Skipped,
}

/// Reads an instruction set. Whether it is Parquet, gzip or plain text is seen from its first bytes.
///
/// `language` keeps records of that language (and records that name none); empty keeps all.
///
/// # Errors
/// `Input` naming the file, the line or row, and the field at fault; or when no instruction is left.
/// Whatever `each` returns; it is called after every record.
pub fn read(
    path: &Path,
    format: Format,
    language: &str,
    mut each: impl FnMut() -> StageResult<()>,
) -> StageResult<Instructions> {
    let mut collector = Collector { format, language, seen: HashSet::new(), found: Instructions::default() };
    let mut add = |place: &dyn fmt::Display, record: &Value| -> StageResult<()> {
        collector
            .add(record)
            .map_err(|problem| StageError::input(format!("{}, {place}: {problem}", path.display())))?;
        each()
    };
    records::read(path, &COLUMNS, &mut add)?;
    let found = collector.found;
    if found.records == 0 {
        return Err(StageError::input(format!("{} holds no record", path.display())));
    }
    if found.prompts.is_empty() {
        return Err(StageError::input(format!(
            "{}: none of its {} records gives an instruction: {}",
            path.display(),
            found.records,
            found.skipped
        )));
    }
    Ok(found)
}

/// Gathers the prompts record by record.
struct Collector<'a> {
    format: Format,
    language: &'a str,
    seen: HashSet<blake3::Hash>,
    found: Instructions,
}

impl Collector<'_> {
    fn add(&mut self, record: &Value) -> Result<(), String> {
        if self.format == Format::Auto {
            self.format = record::detect(record)?;
        }
        self.found.records += 1;
        let skipped = &mut self.found.skipped;
        match record::extract(record, self.format, self.language)? {
            Extracted::Redacted => skipped.redacted += 1,
            Extracted::OtherLanguage => skipped.other_language += 1,
            Extracted::Empty => skipped.empty += 1,
            Extracted::Prompt(prompt) if !self.seen.insert(blake3::hash(prompt.as_bytes())) => skipped.duplicates += 1,
            Extracted::Prompt(prompt) => self.found.prompts.push(prompt),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
