//! JSON KV: look up a key among random pairs (Liu et al. 2023, "Lost in the Middle"), generated.

use retmask_model::random::Stream;

use super::generate;
use super::identifiers::uuid;
use crate::contract::StageResult;
use crate::helmet::dataset::{Answered, Dataset, Example, MetricValue, Request};
use crate::helmet::score::best_of_raw_and_parsed;
use crate::helmet::size::fill;
use crate::helmet::template::Fields;

/// A JSON object of random pairs, two of them shown as demonstrations, one asked for.
pub struct JsonKv;

/// HELMET asks at six even depths. Its released file is sampled without regard to them; here example `i` asks
/// at depth `i mod 6`, so that depths are balanced.
const DEPTHS: usize = 6;
const DEMONSTRATIONS: usize = 2;

impl Dataset for JsonKv {
    fn name(&self) -> &'static str {
        "json_kv"
    }

    fn max_new_tokens(&self) -> usize {
        100
    }

    fn examples(&self, request: &Request<'_>) -> StageResult<Vec<Example>> {
        generate(request, |index| {
            let make = |pairs| example(request, index, pairs);
            fill(request.template, request.room, request.tokens, DEMONSTRATIONS + 1, make)
        })
    }

    fn score(&self, answered: Answered<'_>) -> Vec<MetricValue> {
        best_of_raw_and_parsed(answered, "corresponding value:")
    }
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
    let mut demos = String::new();
    for (number, (key, value)) in demonstrated.iter().enumerate() {
        let fields = Fields::from([("key", key.clone()), ("value", value.clone())]);
        if number > 0 {
            demos.push_str(request.template.part("demo_separator")?);
        }
        demos.push_str(&request.template.render("demo", &fields)?);
    }
    demos.push_str(request.template.part("demos_trailer")?);
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
