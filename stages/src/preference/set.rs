//! Ready-made preference sets: records of `prompt`, `chosen` and `rejected`, each a text or a list of turns.

use std::path::Path;

use retmask_model::text::ChatMessage;
use serde_json::Value;

use super::PreferencePair;
use crate::contract::{StageError, StageResult};
use crate::records::{self, Columns};

/// The fields of a record.
const FIELDS: [&str; 3] = ["prompt", "chosen", "rejected"];

/// Reads all pairs in order; a pair's id is its number, from 0.
///
/// - A text as `prompt` is a user's turn, as `chosen` or `rejected` an assistant's.
/// - Conversations that begin with the prompt are taken without it.
/// - Without `prompt`, it is the turns with which both conversations begin.
///
/// # Errors
/// `Input` naming the file, the record and the field for what is not of this form, or when there is no record.
pub fn read(path: &Path) -> StageResult<Vec<PreferencePair>> {
    let mut pairs: Vec<PreferencePair> = Vec::new();
    records::read(path, Columns::Named(&FIELDS), &mut |place, record| {
        let record = record?;
        let (prompt, chosen, rejected) = sides(record).map_err(|problem| {
            StageError::input(format!("{}, {place}: {problem}", path.display())).with_hint(
                "a preference set has the fields prompt, chosen and rejected: texts, or lists of {role, content}",
            )
        })?;
        let row_id = pairs.len().to_string();
        pairs.push(PreferencePair { row_id, sample_index: 0, prompt, chosen, rejected });
        Ok(())
    })?;
    if pairs.is_empty() {
        return Err(StageError::input(format!("{} holds no pairs", path.display())));
    }
    Ok(pairs)
}

type Turns = Vec<ChatMessage>;

/// Prompt, chosen and rejected turns of a record.
fn sides(record: &Value) -> Result<(Turns, Turns, Turns), String> {
    let record = record.as_object().ok_or("a record is an object")?;
    let field = |name: &str| record.get(name).filter(|value| !value.is_null());
    let required = |name: &str| field(name).ok_or_else(|| format!("`{name}` is missing"));
    let mut chosen = turns(required("chosen")?, "chosen", "assistant")?;
    let mut rejected = turns(required("rejected")?, "rejected", "assistant")?;
    let prompt = match field("prompt") {
        Some(prompt) => {
            let prompt = turns(prompt, "prompt", "user")?;
            for side in [&mut chosen, &mut rejected] {
                if side.starts_with(&prompt) {
                    side.drain(..prompt.len());
                }
            }
            prompt
        }
        None => {
            let alike = chosen.iter().zip(&rejected).take_while(|(left, right)| left == right).count();
            // Two conversations that are the same in all of their turns still end in an answer each.
            let shared = alike.min(chosen.len().min(rejected.len()).saturating_sub(1));
            let prompt: Turns = chosen.drain(..shared).collect();
            rejected.drain(..shared);
            prompt
        }
    };
    if prompt.is_empty() {
        return Err("`prompt` is missing, and `chosen` and `rejected` do not begin with the same turns".into());
    }
    for (side, name) in [(&chosen, "chosen"), (&rejected, "rejected")] {
        match side.iter().find(|turn| turn.role != "assistant") {
            Some(turn) => return Err(format!("after the prompt, `{name}` has a turn of `{}`", turn.role)),
            None if side.iter().all(|turn| turn.content.is_empty()) => {
                return Err(format!("`{name}` has no answer"));
            }
            None => {}
        }
    }
    Ok((prompt, chosen, rejected))
}

/// A text as one turn of this role, or the turns of a list.
fn turns(value: &Value, name: &str, role: &str) -> Result<Turns, String> {
    let turn = |value: &Value| -> Option<ChatMessage> {
        let text = |key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
        Some(ChatMessage { role: text("role").filter(|role| !role.is_empty())?, content: text("content")? })
    };
    match value {
        Value::String(content) => Ok(vec![ChatMessage { role: role.into(), content: content.clone() }]),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .map(|(index, item)| turn(item).ok_or_else(|| format!("`{name}`, turn {index}, is not {{role, content}}")))
            .collect(),
        _ => Err(format!("`{name}` is neither a text nor a list of turns")),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use serde_json::json;

    use super::*;

    fn read_text(text: &str) -> StageResult<Vec<PreferencePair>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("set.jsonl");
        std::fs::write(&path, text).unwrap();
        read(&path)
    }

    fn spelled(turns: &[ChatMessage]) -> String {
        turns.iter().map(|turn| format!("{}:{}", turn.role, turn.content)).collect::<Vec<_>>().join("|")
    }

    fn record(value: Value) -> [String; 3] {
        let (prompt, chosen, rejected) = sides(&value).unwrap();
        [&prompt, &chosen, &rejected].map(|side| spelled(side))
    }

    #[test]
    fn every_form_of_a_record_is_the_same_pair() {
        let user = json!({"role": "user", "content": "q"});
        let says = |text: &str| json!({"role": "assistant", "content": text});
        let pair = ["user:q", "assistant:good", "assistant:bad"].map(str::to_owned);
        for form in [
            json!({"prompt": "q", "chosen": "good", "rejected": "bad"}),
            json!({"prompt": [user], "chosen": [says("good")], "rejected": [says("bad")], "score": 3}),
            json!({"prompt": "q", "chosen": [user, says("good")], "rejected": [user, says("bad")]}),
            json!({"chosen": [user, says("good")], "rejected": [user, says("bad")], "prompt": null}),
            json!({"prompt": [user], "chosen": "good", "rejected": "bad"}),
        ] {
            assert_eq!(record(form.clone()), pair, "{form}");
        }
        let long = [user.clone(), says("a"), user.clone()];
        let with = |text: &str| json!(long.iter().cloned().chain([says(text)]).collect::<Vec<_>>());
        let several = record(json!({"chosen": with("good"), "rejected": with("bad")}));
        assert_eq!(several[0], "user:q|assistant:a|user:q");
        let alike = record(json!({"chosen": with("same"), "rejected": with("same")}));
        assert_eq!(alike[1..], ["assistant:same", "assistant:same"].map(str::to_owned));
    }

    #[test]
    fn what_is_no_pair_is_named() {
        for (text, problem) in [
            ("{\"prompt\": \"q\", \"chosen\": \"a\"}", "line 1: `rejected` is missing"),
            ("[1]", "line 1: a record is an object"),
            ("\n{\"prompt\": 3, \"chosen\": \"a\", \"rejected\": \"b\"}", "line 2: `prompt` is neither a text nor"),
            ("{\"chosen\": \"a\", \"rejected\": \"b\"}", "`prompt` is missing, and"),
            ("{\"prompt\": \"q\", \"chosen\": \"\", \"rejected\": \"b\"}", "`chosen` has no answer"),
            (
                "{\"prompt\": \"q\", \"chosen\": [{\"role\": \"user\"}], \"rejected\": \"b\"}",
                "`chosen`, turn 0, is not",
            ),
            (
                "{\"prompt\": \"q\", \"chosen\": [{\"role\": \"user\", \"content\": \"x\"}], \"rejected\": \"b\"}",
                "after the prompt, `chosen` has a turn of `user`",
            ),
            ("{\"prompt\"", "line 1: not JSON"),
            ("", "holds no pairs"),
        ] {
            let error = read_text(text).unwrap_err();
            assert!(error.message.contains(problem), "{text}: {}", error.message);
            assert_eq!(error.fault, crate::contract::Fault::Input);
        }
    }

    #[test]
    fn compressed_and_plain_lines_are_the_same() {
        let text = "{\"prompt\": \"q\", \"chosen\": \"a\", \"rejected\": \"b\"}\n".repeat(2);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("set.jsonl.gz");
        let mut file =
            flate2::write::GzEncoder::new(std::fs::File::create(&path).unwrap(), flate2::Compression::fast());
        file.write_all(text.as_bytes()).unwrap();
        file.finish().unwrap();
        let pairs = read(&path).unwrap();
        assert_eq!(pairs, read_text(&text).unwrap());
        assert_eq!(pairs.iter().map(|pair| pair.row_id.as_str()).collect::<Vec<_>>(), ["0", "1"]);
    }
}
