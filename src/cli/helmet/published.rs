//! Published numbers, from a file: model -> measure -> length -> score from 0 to 100, as HELMET's authors print them; or
//! a table of them ([`published_csv`]).

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use serde_json::{Map, Value};

use super::published_csv;
use super::systems::Place;
use crate::error::{Error, Result};
use crate::pipeline::suggest;

/// The largest file that is read; the authors' has some kilobytes.
const LARGEST: u64 = 16 << 20;

/// The published numbers of one model.
#[derive(Debug)]
pub struct Published {
    pub model: String,
    /// By measure, or by category, and length.
    pub(super) scores: BTreeMap<(String, u32), f64>,
}

impl Published {
    /// Reads the numbers of a model; without a name, of the only one there is. `length` is that of a table that does not
    /// say it.
    ///
    /// # Errors
    /// `Input` when the file has another form, a score is not from 0 to 100, or there is no such model; `Environment`
    /// when it cannot be read.
    pub fn read(path: &Path, model: Option<&str>, length: Option<u32>) -> Result<Self> {
        let unreadable = |error: std::io::Error| {
            let message = format!("cannot read {}: {error}", path.display());
            match error.kind() {
                std::io::ErrorKind::NotFound | std::io::ErrorKind::InvalidData => Error::input(message),
                _ => Error::environment(message),
            }
        };
        let mut text = String::new();
        let file = std::fs::File::open(path).map_err(unreadable)?;
        file.take(LARGEST).read_to_string(&mut text).map_err(unreadable)?;
        let is_csv = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv"));
        if is_csv { published_csv::read(path, &text, model, length) } else { Self::from_json(path, &text, model) }
    }

    fn from_json(path: &Path, text: &str, model: Option<&str>) -> Result<Self> {
        let refuse = |why: String| Error::input(format!("{}: {why}", path.display()));
        let mut file: Map<String, Value> = serde_json::from_str(text)
            .map_err(|error| refuse(format!("expected an object model -> measure -> length -> score: {error}")))?;
        // Remarks have names that begin with an underscore.
        file.retain(|name, _| !name.starts_with('_'));
        let names: Vec<&str> = file.keys().map(String::as_str).collect();
        let model = match (model, names.as_slice()) {
            (Some(model), _) => model.to_owned(),
            (None, [only]) => (*only).to_owned(),
            (None, _) => {
                let hint = format!("its models: {}", names.join(", "));
                return Err(refuse("name the model with --published-model".into()).with_hint(hint));
            }
        };
        let Some(Value::Object(measures)) = file.get(&model) else {
            let hint = suggest(&model, "its models", names).join("; ");
            return Err(refuse(format!("there are no numbers of `{model}`")).with_hint(hint));
        };
        let mut scores = BTreeMap::new();
        for (measure, lengths) in measures.iter().filter(|(name, _)| !name.starts_with('_')) {
            let lengths =
                lengths.as_object().ok_or_else(|| refuse(format!("{model}, {measure}: expected length -> score")))?;
            for (length, score) in lengths {
                let at = format!("{model}, {measure}, {length}");
                let length: u32 =
                    length.parse().map_err(|_| refuse(format!("{at}: the length is no number of tokens")))?;
                let score = score.as_f64().filter(|score| (0.0..=100.0).contains(score));
                let score = score.ok_or_else(|| refuse(format!("{at}: a score is a number from 0 to 100")))?;
                scores.insert((measure.clone(), length), score);
            }
        }
        Ok(Self { model, scores })
    }

    /// The number of a place: as it is published, else the mean of the categories' means; `None` when any number in it is
    /// not published.
    pub fn number(&self, place: &Place, categories: &[Vec<Place>]) -> Option<f64> {
        let own = || self.scores.get(&(place.category.clone(), place.length)).copied();
        if place.dataset.is_empty()
            && let Some(number) = own()
        {
            return Some(number);
        }
        let mean = |values: Vec<f64>| (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64);
        let of = |measures: &Vec<Place>| -> Option<f64> {
            mean(measures.iter().map(|measure| self.score(measure)).collect::<Option<_>>()?)
        };
        mean(categories.iter().map(of).collect::<Option<_>>()?)
    }

    fn score(&self, measure: &Place) -> Option<f64> {
        let names = names(&measure.dataset, &measure.metric);
        names.into_iter().find_map(|name| self.scores.get(&(name, measure.length)).copied())
    }
}

/// What a measure may be called: as here, or as the authors do.
fn names(dataset: &str, metric: &str) -> Vec<String> {
    // The authors shorten both names.
    let short = dataset.trim_end_matches("_eng").trim_end_matches("_rerank_psg");
    let judged = metric.replace("gpt-4-", "gpt4_");
    let full = format!("{dataset}_{metric}");
    let shortened = format!("{short}_{judged}");
    let stem = metric.starts_with(dataset.trim_start_matches("alce_")).then(|| format!("alce_{metric}"));
    [Some(full), Some(shortened), stem, Some(dataset.to_owned())].into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_authors_names_are_known() {
        let known = |dataset: &str, metric: &str, name: &str| names(dataset, metric).contains(&name.to_owned());
        assert!(known("narrativeqa", "gpt-4-score", "narrativeqa_gpt4_score"));
        assert!(known("infbench_sum_eng", "gpt-4-f1", "infbench_sum_gpt4_f1"));
        assert!(known("infbench_choice_eng", "exact_match", "infbench_choice_exact_match"));
        assert!(known("msmarco_rerank_psg", "NDCG@10", "msmarco_NDCG@10"));
        assert!(known("alce_qampari", "qampari_rec_top5", "alce_qampari_rec_top5"));
        assert!(known("alce_asqa", "citation_rec", "alce_asqa_citation_rec"));
        assert!(known("kilt_nq", "substring_exact_match", "kilt_nq"));
    }
}
