//! One record of an instruction set, in each style.

use retmask_model::text::ChatMessage;
use serde_json::{Map, Value};

use super::turns::Conversation;
use super::{Format, Selection};

/// What a record gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Extracted {
    /// The turns before the response; at least one.
    Turns(Vec<ChatMessage>),
    Redacted,
    OtherLanguage,
    Empty,
}

/// The field that marks each style, in the order in which they are looked for.
const MARKS: [(&str, Format); 6] = [
    ("conversation_hash", Format::Wildchat),
    ("conversation", Format::Lmsys),
    ("conversations", Format::Sharegpt),
    ("messages", Format::Messages),
    ("instruction", Format::Instruction),
    ("prompt", Format::Prompt),
];

/// The style of a record, from the fields it has.
///
/// # Errors
/// When it has none of the fields that mark a style.
pub fn detect(record: &Value) -> Result<Format, String> {
    let fields = object(record)?;
    match MARKS.iter().find(|(field, _)| fields.contains_key(*field)) {
        Some((field, Format::Prompt)) if fields[*field].is_array() => Ok(Format::Guru),
        Some((_, format)) => Ok(*format),
        None => {
            let names: Vec<&str> = fields.keys().take(10).map(String::as_str).collect();
            Err(format!(
                "no style of record is known that has the fields {}; expected `conversation`, `conversations`, \
                 `messages`, `instruction` or `prompt`",
                names.join(", ")
            ))
        }
    }
}

/// The instruction in a record.
///
/// # Errors
/// Naming the field that is missing or of the wrong type.
pub fn extract(record: &Value, format: Format, selection: &Selection) -> Result<Extracted, String> {
    let fields = object(record)?;
    let conversation = match format {
        Format::Lmsys | Format::Wildchat => Some(Conversation::of(fields, "conversation")?),
        Format::Sharegpt => Some(Conversation::of(fields, "conversations")?),
        Format::Messages => Some(Conversation::of(fields, "messages")?),
        Format::Guru => Some(Conversation::of(fields, "prompt")?),
        Format::Instruction | Format::Prompt => None,
        Format::Auto => return Err("the style of the records is not known yet".into()),
    };
    // Of WildChat's turns each has what the record may lack.
    let of_turns = conversation.as_ref().filter(|_| format == Format::Wildchat);
    match (fields.get("redacted"), of_turns) {
        (None | Some(Value::Null), Some(turns)) if turns.any("redacted")? => return Ok(Extracted::Redacted),
        (None | Some(Value::Null | Value::Bool(false)), _) => {}
        (Some(Value::Bool(true)), _) => return Ok(Extracted::Redacted),
        (Some(other), _) => return Err(format!("`redacted` is {}; expected true or false", kind(other))),
    }
    let language = match (optional_text(fields, "language")?, of_turns) {
        (None, Some(turns)) => turns.of_first_user("language")?,
        (language, _) => language,
    };
    if language.is_some_and(|found| !selection.language.is_empty() && !found.eq_ignore_ascii_case(selection.language)) {
        return Ok(Extracted::OtherLanguage);
    }
    let turns = match conversation {
        Some(conversation) => conversation.prompt(selection.history)?,
        None => {
            let content = match format {
                Format::Instruction => instruction(fields)?,
                _ => text(fields, "prompt")?.to_owned(),
            };
            vec![ChatMessage { role: "user".into(), content }]
        }
    };
    // What is answered is the last turn.
    let says_something = turns.last().is_some_and(|turn| !turn.content.trim().is_empty());
    Ok(if says_something { Extracted::Turns(turns) } else { Extracted::Empty })
}

/// The fields of what must be an object.
pub(super) fn object(record: &Value) -> Result<&Map<String, Value>, String> {
    record.as_object().ok_or_else(|| format!("the record is {}; expected an object", kind(record)))
}

/// The instruction, and below it the input where there is one.
fn instruction(fields: &Map<String, Value>) -> Result<String, String> {
    let instruction = text(fields, "instruction")?;
    let input = match optional_text(fields, "input")? {
        Some(input) => Some(input),
        None => match fields.get("instances") {
            None | Some(Value::Null) => None,
            Some(Value::Array(instances)) => match instances.first() {
                None => None,
                Some(Value::Object(first)) => {
                    optional_text(first, "input").map_err(|problem| format!("`instances[0]`: {problem}"))?
                }
                Some(other) => return Err(format!("`instances[0]` is {}; expected an object", kind(other))),
            },
            Some(other) => return Err(format!("`instances` is {}; expected a list", kind(other))),
        },
    };
    Ok(match input.filter(|input| !input.trim().is_empty()) {
        Some(input) => format!("{instruction}\n\n{input}"),
        None => instruction.to_owned(),
    })
}

fn text<'a>(fields: &'a Map<String, Value>, name: &str) -> Result<&'a str, String> {
    match fields.get(name) {
        Some(Value::String(text)) => Ok(text),
        Some(other) => Err(format!("`{name}` is {}; expected a text", kind(other))),
        None => Err(format!("`{name}` is missing")),
    }
}

fn optional_text<'a>(fields: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, String> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(_) => text(fields, name).map(Some),
    }
}

/// What a value is, in words.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
