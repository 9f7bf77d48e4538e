//! The stage: rounds of questions until every answer has its scores.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::Parameters;
use super::entailment::Entailment;
use super::rounds::{Known, Outcome, Pair, score};
use super::statements::{Answer, Parts, answer};
use crate::artifact::predictions::{self, Prediction};
use crate::artifact::punkt_parameters;
use crate::contract::{Context, Inputs, Outputs, StageError, StageResult};
use crate::helmet::THOUGHTS;
use crate::helmet::category;
use crate::helmet::dataset::{self, Outside};
use crate::helmet::score::without_thoughts;
use crate::helmet_score::tables::{write_notes, write_scores};
use crate::helmet_score::{ExampleScore, Note};
use crate::metrics::punkt::Punkt;

/// Joint premises, each document alone, all but one: then everything is known.
const ROUNDS: usize = 4;

/// Does the stage's work.
pub fn run(parameters: &Parameters, inputs: &Inputs, outputs: &Outputs, context: &Context) -> StageResult<()> {
    let input = inputs.one("predictions")?;
    let predictions = predictions::read(&input.path)?;
    let punkt = inputs.optional("punkt").map(|input| punkt_parameters::read(&input.path)).transpose()?;
    let named =
        |error: StageError| StageError { message: format!("{}: {}", input.path.display(), error.message), ..error };
    let answers = answers(&predictions, punkt.as_ref(), parameters.citations as usize).map_err(named)?;
    if answers.is_empty() {
        let message = format!("{}: no answer is of alce_asqa or alce_qampari", input.path.display());
        return Err(StageError::input(message));
    }
    let model = inputs.optional("entailment-model").map(|input| input.path.as_path());
    let entailment = Entailment { parameters, model, context };
    let mut known = Known::new();
    for round in 1..=ROUNDS {
        let mut asks: BTreeSet<Pair> = BTreeSet::new();
        for (_, answer) in &answers {
            if let Outcome::Asks(pairs) = score(answer, &known) {
                asks.extend(pairs);
            }
        }
        if asks.is_empty() {
            break;
        }
        context.progress().log(&format!("round {round}: {} pairs", asks.len()));
        let asks: Vec<Pair> = asks.into_iter().collect();
        let replies = entailment.ask(&asks)?;
        known.extend(asks.into_iter().zip(replies));
    }
    let (scores, notes) = scored(&predictions, &answers, &known)?;
    write_scores(&outputs.path("scores"), &scores)?;
    write_notes(&outputs.path("notes"), &notes)
}

/// The answers with citations, each with its place among the predictions.
fn answers(predictions: &[Prediction], punkt: Option<&Punkt>, most: usize) -> StageResult<Vec<(usize, Answer)>> {
    let mut answers = Vec::new();
    for (row, prediction) in predictions.iter().enumerate() {
        let outside = dataset::by_name(&prediction.dataset).and_then(|dataset| dataset.outside());
        let Some(Outside::Citations { items }) = outside else { continue };
        let wrong = |why: String| {
            StageError::input(format!("row {row}: example {} of {}: {why}", prediction.example, prediction.dataset))
        };
        let facts: serde_json::Map<String, Value> = serde_json::from_str(&prediction.facts)
            .map_err(|error| wrong(format!("the facts are not a JSON object: {error}")))?;
        let thought = facts.get(THOUGHTS) == Some(&Value::Bool(true));
        let output = if thought { without_thoughts(&prediction.output) } else { &prediction.output };
        let parts = match (items, punkt) {
            (true, _) => Parts::Items,
            (false, Some(punkt)) => Parts::Sentences(punkt),
            (false, None) => {
                return Err(StageError::input(format!(
                    "{} needs Punkt's parameters at port `punkt`",
                    prediction.dataset
                ))
                .with_hint(
                    "NLTK publishes them as punkt_tab; a source `punkt-parameters` takes the folder of the language",
                ));
            }
        };
        answers.push((row, answer(output, &facts, parts, most).map_err(wrong)?));
    }
    Ok(answers)
}

fn scored(
    predictions: &[Prediction],
    answers: &[(usize, Answer)],
    known: &Known,
) -> StageResult<(Vec<ExampleScore>, Vec<Note>)> {
    let mut scores = Vec::new();
    // By length, dataset and reason.
    let mut missing: BTreeMap<(u32, &'static str, String), usize> = BTreeMap::new();
    for (row, answer) in answers {
        let prediction = &predictions[*row];
        let dataset = dataset::by_name(&prediction.dataset).map_or("", |dataset| dataset.name());
        let mut without = |why: String| *missing.entry((prediction.length, dataset, why)).or_default() += 1;
        match score(answer, known) {
            Outcome::Scored(found) => {
                for (metric, value) in [("citation_rec", found.recall), ("citation_prec", found.precision)] {
                    scores.push(ExampleScore {
                        dataset: prediction.dataset.clone(),
                        length: prediction.length,
                        example: prediction.example,
                        cluster: prediction.cluster.clone(),
                        metric,
                        value,
                    });
                }
            }
            Outcome::Nothing => without("no statement, left out of the means as in HELMET".into()),
            Outcome::Unknown(why) => without(why),
            Outcome::Asks(_) => return Err(StageError::internal("a pair was not asked about")),
        }
    }
    let note = |((length, dataset, why), count): ((u32, &'static str, String), usize)| Note {
        category: category::of(dataset).map_or("", |category| category.name),
        dataset,
        length,
        metric: "",
        note: format!("citations of {count} examples not checked: {why}"),
    };
    Ok((scores, missing.into_iter().map(note).collect()))
}
