//! Post-processing and metrics that several datasets share.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::dataset::{Answered, MetricValue, Scored};
use crate::metrics::citations::list_scores;
use crate::metrics::ranking::{ndcg, parse_ranking};
use crate::metrics::{exact_match, f1, normalize, parse_output, rouge_l_and_l_sum, substring_exact_match};

/// What closes the thoughts of models that reason.
const CLOSING: &str = "</think>";

/// An answer without the thoughts before it: what follows the last closing tag. Without one, all of it, as in HELMET.
pub fn without_thoughts(output: &str) -> &str {
    output.rsplit_once(CLOSING).map_or(output, |(_, answer)| answer.trim())
}

/// The metrics of short answers, in the order of their columns.
const ANSWER_METRICS: [&str; 7] =
    ["exact_match", "f1", "substring_exact_match", "rougeL_f1", "rougeL_recall", "rougeLsum_f1", "rougeLsum_recall"];

/// Every metric of short answers for one text, each the best over the golds on its own; 0 without golds.
pub fn answer_metrics(text: &str, golds: &[String]) -> Vec<MetricValue> {
    let mut best = [0.0f64; ANSWER_METRICS.len()];
    for gold in golds {
        let [whole, summary] = rouge_l_and_l_sum(text, gold);
        let values = [
            exact_match(text, gold),
            f1(text, gold),
            substring_exact_match(text, gold),
            whole.f1,
            whole.recall,
            summary.f1,
            summary.recall,
        ];
        best.iter_mut().zip(values).for_each(|(best, value)| *best = best.max(value));
    }
    ANSWER_METRICS.into_iter().zip(best).collect()
}

/// Metrics of the output as it is and of what follows `prefix` in it, each the better of the two.
pub fn best_of_raw_and_parsed(answered: Answered<'_>, prefix: &str) -> Vec<MetricValue> {
    let raw = answer_metrics(answered.output, answered.answers);
    let parsed = answer_metrics(parse_output(answered.output, prefix), answered.answers);
    raw.into_iter().zip(parsed).map(|((name, raw), (_, parsed))| (name, raw.max(parsed))).collect()
}

/// Metrics of what follows `prefix` alone.
pub fn parsed_only(answered: Answered<'_>, prefix: &str) -> Vec<MetricValue> {
    answer_metrics(parse_output(answered.output, prefix), answered.answers)
}

/// Multiple choice with golds `[letter, "letter. option text"]`: as [`best_of_raw_and_parsed`], but only the
/// option's full text counts as a substring, and it then counts as an exact match too.
pub fn multiple_choice(answered: Answered<'_>, prefix: &str) -> Vec<MetricValue> {
    let output = answered.output.to_lowercase();
    let option = answered.answers.get(1).is_some_and(|option| output.contains(&option.to_lowercase()));
    let value = |(name, value): MetricValue| match name {
        "substring_exact_match" => (name, f64::from(u8::from(option))),
        "exact_match" if option => (name, 1.0),
        _ => (name, value),
    };
    best_of_raw_and_parsed(answered, prefix).into_iter().map(value).collect()
}

/// RULER's recall: the share of golds that occur in the output, case ignored; 0 without golds.
pub fn ruler_recall(answered: Answered<'_>) -> Vec<MetricValue> {
    let output = answered.output.to_lowercase();
    let found = answered.answers.iter().filter(|gold| output.contains(&gold.to_lowercase())).count();
    vec![("ruler_recall", found as f64 / answered.answers.len().max(1) as f64)]
}

/// A fact of an example.
///
/// # Errors
/// That it is missing or malformed.
pub fn fact<T: DeserializeOwned>(facts: &Map<String, Value>, name: &str) -> Result<T, String> {
    let value = facts.get(name).ok_or_else(|| format!("the fact `{name}` is missing"))?;
    T::deserialize(value).map_err(|error| format!("the fact `{name}`: {error}"))
}

/// NDCG of the ten highest of a ranking by the judgments in the fact `qrel`: a list of (id, relevance).
///
/// # Errors
/// When the judgments are missing.
pub fn ranking_metrics(answered: Answered<'_>) -> Scored {
    let judged: Vec<(String, u32)> = fact(answered.facts, "qrel")?;
    if judged.is_empty() {
        return Err("the fact `qrel` names no passage".into());
    }
    Ok(vec![("NDCG@10", ndcg(&parse_ranking(answered.output), &judged, 10))])
}

/// The share of questions in the fact `qa_pairs` of which a short answer occurs in the output, both normalised.
///
/// # Errors
/// When the questions are missing.
pub fn short_answer_recall(output: &str, facts: &Map<String, Value>) -> Result<f64, String> {
    let questions: Vec<Vec<String>> = fact(facts, "qa_pairs")?;
    if questions.is_empty() {
        return Err("the fact `qa_pairs` is empty".into());
    }
    let output = normalize(output);
    let found = questions.iter().filter(|answers| answers.iter().any(|answer| output.contains(&normalize(answer))));
    Ok(found.count() as f64 / questions.len() as f64)
}

/// The share of the golds in the fact `answers` that are among the output's items, five being enough.
///
/// # Errors
/// When the golds are missing.
pub fn top_five_recall(output: &str, facts: &Map<String, Value>) -> Result<f64, String> {
    let golds: Vec<Vec<String>> = fact(facts, "answers")?;
    if golds.is_empty() {
        return Err("the fact `answers` is empty".into());
    }
    Ok(list_scores(output, &golds).recall_of_five)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thoughts_end_at_the_last_closing_tag() {
        assert_eq!(without_thoughts("Answer: <think>a</think> b </think>\n\nAnswer: Paris\n"), "Answer: Paris");
        assert_eq!(without_thoughts(" no thoughts \n"), " no thoughts \n");
    }

    fn value(scores: &[MetricValue], metric: &str) -> f64 {
        scores.iter().find(|(name, _)| *name == metric).unwrap().1
    }

    fn golds(golds: &[&str]) -> Vec<String> {
        golds.iter().map(|&gold| gold.to_owned()).collect()
    }

    #[test]
    fn each_metric_takes_its_own_best_of_raw_and_parsed() {
        let answers = golds(&["owl"]);
        let facts = Map::new();
        let answered = Answered { facts: &facts, output: "Answer: owl\nQuestion: who else?", answers: &answers };
        let scores = best_of_raw_and_parsed(answered, "Answer:");
        assert_eq!((value(&scores, "exact_match"), value(&scores, "substring_exact_match")), (1.0, 1.0));
        let later = Answered { facts: &facts, output: "Answer: bee\nAnswer: owl", answers: &answers };
        assert_eq!(value(&best_of_raw_and_parsed(later, "Answer:"), "substring_exact_match"), 1.0);
        assert_eq!(value(&parsed_only(later, "Answer:"), "substring_exact_match"), 0.0);
    }

    #[test]
    fn an_option_counts_by_letter_or_by_its_full_text() {
        let answers = golds(&["B", "B. The owl"]);
        let score = |output| multiple_choice(Answered { facts: &Map::new(), output, answers: &answers }, "Answer:");
        assert_eq!(value(&score("Answer: B"), "exact_match"), 1.0);
        assert_eq!(value(&score("Answer: B"), "substring_exact_match"), 0.0);
        assert_eq!(value(&score("It must be b. the owl, surely"), "exact_match"), 1.0);
        assert_eq!(value(&score("It must be the owl"), "exact_match"), 0.0);
    }

    #[test]
    fn recall_counts_the_golds_that_occur() {
        let answers = golds(&["1234567", "AbC"]);
        let score =
            |output| value(&ruler_recall(Answered { facts: &Map::new(), output, answers: &answers }), "ruler_recall");
        assert_eq!([score("x abc."), score("abc 12345678"), score("")], [0.5, 1.0, 0.0]);
    }
}
