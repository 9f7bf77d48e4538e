//! The stage: every question that has no kept verdict is asked, then verdicts become scores.

use std::collections::BTreeMap;

use super::Parameters;
use super::calls::{Calls, calls};
use super::prompts::Prompts;
use super::verdict::{Question, score};
use crate::artifact::predictions::{self, Prediction};
use crate::contract::{Context, Inputs, Outputs, RowContent, RowScope, StageError, StageResult};
use crate::helmet::category;
use crate::helmet::dataset;
use crate::helmet_score::tables::{write_notes, write_scores};
use crate::helmet_score::{ExampleScore, Note};
use crate::remote::chat::{self, Chat};
use crate::remote::verdict::{JUDGE, Verdict};
use crate::remote::{Address, Client, ask_all};
use crate::rows::{Row, work_through};

/// The judge's numbers, or why there are none.
type Numbers = Verdict<Vec<u32>>;

/// Does the stage's work.
pub fn run(parameters: &Parameters, inputs: &Inputs, outputs: &Outputs, context: &Context) -> StageResult<()> {
    let input = inputs.one("predictions")?;
    let predictions = predictions::read(&input.path)?;
    let named =
        |error: StageError| StageError { message: format!("{}: {}", input.path.display(), error.message), ..error };
    let folder = inputs.optional("prompts").map(|input| input.path.as_path());
    let all = calls(&predictions, &mut Prompts::new(folder)).map_err(named)?;
    if all.is_empty() {
        return Err(StageError::input(format!(
            "{}: no answer is of a dataset that a judge scores: narrativeqa, infbench_sum_eng, multi_lexsum",
            input.path.display()
        )));
    }
    let verdicts = verdicts(parameters, &all, context)?;
    let (scores, mut notes) = scored(&predictions, &all, &verdicts, context)?;
    if folder.is_none() {
        notes.extend(own_wording(&predictions, &all));
    }
    write_scores(&outputs.path("scores"), &scores)?;
    write_notes(&outputs.path("notes"), &notes)
}

/// That the judge was told in other words than HELMET's, by length and dataset.
fn own_wording(predictions: &[Prediction], all: &[Calls]) -> Vec<Note> {
    let judged: BTreeMap<(u32, &'static str), &'static str> = all
        .iter()
        .filter_map(|answer| {
            let prediction = &predictions[answer.prediction];
            Some(((prediction.length, dataset::by_name(&prediction.dataset)?.name()), answer.metric))
        })
        .collect();
    let note = |((length, dataset), metric): ((u32, &'static str), &'static str)| Note {
        category: category::of(dataset).map_or("", |category| category.name),
        dataset,
        length,
        metric,
        note: "own wording of the judge's prompts".into(),
    };
    judged.into_iter().map(note).collect()
}

/// A verdict for every question, in the order of the answers and of their questions.
fn verdicts(parameters: &Parameters, all: &[Calls], context: &Context) -> StageResult<Vec<Numbers>> {
    let flat: Vec<_> = all.iter().flat_map(|answer| &answer.calls).collect();
    let rows: Vec<Row> = flat
        .iter()
        .map(|call| {
            let content = RowContent::default().text("question", call.question.name()).text("prompt", &call.prompt);
            let points = if let Question::Recall { points } = call.question { points } else { 0 };
            Row { map: 0, key: content.number("points", points.into()).key() }
        })
        .collect();
    let scope = RowScope::new("verdicts", &[], parameters, &[])?;
    work_through(context, vec![context.rows(&scope)?], &rows, &mut |missing, made| {
        let client = Client::new(Address::from_environment(JUDGE.variables)?);
        context.progress().phase("ask the judge", "verdicts", missing.len() as u64);
        let ask = |place: usize| {
            let call = flat[missing[place]];
            let chat = Chat {
                model: parameters.model.clone(),
                temperature: parameters.temperature,
                top_p: parameters.top_p,
                max_tokens: call.question.max_tokens(),
            };
            let body = |attempt: u32| chat.request(&call.prompt, parameters.seed.wrapping_add(attempt.into()));
            let read = |reply: &serde_json::Value| call.question.read(chat::text(reply)?);
            Verdict::of(JUDGE, client.post(chat::PATH, body, context.cancel(), read))
        };
        ask_all(missing.len(), ask, |place, verdict| {
            verdict.into_row(missing[place], made)?;
            context.progress().advance(1);
            Ok(())
        })
    })
}

/// A score for every answer with all its verdicts, and a note for each reason why others have none.
fn scored(
    predictions: &[Prediction],
    all: &[Calls],
    verdicts: &[Numbers],
    context: &Context,
) -> StageResult<(Vec<ExampleScore>, Vec<Note>)> {
    let mut scores = Vec::new();
    // By length, dataset, metric and reason; the examples that have no score for it.
    let mut missing: BTreeMap<(u32, &'static str, &'static str, &str), Vec<u32>> = BTreeMap::new();
    let mut rest = verdicts;
    for answer in all {
        let (own, after) = rest.split_at(answer.calls.len());
        rest = after;
        let prediction = &predictions[answer.prediction];
        let numbers: Result<Vec<Vec<u32>>, &String> = own.iter().map(|verdict| verdict.0.as_ref().cloned()).collect();
        let dataset = dataset::by_name(&prediction.dataset).map_or("", |dataset| dataset.name());
        match numbers {
            Ok(numbers) => {
                let questions: Vec<Question> = answer.calls.iter().map(|call| call.question).collect();
                let value = score(&questions, &numbers);
                scores.push(ExampleScore {
                    dataset: prediction.dataset.clone(),
                    length: prediction.length,
                    example: prediction.example,
                    cluster: prediction.cluster.clone(),
                    metric: answer.metric,
                    value: value.ok_or_else(|| StageError::internal("verdicts do not fit their questions"))?,
                });
            }
            Err(why) => {
                context.progress().log(&format!("{dataset}, example {}: no verdict: {why}", prediction.example));
                missing.entry((prediction.length, dataset, answer.metric, why)).or_default().push(prediction.example);
            }
        }
    }
    let note = |((length, dataset, metric, why), examples): ((u32, &'static str, &'static str, &str), Vec<u32>)| Note {
        category: category::of(dataset).map_or("", |category| category.name),
        dataset,
        length,
        metric,
        note: format!("{} examples without a verdict: {why}", examples.len()),
    };
    Ok((scores, missing.into_iter().map(note).collect()))
}
