//! Variants of a pipeline (`extends`) and parts of one (`--only`), on the real binary.

mod support;

use serde_json::Value;
use support::workspace::{Workspace, stages_with};

const BASE: &str = "\
version: 1
name: base
params: {tau: 0.1, seed: 7}
sources: {scores: {published-scores: scores.json}, other: {published-scores: other.json}}
matrix: {seed: [1, 2]}
stages:
  data: {kind: synthetic, with: {needles: 2, haystack-tokens: 16, instructions: 3}}
  mask: {kind: build-mask, in: {scores: scores}, with: {tau: \"${params.tau}\", seed: 5}}
  random:
    matrix: seed
    kind: build-mask
    in: {scores: scores}
    with: {variant: random, tau: \"${params.tau}\", seed: \"${matrix.seed}\"}
";

/// A folder with the base in `pipeline.yaml` and this variant of it in `variants/variant.yaml`.
fn workspace(variant: &str) -> Workspace {
    let workspace = Workspace::new(BASE);
    let heads = (0..32).map(|head| format!("\"{}-{}\": [{}]", head / 8, head % 8, f64::from(head) / 100.0));
    workspace.write("scores.json", &format!("{{{}}}", heads.collect::<Vec<_>>().join(", ")));
    std::fs::create_dir(workspace.path("variants")).expect("a folder");
    workspace.write("variants/variant.yaml", variant);
    workspace
}

const VARIANT: &str = "variants/variant.yaml";

fn graph(workspace: &Workspace, more: &[&str]) -> Value {
    let out = workspace.succeeds(&[&["graph", VARIANT, "--json"], more].concat()).out;
    serde_json::from_str(&out).expect("JSON")
}

fn names(graph: &Value) -> Vec<&str> {
    graph["stages"].as_array().expect("stages").iter().map(|stage| stage["name"].as_str().expect("a name")).collect()
}

#[test]
fn a_variant_says_what_differs_and_the_rest_is_shared() {
    let variant = "extends: ../pipeline.yaml\nname: variant\nparams: {tau: 0.2}\nsources: {other: }\nmatrix: {seed: [2, 3]}\n\
                   stages:\n  data:\n  mask: {with: {variant: non-retrieval}}\n  more: {kind: build-mask, in: {scores: scores}}\n";
    let workspace = workspace(variant);
    let graph = graph(&workspace, &[]);
    assert_eq!(graph["name"], "variant");
    assert_eq!(names(&graph), ["mask", "random[seed=2]", "random[seed=3]", "more"]);
    assert_eq!(graph["sources"].as_array().map(Vec::len), Some(1));
    let parameters = &graph["stages"][0]["parameters"];
    assert_eq!((&parameters["tau"], &parameters["seed"]), (&Value::from(0.2), &Value::from(5)));
    assert_eq!(parameters["variant"], "non-retrieval");
    // The base with the variant's tau: what the two have in common is computed once.
    workspace.succeeds(&["run", "pipeline.yaml", "--set", "params.tau=0.2"]);
    let events = workspace.events(&["run", VARIANT]);
    assert_eq!(stages_with(&events, "stage-hit"), ["random[seed=2]"]);
    assert_eq!(stages_with(&events, "stage-finished"), ["mask", "more", "random[seed=3]"]);
    let record = workspace.latest_run();
    assert_eq!(std::fs::read_to_string(record.join("pipeline.yaml")).expect("the variant"), variant);
    assert_eq!(std::fs::read_to_string(record.join("extended-1.yaml")).expect("the base"), BASE);
}

#[test]
fn whole_values_replace_and_overrides_come_last() {
    let workspace = workspace(
        "extends: ../pipeline.yaml\nmatrix: {of: {a: {tau: 0.3}}}\nstages:\n  mask: {matrix: of, with: \"${matrix.of}\"}\n  \
         random: {matrix: , with: {seed: 9}}\n",
    );
    let graph = graph(&workspace, &["--set", "params.tau=0.25"]);
    assert_eq!(names(&graph), ["data", "mask[of=a]", "random"]);
    assert_eq!(graph["stages"][1]["parameters"]["tau"], 0.3);
    assert_eq!(graph["stages"][1]["parameters"]["seed"], 42, "`with` was no map: nothing is inherited");
    assert_eq!(graph["stages"][2]["parameters"]["tau"], 0.25);
    assert_eq!(graph["name"], "base", "what is left out is as in the extended file");
    workspace.write(VARIANT, "extends: ../pipeline.yaml\nstages:\n  mask: {kind: synthetic}\n");
    let graph = self::graph(&workspace, &[]);
    assert_eq!(graph["stages"][1]["inputs"], serde_json::json!([]), "another kind is another stage");
}

/// What `check` of the variant says on standard error; it refuses it as an input error.
fn refused(workspace: &Workspace) -> String {
    let checked = workspace.run(&["check", VARIANT]);
    assert_eq!((checked.code, checked.out.as_str()), (Some(2), ""), "{}", checked.err);
    checked.err
}

macro_rules! refusals {
    ($($name:ident: $variant:expr;)*) => {
        $(#[test]
        fn $name() {
            let variant = $variant;
            insta::with_settings!({ description => variant.clone(), omit_expression => true }, {
                insta::assert_snapshot!(refused(&workspace(&variant)));
            });
        })*
    };
}

fn variant(rest: &str) -> String {
    format!("extends: ../pipeline.yaml\n{rest}")
}

refusals! {
    extended_file_is_missing: "extends: ../nowhere.yaml\n".to_owned();
    extended_path_is_absolute: "extends: /dev/zero.yaml\n".to_owned();
    extended_path_is_no_yaml: "extends: ../scores.json\n".to_owned();
    extended_path_is_a_reference: "extends: ${params.base}.yaml\n".to_owned();
    extends_itself: "extends: ./variant.yaml\n".to_owned();
    extends_is_a_list: "extends: [../pipeline.yaml]\n".to_owned();
    nothing_to_leave_out: variant("stages:\n  msk:\nmatrix:\n  sed:\nsources:\n  score:\n");
    a_fault_of_the_extended_file_names_that_file: variant("params: {tau: high}\nstages:\n  data: {with: {needels: 2}}\n");
    what_is_left_out_is_missed_where_it_was_read: variant("sources: {scores: }\n");
    version_of_the_variant: variant("version: 2\n");
}

#[test]
fn faults_of_extended_files() {
    let workspace = workspace(&variant("version: 1\n"));
    for (base, message) in [
        ("version: 3\nname: base\nstages: {data: {kind: synthetic}}\n", "`version` is the number 3"),
        ("a: [\n", "this is not valid YAML"),
        ("just text\n", "a pipeline file is a map, found the text `just text`"),
        ("extends: variants/variant.yaml\n", "would extend itself"),
    ] {
        workspace.write("pipeline.yaml", base);
        let err = refused(&workspace);
        assert!(err.contains(message) && err.contains("--> variants/../pipeline.yaml:"), "{err}");
    }
    std::fs::remove_file(workspace.path("pipeline.yaml")).expect("removed");
    std::fs::create_dir(workspace.path("pipeline.yaml")).expect("a folder");
    assert!(refused(&workspace).contains("pipeline.yaml is not a file"));
}

#[test]
fn a_chain_of_files_ends() {
    let workspace = workspace("extends: a0.yaml\n");
    for index in 0..9 {
        workspace.write(&format!("variants/a{index}.yaml"), &format!("extends: a{}.yaml\n", index + 1));
    }
    assert!(refused(&workspace).contains("more than 8 files extend one another"));
    workspace.write("variants/a5.yaml", BASE);
    workspace.succeeds(&["check", VARIANT]);
}

#[test]
fn only_what_is_named_and_what_it_needs_runs() {
    let workspace = workspace(&variant(""));
    let run = |patterns: &[&str]| {
        let mut arguments = vec!["run", "pipeline.yaml"];
        arguments.extend(patterns.iter().flat_map(|pattern| ["--only", pattern]));
        let events = workspace.events(&arguments);
        [stages_with(&events, "stage-finished"), stages_with(&events, "stage-hit")]
    };
    let none = Vec::<String>::new;
    assert_eq!(run(&["random[seed=1]"]), [vec!["random[seed=1]".to_owned()], none()]);
    assert_eq!(run(&["random[*"]), [vec!["random[seed=2]".to_owned()], vec!["random[seed=1]".to_owned()]]);
    assert_eq!(run(&["random", "da?a"])[0], ["data"]);
    let facts = std::fs::read_to_string(workspace.latest_run().join("run.json")).expect("the record");
    let facts: Value = serde_json::from_str(&facts).expect("JSON");
    assert_eq!(facts["only"], serde_json::json!(["random", "da?a"]));
    let plan = &workspace.events(&["plan", "pipeline.yaml", "--only", "m*"])[0];
    assert_eq!(plan["stages"].as_array().map(Vec::len), Some(1));
    assert_eq!(plan["stages"][0]["stage"], "mask");
    let refused = workspace.run(&["run", "pipeline.yaml", "--only", "randm"]);
    assert_eq!(refused.code, Some(2));
    assert_eq!(
        refused.err,
        "error: --only `randm` names no stage of pipeline.yaml\n  help: its stages: `data`, `mask`, `random[seed=1]`, \
         `random[seed=2]`\n"
    );
}

#[test]
fn what_a_named_stage_needs_comes_along() {
    let workspace = Workspace::new(
        "version: 1\nname: chain\nsources: {tiny: {embedded: tiny}}\nstages:\n  \
         unrelated: {kind: synthetic, with: {needles: 3}}\n  \
         data: {kind: synthetic, with: {needles: 1, haystack-tokens: 64, instructions: 1}}\n  \
         scores: {kind: score-heads, in: {model: tiny, needles: data}, with: {context-lengths: [100], depths: [0]}}\n  \
         mask: {kind: build-mask, in: {scores: scores}}\n",
    );
    let plan = &workspace.events(&["plan", "pipeline.yaml", "--only", "mask"])[0];
    let stages: Vec<&str> = plan["stages"]
        .as_array()
        .expect("stages")
        .iter()
        .map(|stage| stage["stage"].as_str().expect("a name"))
        .collect();
    assert_eq!(stages, ["data", "scores", "mask"]);
    assert_eq!(plan["stages"][2]["on"], serde_json::json!(["scores"]));
}
