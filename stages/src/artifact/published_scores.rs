//! The authors' head-score files: one line of JSON, `{"layer-head": [score of counted trial 1, …], …}`.

use std::fmt;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use retmask_model::heads::Head;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};

use super::head_scores::HeadScores;
use crate::contract::{StageError, StageResult};

/// Reads such a file. Heads may stand in any order; all heads of a model must be there with as many trials.
///
/// # Errors
/// `Input` naming the file and the place (line and column, or the head) at fault.
pub fn read(path: &Path) -> StageResult<HeadScores> {
    let text = fs::read_to_string(path).map_err(|error| StageError::io("read", path, &error))?;
    parse(&text).map_err(|problem| {
        StageError::input(format!("{} is not a head-score file: {problem}", path.display())).with_hint(
            "expected one JSON object {\"layer-head\": [score of trial 1, ...]} with every head of the model",
        )
    })
}

/// Writes such a file in the authors' own spelling (that of Python's `json.dumps`).
///
/// # Errors
/// `Environment` when the file cannot be written.
pub fn write(path: &Path, scores: &HeadScores) -> StageResult<()> {
    fs::write(path, render(scores)).map_err(|error| StageError::io("write", path, &error))
}

fn parse(text: &str) -> Result<HeadScores, String> {
    let mut json = serde_json::Deserializer::from_str(text);
    let rows = json.deserialize_map(Rows).map_err(|error| error.to_string())?;
    json.end().map_err(|error| error.to_string())?;
    HeadScores::from_rows(rows)
}

/// Collects the object's entries one by one, so that a key given twice is seen.
struct Rows;

impl<'de> Visitor<'de> for Rows {
    type Value = Vec<(Head, Vec<f64>)>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object {\"layer-head\": [score of trial 1, ...]}")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut rows = Vec::new();
        while let Some(key) = map.next_key::<String>()? {
            let head = parse_head(&key).ok_or_else(|| {
                A::Error::custom(format!("`{}` is not a head; expected layer-head, e.g. 15-30", shorten(&key)))
            })?;
            rows.push((head, map.next_value::<Vec<f64>>()?));
        }
        Ok(rows)
    }
}

/// A hostile key may be long; a message shows its beginning.
fn shorten(key: &str) -> String {
    key.chars().take(40).collect()
}

/// `layer-head` in plain decimal digits: no sign, no space, no leading zero, so each head has one spelling.
fn parse_head(key: &str) -> Option<Head> {
    let number = |digits: &str| -> Option<u32> {
        let plain = digits == "0" || (!digits.starts_with('0') && digits.bytes().all(|byte| byte.is_ascii_digit()));
        if plain { digits.parse().ok() } else { None }
    };
    let (layer, head) = key.split_once('-')?;
    Some(Head { layer: number(layer)?, head: number(head)? })
}

fn render(scores: &HeadScores) -> String {
    let mut text = String::from("{");
    for (index, (head, trials)) in scores.iter().enumerate() {
        if index > 0 {
            text.push_str(", ");
        }
        let _ = write!(text, "\"{head}\": [");
        for (trial, score) in trials.iter().enumerate() {
            if trial > 0 {
                text.push_str(", ");
            }
            // The authors' counters start as the integer 0.
            let _ = if *score == 0.0 { write!(text, "0") } else { write!(text, "{score:?}") };
        }
        text.push(']');
    }
    text.push('}');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_survives_reading_and_writing() {
        let text = r#"{"0-0": [0, 0.11764705882352941], "0-1": [1.9411764705882355, 1.0]}"#;
        assert_eq!(render(&parse(text).unwrap()), text);
    }

    #[test]
    fn faults_are_named() {
        let fault = |text: &str| parse(text).unwrap_err();
        assert!(fault(r#"{"0-0": [0], "0-0": [0]}"#).contains("head 0-0 is given twice"));
        assert!(fault(r#"{"0-0": [0], "0-1": [0, 0]}"#).contains("head 0-1 has 2 trials"));
        assert!(fault(r#"{"0-0": [0], "1-1": [0]}"#).contains("head 0-1 is missing"));
        assert!(fault(r#"{"0:0": [0]}"#).contains("`0:0` is not a head"));
        assert!(fault(r#"{"+0-0": [0]}"#).contains("`+0-0` is not a head"));
        assert!(fault(r#"{"00-0": [0]}"#).contains("`00-0` is not a head"));
        assert!(fault(r#"{"0-": [0]}"#).contains("`0-` is not a head"));
        assert!(fault(r#"{"0-0": [NaN]}"#).contains("line 1 column"));
        assert!(fault(r#"{"0-0": [0]} x"#).contains("trailing"));
        assert!(fault(r#"[[0, 0]]"#).contains("expected an object"));
        assert!(fault("{}").contains("no head"));
        assert!(fault(r#"{"4294967295-4294967295": [0]}"#).contains("head 0-0 is missing"));
        assert!(fault(r#"{"0-0": [0"#).contains("EOF"));
    }
}
