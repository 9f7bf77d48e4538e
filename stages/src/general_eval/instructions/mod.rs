//! Instructions that a program can check (IFEval; Zhou et al. 2023, arXiv 2311.07911): 25 of them, each with values of
//! its own.

mod check;
mod language;
mod marks;
mod words;

use serde_json::{Map, Value};

use super::records::Record;
use crate::contract::StageResult;
use crate::metrics::punkt::Punkt;
use crate::metrics::trim;

pub use check::Instruction;

/// A prompt and what its answer has to follow.
#[derive(Debug, Clone, PartialEq)]
pub struct Prompt {
    pub text: String,
    /// The instructions' names and what they are, in the order of the record.
    pub instructions: Vec<(String, Instruction)>,
}

/// Whether an answer follows an instruction as it stands, and with beginnings, ends and emphasis forgiven; `None` where
/// no program here can tell.
pub type Verdict = Option<[bool; 2]>;

/// Reads a record: `prompt`, `instruction_id_list` and `kwargs`, a list of as many objects.
///
/// # Errors
/// `Input` with the field that is missing or malformed, or an instruction that does not exist.
pub fn prompt(record: &Record) -> StageResult<Prompt> {
    let list = |field: &str| match record.fields.get(field) {
        Some(Value::Array(items)) => Ok(items),
        _ => Err(record.wrong(field, "expected a list")),
    };
    let (names, values) = (list("instruction_id_list")?, list("kwargs")?);
    if names.is_empty() || names.len() != values.len() {
        let why = format!("{} instructions, but {} objects of values", names.len(), values.len());
        return Err(record.wrong("kwargs", why));
    }
    let nothing = Map::new();
    let one = |(name, values): (&Value, &Value)| {
        let name = name.as_str().ok_or_else(|| record.wrong("instruction_id_list", "a name is no text"))?;
        let values = match values {
            Value::Object(values) => values,
            Value::Null => &nothing,
            _ => return Err(record.wrong("kwargs", format!("the values of {name} are no object"))),
        };
        let instruction =
            Instruction::read(name, values).map_err(|why| record.wrong("kwargs", format!("{name}: {why}")))?;
        Ok((name.to_owned(), instruction))
    };
    let instructions = names.iter().zip(values).map(one).collect::<StageResult<_>>()?;
    Ok(Prompt { text: record.text("prompt")?.to_owned(), instructions })
}

/// Whether an answer follows an instruction. `punkt` splits sentences.
pub fn verdict(instruction: &Instruction, answer: &str, punkt: &Punkt) -> Verdict {
    // An answer of nothing follows nothing.
    let follows = |text: &str| -> Option<bool> {
        let followed = instruction.followed_by(text, punkt)?;
        Some(followed && !trim(text).is_empty())
    };
    let strict = follows(answer)?;
    let mut loose = strict;
    for text in forgiving(answer) {
        loose = loose || follows(&text)?;
    }
    Some([strict, loose])
}

/// The answer without its first line, its last line and both, and all four without asterisks.
fn forgiving(answer: &str) -> Vec<String> {
    let lines: Vec<&str> = answer.split('\n').collect();
    let joined = |lines: &[&str]| trim(&lines.join("\n")).to_owned();
    let count = lines.len();
    let cut = [
        joined(&lines[1..]),
        joined(&lines[..count - 1]),
        if count > 1 { joined(&lines[1..count - 1]) } else { String::new() },
    ];
    let plain: Vec<String> =
        std::iter::once(answer).chain(cut.iter().map(String::as_str)).map(|text| text.replace('*', "")).collect();
    cut.into_iter().chain(plain).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn record(fields: Value) -> Record {
        let Value::Object(fields) = fields else { panic!("an object") };
        Record { place: "input_data.jsonl, line 3".into(), file: "input_data".into(), fields }
    }

    #[test]
    fn records_are_read_with_and_without_empty_values() {
        let read = prompt(&record(json!({
            "key": 7, "prompt": "Write.", "instruction_id_list": ["punctuation:no_comma", "startend:end_checker"],
            "kwargs": [{"end_phrase": null, "num_words": null}, {"end_phrase": "Bye."}],
        })))
        .unwrap();
        assert_eq!((read.text.as_str(), read.instructions.len()), ("Write.", 2));
        assert_eq!(read.instructions[1].1, Instruction::Ends { phrase: "Bye.".into() });
    }

    #[test]
    fn faults_name_place_and_field() {
        let fault = |fields| prompt(&record(fields)).unwrap_err().message;
        let with = |names: Value, values: Value| json!({"prompt": "p", "instruction_id_list": names, "kwargs": values});
        assert_eq!(
            fault(with(json!(["a", "b"]), json!([{}]))),
            "input_data.jsonl, line 3: field `kwargs`: 2 instructions, but 1 objects of values"
        );
        assert!(fault(with(json!(["keywords:nothing"]), json!([{}]))).contains("keywords:nothing: there is no such"));
        assert!(fault(with(json!(["startend:end_checker"]), json!([{}]))).contains("`end_phrase` is missing"));
        assert!(
            fault(with(json!(["length_constraints:number_words"]), json!([{"num_words": 3, "relation": "about"}])))
                .contains("`relation` is neither `at least` nor `less than`")
        );
        assert!(fault(json!({"prompt": "p"})).contains("field `instruction_id_list`: expected a list"));
    }

    #[test]
    fn the_loose_form_forgives_a_line_in_front_and_emphasis() {
        let punkt = Punkt::default();
        let quoted = Instruction::Quoted;
        assert_eq!(verdict(&quoted, "Sure:\n\"Yes.\"", &punkt), Some([false, true]));
        assert_eq!(verdict(&quoted, "*\"Yes.\"*", &punkt), Some([false, true]));
        assert_eq!(verdict(&quoted, "\"Yes.\"", &punkt), Some([true, true]));
        assert_eq!(verdict(&Instruction::NoComma, " ", &punkt), Some([false, false]));
        let swahili = Instruction::Language { code: "sw".into() };
        assert_eq!(verdict(&swahili, "Habari ya leo", &punkt), None);
    }
}
