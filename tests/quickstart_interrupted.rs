//! The whole method on the built-in model, stopped and killed in every stage: each next run goes on from the complete
//! stages, and in the end every result is the one of a run that nobody disturbed.

mod support;

use rustix::process::Signal;
use serde_json::Value;
use support::background::Background;
use support::workspace::{Workspace, stages_with};

const QUICKSTART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/pipelines/quickstart.yaml");
/// A stage of every kind of the quickstart, in an order in which each comes after what it reads.
const STAGES: [&str; 9] = ["data", "scores", "mask", "pairs", "reference", "dpo", "base-predictions", "base", "report"];

/// Stages whose result is in the store, as the planner sees it.
fn complete(workspace: &Workspace) -> Vec<String> {
    let plan: Value = serde_json::from_str(&workspace.succeeds(&["plan", QUICKSTART, "--json"]).out).expect("JSON");
    let hits = plan["stages"].as_array().expect("stages").iter().filter(|stage| stage["state"] == "hit");
    hits.map(|stage| stage["stage"].as_str().expect("a name").to_owned()).collect()
}

/// Starts the run, waits until this stage works, and sends the signal. The exit code, and the stages that ended first.
fn disturbed(workspace: &Workspace, stage: &str, signal: Signal, more: &[&str]) -> (Option<i32>, Vec<String>) {
    let mut run = Background::start(workspace, QUICKSTART, more);
    run.wait_for("stage-started", stage);
    run.signal(signal);
    let (code, events, errors) = run.finish();
    assert_eq!(stages_with(&events, "stage-failed"), Vec::<String>::new(), "{errors}");
    workspace.succeeds(&["cache", "verify"]);
    (code, stages_with(&events, "stage-finished"))
}

#[test]
fn stopped_and_killed_in_every_stage_it_ends_with_the_same_results() {
    let undisturbed = Workspace::new("");
    undisturbed.succeeds(&["run", QUICKSTART]);

    let workspace = Workspace::new("");
    let mut killed = 0;
    for stage in STAGES {
        for signal in [Signal::INT, Signal::KILL] {
            let before = complete(&workspace);
            if before.iter().any(|complete| complete == stage) {
                // A stage of milliseconds may end before the signal arrives; then there is nothing left to disturb.
                continue;
            }
            let (code, finished) = disturbed(&workspace, stage, signal, &[]);
            killed += usize::from(code.is_none());
            if !finished.iter().any(|finished| finished == stage) {
                let expected = if signal == Signal::KILL { None } else { Some(130) };
                assert_eq!(code, expected, "{stage}");
            }
            let after = complete(&workspace);
            let kept = before.iter().chain(&finished).all(|stage| after.contains(stage));
            assert!(kept, "{stage}: {before:?} and {finished:?} were complete, {after:?} are");
        }
    }

    // Ten kills in all: the others while it trains, which takes longest.
    while killed < 10 {
        let (code, _) = disturbed(&workspace, "dpo", Signal::KILL, &["--force", "dpo"]);
        assert_eq!(code, None);
        killed += 1;
    }

    let before = complete(&workspace);
    let events = workspace.events(&["run", QUICKSTART]);
    let hits = stages_with(&events, "stage-hit");
    assert!(before.iter().all(|stage| hits.contains(stage)), "{before:?} were complete, {hits:?} were hits");
    assert_eq!(workspace.files_in("tmp"), 0, "what the killed runs left is removed");
    let (digests, expected) = (workspace.digests(), undisturbed.digests());
    assert!(digests.len() > STAGES.len());
    assert_eq!(digests, expected);
}
