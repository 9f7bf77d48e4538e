//! InfiniteBench's books (Zhang et al. 2024): questions, multiple choice, summaries.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::long_documents::first_cuts;
use super::shuffled;
use crate::contract::{StageError, StageResult};
use crate::helmet::dataset::{Answered, Dataset, Example, Outside, Records, Request, Scored};
use crate::helmet::golds::{GoldForm, choice, letter};
use crate::helmet::lengths;
use crate::helmet::random::permutation;
use crate::helmet::score::{best_of_raw_and_parsed, multiple_choice};
use crate::helmet::template::Fields;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Task {
    Question,
    Choice,
    Summary,
}

/// One of the three sets.
pub struct InfBench {
    name: &'static str,
    file: &'static str,
    new_tokens: usize,
    task: Task,
}

/// Questions about a book.
pub const INFBENCH_QA: InfBench = InfBench {
    name: "infbench_qa_eng",
    file: "infinitebench/longbook_qa_eng.jsonl",
    new_tokens: 10,
    task: Task::Question,
};

/// Questions about a book with four options.
pub const INFBENCH_CHOICE: InfBench = InfBench {
    name: "infbench_choice_eng",
    file: "infinitebench/longbook_choice_eng.jsonl",
    new_tokens: 10,
    task: Task::Choice,
};

/// Summaries of a book.
pub const INFBENCH_SUM: InfBench = InfBench {
    name: "infbench_sum_eng",
    file: "infinitebench/longbook_sum_eng.jsonl",
    new_tokens: 1_200,
    task: Task::Summary,
};

const KEY_POINTS: &str = "infbench/longbook_sum_eng_keypoints.jsonl";
const DEMONSTRATIONS: usize = 2;
/// Tokens kept for the instructions and demonstrations when a document is first cut.
const INSTRUCTIONS: usize = 200;
/// Shorter documents are left out.
const SHORTEST: usize = 65_536;

#[derive(Deserialize)]
struct Row {
    id: i64,
    context: String,
    input: String,
    answer: Vec<String>,
    #[serde(default)]
    options: Vec<String>,
}

#[derive(Deserialize)]
struct KeyPoints {
    id: i64,
    keypoints: Vec<String>,
}

impl Dataset for InfBench {
    fn name(&self) -> &'static str {
        self.name
    }

    fn max_new_tokens(&self) -> usize {
        self.new_tokens
    }

    fn chat(&self) -> bool {
        true
    }

    fn files(&self, _length: usize, _records: Records) -> StageResult<Vec<String>> {
        let mut files = vec![self.file.to_owned()];
        if self.task == Task::Summary {
            files.push(KEY_POINTS.to_owned());
        }
        Ok(files)
    }

    fn hint(&self) -> &'static str {
        "the data set xinrongzhang2022/infinitebench on the Hugging Face hub has the longbook files, HELMET's \
         data.tar.gz (data set princeton-nlp/HELMET) the key points"
    }

    fn cuts_documents(&self) -> bool {
        true
    }

    fn examples(&self, request: &Request<'_>) -> StageResult<Vec<Example>> {
        let data = request.data(self.name)?;
        let rows: Vec<Row> = data.rows(self.file, |_| true)?;
        let wrong = |row: usize, why: &str| StageError::input(format!("{}: row {row} {why}", self.file));
        let golds = rows
            .iter()
            .enumerate()
            .map(|(number, row)| self.golds(row).ok_or_else(|| wrong(number, self.expectation())))
            .collect::<StageResult<Vec<_>>>()?;
        let key_points: Vec<KeyPoints> = match self.task {
            Task::Summary => data.rows(KEY_POINTS, |_| true)?,
            _ => Vec::new(),
        };
        let room = request.room.length.saturating_sub(INSTRUCTIONS + self.new_tokens);
        let documents: Vec<&str> = rows.iter().map(|row| row.context.as_str()).collect();
        let cuts = first_cuts(request, &documents, |tokens| tokens >= SHORTEST, room)?;
        let long: Vec<usize> = (0..rows.len()).filter(|&row| cuts[row].is_some()).collect();
        let count = lengths::demonstrations(DEMONSTRATIONS, request.room.length);
        let one = |place: usize| {
            (request.check)()?;
            let number = long[place];
            let row = &rows[number];
            let others: Vec<usize> = (0..rows.len()).filter(|&other| rows[other].id != row.id).collect();
            let order = permutation(request.seed, others.len());
            let shown: Vec<usize> = order.into_iter().take(count).map(|place| others[place]).collect();
            if shown.len() < count {
                return Err(StageError::input(format!("{}: too few rows to show {count} others", self.file)));
            }
            let demos = shown
                .into_iter()
                .map(|other| request.template.render("demo", &self.demo(&rows[other], &golds[other])))
                .collect::<StageResult<Vec<_>>>()?;
            let mut fields = self.demo(row, &golds[number]);
            fields.retain(|&name, _| name == "question" || name == "options");
            fields.insert("context", cuts[number].clone().unwrap_or_default());
            fields.insert("demo", introduced(request, &demos)?);
            let mut facts = Map::new();
            if self.task == Task::Summary {
                let points = key_points.iter().find(|points| points.id == row.id);
                let points = points.ok_or_else(|| wrong(number, "has no key points"))?;
                facts.insert("keypoints".into(), points.keypoints.clone().into());
                facts.insert("expert_summary".into(), Value::String(row.answer[0].clone()));
            }
            Ok(Example { fields, answers: golds[number].clone(), cluster: row.id.to_string(), facts })
        };
        shuffled(request, long.len()).into_iter().map(one).collect()
    }

    fn golds(&self) -> GoldForm {
        if self.task == Task::Choice { GoldForm::Choice } else { GoldForm::Answers(&[]) }
    }

    fn score(&self, answered: Answered<'_>) -> Scored {
        Ok(match self.task {
            Task::Choice => multiple_choice(answered, "Answer:"),
            Task::Question | Task::Summary => best_of_raw_and_parsed(answered, "Answer:"),
        })
    }

    fn outside(&self) -> Option<Outside> {
        (self.task == Task::Summary).then_some(Outside::JudgedSummary { book: true })
    }
}

impl InfBench {
    /// The accepted answers; for a choice the letter, and the letter with its option.
    fn golds(&self, row: &Row) -> Option<Vec<String>> {
        let first = row.answer.first()?;
        if self.task == Task::Choice { choice(&row.options, first) } else { Some(row.answer.clone()) }
    }

    fn expectation(&self) -> &'static str {
        match self.task {
            Task::Choice => "needs four options with the answer among them",
            Task::Question | Task::Summary => "has no answer",
        }
    }

    /// What a demonstration shows of a row.
    fn demo(&self, row: &Row, golds: &[String]) -> Fields {
        let options = row.options.iter().enumerate().map(|(place, option)| format!("{}. {option}", letter(place)));
        let answer = golds.first().cloned().unwrap_or_default();
        Fields::from([
            ("question", row.input.clone()),
            ("options", options.collect::<Vec<_>>().join("\n")),
            ("answer[0].strip()", crate::metrics::trim(&answer).to_owned()),
            ("answer[0]", answer),
        ])
    }
}

/// Demonstrations between what introduces and what ends them; nothing without any.
pub(super) fn introduced(request: &Request<'_>, demos: &[String]) -> StageResult<String> {
    if demos.is_empty() {
        return Ok(String::new());
    }
    let part = |name: &str| request.template.part(name);
    Ok(format!("{}{}{}", part("demo_header")?, demos.join(part("demo_separator")?), part("demos_trailer")?))
}
