//! `show` and `export` on the real binary: what a run made, looked at and taken out.

mod support;

use serde_json::Value;
use support::workspace::Workspace;

/// Generated data, and the heads that score at least tau.
const PIPELINE: &str = "\
version: 1
name: items
sources: {scores: {published-scores: scores.json}}
stages:
  mask:
    kind: build-mask
    in: {scores: scores}
    with: {tau: 0.2}
  data:
    kind: synthetic
    with: {needles: 2, haystack-tokens: 16, instructions: 3}
";

fn workspace() -> Workspace {
    let workspace = Workspace::new(PIPELINE);
    workspace.write("scores.json", r#"{"0-0": [0.1], "0-1": [0.9], "1-0": [0.3], "1-1": [0.2]}"#);
    workspace.succeeds(&["run", "pipeline.yaml"]);
    workspace
}

#[test]
fn a_table_is_aligned_sorted_and_cut() {
    let workspace = workspace();
    let show = |more: &[&str]| workspace.succeeds(&[&["show", "mask"], more].concat()).out;
    assert_eq!(show(&[]), "layer  head\n    0     1\n    1     0\n    1     1\n3 rows\n");
    assert_eq!(show(&["--rows", "1"]), "layer  head\n    0     1\n1 of 3 rows\n");
    assert_eq!(show(&["--sort", "-head", "--columns", "head"]), "head\n   1\n   1\n   0\n3 rows\n");
    assert_eq!(show(&["--sort", "head", "--rows", "1"]), "layer  head\n    1     0\n1 of 3 rows\n");
    let rows: Vec<Value> = support::workspace::parse(&show(&["--json"]));
    assert_eq!(rows[2], serde_json::json!({ "layer": 1, "head": 1 }));
    let refused = workspace.run(&["show", "mask", "--sort", "tau"]);
    assert_eq!(refused.code, Some(2));
    assert_eq!(refused.err, "error: the table has no column `tau`\n  help: its columns are: layer, head\n");
}

#[test]
fn a_folder_is_listed_and_a_text_printed() {
    let workspace = workspace();
    let listed = workspace.succeeds(&["show", "data"]);
    let names: Vec<&str> = listed.out.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(names, ["file", "needles.jsonl", "part1/haystack.txt", "part2/haystack.txt"]);
    assert!(listed.err.contains("other outputs: instructions"), "{}", listed.err);
    let text = workspace.succeeds(&["show", "data.instructions"]).out;
    assert_eq!(text.lines().count(), 3);
    assert!(text.lines().all(|line| serde_json::from_str::<Value>(line).is_ok_and(|row| row["prompt"].is_string())));
}

#[test]
fn items_are_addressed_by_stage_port_and_run() {
    let workspace = workspace();
    let first = workspace.latest_run().file_name().expect("a name").to_string_lossy().into_owned();
    workspace.succeeds(&["run", "pipeline.yaml", "--set", "stages.mask.with.tau=0.5"]);
    assert_eq!(workspace.succeeds(&["show", "mask.mask"]).out, "layer  head\n    0     1\n1 row\n");
    let earlier = workspace.succeeds(&["show", &format!("mask.mask@{first}")]).out;
    assert!(earlier.ends_with("3 rows\n"), "{earlier}");
    for (item, message) in [
        ("msak", "error: run "),
        ("msak", "did you mean `mask`?"),
        ("data.needle", "error: stage `data` has no output `needle`"),
        ("data.needle", "did you mean `needles`?"),
        ("mask@20200101", "error: there is no run `20200101`"),
        ("mask@../../etc", "error: there is no run `../../etc`"),
    ] {
        let refused = workspace.run(&["show", item]);
        assert_eq!(refused.code, Some(2), "{item}");
        assert!(refused.err.contains(message), "{item}: {}", refused.err);
    }
}

#[test]
fn an_empty_cache_says_what_makes_a_run() {
    let workspace = Workspace::new(PIPELINE);
    let refused = workspace.run(&["show", "mask"]);
    assert_eq!(refused.code, Some(2));
    assert!(refused.err.contains("has no runs yet") && refused.err.contains("`retmask run FILE`"), "{}", refused.err);
}

#[test]
fn an_export_is_a_copy_of_ones_own() {
    let workspace = workspace();
    workspace.succeeds(&["export", "mask", "mask.parquet"]);
    let blob = std::fs::read(workspace.blob_of("mask", "mask")).expect("the blob");
    let copy = workspace.path("mask.parquet");
    assert_eq!(std::fs::read(&copy).expect("the copy"), blob);
    // Writing to the copy changes nothing in the store.
    std::fs::write(&copy, "mine").expect("the copy can be written");
    assert_eq!(std::fs::read(workspace.blob_of("mask", "mask")).expect("the blob"), blob);
    let refused = workspace.run(&["export", "mask", "mask.parquet"]);
    assert_eq!(refused.code, Some(2), "{}", refused.err);
    assert_eq!(std::fs::read(&copy).expect("the copy"), b"mine");
    workspace.succeeds(&["export", "mask", "mask.parquet", "--overwrite"]);
    assert_eq!(std::fs::read(&copy).expect("the copy"), blob);
    workspace.succeeds(&["export", "data", "needles"]);
    assert!(workspace.path("needles/part2/haystack.txt").is_file());
}
