//! Multiple choice: the option whose letter is most likely behind the question (MMLU; Hendrycks et al. 2021, arXiv
//! 2009.03300).

use serde_json::Value;

use super::records::Record;
use crate::contract::StageResult;
use crate::helmet::template::{Fields, Template};

/// The columns of MMLU's CSV files, which have no header.
pub const COLUMNS: [&str; 6] = ["question", "A", "B", "C", "D", "answer"];
/// More options than letters are refused.
const LETTERS: &[u8; 26] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ";

/// A question with its options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// What it is about; empty where that is not said.
    pub subject: String,
    question: String,
    options: Vec<String>,
    /// The place of the right option.
    pub answer: usize,
}

/// The letter of an option.
pub fn letter(place: usize) -> &'static str {
    std::str::from_utf8(&LETTERS[place..=place]).unwrap_or("?")
}

impl Choice {
    /// Reads a record: `question`; `choices`, or a field per letter; `answer`, a letter or the place counted from 0; and
    /// `subject`, which in MMLU's archive stands in the file's name.
    ///
    /// # Errors
    /// `Input` with the field that is missing or malformed.
    pub fn read(record: &Record) -> StageResult<Self> {
        let options: Vec<String> = match record.fields.get("choices") {
            Some(Value::Array(items)) => {
                let texts = items.iter().map(|item| item.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>();
                texts.ok_or_else(|| record.wrong("choices", "an option is no text"))?
            }
            Some(_) => return Err(record.wrong("choices", "expected a list of texts")),
            None => {
                let count = LETTERS.len();
                let present = (0..count).take_while(|&place| record.fields.contains_key(letter(place))).count();
                if present == 0 {
                    return Err(record.wrong("choices", "is missing, and so are fields `A`, `B`, ..."));
                }
                (0..present).map(|place| record.text(letter(place)).map(str::to_owned)).collect::<StageResult<_>>()?
            }
        };
        if !(2..=LETTERS.len()).contains(&options.len()) {
            let why = format!("{} options; expected 2 to {}", options.len(), LETTERS.len());
            return Err(record.wrong("choices", why));
        }
        let answer = match record.fields.get("answer") {
            Some(Value::String(text)) => (0..options.len()).find(|&place| letter(place) == text.trim()),
            Some(value) => value.as_u64().and_then(|place| usize::try_from(place).ok()),
            None => None,
        };
        let answer = answer.filter(|&place| place < options.len()).ok_or_else(|| {
            let last = letter(options.len() - 1);
            record.wrong("answer", format!("expected a letter from A to {last}, or a place from 0"))
        })?;
        let subject = match record.fields.get("subject") {
            Some(Value::String(subject)) => subject.clone(),
            _ => {
                ["_test", "_dev", "_val"].iter().find_map(|end| record.file.strip_suffix(end)).unwrap_or("").to_owned()
            }
        };
        Ok(Self { subject, question: record.text("question")?.to_owned(), options, answer })
    }

    pub fn options(&self) -> usize {
        self.options.len()
    }

    /// The question with its options, up to where the letter comes.
    pub fn asked(&self, template: &Template<'_>) -> StageResult<String> {
        let mut options = String::new();
        for (place, text) in self.options.iter().enumerate() {
            let fields = Fields::from([("letter", letter(place).to_owned()), ("text", text.clone())]);
            options += &template.render("option", &fields)?;
        }
        template.render("question", &Fields::from([("question", self.question.clone()), ("options", options)]))
    }

    /// What stands behind the question when this option is named.
    pub fn ending(&self, template: &Template<'_>, place: usize) -> StageResult<String> {
        template.render("ending", &Fields::from([("letter", letter(place).to_owned())]))
    }

    /// What stands in front of all questions about its subject.
    pub fn introduction(&self, template: &Template<'_>) -> StageResult<String> {
        let subject = match self.subject.as_str() {
            "" => String::new(),
            subject => template.render("subject", &Fields::from([("name", subject.replace('_', " "))]))?,
        };
        template.render("introduction", &Fields::from([("subject", subject)]))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::helmet::template::Templates;

    fn record(fields: Value) -> Record {
        let Value::Object(fields) = fields else { panic!("an object") };
        Record { place: "m.csv, line 1".into(), file: "old_mills_test".into(), fields }
    }

    #[test]
    fn archive_and_hub_give_the_same_question() {
        let archive = json!({"question": "Q?", "A": "w", "B": "x", "C": "y", "D": "z", "answer": "C"});
        let hub = json!({"question": "Q?", "subject": "old_mills", "choices": ["w", "x", "y", "z"], "answer": 2});
        let read = Choice::read(&record(archive)).unwrap();
        assert_eq!(read, Choice::read(&record(hub)).unwrap());
        assert_eq!((read.subject.as_str(), read.answer), ("old_mills", 2));
        let templates = Templates::from_json(super::super::TEMPLATES, "own").unwrap();
        let template = templates.of("multiple-choice").unwrap();
        assert_eq!(read.asked(&template).unwrap(), "Q?\nA. w\nB. x\nC. y\nD. z\nAnswer:");
        assert_eq!(read.ending(&template, 3).unwrap(), " D");
        assert!(read.introduction(&template).unwrap().contains("about old mills has"));
    }

    #[test]
    fn faults_name_the_field() {
        let fault = |fields| Choice::read(&record(fields)).unwrap_err().message;
        assert!(fault(json!({"question": "Q?"})).starts_with("m.csv, line 1: field `choices`: is missing"));
        assert!(fault(json!({"question": "Q?", "choices": ["a"], "answer": 0})).contains("1 options"));
        assert!(fault(json!({"question": "Q?", "choices": ["a", "b"], "answer": "C"})).contains("from A to B"));
        assert!(fault(json!({"question": "Q?", "choices": ["a", "b"], "answer": 2})).contains("field `answer`"));
    }
}
