//! `helmet-score`: predictions -> metrics per example, means with intervals, and HELMET's categories. No model.

mod aggregate;
mod notes;
mod outside;
pub(crate) mod tables;

pub use aggregate::{Mean, SummaryRow, aggregate};
pub use notes::{Note, notes};

use rayon::prelude::*;
use retmask_model::Numerics;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::artifact::Media;
use crate::artifact::predictions::{self, Prediction};
use crate::contract::{
    Arity, Context, InputPort, Inputs, Kind, OutputPort, Outputs, ParameterError, StageError, StageResult,
};
use crate::helmet::THOUGHTS;
use crate::helmet::dataset::{self, Answered, Dataset, Scored};
use crate::helmet::score::without_thoughts;
use crate::metrics::bootstrap::RESAMPLES;

/// Parameters of `helmet-score`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Parameters {
    /// Draws behind every 95 % interval.
    pub resamples: u32,
    /// Seed of the draws.
    pub seed: u64,
}

impl Default for Parameters {
    fn default() -> Self {
        Self { resamples: RESAMPLES as u32, seed: 42 }
    }
}

/// One example under one metric, from 0 to 1.
#[derive(Debug, Clone, PartialEq)]
pub struct ExampleScore {
    pub dataset: String,
    pub length: u32,
    pub example: u32,
    pub cluster: String,
    pub metric: &'static str,
    pub value: f64,
}

/// The stage kind.
pub struct HelmetScore;

impl Kind for HelmetScore {
    type Parameters = Parameters;

    const NAME: &'static str = "helmet-score";
    const EPOCH: u32 = 3;
    const SUMMARY: &'static str = "Score predictions by HELMET's metrics";
    const INPUTS: &'static [InputPort] = &[
        InputPort {
            name: "predictions",
            media: &[Media::Predictions],
            arity: Arity::One,
            summary: "The answers to score",
        },
        InputPort {
            name: "judged",
            media: &[Media::ExampleScores],
            arity: Arity::Optional,
            summary: "The judge's scores (helmet-judge); without them its datasets have none",
        },
        InputPort {
            name: "citations",
            media: &[Media::ExampleScores],
            arity: Arity::Optional,
            summary: "Scores of citations (helmet-citations); without them these have none",
        },
        InputPort {
            name: "further-notes",
            media: &[Media::ScoreNotes],
            arity: Arity::Labelled,
            summary: "What helmet-judge and helmet-citations have noted, to stand among the notes",
        },
    ];
    const OUTPUTS: &'static [OutputPort] = &[
        OutputPort { name: "scores", media: Media::ExampleScores, summary: "A row per example and metric" },
        OutputPort {
            name: "summary",
            media: Media::ScoreSummary,
            summary: "A row per dataset and metric, one per category, and the average: mean and 95 % interval",
        },
        OutputPort {
            name: "notes",
            media: Media::ScoreNotes,
            summary: "What was not scored, and where prompts are not the benchmark's",
        },
    ];

    fn numerics(_parameters: &Self::Parameters) -> Option<Numerics> {
        None
    }

    fn validate(parameters: &Parameters) -> Result<(), ParameterError> {
        if !(RESAMPLES as u32..=100_000).contains(&parameters.resamples) {
            let message = format!("{} is not between {RESAMPLES} and 100000", parameters.resamples);
            return Err(ParameterError::new("resamples", message));
        }
        Ok(())
    }

    fn run(parameters: &Parameters, inputs: &Inputs, outputs: &Outputs, context: &Context) -> StageResult<()> {
        let input = inputs.one("predictions")?;
        let predictions = predictions::read(&input.path)?;
        context.progress().phase("score", "examples", predictions.len() as u64);
        let refuse = |reason: StageError| StageError {
            message: format!("{}: {}", input.path.display(), reason.message),
            ..reason
        };
        let mut scores = score(&predictions, || {
            context.progress().advance(1);
            context.check_cancelled()
        })
        .map_err(refuse)?;
        for port in ["judged", "citations"] {
            if let Some(input) = inputs.optional(port) {
                let more = outside::read(&input.path, &predictions)
                    .map_err(|error| StageError { message: format!("port `{port}`: {}", error.message), ..error })?;
                scores.extend(more);
            }
        }
        let summary = aggregate(&scores, parameters.resamples as usize, parameters.seed);
        let mut notes = notes(&predictions, &scores).map_err(|reason| refuse(StageError::input(reason)))?;
        for (label, input) in inputs.labelled("further-notes") {
            let more = outside::read_notes(&input.path).map_err(|error| StageError {
                message: format!("port `further-notes`, label `{label}`: {}", error.message),
                ..error
            })?;
            notes.extend(more);
        }
        tables::write_notes(&outputs.path("notes"), &notes)?;
        tables::write_scores(&outputs.path("scores"), &scores)?;
        tables::write_summary(&outputs.path("summary"), &summary)
    }
}

/// Words whose table of common subsequences would exceed memory: 2^27 cells of four bytes.
const MOST_CELLS: usize = 1 << 27;

/// Every metric of every prediction, in the order of the predictions. `done` is called once per prediction.
///
/// # Errors
/// `Input` naming the row that is of an unknown dataset, has no answer, stands there twice or is beyond any
/// model's answer.
pub fn score(predictions: &[Prediction], done: impl Fn() -> StageResult<()> + Sync) -> StageResult<Vec<ExampleScore>> {
    if predictions.is_empty() {
        return Err(StageError::input("there is no prediction to score"));
    }
    let mut seen = std::collections::BTreeSet::new();
    for (row, prediction) in predictions.iter().enumerate() {
        if !seen.insert((&prediction.dataset, prediction.length, prediction.example)) {
            let Prediction { dataset, length, example, .. } = prediction;
            let message = format!("row {row}: example {example} of {dataset} at length {length} stands there twice");
            return Err(StageError::input(message));
        }
    }
    let one = |(row, prediction): (usize, &Prediction)| {
        let scores = score_one(prediction).map_err(|reason| StageError::input(format!("row {row}: {reason}")))?;
        done()?;
        Ok(scores)
    };
    let scores: Vec<Vec<ExampleScore>> = predictions.par_iter().enumerate().map(one).collect::<StageResult<_>>()?;
    Ok(scores.concat())
}

/// The metrics of one answer.
///
/// # Errors
/// What is missing in the facts, or that the output is beyond any model's answer.
pub fn metrics_of(dataset: &dyn Dataset, answered: Answered<'_>) -> Scored {
    let words = |text: &str| text.split_whitespace().count() + 1;
    let output = words(answered.output);
    if answered.answers.iter().any(|gold| words(gold).saturating_mul(output) > MOST_CELLS) {
        return Err(format!("the output of {output} words is beyond any model's answer"));
    }
    dataset.score(answered)
}

fn score_one(prediction: &Prediction) -> Result<Vec<ExampleScore>, String> {
    let dataset = dataset::by_name(&prediction.dataset)
        .ok_or_else(|| format!("there is no dataset `{}`; there are: {}", prediction.dataset, dataset::names()))?;
    if prediction.answers.is_empty() {
        return Err(format!("example {} of {} has no answer to score by", prediction.example, prediction.dataset));
    }
    let facts: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(&prediction.facts).map_err(|error| format!("the facts are not a JSON object: {error}"))?;
    let output = match facts.get(THOUGHTS) {
        Some(serde_json::Value::Bool(true)) => without_thoughts(&prediction.output),
        _ => &prediction.output,
    };
    let answered = Answered { output, answers: &prediction.answers, facts: &facts };
    let scored = metrics_of(dataset, answered)
        .map_err(|reason| format!("example {} of {}: {reason}", prediction.example, prediction.dataset))?;
    let scores = scored.into_iter().map(|(metric, value)| ExampleScore {
        dataset: prediction.dataset.clone(),
        length: prediction.length,
        example: prediction.example,
        cluster: prediction.cluster.clone(),
        metric,
        value,
    });
    Ok(scores.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prediction(dataset: &str, example: u32, output: &str, answer: &str) -> Prediction {
        Prediction {
            dataset: dataset.into(),
            length: 1024,
            example,
            cluster: example.to_string(),
            output: output.into(),
            answers: vec![answer.into()],
            facts: "{}".into(),
            ..Prediction::default()
        }
    }

    fn refusal(predictions: &[Prediction]) -> String {
        score(predictions, || Ok(())).unwrap_err().message
    }

    #[test]
    fn each_dataset_is_scored_by_its_own_rule() {
        let rows = [
            prediction("json_kv", 0, "Corresponding value: abc\nmore", "abc"),
            prediction("icl_trec_fine", 0, "label: 7\n\nWho?\nlabel: 8", "8"),
            prediction("ruler_niah_mk_2", 0, "It is 1234567, no doubt", "1234567"),
        ];
        let scores = score(&rows, || Ok(())).unwrap();
        let value = |dataset: &str, metric: &str| {
            scores.iter().find(|score| score.dataset == dataset && score.metric == metric).unwrap().value
        };
        assert_eq!(value("json_kv", "exact_match"), 1.0);
        assert_eq!(value("json_kv", "substring_exact_match"), 1.0);
        // The parsed label alone counts: the 8 comes later.
        assert_eq!(value("icl_trec_fine", "substring_exact_match"), 0.0);
        assert_eq!(value("ruler_niah_mk_2", "ruler_recall"), 1.0);
    }

    #[test]
    fn thoughts_are_not_scored_where_the_facts_say_that_there_are_some() {
        let thoughtless =
            prediction("json_kv", 0, "<think>Corresponding value: b?</think>\nCorresponding value: a", "a");
        let thinking = Prediction { example: 1, facts: r#"{"thoughts": true}"#.into(), ..thoughtless.clone() };
        let scores = score(&[thoughtless, thinking], || Ok(())).unwrap();
        let matches: Vec<f64> =
            scores.iter().filter(|score| score.metric == "exact_match").map(|score| score.value).collect();
        assert_eq!(matches, [0.0, 1.0]);
    }

    #[test]
    fn rows_that_cannot_be_scored_are_refused_by_row() {
        assert_eq!(refusal(&[]), "there is no prediction to score");
        let good = prediction("json_kv", 0, "", "a");
        assert!(
            refusal(&[good.clone(), prediction("jsonkv", 0, "", "a")])
                .starts_with("row 1: there is no dataset `jsonkv`")
        );
        assert!(
            refusal(&[good.clone(), good.clone()]).starts_with("row 1: example 0 of json_kv at length 1024 stands")
        );
        let unanswerable = Prediction { answers: vec![], ..good };
        assert_eq!(refusal(&[unanswerable]), "row 0: example 0 of json_kv has no answer to score by");
        let long = "word ".repeat(12_000);
        assert!(refusal(&[prediction("json_kv", 0, &long, &long)]).contains("beyond any model's answer"));
    }
}
