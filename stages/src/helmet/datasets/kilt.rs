//! Question answering over retrieved passages (KILT, Petroni et al. 2021; PopQA, Mallen et al. 2023). The passage
//! with the answer stands at several depths: each question is asked once for every one.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::passages::{Passage, demonstrations, joined, rendered};
use crate::contract::{StageError, StageResult};
use crate::helmet::data::DataFolder;
use crate::helmet::dataset::{Answered, Dataset, Example, Records, Request, Scored};
use crate::helmet::lengths;
use crate::helmet::random::PythonRandom;
use crate::helmet::score::best_of_raw_and_parsed;
use crate::helmet::template::Fields;

/// One of the four sets.
pub struct Kilt {
    name: &'static str,
    /// Test file before and after the number of passages.
    test: [&'static str; 2],
    demos: &'static str,
    /// Only questions about things with fewer views than this are asked, and those of the demonstrations come from
    /// the same rows.
    popularity: Option<f64>,
}

/// Natural Questions.
pub const KILT_NQ: Kilt = Kilt {
    name: "kilt_nq",
    test: ["kilt/nq-dev-multikilt_1000_k", "_dep6.jsonl"],
    demos: "kilt/nq-train-multikilt_1000_k3_dep6.jsonl",
    popularity: None,
};

/// TriviaQA.
pub const KILT_TRIVIAQA: Kilt = Kilt {
    name: "kilt_triviaqa",
    test: ["kilt/triviaqa-dev-multikilt_1000_k", "_dep6.jsonl"],
    demos: "kilt/triviaqa-train-multikilt_1000_k3_dep6.jsonl",
    popularity: None,
};

/// HotpotQA, whose answers need two passages.
pub const KILT_HOTPOTQA: Kilt = Kilt {
    name: "kilt_hotpotqa",
    test: ["kilt/hotpotqa-dev-multikilt_1000_k", "_dep3.jsonl"],
    demos: "kilt/hotpotqa-train-multikilt_1000_k3_dep3.jsonl",
    popularity: None,
};

/// PopQA's rare things: fewer than 10^3 views.
pub const KILT_POPQA: Kilt = Kilt {
    name: "kilt_popqa_3",
    test: ["kilt/popqa_test_1000_k", "_dep6.jsonl"],
    demos: "kilt/popqa_test_1000_k3_dep6.jsonl",
    popularity: Some(1e3),
};

/// Passages in each row of the test file at HELMET's lengths.
const PASSAGES: [usize; 5] = [50, 105, 220, 440, 1_000];
const DEMONSTRATIONS: usize = 2;

/// What tells one question from another.
#[derive(Deserialize)]
struct Key {
    id: Option<String>,
    question: String,
    s_pop: Option<f64>,
}

#[derive(Deserialize)]
struct Row {
    question: String,
    answers: Vec<String>,
    #[serde(default)]
    positive_ctxs: Vec<Passage>,
    ctxs: Vec<Passage>,
}

/// The rows of a file that may be asked or shown: their numbers and keys.
struct Keys {
    rows: Vec<usize>,
    keys: Vec<String>,
}

impl Kilt {
    fn keys(&self, data: &DataFolder, file: &str) -> StageResult<Keys> {
        let rows: Vec<Key> = data.rows(file, |_| true)?;
        let with_id = rows.first().is_some_and(|row| row.id.is_some());
        let (mut numbers, mut keys) = (Vec::new(), Vec::new());
        for (number, row) in rows.into_iter().enumerate() {
            if let Some(most) = self.popularity {
                let views = row.s_pop.ok_or_else(|| {
                    StageError::input(format!("{file}: row {number} has no `s_pop`, by which rows are chosen"))
                })?;
                if views >= most {
                    continue;
                }
            }
            let key = match (with_id, row.id) {
                (true, Some(id)) => id,
                (true, None) => {
                    return Err(StageError::input(format!("{file}: row {number} has no `id`, the first row has one")));
                }
                (false, _) => row.question,
            };
            numbers.push(number);
            keys.push(key);
        }
        Ok(Keys { rows: numbers, keys })
    }

    /// The questions that are asked: drawn from all, in the order of the text.
    fn asked<'a>(&self, keys: &'a Keys, request: &Request<'_>) -> BTreeSet<&'a str> {
        let distinct: BTreeSet<&str> = keys.keys.iter().map(String::as_str).collect();
        let sorted: Vec<&str> = distinct.into_iter().collect();
        let count = request.samples.min(sorted.len());
        PythonRandom::new(request.seed).sample(sorted.len(), count).into_iter().map(|place| sorted[place]).collect()
    }
}

impl Dataset for Kilt {
    fn name(&self) -> &'static str {
        self.name
    }

    fn max_new_tokens(&self) -> usize {
        20
    }

    fn files(&self, length: usize, _records: Records) -> StageResult<Vec<String>> {
        let passages = lengths::items(PASSAGES, length)?.in_file;
        Ok(vec![format!("{}{passages}{}", self.test[0], self.test[1]), self.demos.to_owned()])
    }

    fn examples(&self, request: &Request<'_>) -> StageResult<Vec<Example>> {
        let data = request.data(self.name)?;
        let length = request.room.length;
        let files = self.files(length, request.records)?;
        let passages = lengths::items(PASSAGES, length)?;
        let keys = self.keys(data, &files[0])?;
        let asked = self.asked(&keys, request);
        let chosen: Vec<usize> =
            (0..keys.rows.len()).filter(|&place| asked.contains(keys.keys[place].as_str())).collect();
        let numbers: BTreeSet<usize> = chosen.iter().map(|&place| keys.rows[place]).collect();
        let rows: Vec<Row> = data.rows(&files[0], |row| numbers.contains(&row))?;
        let pool_keys = self.keys(data, self.demos)?;
        let in_pool: BTreeSet<usize> = pool_keys.rows.iter().copied().collect();
        let pool: Vec<Row> = data.rows(self.demos, |row| in_pool.contains(&row))?;
        let names: Vec<&str> = pool_keys.keys.iter().map(String::as_str).collect();
        let count = lengths::demonstrations(DEMONSTRATIONS, length);
        let one = |(&place, row): (&usize, &Row)| {
            (request.check)()?;
            let key = keys.keys[place].as_str();
            if row.answers.is_empty() {
                return Err(StageError::input(format!("{}: row {} has no answer", files[0], keys.rows[place])));
            }
            let demos = demonstrations(&names, key, count, |other| self.popularity.is_none() || other != key)?;
            let demos =
                demos.into_iter().map(|demo| self.demo(request, &pool[demo])).collect::<StageResult<Vec<_>>>()?;
            let gold = |place: usize| row.positive_ctxs.contains(&row.ctxs[place]);
            let shown = lengths::thinned(row.ctxs.len(), passages.shown, gold);
            let context = rendered(request.template, shown.into_iter().map(|place| &row.ctxs[place]))?;
            Ok(Example {
                fields: Fields::from([
                    ("demos", joined(request.template, &demos)?),
                    ("context", context),
                    ("question", row.question.clone()),
                ]),
                answers: row.answers.clone(),
                cluster: key.to_owned(),
                ..Example::default()
            })
        };
        chosen.iter().zip(&rows).map(one).collect()
    }

    fn score(&self, answered: Answered<'_>) -> Scored {
        Ok(best_of_raw_and_parsed(answered, "Answer:"))
    }
}

impl Kilt {
    fn demo(&self, request: &Request<'_>, row: &Row) -> StageResult<String> {
        let answer = row.answers.first().ok_or_else(|| {
            StageError::input(format!("{}: the question `{}` has no answer", self.demos, row.question))
        })?;
        let documents = rendered(request.template, row.ctxs.iter())?;
        let fields =
            Fields::from([("documents", documents), ("question", row.question.clone()), ("answer", answer.clone())]);
        request.template.render("demo", &fields)
    }
}
