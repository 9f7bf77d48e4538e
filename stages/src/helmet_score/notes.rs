//! What has to be known of scores: a number that is missing, or a prompt that is not the benchmark's, is said.

use std::collections::BTreeMap;

use super::ExampleScore;
use crate::artifact::predictions::Prediction;
use crate::helmet::category::CATEGORIES;
use crate::helmet::dataset;
use crate::helmet::{BENCHMARKS, CUT_BY, GENERATED, MODELS, RECORDS, WORDING};

/// One row of the notes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    pub category: &'static str,
    pub dataset: &'static str,
    pub length: u32,
    /// Empty where the note is about all metrics.
    pub metric: &'static str,
    pub note: String,
}

/// The notes on predictions: by length, then in the order of HELMET's categories. A dataset of a category that has
/// predictions of another one is noted as missing.
///
/// # Errors
/// The row whose facts are not a JSON object.
pub fn notes(predictions: &[Prediction], scores: &[ExampleScore]) -> Result<Vec<Note>, String> {
    let mut scored: BTreeMap<(u32, &str, &str), usize> = BTreeMap::new();
    for score in scores {
        *scored.entry((score.length, score.dataset.as_str(), score.metric)).or_default() += 1;
    }
    let mut groups: BTreeMap<(u32, &str), Group> = BTreeMap::new();
    for (row, prediction) in predictions.iter().enumerate() {
        let facts: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&prediction.facts)
            .map_err(|error| format!("row {row}: the facts are not a JSON object: {error}"))?;
        let group = groups.entry((prediction.length, prediction.dataset.as_str())).or_default();
        let says = |name: &str, value: &str| facts.get(name).is_some_and(|found| found == value);
        group.examples += 1;
        group.own_wording += usize::from(!says(WORDING, BENCHMARKS));
        group.generated += usize::from(says(RECORDS, GENERATED));
        group.cut_by_model += usize::from(says(CUT_BY, MODELS));
    }
    let mut lengths: Vec<u32> = groups.keys().map(|&(length, _)| length).collect();
    lengths.dedup();
    let mut notes = Vec::new();
    for length in lengths {
        for category in CATEGORIES {
            let mut names: Vec<&'static str> = category.measures.iter().map(|(name, _)| *name).collect();
            names.dedup();
            if !names.iter().any(|&name| groups.contains_key(&(length, name))) {
                continue;
            }
            for dataset in names {
                let mut note = |metric: &'static str, note: String| {
                    notes.push(Note { category: category.name, dataset, length, metric, note });
                };
                match groups.get(&(length, dataset)) {
                    None => note("", "not scored: there are no predictions".into()),
                    Some(group) => {
                        let scored = |metric: &str| scored.get(&(length, dataset, metric)).copied().unwrap_or(0);
                        group.say(dataset, scored, &mut note);
                    }
                }
            }
        }
    }
    Ok(notes)
}

/// What the predictions of a dataset at a length say of themselves.
#[derive(Default)]
struct Group {
    examples: usize,
    own_wording: usize,
    generated: usize,
    cut_by_model: usize,
}

impl Group {
    /// `scored` says how many examples have a score under a metric.
    fn say(&self, dataset: &str, scored: impl Fn(&str) -> usize, note: &mut impl FnMut(&'static str, String)) {
        if let Some(outside) = dataset::by_name(dataset).and_then(|dataset| dataset.outside()) {
            for &metric in outside.metrics() {
                match scored(metric) {
                    0 => note(metric, format!("not scored: needs {}", outside.needs())),
                    some if some < self.examples => {
                        note(metric, format!("{some} of {} examples scored", self.examples));
                    }
                    _ => {}
                }
            }
        }
        let share = |count: usize| if count == self.examples { String::new() } else { format!(" ({count} examples)") };
        if self.own_wording > 0 {
            note("", format!("own wording{}", share(self.own_wording)));
        }
        if self.generated > 0 {
            note("", format!("generated records{}", share(self.generated)));
        }
        if self.cut_by_model > 0 {
            note("", format!("documents first cut by the model's tokenizer{}", share(self.cut_by_model)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prediction(dataset: &str, facts: &str) -> Prediction {
        Prediction { dataset: dataset.into(), length: 2_048, facts: facts.into(), ..Prediction::default() }
    }

    #[test]
    fn what_is_missing_or_not_the_benchmarks_is_said() {
        let benchmark = r#"{"wording": "benchmark"}"#;
        let rows = [
            prediction("narrativeqa", r#"{"document_cut_by": "model"}"#),
            prediction("infbench_qa_eng", benchmark),
            prediction("infbench_qa_eng", "{}"),
            prediction("msmarco_rerank_psg", benchmark),
            prediction("json_kv", r#"{"wording": "benchmark", "records": "generated"}"#),
        ];
        let said: Vec<(&str, &str, String)> =
            notes(&rows, &[]).unwrap().into_iter().map(|note| (note.dataset, note.metric, note.note)).collect();
        let said: Vec<(&str, &str, &str)> =
            said.iter().map(|(name, metric, note)| (*name, *metric, note.as_str())).collect();
        let missing = "not scored: there are no predictions";
        let expected = [
            ("json_kv", "", "generated records"),
            ("ruler_niah_mk_2", "", missing),
            ("ruler_niah_mk_3", "", missing),
            ("ruler_niah_mv", "", missing),
            ("narrativeqa", "gpt-4-score", "not scored: needs a judge"),
            ("narrativeqa", "", "own wording"),
            ("narrativeqa", "", "documents first cut by the model's tokenizer"),
            ("infbench_qa_eng", "", "own wording (1 examples)"),
            ("infbench_choice_eng", "", missing),
        ];
        assert_eq!(said, expected);
        assert!(notes(&[prediction("json_kv", "[]")], &[]).unwrap_err().starts_with("row 0: the facts"));
    }
}
