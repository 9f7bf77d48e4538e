//! The shell of the program: usage, settings from the environment, streams.

mod support;

use std::io::Read;
use std::process::Stdio;

use support::{Checked, program, run};

const PIPELINE: &str = "\
version: 1
name: masks
description: two masks of one set of scores
sources:
  scores: {published-scores: data/scores.json}
stages:
  other:
    kind: build-mask
    in: {scores: scores}
    with: {variant: random}
  mask:
    kind: build-mask
    in: {scores: scores}
    resources: {cpus: 2, memory: 1.5GB}
";

#[test]
fn usage_errors_are_input_errors() {
    for arguments in
        [&["chekc"][..], &["check"], &["check", "a.yaml", "--threads", "0"], &["graph", "a", "--color", "red"]]
    {
        let Checked { code, out, err } = run(PIPELINE, arguments);
        assert_eq!((code, out.as_str()), (Some(2), ""), "{arguments:?}");
        assert!(err.starts_with("error: "), "{err}");
    }
}

#[test]
fn help_and_version_are_data() {
    for arguments in [&["--help"][..], &["--version"], &["check", "--help"]] {
        let Checked { code, out, err } = run(PIPELINE, arguments);
        assert_eq!((code, err.as_str()), (Some(0), ""), "{arguments:?}");
        assert!(out.contains("retmask"), "{out}");
    }
}

#[test]
fn a_thread_count_that_is_no_number_is_refused() {
    let output = program().args(["check", "a.yaml"]).env("RAYON_NUM_THREADS", "two").output().expect("it starts");
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(output.stderr, b"error: RAYON_NUM_THREADS is `two`, expected a number of threads\n");
}

#[test]
fn the_graph_as_text() {
    let Checked { code, out, err } = run(PIPELINE, &["graph", "pipeline.yaml"]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    insta::assert_snapshot!(out);
}

#[test]
fn the_graph_as_mermaid() {
    let Checked { code, out, .. } = run(PIPELINE, &["graph", "--mermaid", "pipeline.yaml"]);
    assert_eq!(code, Some(0));
    insta::assert_snapshot!(out);
}

#[test]
fn the_graph_as_json() {
    let Checked { code, out, .. } = run(PIPELINE, &["graph", "--json", "pipeline.yaml"]);
    assert_eq!(code, Some(0));
    insta::assert_snapshot!(support::sorted_json(&out));
    let both = run(PIPELINE, &["graph", "--json", "--mermaid", "pipeline.yaml"]);
    assert_eq!(both.code, Some(2));
}

#[test]
fn stages_come_after_what_they_read() {
    let pipeline = "version: 1\nname: order\nsources: {model: {model: m}, needles: {needles: n}}\nstages:\n  \
                    last: {kind: score-heads, in: {model: model, needles: needles, mask: middle}}\n  \
                    middle: {kind: build-mask, in: {scores: first.published}}\n  \
                    first: {kind: score-heads, in: {model: model, needles: needles}}\n";
    let Checked { code, out, err } = run(pipeline, &["graph", "pipeline.yaml"]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    insta::assert_snapshot!(out);
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    // Far more output than a pipe holds, so that the program must notice.
    let mut pipeline = PIPELINE.to_owned();
    for index in 0..3000 {
        pipeline.push_str(&format!("  m{index}: {{kind: build-mask, in: {{scores: scores}}}}\n"));
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join("pipeline.yaml"), pipeline).expect("the pipeline file");
    let mut child = program()
        .args(["graph", "--json", "pipeline.yaml"])
        .current_dir(folder.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    drop(child.stdout.take());
    let mut err = String::new();
    child.stderr.take().expect("a pipe").read_to_string(&mut err).expect("UTF-8");
    assert_eq!((child.wait().expect("it ends").code(), err.as_str()), (Some(0), ""));
}

#[test]
fn a_full_disk_under_standard_output_is_the_machines_fault() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("/dev/full");
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join("pipeline.yaml"), PIPELINE).expect("the pipeline file");
    let output =
        program().args(["check", "pipeline.yaml"]).current_dir(folder.path()).stdout(full).output().expect("it starts");
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(output.stderr, b"error: cannot write to standard output: No space left on device (os error 28)\n");
}

#[test]
fn every_command_is_in_the_manual_and_completed_by_a_shell() {
    let commands = ["run", "plan", "explain", "why", "status", "logs", "init", "schema", "completions", "man"];
    let page = run("", &["man"]);
    assert_eq!(page.code, Some(0), "{}", page.err);
    assert!(page.out.contains(".TH retmask 1"), "{}", page.out);
    let script = run("", &["completions", "bash"]);
    assert_eq!(script.code, Some(0), "{}", script.err);
    // What bash proposes for the beginning of a command.
    let propose = |typed: &str| {
        let ask = format!(
            "{}\nCOMP_WORDS=(retmask {typed}); COMP_CWORD=1; _retmask retmask {typed} retmask; echo \"${{COMPREPLY[*]}}\"",
            script.out
        );
        let output = std::process::Command::new("bash").args(["--norc", "-c", &ask]).output().expect("bash");
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    for command in commands {
        assert!(page.out.contains(&format!("retmask\\-{command}(1)")), "{command}: {}", page.out);
        assert!(propose(command).split_whitespace().any(|word| word == command), "{command}");
    }
    assert_eq!(propose("exp"), "explain export\n");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let pages = run("", &["man", "--to", folder.path().to_str().expect("UTF-8")]);
    assert_eq!(pages.code, Some(0), "{}", pages.err);
    let explain = std::fs::read_to_string(folder.path().join("retmask-explain.1")).expect("a page");
    assert!(explain.contains("STAGE"), "{explain}");
}
