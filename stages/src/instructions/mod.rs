//! Instruction sets: JSONL, JSONL.gz or Parquet of several record styles, read into the turns before a response.

mod record;
mod turns;

use std::collections::HashSet;
use std::fmt;
use std::path::Path;

use retmask_model::text::ChatMessage;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::record::Extracted;
use crate::contract::{StageError, StageResult};
use crate::records::{self, Columns};

/// The fields that hold something for any style of record.
const COLUMNS: [&str; 10] = [
    "conversation",
    "conversation_hash",
    "conversations",
    "messages",
    "instruction",
    "input",
    "instances",
    "prompt",
    "redacted",
    "language",
];

/// Bad rows whose faults are kept; the rest is counted.
const MOST_TOLD: usize = 20;

/// The style of an instruction set's records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// The style of the first record.
    #[default]
    Auto,
    /// LMSYS-Chat-1M and -Synth: `conversation` (turns with `role` and `content`), and where given `redacted`, `language`.
    Lmsys,
    /// WildChat: the same; where the record has none, `redacted` and `language` are those of its turns.
    Wildchat,
    /// ShareGPT: `conversations`, turns with `from` and `value` (or `role` and `content`).
    Sharegpt,
    /// OpenAI's: `messages`, turns with `role` and `content`, a text or a list of text parts.
    Messages,
    /// Alpaca: `instruction`, with an input from `input` or `instances[0].input` where there is one.
    Instruction,
    /// Guru: `prompt`, a list of turns with `role` and `content`.
    Guru,
    /// `prompt`: the text itself.
    Prompt,
}

/// How much of a conversation is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum History {
    /// The first user turn.
    #[default]
    FirstTurn,
    /// All turns up to the last one of the user, with the answers in between as they stand.
    Full,
}

/// What is read of an instruction set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection<'a> {
    pub format: Format,
    pub history: History,
    /// Keeps records of that language (and records that name none); empty keeps all.
    pub language: &'a str,
    /// The fewest characters of all turns together.
    pub min_characters: usize,
    /// The most.
    pub max_characters: Option<usize>,
    /// Rows that may be malformed.
    pub max_bad_rows: usize,
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
    /// Fewer characters than asked for.
    pub too_short: usize,
    /// More characters than asked for.
    pub too_long: usize,
}

impl fmt::Display for Skipped {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { redacted, other_language, empty, duplicates, too_short, too_long } = self;
        write!(
            formatter,
            "{redacted} redacted, {other_language} in another language, {empty} empty, {duplicates} duplicates, \
             {too_short} too short, {too_long} too long"
        )
    }
}

/// Rows that are no records, as many as are allowed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BadRows {
    pub count: usize,
    /// File, line or row, and fault of the first ones.
    pub told: Vec<String>,
}

/// What an instruction set holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Instructions {
    /// The turns before the response of every record that was kept, in file order, each conversation once.
    pub prompts: Vec<Vec<ChatMessage>>,
    /// Rows read, bad ones included.
    pub records: usize,
    pub skipped: Skipped,
    pub bad: BadRows,
}

/// Reads an instruction set. Whether it is Parquet, gzip or plain text is seen from its first bytes.
///
/// # Errors
/// `Input` naming the file, the line or row, and the field at fault, of the first row too many; or when no instruction
/// is left. Whatever `each` returns; it is called after every record.
pub fn read(
    path: &Path,
    selection: &Selection,
    mut each: impl FnMut() -> StageResult<()>,
) -> StageResult<Instructions> {
    let mut collector =
        Collector { selection, format: selection.format, seen: HashSet::new(), found: Instructions::default() };
    records::read(path, Columns::Named(&COLUMNS), &mut |place, record| {
        collector.found.records += 1;
        let named = |problem: String| StageError::input(format!("{}, {place}: {problem}", path.display()));
        let added = record.and_then(|record| collector.add(record).map_err(named));
        if let Err(error) = added {
            collector.bad(error)?;
        }
        each()
    })?;
    let found = collector.found;
    if found.records == 0 {
        return Err(StageError::input(format!("{} holds no record", path.display())));
    }
    if found.prompts.is_empty() {
        return Err(StageError::input(format!(
            "{}: none of its {} records gives an instruction: {}, {} malformed",
            path.display(),
            found.records,
            found.skipped,
            found.bad.count
        )));
    }
    Ok(found)
}

/// Gathers the prompts record by record.
struct Collector<'a> {
    selection: &'a Selection<'a>,
    /// The style, once it is known.
    format: Format,
    seen: HashSet<blake3::Hash>,
    found: Instructions,
}

impl Collector<'_> {
    fn add(&mut self, record: &Value) -> Result<(), String> {
        if self.format == Format::Auto {
            self.format = record::detect(record)?;
        }
        let skipped = &mut self.found.skipped;
        let turns = match record::extract(record, self.format, self.selection)? {
            Extracted::Redacted => {
                skipped.redacted += 1;
                return Ok(());
            }
            Extracted::OtherLanguage => {
                skipped.other_language += 1;
                return Ok(());
            }
            Extracted::Empty => {
                skipped.empty += 1;
                return Ok(());
            }
            Extracted::Turns(turns) => turns,
        };
        let characters: usize = turns.iter().map(|turn| turn.content.chars().count()).sum();
        if characters < self.selection.min_characters {
            skipped.too_short += 1;
        } else if self.selection.max_characters.is_some_and(|most| characters > most) {
            skipped.too_long += 1;
        } else if !self.seen.insert(identity(&turns)) {
            skipped.duplicates += 1;
        } else {
            self.found.prompts.push(turns);
        }
        Ok(())
    }

    /// Counts a row that is no record.
    ///
    /// # Errors
    /// Its fault, when it is one too many.
    fn bad(&mut self, error: StageError) -> StageResult<()> {
        let BadRows { count, told } = &mut self.found.bad;
        *count += 1;
        let most = self.selection.max_bad_rows;
        if *count > most {
            return Err(match most {
                0 => error,
                most => error.with_hint(format!("it is malformed row {count}; `max-bad-rows` allows {most}")),
            });
        }
        if told.len() < MOST_TOLD {
            told.push(error.message);
        }
        Ok(())
    }
}

/// A digest of the turns, each text framed by its length.
fn identity(turns: &[ChatMessage]) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    for text in turns.iter().flat_map(|turn| [&turn.role, &turn.content]) {
        hasher.update(&(text.len() as u64).to_le_bytes());
        hasher.update(text.as_bytes());
    }
    hasher.finalize()
}

#[cfg(test)]
mod tests;
