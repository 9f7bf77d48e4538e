//! `explain` and `why` on the real binary.

mod support;

use serde_json::{Value, json};
use support::workspace::{Workspace, overwrite};

/// Heads of a published score file, and a page about them.
const PIPELINE: &str = "\
version: 1
name: explained
params: {tau: 0.1}
sources: {scores: {published-scores: scores.json}}
stages:
  mask: {kind: build-mask, in: {scores: scores}, with: {tau: '${params.tau}'}}
  page: {kind: report, in: {mask: mask}}
  data: {kind: synthetic, with: {needles: 1, haystack-tokens: 16, instructions: 1}}
";

fn workspace() -> Workspace {
    let workspace = Workspace::new(PIPELINE);
    workspace.write("scores.json", r#"{"0-0": [0.1], "0-1": [0.9], "1-0": [0.3], "1-1": [0.2]}"#);
    workspace
}

fn explained(workspace: &Workspace, stage: &str, more: &[&str]) -> Value {
    let out = workspace.succeeds(&[&["explain", "pipeline.yaml", stage, "--json"], more].concat()).out;
    serde_json::from_str(&out).expect("one object")
}

fn name_of(run: std::path::PathBuf) -> String {
    run.file_name().expect("a name").to_string_lossy().into_owned()
}

#[test]
fn before_anything_ran_there_is_nothing_to_compare_with() {
    let workspace = workspace();
    let text = workspace.succeeds(&["explain", "pipeline.yaml", "mask"]).out;
    assert!(text.starts_with("mask (build-mask, epoch "), "{text}");
    assert!(text.contains("): it will run\n  key "), "{text}");
    assert!(text.ends_with("  the store holds no result of this kind\n"), "{text}");
    let page = explained(&workspace, "page", &[]);
    assert_eq!((&page["state"], &page["waits_for"]), (&json!("depends"), &json!(["mask"])));
    assert_eq!(page["forecast_before"]["unknown"], 1);
}

#[test]
fn a_hit_says_what_made_it() {
    let workspace = workspace();
    workspace.succeeds(&["run", "pipeline.yaml"]);
    let run = name_of(workspace.latest_run());
    // The run that only found it is not the one that made it.
    workspace.succeeds(&["run", "pipeline.yaml"]);
    let mask = explained(&workspace, "mask", &[]);
    assert_eq!((&mask["state"], &mask["made"]["run"]), (&json!("hit"), &json!(run)));
    assert_eq!(mask["outputs"][0]["port"], "mask");
    let text = workspace.succeeds(&["explain", "pipeline.yaml", "mask"]).out;
    assert!(text.contains("): hit\n") && text.contains(&format!("made by stage mask of run {run} (")), "{text}");
}

#[test]
fn a_miss_is_told_field_by_field_back_to_the_first_change() {
    let workspace = workspace();
    workspace.succeeds(&["run", "pipeline.yaml"]);
    let run = name_of(workspace.latest_run());
    let changed = ["--set", "params.tau=0.25"];
    let mask = explained(&workspace, "mask", &changed);
    assert_eq!(mask["state"], "run");
    let near = &mask["nearest"];
    // Version, kind, epoch, five parameters, one input.
    assert_eq!((&near["equal"], &near["fields"], &near["run"]), (&json!(8), &json!(9), &json!(run)));
    assert_eq!(near["causes"], json!([{ "field": "with.tau", "old": "0.1", "new": "0.25" }]));
    assert_eq!(mask["forecast"]["results"], 1);
    assert!(mask["forecast"]["bytes"].as_u64().is_some_and(|bytes| bytes > 100), "{mask}");
    let text = workspace.succeeds(&[&["explain", "pipeline.yaml", "mask"], &changed[..]].concat()).out;
    assert!(text.contains(&format!("  8 of 9 fields equal stage mask of run {run} (")), "{text}");
    assert!(text.contains("\n    with.tau 0.1 -> 0.25\n  forecast: "), "{text}");
    // What depends on it: its input is not known, and the cause lies one stage up.
    let page = explained(&workspace, "page", &changed);
    let cause = &page["nearest"]["causes"][0];
    assert_eq!(
        (&page["state"], &cause["field"], &cause["stage"]),
        (&json!("depends"), &json!("in.mask"), &json!("mask"))
    );
    assert_eq!(cause["not_known"], true);
    let upstream = json!([{ "stage": "mask", "causes": [{ "field": "with.tau", "old": "0.1", "new": "0.25" }] }]);
    assert_eq!(page["nearest"]["upstream"], upstream);
    assert!(page["forecast_before"]["seconds"].is_f64(), "{page}");
    let text = workspace.succeeds(&[&["explain", "pipeline.yaml", "page"], &changed[..]].concat()).out;
    assert!(
        text.contains("-> not known yet, from mask\n  what changed first\n    mask: with.tau 0.1 -> 0.25\n"),
        "{text}"
    );
    // `plan` tells the same by the same rule.
    let plan = workspace.succeeds(&[&["plan", "pipeline.yaml"], &changed[..]].concat()).out;
    assert!(plan.lines().any(|line| line.starts_with("mask ") && line.ends_with("with.tau 0.1 -> 0.25")), "{plan}");
}

#[test]
fn a_changed_source_and_a_lost_result_are_told() {
    let workspace = workspace();
    workspace.succeeds(&["run", "pipeline.yaml"]);
    let blob = workspace.blob_of("mask", "mask");
    std::fs::remove_file(&blob).expect("the stored mask");
    let lost = explained(&workspace, "mask", &[]);
    assert!(lost["lost"].as_str().is_some_and(|lost| lost.contains("missing")), "{lost}");
    workspace.write("scores.json", r#"{"0-0": [0.2], "0-1": [0.9], "1-0": [0.3], "1-1": [0.2]}"#);
    let mask = explained(&workspace, "mask", &[]);
    let causes = mask["nearest"]["causes"].as_array().expect("causes");
    assert_eq!(causes.len(), 1, "{mask}");
    assert_eq!((&causes[0]["field"], &causes[0]["source"]), (&json!("in.scores"), &json!("scores")));
    std::fs::remove_file(workspace.path("scores.json")).expect("the source");
    let missing = explained(&workspace, "mask", &[]);
    assert_eq!((&missing["state"], &missing["waits_for"]), (&json!("blocked"), &json!(["scores"])));
}

/// The nearest result may be a colleague's: in the remote, and nowhere here.
#[test]
fn a_miss_is_compared_with_the_results_of_the_remote() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let address = format!("file://{}", folder.path().join("remote").display());
    let (ana, ben) = (workspace(), workspace());
    let remote = ["--remote", address.as_str()];
    ana.succeeds(&[&["run", "pipeline.yaml"], &remote[..]].concat());
    let text = ben.succeeds(&["explain", "pipeline.yaml", "mask"]).out;
    assert!(text.ends_with("  the store holds no result of this kind\n"), "{text}");
    // The very result: a run takes it.
    let mask = explained(&ben, "mask", &remote);
    assert_eq!((&mask["state"], &mask["made"]["at"]), (&json!("elsewhere"), &json!(address)));
    let page = explained(&ben, "page", &remote);
    assert_eq!(page["state"], "elsewhere", "its input is known from there: {page}");
    let text = ben.succeeds(&[&["explain", "pipeline.yaml", "mask"], &remote[..]].concat()).out;
    assert!(text.contains("): a run takes it from the remote\n"), "{text}");
    // A near one: field by field.
    let changed = [&remote[..], &["--set", "params.tau=0.25"]].concat();
    let mask = explained(&ben, "mask", &changed);
    let near = &mask["nearest"];
    assert_eq!((&near["equal"], &near["fields"], &near["at"]), (&json!(8), &json!(9), &json!(address)));
    assert_eq!(near["causes"], json!([{ "field": "with.tau", "old": "0.1", "new": "0.25" }]));
    assert_eq!(mask["forecast"]["results"], 1);
    let text = ben.succeeds(&[&["explain", "pipeline.yaml", "mask"], &changed[..]].concat()).out;
    assert!(text.contains(&format!(" in {address} (")), "{text}");
    // What was read once is not read again: it may even be damaged there by now. Nothing was made of it here.
    assert_eq!((ben.files_in("remotes"), ben.files_in("ac"), ben.files_in("cas")), (3, 0, 0));
    let records = folder.path().join("remote/ac");
    for fan_out in std::fs::read_dir(&records).expect("records").flatten() {
        for key in std::fs::read_dir(fan_out.path()).expect("keys").flatten() {
            for record in std::fs::read_dir(key.path()).expect("a key").flatten() {
                overwrite(&record.path(), b"no record");
            }
        }
    }
    assert_eq!(explained(&ben, "mask", &remote)["state"], "elsewhere");
    assert_eq!(explained(&workspace(), "mask", &remote)["state"], "run", "what is damaged is left out");
    // What is gone there is forgotten.
    std::fs::remove_dir_all(&records).expect("removed");
    assert_eq!(explained(&ben, "mask", &remote)["state"], "run");
    assert_eq!(ben.files_in("remotes"), 0);
    // A remote that fails fails nothing.
    ben.write("occupied", "a file");
    let broken = format!("file://{}", ben.path("occupied/remote").display());
    let told = ben.succeeds(&["explain", "pipeline.yaml", "mask", "--remote", &broken]);
    assert!(told.err.contains("its results are left out") && told.out.contains("): it will run\n"), "{}", told.err);
}

/// An example of an evaluation back to its prompt, mask, seed, model and maker.
#[test]
fn why_tells_the_prompt_of_an_example() {
    const EVALUATION: &str = "\
version: 1
name: evaluated
sources:
  tiny: {embedded: tiny}
  scores: {published-scores: scores.json}
stages:
  mask: {kind: build-mask, in: {scores: scores}, with: {select: top-k, count: 3}}
  predictions:
    kind: helmet
    in: {model: tiny, mask: mask}
    with: {datasets: [json_kv], length: 640, samples: 2, seed: 9}
";
    let workspace = Workspace::new(EVALUATION);
    workspace.write("scores.json", r#"{"0-0": [0.1], "0-1": [0.9], "1-0": [0.3], "1-1": [0.2]}"#);
    workspace.succeeds(&["run", "pipeline.yaml"]);
    let run = name_of(workspace.latest_run());
    let out = workspace.succeeds(&["why", "predictions#json_kv/640/1", "--json"]).out;
    let why: Value = serde_json::from_str(&out).expect("one object");
    let made = &why["stages"][0];
    assert_eq!((&made["kind"], &made["made_by"]), (&json!("helmet"), &json!(run)));
    let origins = made["origins"].as_array().expect("origins");
    assert_eq!((origins.len(), &origins[0]["row"]), (1, &json!("json_kv/640/1")));
    let prompt = origins[0]["text"].as_str().expect("a prompt");
    // It asks for a key of its own, whose value is the answer that is expected.
    let answer = why["rows"][0]["values"]["answers"][0].as_str().expect("an answer");
    assert!(prompt.contains(answer), "{answer}: {prompt}");
    let tokens = why["rows"][0]["values"]["prompt_tokens"].as_u64().expect("a number") as usize;
    assert!((tokens..tokens * 12).contains(&prompt.len()), "{tokens} tokens, {} bytes", prompt.len());
    let other: Value =
        serde_json::from_str(&workspace.succeeds(&["why", "predictions#0", "--json"]).out).expect("one object");
    assert_ne!(other["stages"][0]["origins"][0]["text"], origins[0]["text"]);
    assert!(
        made["parameters"].as_array().expect("parameters").iter().any(|it| it["name"] == "seed" && it["value"] == 9)
    );
    let inputs = made["inputs"].as_array().expect("inputs");
    let from = |role: &str| &inputs.iter().find(|input| input["role"] == role).expect("the input")["from"];
    assert_eq!((from("model"), from("mask")), (&json!({ "source": "tiny" }), &json!({ "stage": "mask" })));
    let text = workspace.succeeds(&["why", "predictions#json_kv/640/1"]).out;
    assert!(text.contains("  json_kv/640/1 was asked as (") && text.contains(" … "), "{text}");
    // Without the pipeline file nobody knows where the sources are; everything else is told.
    std::fs::remove_file(workspace.path("pipeline.yaml")).expect("the file");
    let text = workspace.succeeds(&["why", "predictions#json_kv/640/1"]).out;
    assert!(text.contains("  how the row was asked cannot be told: ") && text.contains("  with.seed 9\n"), "{text}");
}

#[test]
fn a_stage_the_file_has_not_is_refused() {
    let refused = workspace().run(&["explain", "pipeline.yaml", "maks"]);
    assert_eq!(refused.code, Some(2));
    let expected = "error: `maks` names no stage of pipeline.yaml\n  help: did you mean `mask`?; its stages: ";
    assert!(refused.err.starts_with(expected), "{}", refused.err);
}

#[test]
fn why_traces_an_artifact_and_a_row_back_to_the_sources() {
    let workspace = workspace();
    workspace.succeeds(&["run", "pipeline.yaml"]);
    let run = name_of(workspace.latest_run());
    let out = workspace.succeeds(&["why", "page", "--json"]).out;
    let page: Value = serde_json::from_str(&out).expect("one object");
    let stages = page["stages"].as_array().expect("stages");
    let names: Vec<&str> = stages.iter().filter_map(|stage| stage["stage"].as_str()).collect();
    assert_eq!(names, ["page", "mask"]);
    assert_eq!(stages[0]["made_by"], json!(run));
    let input = &stages[0]["inputs"][0];
    assert_eq!((&input["role"], &input["from"]), (&json!("mask"), &json!({ "stage": "mask" })));
    assert_eq!(input["heads"], json!(["0-0", "0-1", "1-0", "1-1"]));
    let tau = json!({ "name": "tau", "value": 0.1, "default": true });
    assert!(stages[1]["parameters"].as_array().expect("parameters").contains(&tau), "{}", stages[1]);
    assert_eq!(stages[1]["inputs"][0]["from"], json!({ "source": "scores" }));
    assert_eq!(page["sources"][0]["source"], "scores");
    let text = workspace.succeeds(&["why", "mask#1-0"]).out;
    assert!(text.contains("\n  row 2\n    layer  1\n    head   0\n"), "{text}");
    assert!(text.contains("\n  with.seed 42\n  in.scores source scores\n"), "{text}");
    for (item, expected) in [
        ("mask#9", "error: `mask#9`: there is no row 9\n  help: it has 4 rows, counted from 0\n"),
        (
            "mask#9-9",
            "error: `mask#9-9`: there is no such row\n  help: a row is named by its number or as `0-0`, say\n",
        ),
        ("page#1", "error: page.page is no table"),
    ] {
        let refused = workspace.run(&["why", item]);
        assert_eq!(refused.code, Some(2), "{item}");
        assert!(refused.err.starts_with(expected), "{}", refused.err);
    }
}

#[test]
fn why_goes_through_the_artifacts_of_other_runs() {
    let workspace = workspace();
    workspace.succeeds(&["run", "pipeline.yaml", "--set", "params.tau=0.3"]);
    // The same page, found: its mask comes from another run's record once this one's are gone.
    workspace.succeeds(&["run", "pipeline.yaml", "--set", "params.tau=0.3"]);
    let outputs = workspace.latest_run().join("outputs.json");
    let mut stages: Vec<Value> =
        serde_json::from_str(&std::fs::read_to_string(&outputs).expect("outputs")).expect("JSON");
    stages.retain(|stage| stage["stage"] != "mask");
    std::fs::write(&outputs, serde_json::to_string(&stages).expect("JSON")).expect("written over");
    let out = workspace.succeeds(&["why", "page", "--json"]).out;
    let page: Value = serde_json::from_str(&out).expect("one object");
    assert_eq!(page["stages"][1]["stage"], "mask", "{page}");
    assert_eq!(page["stages"][1]["inputs"][0]["from"], json!({ "source": "scores" }));
}
