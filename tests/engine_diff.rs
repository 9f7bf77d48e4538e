//! `runs` and `diff` on the real binary.

mod support;

use serde_json::Value;
use support::workspace::{Workspace, parse};

const PIPELINE: &str = "\
version: 1
name: compared
params: {tau: 0.2}
sources: {scores: {published-scores: scores.json}}
stages:
  mask: {kind: build-mask, in: {scores: scores}, with: {tau: \"${params.tau}\"}}
  random: {kind: build-mask, in: {scores: scores}, with: {tau: 0.2, variant: random, seed: 1}}
  data: {kind: synthetic, with: {needles: 1, haystack-tokens: 16, instructions: 1}}
";

/// A folder in which two runs were made; their names.
fn compared() -> (Workspace, [String; 2]) {
    let workspace = Workspace::new(PIPELINE);
    workspace.write("scores.json", r#"{"0-0": [0.1], "0-1": [0.9], "1-0": [0.3], "1-1": [0.2]}"#);
    let run = |arguments: &[&str]| {
        workspace.succeeds(&[&["run", "pipeline.yaml"], arguments].concat());
        workspace.latest_run().file_name().expect("a name").to_string_lossy().into_owned()
    };
    let first = run(&[]);
    let second = run(&["--set", "params.tau=0.3", "--only", "mask", "--only", "data"]);
    (workspace, [first, second])
}

#[test]
fn runs_are_listed_the_latest_first() {
    let (workspace, [first, second]) = compared();
    let runs = parse(&workspace.succeeds(&["runs", "--json"]).out);
    let names: Vec<&str> = runs.iter().map(|run| run["run"].as_str().expect("a name")).collect();
    assert_eq!(names, [second.as_str(), first.as_str()]);
    let counts = |run: &Value| ["ran", "hits", "failed", "stages"].map(|key| run[key].as_u64().expect("a count"));
    assert_eq!(counts(&runs[0]), [1, 1, 0, 2]);
    assert_eq!(counts(&runs[1]), [3, 0, 0, 3]);
    assert_eq!(runs[0]["only"], serde_json::json!(["mask", "data"]));
    let table = workspace.succeeds(&["runs", "--limit", "1"]).out;
    assert_eq!(table.lines().count(), 2);
    assert!(table.contains(&second) && table.contains("params.tau=0.3"), "{table}");
    assert_eq!(workspace.succeeds(&["runs", "other", "--json"]).out, "");
    // A damaged record hides no other run.
    std::fs::write(workspace.cache().join("runs").join(&second).join("run.json"), "{").expect("written over");
    let listed = workspace.succeeds(&["runs"]);
    assert!(listed.out.contains(&first) && !listed.out.contains(&second), "{}", listed.out);
    assert!(listed.err.contains(&format!("the record of run {second} is damaged")), "{}", listed.err);
}

#[test]
fn two_runs_differ_in_parameters_and_in_heads() {
    let (workspace, [first, second]) = compared();
    let text = workspace.succeeds(&["diff", &first, "latest"]).out;
    assert_eq!(
        text,
        format!(
            "mask (build-mask)\n  with.tau 0.2 -> 0.3\n  mask: 2 heads kept; entered: none; left: 1-1\n\
             only in {first}: random\n1 stages differ, 1 are the same\n"
        )
    );
    let back = workspace.succeeds(&["diff", &second, &first, "--json"]).out;
    let back: Value = serde_json::from_str(&back).expect("JSON");
    assert_eq!(back["only_second"], serde_json::json!(["random"]));
    let mask = &back["stages"][0]["outputs"][0]["mask"];
    assert_eq!(*mask, serde_json::json!({ "entered": ["1-1"], "left": [], "kept": 2 }));
    let same = workspace.succeeds(&["diff", &first, &first]).out;
    assert_eq!(same, "0 stages differ, 3 are the same\n");
    let stages = workspace.succeeds(&["diff", &format!("random@{first}"), &format!("mask@{second}")]).out;
    assert!(stages.starts_with("mask (build-mask)\n  with.seed 1 -> 42\n  with.tau 0.2 -> 0.3\n"), "{stages}");
    assert!(stages.contains("  with.variant \"random\" -> \"retrieval\"\n"), "{stages}");
    let port = workspace.run(&["diff", "mask", "mask.mask"]);
    assert_eq!(port.code, Some(2), "{}", port.err);
    let missing = workspace.run(&["diff", &first, "nowhere"]);
    assert_eq!(missing.code, Some(2));
    assert!(missing.err.starts_with("error: there is no run `nowhere`\n"), "{}", missing.err);
}
