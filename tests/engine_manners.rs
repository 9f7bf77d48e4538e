//! What a user may ask of a run beyond running it: what to run again, what to do after a failure, how it goes.

mod support;

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};
use support::background::Background;
use support::workspace::{Workspace, parse, stages_with, state_of};

/// A mask that may be empty, which fails; a page about it; and a mask that depends on neither.
const PIPELINE: &str = "\
version: 1
name: manners
params: {tau: 0.1}
sources: {scores: {published-scores: scores.json}}
stages:
  mask: {kind: build-mask, in: {scores: scores}, with: {tau: '${params.tau}'}, resources: {cpus: 1}}
  page: {kind: report, in: {mask: mask}, resources: {cpus: 1}}
  random: {kind: build-mask, in: {scores: scores}, with: {variant: random}, resources: {cpus: 1}}
";
/// A stage that takes long.
const LONG: &str = "\
version: 1
name: long
stages: {long: {kind: synthetic, with: {needles: 1000, haystack-tokens: 20000, instructions: 1}}}
";

fn workspace() -> Workspace {
    let workspace = Workspace::new(PIPELINE);
    workspace.write("scores.json", r#"{"0-0": [0.1], "0-1": [0.9], "1-0": [0.3], "1-1": [0.2]}"#);
    workspace
}

#[test]
fn after_a_failure_nothing_new_starts_unless_asked_to_keep_going() {
    let fails = ["run", "pipeline.yaml", "--json", "--cpus", "1", "--set", "params.tau=1.5"];
    let workspace = workspace();
    let stopped = workspace.run(&fails);
    assert_eq!(stopped.code, Some(2), "{}", stopped.err);
    let events = parse(&stopped.out);
    assert_eq!(stages_with(&events, "stage-failed"), ["mask"]);
    assert_eq!(stages_with(&events, "stage-started"), ["mask"]);
    assert_eq!(stages_with(&events, "stage-skipped"), ["page", "random"]);
    let because = |stage: &str| {
        let skipped = |event: &&Value| event["event"] == "stage-skipped" && event["stage"] == stage;
        events.iter().find(skipped).expect("it is skipped")["because"].clone()
    };
    assert_eq!((because("page"), because("random")), (json!(["mask"]), json!([])));
    let going = workspace.run(&[&fails[..], &["--keep-going"]].concat());
    assert_eq!(going.code, Some(2), "{}", going.err);
    let events = parse(&going.out);
    assert_eq!(stages_with(&events, "stage-finished"), ["random"]);
    assert_eq!(stages_with(&events, "stage-skipped"), ["page"]);
}

#[test]
fn what_is_forced_runs_again_and_gives_the_same() {
    let workspace = workspace();
    workspace.succeeds(&["run", "pipeline.yaml"]);
    let digests = workspace.digests();
    let plan = workspace.succeeds(&["plan", "pipeline.yaml", "--force", "mask", "--json"]).out;
    let plan: Value = serde_json::from_str(&plan).expect("JSON");
    assert_eq!(state_of(&plan, "mask")["reason"], json!({ "because": "forced" }));
    assert_eq!(state_of(&plan, "random")["state"], "hit");
    let forced = workspace.events(&["run", "pipeline.yaml", "--force", "mask"]);
    assert_eq!(stages_with(&forced, "stage-started"), ["mask"]);
    assert_eq!(stages_with(&forced, "stage-hit"), ["page", "random"]);
    let from = workspace.events(&["run", "pipeline.yaml", "--from", "mask"]);
    assert_eq!(stages_with(&from, "stage-started"), ["mask", "page"]);
    assert_eq!(stages_with(&from, "stage-differs"), Vec::<String>::new());
    assert_eq!(workspace.digests(), digests);
    let refused = workspace.run(&["run", "pipeline.yaml", "--force", "nothing*"]);
    assert_eq!(refused.code, Some(2));
    assert!(refused.err.starts_with("error: --force `nothing*` names no stage of pipeline.yaml\n"), "{}", refused.err);
}

#[test]
fn a_run_is_seen_as_long_as_it_goes_on() {
    let workspace = Workspace::new(LONG);
    assert_eq!(workspace.succeeds(&["status"]).err, "nothing runs\n");
    let mut run = Background::start(&workspace, "pipeline.yaml", &[]);
    run.wait_for("stage-progress", "long");
    // The progress is written beside the event that was seen.
    let began = Instant::now();
    let stage = loop {
        let status = parse(&workspace.succeeds(&["status", "--json"]).out);
        assert_eq!(status.len(), 1, "one run");
        let stage = status[0]["stages"][0].clone();
        if !stage["progress"].is_null() {
            break stage;
        }
        assert!(began.elapsed() < Duration::from_secs(20), "{stage}");
    };
    assert_eq!((&stage["stage"], &stage["waits_for"]), (&json!("long"), &Value::Null));
    assert_eq!(stage["progress"]["unit"], "needles");
    let text = workspace.succeeds(&["status"]).out;
    assert!(
        text.lines().nth(1).is_some_and(|line| line.contains("  long  ") && line.contains("/1000 needles")),
        "{text}"
    );
    let mut waiting = Background::start(&workspace, "pipeline.yaml", &[]);
    waiting.wait_for("stage-waiting", "long");
    let text = workspace.succeeds(&["status"]).out;
    assert!(text.contains("waits for process "), "{text}");
    waiting.signal(Signal::INT);
    run.signal(Signal::KILL);
    assert_eq!(run.finish().0, None);
    assert_eq!(waiting.finish().0, Some(130));
    assert_eq!(workspace.succeeds(&["status"]).err, "nothing runs\n");
    let runs = parse(&workspace.succeeds(&["runs", "--json"]).out);
    assert_eq!((&runs[0]["state"], &runs[1]["state"]), (&json!("interrupted"), &json!("killed")));
}

#[test]
fn logs_are_those_of_the_run_that_made_the_result() {
    const DATA: &str = "\
version: 1
name: data
stages: {data: {kind: synthetic, with: {needles: 2, haystack-tokens: 16, instructions: 1}}}
";
    let workspace = Workspace::new(DATA);
    workspace.succeeds(&["run", "pipeline.yaml"]);
    let log = workspace.succeeds(&["logs", "data"]).out;
    assert!(log.ends_with(" generate: 2 needles\n"), "{log}");
    assert_eq!(workspace.succeeds(&["logs"]).out, log, "one stage needs no heading");
    workspace.succeeds(&["run", "pipeline.yaml"]);
    assert_eq!(workspace.succeeds(&["logs", "data"]).out, log);
    let refused = workspace.run(&["logs", "date"]);
    assert_eq!(refused.code, Some(2));
    assert!(refused.err.contains("has no stage `date`\n  help: did you mean `data`?"), "{}", refused.err);
}

#[test]
fn a_log_is_followed_until_the_run_ends() {
    let workspace = Workspace::new(LONG);
    let mut run = Background::start(&workspace, "pipeline.yaml", &[]);
    run.wait_for("stage-progress", "long");
    let mut follow = workspace.command(&["logs", "long", "--follow"]);
    let follow = follow.stdout(std::process::Stdio::piped()).spawn().expect("the program starts");
    run.signal(Signal::INT);
    assert_eq!(run.finish().0, Some(130));
    let output = follow.wait_with_output().expect("it ends");
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).contains(" generate: 1000 needles\n"));
}
