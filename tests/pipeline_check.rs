//! `retmask check` on the real binary: every class of fault a pipeline file can have, with its place, the line
//! shown, and what would be right.

mod support;

use support::{Checked, check, check_with};

/// A file that is right; tests break one thing of it.
const GOOD: &str = "\
version: 1
name: masks
params:
  tau: 0.2
sources:
  scores: {published-scores: data/scores.json, fetch: scripts/fetch-data}
stages:
  mask:
    kind: build-mask
    in: {scores: scores}
    with:
      tau: ${params.tau}
";

/// The stages of a file around which everything else is right.
fn stages(text: &str) -> String {
    format!(
        "version: 1\nname: test\nsources:\n  scores: {{published-scores: a.json}}\n  model: {{model: m.gguf}}\n  \
         needles: {{needles: n}}\nstages:\n{text}"
    )
}

/// Asserts that a file is refused as an input error, and gives what standard error says; the list of all kinds,
/// which grows, is checked and left out.
fn refused(content: &str) -> String {
    let Checked { code, out, err } = check(content);
    assert_eq!((code, out.as_str()), (Some(2), ""), "{err}");
    let line = |line: &str| match line.split_once("= help: kinds: ") {
        Some((margin, kinds)) => {
            assert!(kinds.contains("`score-heads`") && kinds.contains("`build-mask`"), "{kinds}");
            format!("{margin}= help: kinds: ...\n")
        }
        None => format!("{line}\n"),
    };
    err.lines().map(line).collect()
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

#[test]
fn a_good_file_passes() {
    let Checked { code, out, err } = check(GOOD);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert_eq!(out, "pipeline.yaml: pipeline `masks` is valid (1 stage, 1 source)\n");
    let Checked { code, out, err } = check_with(GOOD, &["--json"]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert_eq!(out.lines().count(), 1);
    let answer: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(answer, serde_json::json!({ "name": "masks", "sources": 1, "stages": 1, "valid": true }));
}

refusals! {
    empty_file: String::new();
    not_yaml: "version: 1\nname: [a\nstages: {}\n".to_owned();
    reference_without_quotes_in_a_flow_map: stages("  mask: {kind: build-mask, in: {scores: ${params.x}}}\n");
    tabs: "version: 1\nstages:\n\tmask: {}\n".to_owned();
    duplicate_key: GOOD.replace("name: masks\n", "name: masks\nname: other\n");
    two_documents: format!("{GOOD}---\n{GOOD}");
    tag: GOOD.replace("tau: 0.2", "tau: !!float 0.2");
    merge_key: GOOD.replace("    kind: build-mask\n", "    kind: build-mask\n    <<: {}\n");
    nested_too_deep: format!("version: 1\nname: {}{}\n", "[".repeat(80), "]".repeat(80));
    missing_keys: "description: nothing else\n".to_owned();
    wrong_version: GOOD.replace("version: 1", "version: 2");
    unknown_key_of_the_file: GOOD.replace("params:", "parms:");
    unknown_key_of_a_stage: GOOD.replace("    with:", "    wiht:");
    bad_names: GOOD.replace("name: masks", "name: My Masks").replace("  mask:", "  Mask_1:").replace("tau: 0.2", "Tau: 0.2").replace("params.tau", "params.Tau");
    stages_is_a_list: "version: 1\nname: test\nstages: [mask]\n".to_owned();
    no_stages: "version: 1\nname: test\nstages:\n".to_owned();
    empty_stage: stages("  mask:\n");
    unknown_kind: GOOD.replace("build-mask", "bild-mask");
    missing_kind: stages("  mask: {in: {scores: scores}}\n");
    source_without_type: GOOD.replace("published-scores: data/scores.json, ", "");
    source_with_two_types: GOOD.replace("{published-scores:", "{model: m, published-scores:");
    source_with_unknown_key: GOOD.replace("published-scores", "publishd-scores");
    source_path_with_tilde: GOOD.replace("data/scores.json", "~/scores.json");
    source_path_is_a_number: GOOD.replace("data/scores.json", "12");
    unknown_parameter: GOOD.replace("      tau:", "      tua:");
    parameter_of_the_wrong_type: GOOD.replace("${params.tau}", "high");
    parameter_out_of_range: GOOD.replace("tau: ${params.tau}", "seed: -1");
    parameter_value_through_a_reference: GOOD.replace("tau: 0.2", "tau: high");
    unknown_enum_value: GOOD.replace("tau: ${params.tau}", "select: topk");
    refused_by_the_kind: GOOD.replace("${params.tau}", "-1");
    refused_combination: GOOD.replace("tau: ${params.tau}", "select: top-k");
    several_faults_in_with: GOOD.replace("tau: ${params.tau}", "tau: x\n      count: y\n      sed: 1\n      variant: random");
    unknown_reference: GOOD.replace("params.tau}", "params.tua}");
    reference_to_no_parameter: GOOD.replace("params.tau}", "tau}");
    unclosed_reference: GOOD.replace("params.tau}", "params.tau");
    reference_cycle: GOOD.replace("tau: 0.2", "tau: ${params.low}\n  low: x${params.tau}");
    unknown_input: stages("  mask:\n    kind: build-mask\n    in: {scors: scores}\n");
    unknown_name: stages("  mask:\n    kind: build-mask\n    in: {scores: scoers}\n");
    unknown_output: stages(
        "  score: {kind: score-heads, in: {model: model, needles: needles}}\n  mask:\n    kind: build-mask\n    in: {scores: score.publishd}\n"
    );
    port_of_a_source: stages("  mask:\n    kind: build-mask\n    in: {scores: scores.scores}\n");
    media_mismatch: stages("  mask:\n    kind: build-mask\n    in: {scores: model}\n");
    missing_input: stages("  score:\n    kind: score-heads\n    in: {model: model}\n");
    map_at_a_single_input: stages("  mask:\n    kind: build-mask\n    in: {scores: {a: scores}}\n");
    one_artifact_where_labels_are_needed: stages("  report:\n    kind: report\n    in: {evaluation: scores}\n");
    labelled_faults: stages(
        "  mask: {kind: build-mask, in: {scores: scores}}\n  report:\n    kind: report\n    in:\n      evaluation: {base: mask, Base 2: mask, other: msak}\n"
    );
    reads_itself: stages("  mask:\n    kind: build-mask\n    in: {scores: mask}\n");
    cycle: stages(
        "  score:\n    kind: score-heads\n    in: {model: model, needles: needles, mask: mask}\n  mask:\n    kind: build-mask\n    in: {scores: score}\n"
    );
    source_and_stage_of_one_name: GOOD.replace("  mask:", "  scores:");
    resources: GOOD.replace("    in:", "    resources: {cpus: 0, memory: 6, gpu: 1}\n    in:");
    control_characters_do_not_reach_the_terminal: GOOD.replace("kind: build-mask", "kind: \"\\e[31mred\\a\"");
    everything_at_once: GOOD
        .replace("version: 1", "version: 3")
        .replace("published-scores: data", "published-score: data")
        .replace("params.tau}", "params.tua}")
        .replace("scores: scores}", "scores: nothing}");
}

#[test]
fn overrides_change_values() {
    for (set, content) in [
        ("params.tau=0.3", GOOD.to_owned()),
        ("stages.mask.with.tau=0.3", GOOD.to_owned()),
        ("stages.mask.with.tau=0.3", GOOD.replace("    with:\n      tau: ${params.tau}\n", "")),
        ("stages.mask.with={tau: 0.3}", GOOD.to_owned()),
        ("stages.mask.with.tau=${params.tau}", GOOD.replace("tau: 0.2", "tau: 0.3")),
    ] {
        let Checked { code, out, err } = support::run(&content, &["graph", "--json", "pipeline.yaml", "--set", set]);
        assert_eq!(code, Some(0), "{set}: {err}");
        let graph: serde_json::Value = serde_json::from_str(&out).expect("JSON");
        assert_eq!(graph["stages"][0]["parameters"]["tau"], 0.3, "{set}");
    }
}

#[test]
fn a_later_override_wins() {
    let arguments = ["graph", "--json", "pipeline.yaml", "--set", "params.tau=0.3", "--set", "params.tau=0.4"];
    let graph: serde_json::Value = serde_json::from_str(&support::run(GOOD, &arguments).out).expect("JSON");
    assert_eq!(graph["stages"][0]["parameters"]["tau"], 0.4);
}

macro_rules! override_refusals {
    ($($name:ident: $set:expr;)*) => {
        $(#[test]
        fn $name() {
            let Checked { code, out, err } = check_with(GOOD, &["--set", $set]);
            assert_eq!((code, out.as_str()), (Some(2), ""), "{err}");
            insta::assert_snapshot!(err);
        })*
    };
}

override_refusals! {
    override_without_equals: "params.tau";
    override_of_an_unknown_parameter: "params.tua=0.3";
    override_of_an_unknown_stage: "stages.msak.with.tau=0.3";
    override_of_an_unknown_key: "param.tau=0.3";
    override_below_a_number: "params.tau.x=0.3";
    override_with_an_empty_part: "params..tau=0.3";
    override_of_the_wrong_type: "params.tau=high";
    override_that_is_not_yaml: "params.tau=[1";
    override_of_an_unknown_stage_parameter: "stages.mask.with.tua=0.3";
}

#[test]
fn json_errors_have_places() {
    let Checked { code, out, err } = check_with(&GOOD.replace("      tau:", "      tua:"), &["--json"]);
    assert_eq!((code, out.as_str()), (Some(2), ""));
    assert_eq!(err.lines().count(), 1, "one object on one line");
    insta::assert_snapshot!(support::sorted_json(&err));
}

#[test]
fn colours_only_where_wanted() {
    let broken = GOOD.replace("version: 1", "version: 2");
    assert!(!refused(&broken).contains('\u{1b}'), "standard error is not a terminal here");
    assert!(check_with(&broken, &["--color", "always"]).err.contains('\u{1b}'));
    assert!(!check_with(&broken, &["--color", "never"]).err.contains('\u{1b}'));
}

#[test]
fn files_that_cannot_be_read() {
    let missing = support::run(GOOD, &["check", "nowhere.yaml"]);
    assert_eq!(missing.code, Some(2));
    assert_eq!(
        missing.err,
        "error: cannot read the pipeline file nowhere.yaml: No such file or directory (os error 2)\n"
    );
    let folder = support::run(GOOD, &["check", "."]);
    assert_eq!(folder.code, Some(2));
    assert_eq!(folder.err, "error: cannot read the pipeline file .: Is a directory (os error 21)\n");
    let binary = support::run_bytes(b"version: 1\nname: \xff\n", &["check", "pipeline.yaml"]);
    assert_eq!((binary.code, binary.err.as_str()), (Some(2), "error: pipeline.yaml:2: the file is not UTF-8 text\n"));
    let endless = support::run(GOOD, &["check", "/dev/zero"]);
    assert_eq!(
        (endless.code, endless.err.as_str()),
        (Some(2), "error: /dev/zero is larger than 4 MiB: not a pipeline file\n")
    );
}

#[test]
fn all_structure_faults_of_a_large_file_are_found() {
    // 200 stages, each reading the one before; every tenth with a slip.
    let mut text = String::new();
    for index in 0..200 {
        let seed = if index % 10 == 9 { "x".to_owned() } else { index.to_string() };
        text.push_str(&format!(
            "  m{index}:\n    kind: build-mask\n    in: {{scores: scores}}\n    with: {{seed: {seed}}}\n"
        ));
    }
    let err = refused(&stages(&text));
    assert_eq!(err.matches("error: `seed`").count(), 20);
    assert!(err.ends_with("20 errors in pipeline.yaml\n"), "{err}");
}
