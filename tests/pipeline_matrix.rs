//! Stages over a matrix, on the real binary: the instances, what they read, every fault, and that names of instances
//! are no part of what results are stored under.

mod support;

use serde_json::Value;
use support::workspace::{Workspace, stages_with, state_of};
use support::{Checked, check, check_with};

/// Masks over an axis, the overlap of two axes, and a stage outside that reads one instance.
const PIPELINE: &str = "\
version: 1
name: masks
params: {tau: 0.1}
sources: {scores: {published-scores: scores.json}}
matrix:
  mask:
    retmask: {tau: \"${params.tau}\"}
    random-1: {tau: \"${params.tau}\", variant: random, seed: 1}
    random-2: {tau: \"${params.tau}\", variant: random, seed: 2}
  tau: [0.1, 0.2]
stages:
  mask: {matrix: mask, kind: build-mask, in: {scores: scores}, with: \"${matrix.mask}\"}
  sweep:
    matrix: [tau, mask]
    kind: build-mask
    in: {scores: scores}
    with: {tau: \"${matrix.tau}\", seed: 3}
";

fn workspace() -> Workspace {
    let workspace = Workspace::new(PIPELINE);
    let heads = (0..32).map(|head| format!("\"{}-{}\": [{}]", head / 8, head % 8, f64::from(head) / 100.0));
    workspace.write("scores.json", &format!("{{{}}}", heads.collect::<Vec<_>>().join(", ")));
    workspace
}

#[test]
fn instances_have_readable_names_everywhere() {
    let workspace = workspace();
    let checked = workspace.succeeds(&["check", "pipeline.yaml"]);
    assert_eq!(checked.out, "pipeline.yaml: pipeline `masks` is valid (9 stages, 1 source)\n");
    let graph: Value =
        serde_json::from_str(&workspace.succeeds(&["graph", "pipeline.yaml", "--json"]).out).expect("JSON");
    let names: Vec<&str> = graph["stages"]
        .as_array()
        .expect("stages")
        .iter()
        .map(|stage| stage["name"].as_str().expect("a name"))
        .collect();
    assert_eq!(
        names,
        [
            "mask[mask=retmask]",
            "mask[mask=random-1]",
            "mask[mask=random-2]",
            "sweep[mask=retmask,tau=0.1]",
            "sweep[mask=retmask,tau=0.2]",
            "sweep[mask=random-1,tau=0.1]",
            "sweep[mask=random-1,tau=0.2]",
            "sweep[mask=random-2,tau=0.1]",
            "sweep[mask=random-2,tau=0.2]",
        ]
    );
    assert_eq!(graph["stages"][1]["parameters"]["variant"], "random");
    workspace.succeeds(&["run", "pipeline.yaml"]);
    assert!(workspace.succeeds(&["show", "mask[mask=retmask]", "--rows", "0"]).out.ends_with("\n22 rows\n"));
    assert!(
        workspace
            .succeeds(&["show", "sweep[mask=retmask,tau=0.2].mask@latest", "--rows", "0"])
            .out
            .ends_with("\n12 rows\n")
    );
    workspace.succeeds(&["export", "sweep[mask=random-1,tau=0.2]", "out.parquet"]);
    assert!(workspace.path("out.parquet").is_file());
    let refused = workspace.run(&["show", "mask"]);
    assert_eq!(refused.code, Some(2));
    assert!(
        refused.err.contains("`mask[mask=retmask]`, `mask[mask=random-1]`, `mask[mask=random-2]`"),
        "{}",
        refused.err
    );
}

#[test]
fn names_of_points_are_no_part_of_keys_and_equal_points_run_once() {
    let workspace = workspace();
    let first = workspace.events(&["run", "pipeline.yaml"]);
    // The points of `sweep` on the axis `mask` are equal: their masks differ in tau alone.
    assert_eq!(stages_with(&first, "stage-finished").len(), 3 + 2);
    let renamed = PIPELINE.replace("random-1:", "chance:").replace("  mask:\n    retmask", "  kinds:\n    retmask");
    let renamed = renamed.replace("matrix: mask,", "matrix: kinds,").replace("[tau, mask]", "[kinds, tau]");
    workspace.write("pipeline.yaml", &renamed.replace("matrix.mask}", "matrix.kinds}"));
    let plan = &workspace.events(&["plan", "pipeline.yaml"])[0];
    let stages = plan["stages"].as_array().expect("stages");
    assert_eq!(stages.len(), 9);
    assert!(stages.iter().all(|stage| stage["state"] == "hit"), "{plan}");
    assert_eq!(state_of(plan, "mask[kinds=chance]")["state"], "hit");
    let more = workspace.events(&["run", "pipeline.yaml", "--set", "matrix.kinds.high={tau: 0.3}"]);
    assert_eq!(stages_with(&more, "stage-finished"), ["mask[kinds=high]"]);
}

/// A report over instances, around the lines under test.
fn report(axes: &str, inputs: &str) -> String {
    format!(
        "version: 1\nname: test\nsources:\n  tiny: {{embedded: tiny}}\nmatrix:\n  {axes}\nstages:\n  \
         answers: {{matrix: [seed, length], kind: helmet, in: {{model: tiny}}, with: {{seed: '${{matrix.seed}}', length: '${{matrix.length}}'}}}}\n  \
         score: {{matrix: [seed, length], kind: helmet-score, in: {{predictions: answers}}}}\n  \
         by-seed: {{matrix: seed, kind: helmet-score, in: {{predictions: 'answers[length=512]'}}}}\n  \
         report:\n    kind: report\n    in: {inputs}\n"
    )
}

const AXES: &str = "{seed: [1, 2], length: [512, 1024]}";

/// What flows into the inputs of a stage, as `PORT.LABEL <- STAGE`.
fn edges(content: &str, stage: &str) -> Vec<String> {
    let Checked { code, out, err } = support::run(content, &["graph", "pipeline.yaml", "--json"]);
    assert_eq!(code, Some(0), "{err}");
    let graph: Value = serde_json::from_str(&out).expect("JSON");
    let stages = graph["stages"].as_array().expect("stages");
    let stage = stages.iter().find(|found| found["name"] == stage).expect("the stage");
    let inputs = stage["inputs"].as_array().expect("inputs").iter();
    inputs
        .map(|input| {
            let text = |key: &str| input[key].as_str().unwrap_or_default().to_owned();
            format!("{}.{} <- {}", text("port"), text("label"), text("from"))
        })
        .collect()
}

#[test]
fn readers_mean_their_own_point_and_others_collect() {
    let axes = AXES.trim_matches(['{', '}']).replace(", length", "\n  length");
    let content = report(
        &axes,
        "{evaluation: {base: 'score[seed=1,length=512].summary', all: score.summary, '*': 'score[length=1024].summary'}}",
    );
    assert_eq!(edges(&content, "score[seed=2,length=512]"), ["predictions. <- answers[seed=2,length=512]"]);
    assert_eq!(edges(&content, "by-seed[seed=2]"), ["predictions. <- answers[seed=2,length=512]"]);
    assert_eq!(
        edges(&content, "report"),
        [
            "evaluation.base <- score[seed=1,length=512]",
            "evaluation.all-1-512 <- score[seed=1,length=512]",
            "evaluation.all-1-1024 <- score[seed=1,length=1024]",
            "evaluation.all-2-512 <- score[seed=2,length=512]",
            "evaluation.all-2-1024 <- score[seed=2,length=1024]",
            "evaluation.1 <- score[seed=1,length=1024]",
            "evaluation.2 <- score[seed=2,length=1024]",
        ]
    );
}

/// Asserts that a file is refused as an input error, and gives what standard error says.
fn refused(content: &str) -> String {
    let Checked { code, out, err } = check(content);
    assert_eq!((code, out.as_str()), (Some(2), ""), "{err}");
    err
}

fn with(from: &str, to: &str) -> String {
    assert!(PIPELINE.contains(from), "{from}");
    PIPELINE.replace(from, to)
}

macro_rules! refusals {
    ($($name:ident: $content:expr;)*) => {
        $(#[test]
        fn $name() {
            let content = $content;
            insta::with_settings!({ description => content.clone(), omit_expression => true }, {
                insta::assert_snapshot!(refused(&content));
            });
        })*
    };
}

refusals! {
    unknown_axis: with("matrix: [tau, mask]", "matrix: [tua, mask]");
    axis_twice: with("matrix: [tau, mask]", "matrix: [mask, mask]");
    matrix_of_a_stage_is_a_map: with("matrix: mask,", "matrix: {tau: [1]},");
    axis_is_a_number: with("  tau: [0.1, 0.2]", "  tau: 3");
    axis_without_values: with("  tau: [0.1, 0.2]", "  tau: []");
    points_that_cannot_be_names: with("  tau: [0.1, 0.2]", "  tau: [0.1, True, {a: 1}, -1, 0.1]");
    value_outside_of_a_matrix: with("matrix: [tau, mask]\n", "resources: {}\n");
    value_in_a_parameter: with("params: {tau: 0.1}", "params: {tau: \"${matrix.tau}\"}");
    value_of_another_axis: with("\"${matrix.mask}\"", "{tau: \"${matrix.tau}\"}");
    value_without_the_key: with("seed: 3", "seed: \"${matrix.mask.seed}\"");
    one_fault_of_all_instances_is_told_once: with("seed: 3", "sed: 3");
    faults_of_single_points: with("variant: random, seed: 1", "variant: rndom, seed: 1").replace("seed: 2}", "seed: x}");
    matrix_hidden_in_a_parameter: with("params: {tau: 0.1}", "params: {tau: 0.1, whole: {matrix: tau, kind: build-mask}}") + "  hidden: ${params.whole}\n";
    several_instances_for_one_input: report("seed: [1, 2]\n  length: [512, 1024]", "{mask: nowhere, trials: score.summary, pairs: answers}");
    unknown_points: report("seed: [1, 2]\n  length: [512, 1024]", "{evaluation: {a: 'score[seed=3].summary', b: 'score[size=1].summary', c: 'score[seed', d: 'tiny[seed=1]'}}");
    labels_that_collide: report("seed: [1, 2]\n  length: [512, 1024]", "{evaluation: {'1': 'score[seed=2,length=512].summary', '*': 'score[length=512].summary'}}");
    star_for_one_artifact: report("seed: [1, 2]\n  length: [512, 1024]", "{evaluation: {'*': 'score[seed=1,length=512].summary'}}");
    instances_that_wait_for_each_other: with("in: {scores: scores}, with: \"${matrix.mask}\"", "in: {scores: \"mask[mask=retmask]\"}");
    name_of_an_instance_is_too_long: with("random-1", &"r".repeat(100)).replace("sweep", &"s".repeat(90));
}

#[test]
fn hostile_matrices_are_refused_before_they_grow() {
    let list: Vec<String> = (0..60).map(|point| point.to_string()).collect();
    let axes: String = (0..12).map(|axis| format!("  a{axis}: [{}]\n", list.join(", "))).collect();
    let names: Vec<String> = (0..12).map(|axis| format!("a{axis}")).collect();
    let content = format!(
        "version: 1\nname: test\nsources: {{s: {{published-scores: s}}}}\nmatrix:\n{axes}stages:\n  \
         m: {{matrix: [{}], kind: build-mask, in: {{scores: s}}}}\n",
        names.join(", ")
    );
    let err = refused(&content);
    assert!(err.contains("grows beyond 2000 stages here"), "{err}");
    // Instances count as what they are copied from.
    let value = format!("[{}]", "x, ".repeat(5000));
    let stage = format!("{{matrix: a0, kind: build-mask, in: {{scores: s}}, with: {{x: {value}}}}}");
    let content = format!(
        "version: 1\nname: test\nsources: {{s: {{published-scores: s}}}}\nmatrix:\n{axes}stages:\n  m: {stage}\n"
    );
    let err = refused(&content);
    assert!(err.contains("grows beyond 200000 values"), "{err}");
}

#[test]
fn a_fault_in_a_value_of_the_matrix_is_shown_where_it_stands() {
    let Checked { err, .. } = check_with(&with("seed: 1}", "seed: -1}"), &["--json"]);
    let error: Value = serde_json::from_str(&err).expect("JSON");
    let fault = &error["errors"][0];
    assert_eq!((&fault["line"], &fault["column"]), (&Value::from(8), &Value::from(61)), "{error}");
}
