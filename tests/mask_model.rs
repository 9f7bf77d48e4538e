//! `mask-model` on the real binary: what it writes answers as the model does under the mask.

mod support;

use serde_json::Value;
use support::workspace::{Workspace, parse};

const PIPELINE: &str = "\
version: 1
name: masked-for-good
sources:
  tiny: {embedded: tiny}
  published: {published-scores: scores.json}
stages:
  mask: {kind: build-mask, in: {scores: published}, with: {select: top-k, count: 3}}
  masked: {kind: mask-model, in: {model: tiny, mask: mask}}
  base: {kind: helmet, in: {model: tiny}, with: &evaluation {datasets: [json_kv, ruler_niah_mk_2], length: 640, samples: 4}}
  under-mask: {kind: helmet, in: {model: tiny, mask: mask}, with: *evaluation}
  for-good: {kind: helmet, in: {model: masked}, with: *evaluation}
";

#[test]
fn the_written_model_answers_as_the_model_under_the_mask() {
    let workspace = Workspace::new(PIPELINE);
    // The scores of the built-in model's retrieval heads are high.
    let scores: serde_json::Map<String, Value> = (0..3)
        .flat_map(|layer| {
            (0..8).map(move |head| (format!("{layer}-{head}"), serde_json::json!([0.1 * f64::from(layer)])))
        })
        .collect();
    workspace.write("scores.json", &Value::from(scores).to_string());
    workspace.succeeds(&["run", "pipeline.yaml"]);
    let rows = |stage: &str| parse(&workspace.succeeds(&["show", stage, "--json"]).out);
    assert_eq!(rows("for-good"), rows("under-mask"));
    assert_ne!(rows("for-good"), rows("base"), "the mask changes an answer");
    let log = workspace.succeeds(&["logs", "masked"]).out;
    assert!(log.contains("heads masked: 3; weights in bf16: "), "{log}");
}
