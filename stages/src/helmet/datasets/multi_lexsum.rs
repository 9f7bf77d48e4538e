//! Multi-LexSum: summaries of civil rights lawsuits from their court documents (Shen et al. 2022).

use serde::Deserialize;
use serde_json::{Map, Value};

use super::infbench::introduced;
use super::long_documents::first_cuts;
use super::shuffled;
use crate::contract::{StageError, StageResult};
use crate::helmet::dataset::{Answered, Dataset, Example, Outside, Records, Request, Scored};
use crate::helmet::golds::GoldForm;
use crate::helmet::lengths;
use crate::helmet::random::{permutation, text_seed};
use crate::helmet::score::best_of_raw_and_parsed;
use crate::helmet::template::Fields;

/// The set: its validation split is what is asked.
pub struct MultiLexSum;

const FILE: &str = "multi_lexsum/multi_lexsum_val.jsonl";
const TRAIN: &str = "multi_lexsum/releases/v20230518/train.json";
const DEMONSTRATIONS: usize = 2;
const NEW_TOKENS: usize = 400;
/// Tokens kept for the instructions and demonstrations when the documents are first cut.
const INSTRUCTIONS: usize = 300;
/// Shorter cases are left out.
const SHORTEST: usize = 65_536;

#[derive(Deserialize)]
struct Case {
    id: String,
    sources: Vec<String>,
    #[serde(rename = "summary/short")]
    short: Option<String>,
    #[serde(rename = "summary/long")]
    long: String,
    #[serde(rename = "summary/short_keypoints", default)]
    key_points: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Summary {
    #[serde(rename = "summary/short")]
    short: Option<String>,
}

impl Dataset for MultiLexSum {
    fn name(&self) -> &'static str {
        "multi_lexsum"
    }

    fn max_new_tokens(&self) -> usize {
        NEW_TOKENS
    }

    fn chat(&self) -> bool {
        true
    }

    fn files(&self, _length: usize, _records: Records) -> StageResult<Vec<String>> {
        Ok(vec![FILE.to_owned(), TRAIN.to_owned()])
    }

    fn hint(&self) -> &'static str {
        "HELMET's data.tar.gz (data set princeton-nlp/HELMET on the Hugging Face hub) has multi_lexsum_val.jsonl, the \
         data set allenai/multi_lexsum has releases/v20230518/train.json"
    }

    fn cuts_documents(&self) -> bool {
        true
    }

    fn examples(&self, request: &Request<'_>) -> StageResult<Vec<Example>> {
        let data = request.data(self.name())?;
        let mut cases: Vec<Case> = data.rows(FILE, |_| true)?;
        cases.retain(|case| case.short.is_some());
        let train: Vec<Summary> = data.rows(TRAIN, |_| true)?;
        let train: Vec<String> = train.into_iter().filter_map(|row| row.short).collect();
        let documents: Vec<String> = cases.iter().map(|case| case.sources.join("\n\n")).collect();
        let documents: Vec<&str> = documents.iter().map(String::as_str).collect();
        let room = request.room.length.saturating_sub(INSTRUCTIONS + NEW_TOKENS);
        let cuts = first_cuts(request, &documents, |tokens| tokens >= SHORTEST, room)?;
        let long: Vec<usize> = (0..cases.len()).filter(|&case| cuts[case].is_some()).collect();
        let order =
            if long.len() > request.samples { shuffled(request, long.len()) } else { (0..long.len()).collect() };
        let count = lengths::demonstrations(DEMONSTRATIONS, request.room.length);
        if train.len() < count {
            return Err(StageError::input(format!("{TRAIN}: {} short summaries, {count} are shown", train.len())));
        }
        let one = |place: usize| {
            (request.check)()?;
            let case = &cases[long[place]];
            let shown = permutation(text_seed(&case.id, request.seed), train.len()).into_iter().take(count);
            let demo =
                |row: usize| request.template.render("demo", &Fields::from([("summary_short", train[row].clone())]));
            let demos = shown.map(demo).collect::<StageResult<Vec<_>>>()?;
            let points = case.key_points.clone().ok_or_else(|| {
                StageError::input(format!("{FILE}: the case {} has no `summary/short_keypoints`", case.id))
            })?;
            Ok(Example {
                fields: Fields::from([
                    ("context", cuts[long[place]].clone().unwrap_or_default()),
                    ("demo", introduced(request, &demos)?),
                    ("question", String::new()),
                ]),
                answers: case.short.clone().into_iter().collect(),
                cluster: case.id.clone(),
                facts: Map::from_iter([
                    ("keypoints".to_owned(), points.into()),
                    ("expert_summary".to_owned(), Value::String(case.long.clone())),
                ]),
            })
        };
        order.into_iter().map(one).collect()
    }

    fn golds(&self) -> GoldForm {
        GoldForm::Answers(&["summary/short"])
    }

    fn score(&self, answered: Answered<'_>) -> Scored {
        Ok(best_of_raw_and_parsed(answered, "Summary:"))
    }

    fn outside(&self) -> Option<Outside> {
        Some(Outside::JudgedSummary { book: false })
    }
}
