//! JSON KV: look up a key among random pairs (Liu et al. 2023, "Lost in the Middle"), generated or from HELMET's
//! files.

use serde::Deserialize;

use retmask_model::random::Stream;

use super::identifiers::uuid;
use super::{generate, shuffled};
use crate::contract::StageResult;
use crate::helmet::dataset::{Answered, Dataset, Example, Records, Request, Scored};
use crate::helmet::lengths;
use crate::helmet::score::best_of_raw_and_parsed;
use crate::helmet::size::fill;
use crate::helmet::template::Fields;

/// A JSON object of random pairs, two of them shown as demonstrations, one asked for.
pub struct JsonKv;

/// HELMET asks at six even depths. Its released file is sampled without regard to them; here example `i` asks
/// at depth `i mod 6`, so that depths are balanced.
const DEPTHS: usize = 6;
const DEMONSTRATIONS: usize = 2;
/// Pairs in each record of HELMET's files, by length.
const PAIRS: [usize; 5] = [105, 220, 440, 900, 1_800];

impl Dataset for JsonKv {
    fn name(&self) -> &'static str {
        "json_kv"
    }

    fn max_new_tokens(&self) -> usize {
        100
    }

    fn files(&self, length: usize, records: Records) -> StageResult<Vec<String>> {
        Ok(match records {
            Records::Generated => Vec::new(),
            Records::Benchmark => vec![format!("json_kv/test_k{}_dep6.jsonl", PAIRS[lengths::column(length)?])],
        })
    }

    fn examples(&self, request: &Request<'_>) -> StageResult<Vec<Example>> {
        if request.records == Records::Benchmark {
            return published(request);
        }
        generate(request, |index| {
            let make = |pairs| example(request, index, pairs);
            fill(request.template, request.room, request.tokens, DEMONSTRATIONS + 1, make)
        })
    }

    fn score(&self, answered: Answered<'_>) -> Scored {
        Ok(best_of_raw_and_parsed(answered, "corresponding value:"))
    }
}

/// A record of HELMET's files.
#[derive(Deserialize)]
struct Row {
    context: String,
    demos: Vec<[String; 2]>,
    question: String,
    answer: String,
}

fn published(request: &Request<'_>) -> StageResult<Vec<Example>> {
    let file = &JsonKv.files(request.room.length, request.records)?[0];
    let rows: Vec<Row> = request.data(JsonKv.name())?.rows(file, |_| true)?;
    let one = |number: usize| {
        let row = &rows[number];
        let shown = row.demos.iter().take(DEMONSTRATIONS).map(|[key, value]| (key.clone(), value.clone()));
        Ok(Example {
            fields: Fields::from([
                ("context", row.context.clone()),
                ("demos", demos(request, &shown.collect::<Vec<_>>())?),
                ("question", row.question.clone()),
            ]),
            answers: vec![row.answer.clone()],
            cluster: number.to_string(),
            ..Example::default()
        })
    };
    shuffled(request, rows.len()).into_iter().map(one).collect()
}

/// The demonstrated pairs as they stand before the question.
fn demos(request: &Request<'_>, pairs: &[(String, String)]) -> StageResult<String> {
    let one = |(key, value): &(String, String)| {
        request.template.render("demo", &Fields::from([("key", key.clone()), ("value", value.clone())]))
    };
    let demos = pairs.iter().map(one).collect::<StageResult<Vec<_>>>()?;
    Ok(demos.join(request.template.part("demo_separator")?) + request.template.part("demos_trailer")?)
}

/// Example `index` with an object of `pairs` pairs. A longer object holds the pairs of a shorter one.
fn example(request: &Request<'_>, index: usize, pairs: usize) -> StageResult<Example> {
    let mut stream = Stream::derive(request.seed, &[b"json_kv", &(index as u64).to_le_bytes()]);
    // Where the demonstrated pairs stand is drawn first: it must not depend on how many pairs follow.
    let places: Vec<f64> = (0..DEMONSTRATIONS).map(|_| stream.uniform()).collect();
    let mut drawn = (0..pairs).map(|_| (uuid(&mut stream), uuid(&mut stream)));
    let asked: Vec<(String, String)> = drawn.by_ref().take(1).collect();
    let demonstrated: Vec<(String, String)> = drawn.by_ref().take(DEMONSTRATIONS).collect();
    let mut object: Vec<&(String, String)> = Vec::with_capacity(pairs);
    let others: Vec<(String, String)> = drawn.collect();
    object.extend(&others);
    for (pair, place) in demonstrated.iter().zip(places) {
        object.insert((place * (object.len() + 1) as f64) as usize, pair);
    }
    let depth = (index % DEPTHS) as f64 / (DEPTHS - 1) as f64;
    object.insert((depth * object.len() as f64).round() as usize, &asked[0]);

    let lines: Vec<String> = object.iter().map(|(key, value)| format!("    \"{key}\": \"{value}\"")).collect();
    let demos = demos(request, &demonstrated)?;
    let (key, value) = &asked[0];
    Ok(Example {
        fields: Fields::from([
            ("context", format!("JSON data:\n{{\n{}\n}}", lines.join(",\n"))),
            ("demos", demos),
            ("question", key.clone()),
        ]),
        answers: vec![value.clone()],
        cluster: index.to_string(),
        ..Example::default()
    })
}
