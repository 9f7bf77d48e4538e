//! One record of an instruction set, in each style.

use serde_json::{Map, Value};

use super::Format;

/// What a record gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Extracted {
    Prompt(String),
    Redacted,
    OtherLanguage,
    Empty,
}

/// The field that marks each style, in the order in which they are looked for.
const MARKS: [(&str, Format); 4] = [
    ("conversation", Format::Lmsys),
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
        Some((_, format)) => Ok(*format),
        None => {
            let names: Vec<&str> = fields.keys().take(10).map(String::as_str).collect();
            Err(format!(
                "no style of record is known that has the fields {}; expected `conversation`, `messages`, \
                 `instruction` or `prompt`",
                names.join(", ")
            ))
        }
    }
}

/// The instruction in a record.
///
/// # Errors
/// Naming the field that is missing or of the wrong type.
pub fn extract(record: &Value, format: Format, language: &str) -> Result<Extracted, String> {
    let fields = object(record)?;
    match fields.get("redacted") {
        None | Some(Value::Null | Value::Bool(false)) => {}
        Some(Value::Bool(true)) => return Ok(Extracted::Redacted),
        Some(other) => return Err(format!("`redacted` is {}; expected true or false", kind(other))),
    }
    if let Some(found) = optional_text(fields, "language")?
        && !language.is_empty()
        && !found.eq_ignore_ascii_case(language)
    {
        return Ok(Extracted::OtherLanguage);
    }
    let text = match format {
        Format::Lmsys => first_user_turn(fields, "conversation")?,
        Format::Messages => first_user_turn(fields, "messages")?,
        Format::Instruction => Some(instruction(fields)?),
        Format::Prompt => Some(text(fields, "prompt")?.to_owned()),
        Format::Auto => return Err("the style of the records is not known yet".into()),
    };
    Ok(text.filter(|text| !text.trim().is_empty()).map_or(Extracted::Empty, Extracted::Prompt))
}

fn object(record: &Value) -> Result<&Map<String, Value>, String> {
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

/// The content of the first turn whose role is `user`.
fn first_user_turn(fields: &Map<String, Value>, name: &str) -> Result<Option<String>, String> {
    let turns = match fields.get(name) {
        Some(Value::Array(turns)) => turns,
        Some(other) => return Err(format!("`{name}` is {}; expected a list of turns", kind(other))),
        None => return Err(format!("`{name}` is missing")),
    };
    for (index, turn) in turns.iter().enumerate() {
        let place = |problem: String| format!("`{name}[{index}]`: {problem}");
        let turn = object(turn).map_err(place)?;
        if text(turn, "role").map_err(place)? == "user" {
            return text(turn, "content").map(|content| Some(content.to_owned())).map_err(place);
        }
    }
    Ok(None)
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

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
