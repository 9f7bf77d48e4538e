//! `retmask helmet table`: systems side by side, from the scores that runs left in the store.

mod support;

use serde_json::Value;
use support::workspace::{Workspace, parse};

/// Two models at two lengths; the second has every head but one masked.
const PIPELINE: &str = "\
version: 1
name: table
sources:
  tiny: {embedded: tiny}
  scores: {published-scores: scores.json}
matrix:
  length: {a: 320, b: 640}
stages:
  mask: {kind: build-mask, in: {scores: scores}, with: {tau: 0.2}}
  base-answers:
    matrix: length
    kind: helmet
    in: {model: tiny}
    with: &asked {datasets: [ruler_niah_mk_2, ruler_niah_mv], length: '${matrix.length}', samples: 6}
  masked-answers: {matrix: length, kind: helmet, in: {model: tiny, mask: mask}, with: *asked}
  base: {matrix: length, kind: helmet-score, in: {predictions: base-answers}}
  masked: {matrix: length, kind: helmet-score, in: {predictions: masked-answers}}
";

#[test]
fn systems_stand_side_by_side_over_the_same_examples() {
    let workspace = Workspace::new(PIPELINE);
    let heads =
        (0..3).flat_map(|layer| (0..8).map(move |head| format!("\"{layer}-{head}\": [{}]", u8::from(head > 0))));
    workspace.write("scores.json", &format!("{{{}}}", heads.collect::<Vec<_>>().join(", ")));
    workspace.succeeds(&["run", "pipeline.yaml"]);
    let rows = parse(&workspace.succeeds(&["helmet", "table", "--datasets", "--json"]).out);
    let shape: Vec<(u64, &str, &str)> = rows
        .iter()
        .map(|row| {
            (row["length"].as_u64().unwrap(), row["category"].as_str().unwrap(), row["dataset"].as_str().unwrap())
        })
        .collect();
    let at = |length| {
        [
            (length, "Recall", "json_kv"),
            (length, "Recall", "ruler_niah_mk_2"),
            (length, "Recall", "ruler_niah_mk_3"),
            (length, "Recall", "ruler_niah_mv"),
            (length, "Recall", ""),
            (length, "Average", ""),
        ]
    };
    assert_eq!(shape, [at(320), at(640)].concat());
    for row in &rows {
        let [base, masked] = [0, 1].map(|system| &row["systems"][system]);
        assert_eq!((&base["system"], &masked["system"]), (&"base".into(), &"masked".into()));
        assert_eq!(base["difference"], Value::Null);
        if matches!(row["dataset"].as_str().unwrap(), "json_kv" | "ruler_niah_mk_3") || row["category"] == "Average" {
            // What was not scored is no number.
            assert_eq!((&base["value"], &masked["difference"]), (&Value::Null, &Value::Null), "{row}");
            continue;
        }
        let number = |value: &Value| value.as_f64().unwrap_or_else(|| panic!("{row}"));
        let difference = number(&masked["difference"]);
        // Two means of the same examples in unlike orders of the sums.
        assert!((difference - (number(&masked["value"]) - number(&base["value"]))).abs() < 1e-9, "{row}");
        let ends: Vec<f64> = serde_json::from_value(masked["difference_interval"].clone()).unwrap();
        assert!(ends[0] <= difference && difference <= ends[1], "{row}");
        assert_eq!(base["whole"], Value::Bool(!row["dataset"].as_str().unwrap().is_empty()));
    }
    let means: Vec<f64> = [1, 3, 4].map(|row: usize| rows[row]["systems"][0]["value"].as_f64().unwrap()).to_vec();
    assert!((means[2] - (means[0] + means[1]) / 2.0).abs() < 1e-9, "{means:?}");

    let text = workspace.succeeds(&["helmet", "table"]).out;
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("length") && lines[0].contains("base") && lines[0].ends_with("- base"), "{text}");
    assert!(lines[1].trim_start().starts_with("320  Recall"), "{text}");
    assert!(text.contains("* over a part of what HELMET averages\n"), "{text}");
    assert!(text.contains("json_kv: not scored: there are no predictions, at length 320, 640\n"), "{text}");
    let markdown = workspace.succeeds(&["helmet", "table", "retmask=masked", "base", "--format", "markdown"]).out;
    assert!(
        markdown.starts_with("| length |  | retmask | base | - retmask |\n|---:|---|---:|---:|---:|\n| 320 | Recall |"),
        "{markdown}"
    );
    let latex = workspace.succeeds(&["helmet", "table", "--baseline", "masked", "--format", "latex", "--datasets"]).out;
    assert!(latex.contains("length &  & masked & base & $-$ masked \\\\\n\\midrule\n"), "{latex}");
    assert!(latex.contains("ruler\\_niah\\_mk\\_2 ruler\\_recall"), "{latex}");
    let csv = workspace.succeeds(&["helmet", "table", "--format", "csv"]).out;
    assert_eq!(csv.lines().count(), 1 + 4, "{csv}");
    assert!(csv.lines().all(|line| line.split(',').count() == 14), "{csv}");

    // Own words: no published number stands beside them.
    let sets = ["json_kv", "ruler_niah_mk_2", "ruler_niah_mk_3", "ruler_niah_mv"];
    let published = sets.map(|set| format!("\"{set}\": {{\"320\": 50, \"640\": 70.5}}")).join(", ");
    workspace.write("published.json", &format!("{{\"_source\": \"x\", \"m\": {{{published}}}}}"));
    let rows = parse(&workspace.succeeds(&["helmet", "table", "--published", "published.json", "--json"]).out);
    assert_eq!(rows[0]["published"], "own wording");
    assert_eq!(rows[1]["published"], Value::Null);
    let notes = rows[0]["notes"].as_array().unwrap();
    assert!(notes.iter().any(|note| note["note"] == "generated records"), "{notes:?}");
    // The authors' tables have a column per category.
    workspace.write("agg_results.csv", "Model,Recall,RAG\nm,50.5,7\nn,1,2\n");
    let csv = ["helmet", "table", "--published", "agg_results.csv", "--published-model", "m"];
    let rows = parse(&workspace.succeeds(&[&csv[..], &["--published-length", "320", "--json"]].concat()).out);
    assert_eq!(rows[0]["published"], "own wording");
    assert_eq!(rows[2]["published"], Value::Null);

    let refused = |arguments: &[&str], expected: &str| {
        let run = workspace.run(&[&["helmet", "table"], arguments].concat());
        assert_eq!((run.code, run.out.as_str()), (Some(2), ""), "{}", run.err);
        assert!(run.err.contains(expected), "`{expected}` is not in:\n{}", run.err);
    };
    refused(&["bas"], "its helmet-score stages with a result: `base[length=a]`");
    refused(&["base@nowhere"], "there is no run `nowhere`");
    refused(&["base", "base", "base"], "two systems are called");
    refused(&["--baseline", "other"], "no system is called `other`");
    refused(&["--published", "published.json", "--published-model", "n"], "there are no numbers of `n`");
    workspace.write("published.json", "{\"m\": {\"json_kv\": {\"320\": 101}}}");
    refused(&["--published", "published.json"], "m, json_kv, 320: a score is a number from 0 to 100");
    refused(&csv[2..], "the table does not say at which length it is");
    refused(&["--published", "agg_results.csv", "--published-length", "320"], "name the model with --published-model");
    workspace.write("published.json", "[");
    refused(&["--published", "published.json"], "published.json: expected an object");
}
