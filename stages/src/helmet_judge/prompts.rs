//! What the judge is told: the project's own words, or the files of a folder.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use crate::contract::{StageError, StageResult};
use crate::helmet::template::{Fields, fill_in};

/// The largest file of a prompt; HELMET's have some kilobytes.
const LARGEST: u64 = 1 << 20;

/// The project's own words, by the names of the files.
const OWN: [(&str, &str); 7] = [
    ("longqa_judge.txt", include_str!("prompts/longqa_judge.txt")),
    ("summ_fluency_prompt.txt", include_str!("prompts/summ_fluency_prompt.txt")),
    ("summ_fluency_prompt_book.txt", include_str!("prompts/summ_fluency_prompt_book.txt")),
    ("summ_recall_prompt.txt", include_str!("prompts/summ_recall_prompt.txt")),
    ("summ_recall_prompt_book.txt", include_str!("prompts/summ_recall_prompt_book.txt")),
    ("summ_precision_prompt.txt", include_str!("prompts/summ_precision_prompt.txt")),
    ("summ_precision_prompt_book.txt", include_str!("prompts/summ_precision_prompt_book.txt")),
];

/// The prompts, each read when it is first needed.
pub struct Prompts<'a> {
    /// Without a folder, the project's own.
    folder: Option<&'a Path>,
    texts: BTreeMap<&'static str, Cow<'static, str>>,
}

impl<'a> Prompts<'a> {
    pub fn new(folder: Option<&'a Path>) -> Self {
        Self { folder, texts: BTreeMap::new() }
    }

    /// A prompt with its fields filled in.
    ///
    /// # Errors
    /// `Input` when the file is missing, too large, or has a field that does not exist.
    pub fn filled(&mut self, name: &'static str, fields: &Fields) -> StageResult<String> {
        if !self.texts.contains_key(name) {
            let text = match self.folder {
                Some(folder) => Cow::Owned(read(&folder.join(name))?),
                None => Cow::Borrowed(own(name)?),
            };
            self.texts.insert(name, text);
        }
        let text = self.texts.get(name).map_or("", |text| text);
        let place = || {
            self.folder.map_or_else(|| format!("the built-in {name}"), |folder| folder.join(name).display().to_string())
        };
        fill_in(text, fields).map_err(|reason| StageError::input(format!("{}: {reason}", place())))
    }
}

fn own(name: &str) -> StageResult<&'static str> {
    let found = OWN.iter().find(|(known, _)| *known == name).map(|(_, text)| *text);
    found.ok_or_else(|| StageError::internal(format!("there is no built-in prompt {name}")))
}

fn read(path: &Path) -> StageResult<String> {
    let size = std::fs::metadata(path).map_err(|error| StageError::io("read", path, &error))?.len();
    if size > LARGEST {
        return Err(StageError::input(format!("{}: no prompt is larger than {LARGEST} bytes", path.display())));
    }
    std::fs::read_to_string(path).map_err(|error| StageError::io("read", path, &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_own_prompt_shows_its_fields_and_the_form_of_a_verdict() {
        let fields = Fields::from(
            ["question", "correct_answers", "parsed_output", "text", "summary", "keypoints", "expert_summary"]
                .map(|name| (name, format!("<{name}>"))),
        );
        let mut prompts = Prompts::new(None);
        for (name, shown, verdict) in [
            (
                "longqa_judge.txt",
                &["question", "correct_answers", "parsed_output"][..],
                "{\"fluency\": 1, \"correctness\": 2}",
            ),
            ("summ_fluency_prompt.txt", &["text"], "{\"fluency\": 1}"),
            ("summ_fluency_prompt_book.txt", &["text"], "{\"fluency\": 1}"),
            ("summ_recall_prompt.txt", &["keypoints", "summary"], "\"recall\": 2}"),
            ("summ_recall_prompt_book.txt", &["keypoints", "summary"], "\"recall\": 2}"),
            ("summ_precision_prompt.txt", &["expert_summary", "summary"], "{\"precision\": 3, \"sentence_count\": 5}"),
            (
                "summ_precision_prompt_book.txt",
                &["expert_summary", "summary"],
                "{\"precision\": 3, \"sentence_count\": 5}",
            ),
        ] {
            let filled = prompts.filled(name, &fields).unwrap();
            assert!(filled.contains(verdict), "{name}: {filled}");
            assert!(shown.iter().all(|field| filled.contains(&format!("<{field}>"))), "{name}: {filled}");
            assert_eq!(filled.contains(" book"), name.ends_with("_book.txt"), "{name}");
        }
    }
}
