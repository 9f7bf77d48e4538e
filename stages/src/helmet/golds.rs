//! Predictions made elsewhere: what a JSON object says the output is, and what is right, in every shape in which
//! HELMET's data and results have it.

use std::collections::BTreeSet;
use std::fmt;

use serde_json::{Map, Value, json};

use crate::metrics::ranking::parse_ranking;

/// What is right for a row of a dataset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GoldForm {
    /// Accepted answers: in `answer`, in `answers`, or in one of these fields.
    Answers(&'static [&'static str]),
    /// The right one of several `options`; or `answer` as the letter, or as letter and `letter. text`.
    Choice,
    /// The judged relevance of passages: `qrel`, or the `label` of each of the `ctxs`.
    Judgments,
    /// Short answers by question: `qa_pairs`.
    Questions,
    /// Golds with their aliases: `answers`.
    Lists,
}

/// What is right for one row, as [`Dataset::score`](super::dataset::Dataset::score) takes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Golds {
    pub answers: Vec<String>,
    pub facts: Map<String, Value>,
}

impl Golds {
    /// Whether a ranking names a passage of which there is no judgment; such a passage takes a rank and gains nothing.
    pub fn names_unknown_passage(&self, output: &str) -> bool {
        let Some(judged) = self.facts.get("qrel").and_then(Value::as_array) else { return false };
        let known: BTreeSet<&str> = judged.iter().filter_map(|judgment| judgment[0].as_str()).collect();
        parse_ranking(output).iter().any(|id| !known.contains(id.as_str()))
    }
}

/// What is wrong with a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowFault {
    /// The field, with the place in it: `qrel[3]`.
    pub field: String,
    pub why: String,
}

impl fmt::Display for RowFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "field `{}`: {}", self.field, self.why)
    }
}

type Row = Map<String, Value>;
type Read<T> = Result<T, RowFault>;

fn fault<T>(field: impl Into<String>, why: impl Into<String>) -> Read<T> {
    Err(RowFault { field: field.into(), why: why.into() })
}

/// The fields that may hold what the model wrote; the first that a row has counts.
pub const OUTPUTS: [&str; 3] = ["output", "raw_output", "parsed_output"];

/// What the model wrote.
///
/// # Errors
/// When a row has none of [`OUTPUTS`], or not as text.
pub fn output(row: &Row) -> Read<&str> {
    let Some((field, value)) = OUTPUTS.iter().find_map(|&field| row.get(field).map(|value| (field, value))) else {
        return fault("output", "missing; it holds what the model wrote");
    };
    match value {
        Value::String(text) => Ok(text),
        Value::Null => fault(field, "null is no answer; a row whose model call failed is left out of the file"),
        other => fault(field, format!("expected a text, not {}", described(other))),
    }
}

impl GoldForm {
    /// What is right for a row.
    ///
    /// # Errors
    /// The field that is missing, empty or of another form, and what it should be.
    pub fn read(self, row: &Row) -> Read<Golds> {
        let answers = |answers| Golds { answers, ..Golds::default() };
        let fact =
            |name: &str, value: Value| Golds { facts: Map::from_iter([(name.to_owned(), value)]), ..Golds::default() };
        match self {
            Self::Answers(own) => {
                let fields: Vec<&str> = ["answer", "answers"].iter().chain(own).copied().collect();
                let (field, value) = first_of(row, &fields, "the accepted answers, a text or a list of texts")?;
                texts(field, value).map(answers)
            }
            Self::Choice => options(row).map(answers),
            Self::Judgments => judgments(row).map(|judged| fact("qrel", judged)),
            Self::Questions => {
                let expected = "a list with the `short_answers` of each question";
                let (field, value) = first_of(row, &["qa_pairs", "answers"], expected)?;
                lists(field, value, Some("short_answers"), false).map(|lists| fact("qa_pairs", json!(lists)))
            }
            Self::Lists => {
                let (field, value) = first_of(row, &["answers", "answer"], "a list with the aliases of each gold")?;
                lists(field, value, None, true).map(|lists| fact("answers", json!(lists)))
            }
        }
    }
}

/// The field of a row that is there first.
fn first_of<'a>(row: &'a Row, fields: &[&'static str], expected: &str) -> Read<(&'static str, &'a Value)> {
    let found = fields.iter().find_map(|&field| row.get(field).map(|value| (field, value)));
    found.map_or_else(
        || {
            let others: Vec<String> = fields[1..].iter().map(|field| format!("`{field}`")).collect();
            let others = if others.is_empty() { String::new() } else { format!(", nor is {}", others.join(" or ")) };
            fault(fields[0], format!("missing{others}; it holds {expected}"))
        },
        Ok,
    )
}

/// Texts: one, a list, a list of lists, numbers (a label), or objects with a `text`.
fn texts(field: &str, value: &Value) -> Read<Vec<String>> {
    let mut found = Vec::new();
    collect(field, value, true, &mut found)?;
    if found.is_empty() {
        return fault(field, "holds no answer");
    }
    Ok(found)
}

fn collect(field: &str, value: &Value, lists: bool, found: &mut Vec<String>) -> Read<()> {
    match value {
        Value::String(text) => found.push(text.clone()),
        Value::Number(number) => found.push(number.to_string()),
        Value::Array(items) if lists => {
            for (place, item) in items.iter().enumerate() {
                // A list of lists is one list; what is nested deeper is no list of answers.
                collect(&format!("{field}[{place}]"), item, field.ends_with(|last| last != ']'), found)?;
            }
        }
        Value::Object(answer) if answer.get("text").is_some_and(Value::is_string) => {
            found.extend(answer["text"].as_str().map(str::to_owned));
        }
        other => return fault(field, format!("expected a text or a list of texts, not {}", described(other))),
    }
    Ok(())
}

/// A list for each question or gold: of texts, or in objects below `inner`. Where `single` holds, a text stands for a
/// list of itself.
fn lists(field: &str, value: &Value, inner: Option<&str>, single: bool) -> Read<Vec<Vec<String>>> {
    let expected = match inner {
        Some(inner) => format!("objects with `{inner}`, or lists of texts"),
        None => "lists of texts".to_owned(),
    };
    let Value::Array(items) = value else {
        return fault(field, format!("expected a list of {expected}, not {}", described(value)));
    };
    if items.is_empty() {
        return fault(field, "an empty list: there is nothing to score by");
    }
    let one = |(place, item): (usize, &Value)| {
        let field = format!("{field}[{place}]");
        match (item, inner) {
            (Value::Array(_), _) => texts(&field, item),
            (Value::String(text), _) if single => Ok(vec![text.clone()]),
            (Value::Object(object), Some(inner)) => match object.get(inner) {
                Some(list @ Value::Array(_)) => texts(&format!("{field}.{inner}"), list),
                Some(other) => {
                    fault(format!("{field}.{inner}"), format!("expected a list of texts, not {}", described(other)))
                }
                None => fault(format!("{field}.{inner}"), "missing"),
            },
            (other, _) => fault(&field, format!("expected {expected}, not {}", described(other))),
        }
    };
    items.iter().enumerate().map(one).collect()
}

/// The golds of a multiple choice: the option's letter, and `letter. option`.
pub(super) fn choice(options: &[String], right: &str) -> Option<Vec<String>> {
    let place = options.iter().position(|option| option == right).filter(|_| options.len() == 4)?;
    let letter = letter(place);
    Some(vec![letter.to_string(), format!("{letter}. {right}")])
}

pub(super) fn letter(place: usize) -> char {
    char::from(b'A' + (place as u8).min(25))
}

fn options(row: &Row) -> Read<Vec<String>> {
    let (field, value) = first_of(row, &["answer", "answers"], "the letter of the right option and `letter. text`")?;
    let answers = texts(field, value)?;
    let Some(options) = row.get("options") else { return Ok(answers) };
    let options = texts("options", options)?;
    // A row of the data set names the option itself, HELMET's rows its letter.
    if let Some(golds) = choice(&options, &answers[0]) {
        return Ok(golds);
    }
    match answers[0].as_str() {
        "A" | "B" | "C" | "D" => Ok(answers),
        other => fault(field, format!("`{other}` is neither one of the four `options` nor a letter from A to D")),
    }
}

fn judgments(row: &Row) -> Read<Value> {
    let expected = "the judged passages, a list of [id, relevance]";
    let (field, value) = first_of(row, &["qrel", "ctxs"], expected)?;
    let mut judged: Vec<(String, u32)> = Vec::new();
    let mut known = BTreeSet::new();
    let mut add = |place: &str, id: Option<&Value>, label: Option<&Value>| {
        let id = match id {
            Some(Value::String(id)) if !id.trim().is_empty() => id.clone(),
            Some(Value::Number(id)) if id.is_u64() => id.to_string(),
            Some(other) if !other.is_null() && other != "" => {
                return fault(place, format!("the passage's id is {}, not a text", described(other)));
            }
            _ => return fault(place, "names no passage; a judgment is [id, relevance]"),
        };
        let label = match label {
            Some(Value::Number(label)) => label.as_u64(),
            Some(Value::String(label)) => label.parse().ok(),
            _ => None,
        };
        let Some(label) = label.and_then(|label| u32::try_from(label).ok()) else {
            return fault(place, format!("passage {id} has no relevance; it is a whole number from 0"));
        };
        if !known.insert(id.clone()) {
            return fault(place, format!("passage {id} is judged twice"));
        }
        judged.push((id, label));
        Ok(())
    };
    match value {
        Value::Object(labels) => {
            for (id, label) in labels {
                add(&format!("{field}.{id}"), Some(&Value::String(id.clone())), Some(label))?;
            }
        }
        Value::Array(items) => {
            for (number, item) in items.iter().enumerate() {
                let place = format!("{field}[{number}]");
                match item {
                    Value::Array(pair) if pair.len() <= 2 => add(&place, pair.first(), pair.get(1))?,
                    Value::Object(passage) => add(&place, passage.get("id"), passage.get("label"))?,
                    other => return fault(place, format!("expected [id, relevance], not {}", described(other))),
                }
            }
        }
        other => return fault(field, format!("expected {expected}, not {}", described(other))),
    }
    if judged.is_empty() {
        return fault(field, "names no passage");
    }
    Ok(json!(judged))
}

/// A value by its JSON type, for messages.
fn described(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(value: Value) -> Row {
        value.as_object().unwrap().clone()
    }

    fn refused(form: GoldForm, value: Value) -> String {
        form.read(&row(value)).unwrap_err().to_string()
    }

    #[test]
    fn answers_come_in_every_shape_the_data_have() {
        let read = |value: Value| GoldForm::Answers(&["label"]).read(&row(value)).unwrap().answers;
        assert_eq!(read(json!({"answer": "a"})), ["a"]);
        assert_eq!(read(json!({"answer": ["a", ["b", "c"]]})), ["a", "b", "c"]);
        assert_eq!(read(json!({"answers": [{"text": "a"}, {"text": "b"}]})), ["a", "b"]);
        assert_eq!(read(json!({"label": 4})), ["4"]);
        assert_eq!(read(json!({"label": 4, "answer": "7"})), ["7"]);
        assert_eq!(output(&row(json!({"parsed_output": "p", "raw_output": "r"}))).unwrap(), "r");
    }

    #[test]
    fn golds_of_another_form_are_refused_by_field() {
        use GoldForm::{Answers, Choice, Judgments, Lists, Questions};
        assert_eq!(
            refused(Answers(&["label"]), json!({})),
            "field `answer`: missing, nor is `answers` or `label`; it holds the accepted answers, a text or a list of texts"
        );
        assert_eq!(refused(Answers(&[]), json!({"answer": []})), "field `answer`: holds no answer");
        assert_eq!(
            refused(Answers(&[]), json!({"answer": ["a", null]})),
            "field `answer[1]`: expected a text or a list of texts, not null"
        );
        assert!(refused(Answers(&[]), json!({"answer": [[["a"]]]})).contains("`answer[0][0]`"));
        assert!(refused(Choice, json!({"answer": "x", "options": ["a", "b", "c", "d"]})).contains("neither one of"));
        assert_eq!(
            refused(Judgments, json!({"qrel": [["1", 0], [null, 2]]})),
            "field `qrel[1]`: names no passage; a judgment is [id, relevance]"
        );
        assert_eq!(
            refused(Judgments, json!({"qrel": {"": 2}})),
            "field `qrel.`: names no passage; a judgment is [id, relevance]"
        );
        assert_eq!(refused(Judgments, json!({"qrel": []})), "field `qrel`: names no passage");
        assert!(refused(Judgments, json!({"qrel": [["1", -1]]})).contains("passage 1 has no relevance"));
        assert!(refused(Judgments, json!({"qrel": [["1", 1], ["1", 2]]})).contains("passage 1 is judged twice"));
        assert!(
            refused(Questions, json!({"qa_pairs": [{"question": "q"}]}))
                .contains("`qa_pairs[0].short_answers`: missing")
        );
        assert!(refused(Questions, json!({"qa_pairs": []})).contains("an empty list"));
        assert!(refused(Lists, json!({"answers": "a"})).contains("expected a list of lists of texts, not a text"));
        assert_eq!(
            output(&row(json!({"output": 3}))).unwrap_err().to_string(),
            "field `output`: expected a text, not a number"
        );
    }

    #[test]
    fn every_form_gives_what_the_metrics_take() {
        let judged = GoldForm::Judgments.read(&row(json!({"qrel": {"7": "2"}}))).unwrap();
        assert_eq!(judged.facts["qrel"], json!([["7", 2]]));
        let judged = GoldForm::Judgments.read(&row(json!({"ctxs": [{"id": 7, "label": 1}]}))).unwrap();
        assert_eq!(judged.facts["qrel"], json!([["7", 1]]));
        let questions = GoldForm::Questions.read(&row(json!({"qa_pairs": [{"short_answers": ["a"]}, ["b"]]}))).unwrap();
        assert_eq!(questions.facts["qa_pairs"], json!([["a"], ["b"]]));
        let lists = GoldForm::Lists.read(&row(json!({"answer": ["a", ["b", "c"]]}))).unwrap();
        assert_eq!(lists.facts["answers"], json!([["a"], ["b", "c"]]));
        let golds = GoldForm::Choice.read(&row(json!({"answer": ["y"], "options": ["x", "y", "z", "w"]}))).unwrap();
        assert_eq!(golds.answers, ["B", "B. y"]);
        assert_eq!(GoldForm::Choice.read(&row(json!({"answer": ["D", "D. q"]}))).unwrap().answers, ["D", "D. q"]);
    }
}
