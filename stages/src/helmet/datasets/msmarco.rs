//! Re-ranking of MS MARCO passages by the queries and judgments of TREC DL 2019 (Craswell et al. 2020).

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::{Map, json};

use super::passages::{demonstrations, joined};
use crate::contract::{StageError, StageResult};
use crate::helmet::dataset::{Answered, Dataset, Example, Records, Request, Scored};
use crate::helmet::golds::GoldForm;
use crate::helmet::lengths;
use crate::helmet::random::PythonRandom;
use crate::helmet::score::ranking_metrics;
use crate::helmet::template::Fields;

/// The set: each query three times, its candidates in three orders.
pub struct MsMarcoRerank;

/// Candidates in each row of the test file at HELMET's lengths.
const CANDIDATES: [usize; 5] = [50, 130, 285, 600, 1_000];
const DEMONSTRATIONS: usize = 2;
const DEMOS: &str = "msmarco/test_reranking_data_k10_dep3.jsonl";

#[derive(Deserialize)]
struct Key {
    qid: String,
}

#[derive(Deserialize)]
struct Row {
    qid: String,
    query: String,
    ctxs: Vec<Candidate>,
}

/// A passage and its judged relevance, 0 to 3.
#[derive(Deserialize)]
struct Candidate {
    id: String,
    title: Option<String>,
    text: String,
    label: u32,
}

impl Dataset for MsMarcoRerank {
    fn name(&self) -> &'static str {
        "msmarco_rerank_psg"
    }

    fn max_new_tokens(&self) -> usize {
        200
    }

    fn files(&self, length: usize, _records: Records) -> StageResult<Vec<String>> {
        let candidates = lengths::items(CANDIDATES, length)?.in_file;
        Ok(vec![format!("msmarco/test_reranking_data_k{candidates}_dep3.jsonl"), DEMOS.to_owned()])
    }

    fn examples(&self, request: &Request<'_>) -> StageResult<Vec<Example>> {
        let data = request.data(self.name())?;
        let length = request.room.length;
        let file = &self.files(length, request.records)?[0];
        let candidates = lengths::items(CANDIDATES, length)?;
        let keys: Vec<Key> = data.rows(file, |_| true)?;
        let distinct: BTreeSet<&str> = keys.iter().map(|key| key.qid.as_str()).collect();
        let sorted: Vec<&str> = distinct.into_iter().collect();
        let drawn = PythonRandom::new(request.seed).sample(sorted.len(), request.samples.min(sorted.len()));
        let asked: BTreeSet<&str> = drawn.into_iter().map(|place| sorted[place]).collect();
        let rows: Vec<Row> =
            data.rows(file, |row| keys.get(row).is_some_and(|key| asked.contains(key.qid.as_str())))?;
        let pool: Vec<Row> = data.rows(DEMOS, |_| true)?;
        let names: Vec<&str> = pool.iter().map(|row| row.qid.as_str()).collect();
        // A pool much larger than the test set loses all that is asked; a small one only the row's own query.
        let large = pool.len() > 2 * rows.len();
        let count = lengths::demonstrations(DEMONSTRATIONS, length);
        let one = |row: &Row| {
            (request.check)()?;
            let usable = |qid: &str| if large { !asked.contains(qid) } else { qid != row.qid };
            let demos = demonstrations(&names, &row.qid, count, usable)?;
            let demos = demos.into_iter().map(|demo| demo_of(request, &pool[demo])).collect::<StageResult<Vec<_>>>()?;
            // Of fewer candidates than the file has, the first of the most relevant stays.
            let best = row.ctxs.iter().map(|candidate| candidate.label).max();
            let best = row.ctxs.iter().position(|candidate| Some(candidate.label) == best);
            let shown = lengths::thinned(row.ctxs.len(), candidates.shown, |place| Some(place) == best);
            let shown: Vec<&Candidate> = shown.into_iter().map(|place| &row.ctxs[place]).collect();
            if shown.is_empty() {
                return Err(StageError::input(format!("{file}: the query {} has no candidates", row.qid)));
            }
            let judged = |candidate: &&Candidate| json!([candidate.id, candidate.label]);
            Ok(Example {
                fields: Fields::from([
                    ("demos", joined(request.template, &demos)?),
                    ("context", passages(request, &shown)?),
                    ("question", row.query.clone()),
                ]),
                answers: vec![ranking(&shown)],
                cluster: row.qid.clone(),
                facts: Map::from_iter([("qrel".to_owned(), shown.iter().map(judged).collect())]),
            })
        };
        rows.iter().map(one).collect()
    }

    fn golds(&self) -> GoldForm {
        GoldForm::Judgments
    }

    fn score(&self, answered: Answered<'_>) -> Scored {
        ranking_metrics(answered)
    }
}

fn passages(request: &Request<'_>, candidates: &[&Candidate]) -> StageResult<String> {
    let one = |candidate: &&Candidate| {
        let mut fields = Fields::from([("id", candidate.id.clone()), ("text", candidate.text.clone())]);
        let part = match &candidate.title {
            Some(title) => {
                fields.insert("title", title.clone());
                "passage_if_title_field"
            }
            None => "passage",
        };
        request.template.render(part, &fields)
    };
    Ok(candidates.iter().map(one).collect::<StageResult<Vec<_>>>()?.join("\n\n"))
}

/// The ids from the most to the least relevant; equally relevant ones in their order.
fn ranking(candidates: &[&Candidate]) -> String {
    let mut sorted = candidates.to_vec();
    sorted.sort_by_key(|candidate| std::cmp::Reverse(candidate.label));
    sorted.iter().map(|candidate| candidate.id.as_str()).collect::<Vec<_>>().join(" > ")
}

fn demo_of(request: &Request<'_>, row: &Row) -> StageResult<String> {
    let candidates: Vec<&Candidate> = row.ctxs.iter().collect();
    let ranking = ranking(&candidates);
    let fields = Fields::from([
        ("passages", passages(request, &candidates)?),
        ("query", row.query.clone()),
        ("ranking", ranking.clone()),
        ("id > id > ...", ranking),
    ]);
    request.template.render("demo", &fields)
}
