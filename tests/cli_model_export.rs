//! `retmask model export` on the real binary.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use assert_cmd::Command;
use serde_json::Value;

fn fixture() -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("model/tests/fixtures/every-type.gguf").to_str().expect("UTF-8").into()
}

fn retmask(arguments: &[&str]) -> Output {
    Command::cargo_bin("retmask").expect("the program is built").args(arguments).output().expect("the program runs")
}

/// What a run that succeeds says on standard output and standard error.
fn said(arguments: &[&str]) -> (String, String) {
    let output = retmask(arguments);
    let complaint = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(output.status.success(), "{arguments:?}: {complaint}");
    (String::from_utf8(output.stdout).expect("UTF-8"), complaint)
}

fn refused(arguments: &[&str]) -> String {
    let output = retmask(arguments);
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {complaint}");
    complaint
}

/// A folder for exports, with a mask and token ids.
struct Workspace(tempfile::TempDir);

impl Workspace {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("mask.json"), "[[0, 1]]").expect("written");
        fs::write(folder.path().join("ids.json"), "[[0, 1, 2, 3, 4], [5, 6]]").expect("written");
        Self(folder)
    }

    fn at(&self, name: &str) -> String {
        self.0.path().join(name).to_str().expect("UTF-8").into()
    }

    /// What lies in it beside mask and ids.
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.path()).expect("a folder");
        let mut names: Vec<String> =
            entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
        names.retain(|name| name != "mask.json" && name != "ids.json");
        names.sort();
        names
    }

    fn logprobs(&self, model: &str, more: &[&str]) -> String {
        said(&[&["model", "logprobs", "--model", model, "--ids", &self.at("ids.json")], more].concat()).0
    }
}

#[test]
fn a_masked_copy_answers_as_the_model_under_the_mask() {
    let workspace = Workspace::new();
    let (model, mask) = (fixture(), workspace.at("mask.json"));
    let masked = workspace.logprobs(&model, &["--mask", &mask]);
    assert_ne!(masked, workspace.logprobs(&model, &[]));
    for name in ["copy", "copy.gguf", "COPY.GGUF"] {
        let to = workspace.at(name);
        let (out, note) = said(&["model", "export", "--model", &model, "--mask", &mask, "--to", &to]);
        assert_eq!(out, "");
        let expected = format!("{model} to {to}: 10496 weights in f32, 1 head masked, 1 weight file of ");
        assert!(note.starts_with(&expected) && note.ends_with(" KiB\n"), "{note}");
        assert_eq!(workspace.logprobs(&to, &[]), masked, "{name}");
    }
    assert_eq!(workspace.names(), ["COPY.GGUF", "copy", "copy.gguf"], "nothing else is left");
    let files: Vec<PathBuf> =
        fs::read_dir(workspace.at("copy")).expect("a folder").map(|entry| entry.expect("an entry").path()).collect();
    assert_eq!(files.len(), 6, "{files:?}");
}

#[test]
fn the_answer_for_machines_says_what_was_written() {
    let workspace = Workspace::new();
    let (model, to) = (fixture(), workspace.at("copy"));
    let arguments =
        ["--json", "model", "export", "--model", &model, "--to", &to, "--dtype", "bf16", "--shard-size", "8KB"];
    let (out, note) = said(&arguments);
    assert_eq!(note, "");
    let answer: Value = serde_json::from_str(&out).expect("JSON");
    let shards = answer["files"].as_u64().expect("files");
    assert!(shards > 1, "{answer}");
    let weights: u64 = (1..=shards)
        .map(|number| format!("copy/model-{number:05}-of-{shards:05}.safetensors"))
        .map(|name| fs::metadata(workspace.at(&name)).expect("a shard").len())
        .sum();
    let expected = serde_json::json!({ "model": model, "path": to, "format": "safetensors", "dtype": "bf16",
        "parameters": 10_496, "masked_heads": 0, "files": shards, "bytes": weights });
    assert_eq!(answer, expected);
    let info: Value = serde_json::from_str(&said(&["--json", "model", "info", "--model", &to]).0).expect("JSON");
    assert_eq!(info["element_types"]["BF16"]["bytes"], 2 * 10_496);
}

#[test]
fn what_is_there_is_replaced_only_when_asked_for() {
    let workspace = Workspace::new();
    let model = fixture();
    for name in ["copy", "copy.gguf"] {
        let to = workspace.at(name);
        let arguments = ["model", "export", "--model", &model, "--to", &to];
        said(&arguments);
        let complaint = refused(&arguments);
        assert!(complaint.contains("exists already") && complaint.contains("--force"), "{complaint}");
        said(&[&arguments[..], &["--force", "--dtype", "f16"]].concat());
        let info: Value = serde_json::from_str(&said(&["--json", "model", "info", "--model", &to]).0).expect("JSON");
        assert!(info["element_types"]["F16"]["tensors"].as_u64() >= Some(8), "{info}");
    }
    // A model may replace itself: its files stay open until the copy has its name.
    let (to, ids) = (workspace.at("copy"), workspace.logprobs(&workspace.at("copy"), &[]));
    said(&["model", "export", "--model", &to, "--to", &to, "--force"]);
    assert_eq!(workspace.logprobs(&to, &[]), ids);
    // A folder is never replaced by a file, nor a file by a folder.
    fs::create_dir(workspace.at("folder.gguf")).expect("made");
    fs::write(workspace.at("file"), "").expect("written");
    for name in ["folder.gguf", "file"] {
        let complaint = refused(&["model", "export", "--model", &model, "--to", &workspace.at(name), "--force"]);
        assert!(complaint.contains("and what is written is a"), "{complaint}");
    }
    assert_eq!(workspace.names(), ["copy", "copy.gguf", "file", "folder.gguf"]);
}

#[test]
fn a_refused_export_leaves_nothing_behind() {
    let workspace = Workspace::new();
    let model = fixture();
    fs::write(workspace.at("beyond.json"), "[[3, 0]]").expect("written");
    let refusals: [(&[&str], &str); 5] = [
        (&["--mask", &workspace.at("beyond.json")], "beyond.json: the mask names head 3-0"),
        (&["--mask", &workspace.at("absent.json")], "absent.json"),
        (&["--dtype", "q4"], "expected one of f32, f16, bf16"),
        (&["--shard-size", "many"], "expected a size"),
        (&["--model", "embedded:tinny"], "did you mean `tiny`?"),
    ];
    for (more, expected) in refusals {
        let named: &[&str] = if more[0] == "--model" { &[] } else { &["--model", &model] };
        let to = workspace.at("copy");
        let complaint = refused(&[&["model", "export", "--to", &to], named, more].concat());
        assert!(complaint.contains(expected), "{complaint}");
    }
    // A weight that is too large for the type is found while writing.
    let mut bytes = fs::read(&model).expect("the fixture");
    let place = bytes.len() - 4;
    bytes[place..].copy_from_slice(&1e6f32.to_le_bytes());
    fs::write(workspace.at("large.gguf"), bytes).expect("written");
    for name in ["copy", "copy.gguf"] {
        let (from, to) = (workspace.at("large.gguf"), workspace.at(name));
        let arguments = ["model", "export", "--model", &from, "--to", &to, "--dtype", "f16"];
        if name == "copy" {
            let complaint = refused(&arguments);
            assert!(
                complaint.contains("`model.norm.weight` holds a value that is NaN or infinite in F16"),
                "{complaint}"
            );
        } else {
            // Norms stay f32 in GGUF files.
            said(&arguments);
        }
    }
    assert_eq!(workspace.names(), ["beyond.json", "copy.gguf", "large.gguf"]);
}

#[test]
fn the_built_in_model_is_named_like_a_file() {
    let workspace = Workspace::new();
    let to = workspace.at("tiny.gguf");
    let (_, note) = said(&["model", "export", "--model", "embedded:tiny", "--to", &to]);
    assert!(note.starts_with("embedded:tiny to ") && note.contains(" weights in bf16, 1 weight file of "), "{note}");
    let ask = |model: &str| {
        let prompt = ["--prompt", "Repeat these words: ta ko", "--max-new-tokens", "8"];
        said(&[&["model", "generate", "--model", model], &prompt[..]].concat()).0
    };
    assert_eq!(ask(&to), ask("embedded:tiny"));
}

/// A run down to a trained checkpoint, on a handful of items.
const TRAINING: &str = "\
version: 1
name: training
sources:
  model: {embedded: tiny}
stages:
  data: {kind: synthetic, with: {needles: 2, haystack-tokens: 300, instructions: 4}}
  scores:
    kind: score-heads
    in: {model: model, needles: data}
    with: {context-lengths: [240], depths: {min: 0, max: 100, count: 2}, buffer: 0, stop: end-token}
  mask: {kind: build-mask, in: {scores: scores}, with: {select: top-k, count: 3}}
  pairs:
    kind: sample-pairs
    in: {model: model, mask: mask, instructions: data.instructions}
    with: {max-new-tokens: 16}
  reference: {kind: reference-logprobs, in: {model: model, pairs: pairs}}
  dpo:
    kind: dpo
    in: {model: model, pairs: pairs, reference: reference}
    with: {batch-pairs: 2, epochs: 1, learning-rate: 1.0e-3, learning-rate-floor: 1.0e-4}
";

#[test]
fn a_trained_checkpoint_is_exported_out_of_the_store_with_the_mask_of_its_run() {
    let run = support::workspace::Workspace::new(TRAINING);
    run.succeeds(&["run", "pipeline.yaml"]);
    run.succeeds(&["export", "mask", "mask.parquet"]);
    run.write("ids.json", "[[1, 40, 41, 42, 43, 2, 50], [3, 4, 5]]");
    let logprobs = |model: &str, more: &[&str]| {
        run.succeeds(&[&["model", "logprobs", "--model", model, "--ids", "ids.json"], more].concat()).out
    };
    let masked = logprobs("stored:dpo", &["--mask", "mask.parquet"]);
    assert_ne!(masked, logprobs("stored:dpo", &[]));
    assert_ne!(logprobs("stored:dpo", &[]), logprobs("embedded:tiny", &[]), "it was trained");
    for to in ["copy", "copy.gguf"] {
        run.succeeds(&["model", "export", "--model", "stored:dpo", "--mask", "mask.parquet", "--to", to]);
        assert_eq!(logprobs(to, &[]), masked, "{to}");
    }
    let complaint = run.run(&["model", "info", "--model", "stored:dpp"]);
    assert_eq!(complaint.code, Some(2));
    assert!(complaint.err.contains("did you mean `dpo`?"), "{}", complaint.err);
}
