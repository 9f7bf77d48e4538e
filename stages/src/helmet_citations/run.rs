//! The stage: rounds of questions until every answer has its scores.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::{Value, json};

use super::Parameters;
use super::rounds::{Known, Outcome, Pair, score};
use super::statements::{Answer, Parts, answer};
use crate::artifact::predictions::{self, Prediction};
use crate::contract::{Context, Inputs, Outputs, RowContent, RowScope, StageError, StageResult};
use crate::helmet::THOUGHTS;
use crate::helmet::category;
use crate::helmet::dataset::{self, Outside};
use crate::helmet::score::without_thoughts;
use crate::helmet_score::tables::{write_notes, write_scores};
use crate::helmet_score::{ExampleScore, Note};
use crate::metrics::punkt::{self, Punkt};
use crate::remote::{Address, Client, Failure, ask_all};
use crate::rows::{Reader, Row, RowResult, Writer, work_through};

/// Joint premises, each document alone, all but one: then everything is known.
const ROUNDS: usize = 4;
/// The largest file of Punkt's parameters; NLTK's have 240 KB.
const LARGEST: u64 = 64 << 20;

/// Whether a premise entails a hypothesis, or why that is not known.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entails(Result<bool, String>);

impl RowResult for Entails {
    fn write(&self, bytes: &mut Writer) {
        match &self.0 {
            Ok(entails) => bytes.byte(u8::from(*entails)),
            Err(why) => {
                bytes.byte(2);
                bytes.text(why);
            }
        }
    }

    fn read(bytes: &mut Reader<'_>) -> Option<Self> {
        Some(Self(match bytes.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            2 => Err(bytes.text()?),
            _ => return None,
        }))
    }
}

/// Does the stage's work.
pub fn run(parameters: &Parameters, inputs: &Inputs, outputs: &Outputs, context: &Context) -> StageResult<()> {
    let input = inputs.one("predictions")?;
    let predictions = predictions::read(&input.path)?;
    let punkt = inputs.optional("punkt").map(|input| read_punkt(&input.path)).transpose()?;
    let named =
        |error: StageError| StageError { message: format!("{}: {}", input.path.display(), error.message), ..error };
    let answers = answers(&predictions, punkt.as_ref(), parameters.citations as usize).map_err(named)?;
    if answers.is_empty() {
        let message = format!("{}: no answer is of alce_asqa or alce_qampari", input.path.display());
        return Err(StageError::input(message));
    }
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
        let replies = ask(parameters, &asks, context)?;
        known.extend(asks.into_iter().zip(replies.into_iter().map(|reply| reply.0)));
    }
    let (scores, notes) = scored(&predictions, &answers, &known)?;
    write_scores(&outputs.path("scores"), &scores)?;
    write_notes(&outputs.path("notes"), &notes)
}

/// Punkt's parameters from a folder of NLTK's files.
fn read_punkt(folder: &Path) -> StageResult<Punkt> {
    let read = |file: &str| {
        let path = folder.join(file);
        let size = std::fs::metadata(&path).map_err(|error| StageError::io("read", &path, &error))?.len();
        if size > LARGEST {
            return Err(StageError::input(format!("{}: larger than any language's parameters", path.display())));
        }
        std::fs::read_to_string(&path).map_err(|error| StageError::io("read", &path, &error))
    };
    let [abbreviations, collocations, starters, contexts] = punkt::FILES;
    let texts = [read(abbreviations)?, read(collocations)?, read(starters)?, read(contexts)?];
    Punkt::from_texts([&texts[0], &texts[1], &texts[2], &texts[3]]).map_err(|(file, line, why)| {
        StageError::input(format!("{}:{line}: {why}", folder.join(punkt::FILES[file]).display()))
    })
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

fn ask(parameters: &Parameters, pairs: &[Pair], context: &Context) -> StageResult<Vec<Entails>> {
    let key = |(premise, hypothesis): &Pair| {
        RowContent::default().text("premise", premise).text("hypothesis", hypothesis).key()
    };
    let rows: Vec<Row> = pairs.iter().map(|pair| Row { map: 0, key: key(pair) }).collect();
    let scope = RowScope::new("entailments", &[], parameters, &["citations"])?;
    work_through(context, vec![context.rows(&scope)?], &rows, &mut |missing, made| {
        let client = Client::new(Address::from_environment("NLI")?);
        context.progress().phase("ask the entailment model", "pairs", missing.len() as u64);
        let one = |place: usize| {
            let (premise, hypothesis) = &pairs[missing[place]];
            let body = |_| json!({"model": parameters.model, "premise": premise, "hypothesis": hypothesis});
            let read = |reply: &Value| {
                reply.get("entails").and_then(Value::as_bool).ok_or_else(|| "the reply has no `entails`".to_owned())
            };
            entails(client.post("", body, context.cancel(), read))
        };
        ask_all(missing.len(), one, |place, entails| {
            made.done(missing[place], entails)?;
            context.progress().advance(1);
            Ok(())
        })
    })
}

/// What one pair came to: a failure that is about this pair alone is no error.
fn entails(reply: Result<bool, Failure>) -> StageResult<Entails> {
    match reply {
        Ok(entails) => Ok(Entails(Ok(entails))),
        Err(Failure::Unusable(why)) => Ok(Entails(Err(why))),
        Err(Failure::Refused(why)) => Ok(Entails(Err(format!("the service refuses the pair: {why}")))),
        Err(Failure::Denied(why)) => Err(StageError::environment(format!("the entailment service refuses: {why}"))
            .with_hint("check RETMASK_NLI_URL and RETMASK_NLI_TOKEN")),
        Err(Failure::Unanswered(why)) => {
            Err(StageError::environment(format!("the entailment service does not answer: {why}"))
                .with_hint("the replies so far are kept; run again to go on from there"))
        }
        Err(Failure::Stopped) => Err(StageError::interrupted()),
    }
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
