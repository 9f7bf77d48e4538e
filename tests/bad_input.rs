//! Damaged, lying and unfitting inputs, through a run: one clear error, nothing published, and with a good input the
//! next run goes on from the complete stages.

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use support::workspace::{Workspace, stages_with};

/// Every kind of stage that reads a model or instructions, on a handful of items.
const PIPELINE: &str = "\
version: 1
name: inputs
params: {model: model, instructions: data.instructions, length: 240}
sources:
  model: {model: '${params.model}'}
  lines: {instructions: instructions.jsonl}
stages:
  data: {kind: synthetic, with: {needles: 2, haystack-tokens: 300, instructions: 4}}
  scores:
    kind: score-heads
    in: {model: model, needles: data}
    with: {context-lengths: ['${params.length}'], depths: {min: 0, max: 100, count: 2}, buffer: 0, stop: end-token}
  mask: {kind: build-mask, in: {scores: scores}, with: {tau: 0.2}}
  pairs:
    kind: sample-pairs
    in: {model: model, mask: mask, instructions: '${params.instructions}'}
    with: {max-new-tokens: 16}
";

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// A workspace with the built-in model as a folder and good instructions as lines.
fn workspace() -> Workspace {
    let workspace = Workspace::new(PIPELINE);
    give_good_model(&workspace);
    workspace.write("instructions.jsonl", "{\"prompt\": \"Copy what I say.\"}\n{\"prompt\": \"Say it again.\"}\n");
    workspace
}

fn give_good_model(workspace: &Workspace) {
    let folder = workspace.path("model");
    fs::create_dir_all(&folder).expect("a folder");
    for file in fs::read_dir(repository("model/embedded/tiny")).expect("the built-in model") {
        let file = file.expect("a file").path();
        fs::copy(&file, folder.join(file.file_name().expect("a name"))).expect("a copy");
    }
}

/// Changes the bytes of a file of the workspace.
fn change(workspace: &Workspace, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
    let path = workspace.path(name);
    let mut bytes = fs::read(&path).expect("the file");
    change(&mut bytes);
    fs::write(&path, bytes).expect("written");
}

/// Puts `to` in the place of the first `from`.
fn replace(bytes: &mut Vec<u8>, from: &[u8], to: &[u8]) {
    let at = bytes.windows(from.len()).position(|window| window == from).expect("the file holds it");
    bytes.splice(at..at + from.len(), to.iter().copied());
}

/// Runs and expects that exactly `stage` refuses, saying each of `expected`, and that only `complete` are kept.
fn refused(workspace: &Workspace, more: &[&str], stage: &str, expected: &[&str], complete: &[&str]) {
    let run = workspace.run(&[&["run", "pipeline.yaml", "--json"], more].concat());
    assert_eq!(run.code, Some(2), "{}", run.err);
    let events = support::workspace::parse(&run.out);
    assert_eq!(stages_with(&events, "stage-failed"), [stage], "{}", run.err);
    let failed = events.iter().find(|event| event["event"] == "stage-failed").expect("the event");
    assert_eq!(failed["fault"], "input", "{failed}");
    for expected in expected {
        assert!(run.err.contains(expected), "`{expected}` is not in:\n{}", run.err);
    }
    let plan: Value =
        serde_json::from_str(&workspace.succeeds(&[&["plan", "pipeline.yaml", "--json"], more].concat()).out)
            .expect("JSON");
    let hits = plan["stages"].as_array().expect("stages").iter().filter(|stage| stage["state"] == "hit");
    assert_eq!(hits.map(|stage| stage["stage"].as_str().expect("a name")).collect::<Vec<_>>(), complete);
    assert_eq!(workspace.files_in("tmp"), 0, "nothing private is left");
}

/// Runs to the end; `hits` are not done again.
fn goes_on(workspace: &Workspace, more: &[&str], hits: &[&str]) {
    let events = workspace.events(&[&["run", "pipeline.yaml"], more].concat());
    assert_eq!(stages_with(&events, "stage-hit"), hits);
    assert_eq!(stages_with(&events, "stage-finished").len(), 4 - hits.len());
}

#[test]
fn damaged_safetensors_models() {
    let weights = "model/model.safetensors";
    let header = |bytes: &[u8]| u64::from_le_bytes(bytes[..8].try_into().expect("8 bytes")) as usize;
    type Damage<'a> = &'a dyn Fn(&Workspace);
    let cases: [(&str, Damage<'_>, &[&str]); 7] = [
        (
            "cut short",
            &|workspace| change(workspace, weights, |bytes| bytes.truncate(bytes.len() / 2)),
            &["model.safetensors", "truncated"],
        ),
        (
            "a header longer than the file",
            &|workspace| change(workspace, weights, |bytes| bytes[..8].copy_from_slice(&(1u64 << 60).to_le_bytes())),
            &["model.safetensors", "header"],
        ),
        (
            "a tensor that ends outside the file",
            &|workspace| {
                change(workspace, weights, |bytes| {
                    let end = 8 + header(bytes);
                    let found = bytes[..end].windows(17).position(|text| text == b"\"data_offsets\":[0");
                    let comma = found.expect("the first tensor starts at 0") + 17;
                    bytes[comma + 1] = b'9';
                })
            },
            &["model.safetensors"],
        ),
        (
            "another width than the tensors have",
            &|workspace| {
                change(workspace, "model/config.json", |bytes| {
                    replace(bytes, b"\"intermediate_size\": 192", b"\"intermediate_size\": 256");
                })
            },
            &["has the shape [192, 128], but the configuration asks for [256, 128]"],
        ),
        (
            "an unknown architecture",
            &|workspace| {
                change(workspace, "model/config.json", |bytes| {
                    replace(bytes, b"\"model_type\": \"llama\"", b"\"model_type\": \"bloom\"");
                    replace(bytes, b"LlamaForCausalLM", b"BloomForCausalLM");
                })
            },
            &["config.json", "bloom", "is not supported"],
        ),
        (
            "a weight that is no number",
            &|workspace| {
                change(workspace, weights, |bytes| {
                    let last = bytes.len() - 2;
                    bytes[last..].copy_from_slice(&0x7fc0u16.to_le_bytes());
                })
            },
            &["holds a value that is not finite"],
        ),
        (
            "a weight that is infinite",
            &|workspace| {
                change(workspace, weights, |bytes| {
                    let first = 8 + header(bytes);
                    bytes[first..first + 2].copy_from_slice(&0x7f80u16.to_le_bytes());
                })
            },
            &["holds a value that is not finite"],
        ),
    ];
    let workspace = workspace();
    for (name, damage, expected) in cases {
        give_good_model(&workspace);
        damage(&workspace);
        eprintln!("{name}");
        refused(&workspace, &[], "scores", expected, &["data"]);
    }
    give_good_model(&workspace);
    goes_on(&workspace, &[], &["data"]);
}

#[test]
fn damaged_gguf_models() {
    let workspace = workspace();
    let model = ["--set", "params.model=model.gguf"];
    let mut good = fs::read(repository("model/tests/fixtures/every-type.gguf")).expect("the fixture");
    // A window that holds the trials, so that the weights are read too.
    let window = b"llama.context_length\x04\0\0\0";
    replace(&mut good, &[&window[..], &[64, 0]].concat(), &[&window[..], &[0, 64]].concat());
    let length = b"llama.feed_forward_length\x04\0\0\0";
    type Damage<'a> = &'a dyn Fn(&mut Vec<u8>);
    let cases: [(Damage<'_>, &str); 6] = [
        (&|bytes| bytes.truncate(3000), "the file is truncated or lies"),
        // The tensor count follows magic and version, the count of metadata entries follows it.
        (&|bytes| bytes[8..16].fill(0xff), "model.gguf: "),
        (&|bytes| bytes[16..24].fill(0x7f), "model.gguf: "),
        (
            &|bytes| replace(bytes, b"\x05\0\0\0\0\0\0\0llama", b"\x05\0\0\0\0\0\0\0bloom"),
            "the architecture `bloom` is not supported; `llama`",
        ),
        (
            &|bytes| replace(bytes, &[&length[..], &[2]].concat(), &[&length[..], &[3]].concat()),
            "has the shape [2, 256], but the configuration asks for [3, 256]",
        ),
        (
            // The final norm is the last tensor of the file.
            &|bytes| {
                let last = bytes.len() - 4;
                bytes[last..].copy_from_slice(&f32::NAN.to_le_bytes());
            },
            "`output_norm.weight` (model.norm.weight) holds a value that is not finite",
        ),
    ];
    for (damage, expected) in cases {
        let mut bytes = good.clone();
        damage(&mut bytes);
        fs::write(workspace.path("model.gguf"), bytes).expect("written");
        refused(&workspace, &model, "scores", &[expected], &["data"]);
    }
    goes_on(&workspace, &[], &["data"]);
}

#[test]
fn malformed_instructions_are_named_by_line() {
    let workspace = workspace();
    let lines = ["--set", "params.instructions=lines"];
    let complete = ["data", "scores", "mask"];
    for (content, expected) in [
        ("", &["instructions.jsonl holds no record"][..]),
        ("{\"prompt\": \"One.\"}\n{\"prompt\": \"Two\n", &["instructions.jsonl, line 2: not JSON"]),
        ("{\"prompt\": \"One.\"}\n\n{\"prompt\": 3}\n", &["instructions.jsonl, line 3: ", "`prompt`"]),
        ("[\"One.\"]\n", &["instructions.jsonl, line 1: "]),
        ("{\"prompt\": \"   \"}\n", &["instructions.jsonl", "1 empty"]),
        ("{\"conversation\": \"none\"}\n", &["instructions.jsonl, line 1: ", "`conversation`"]),
    ] {
        workspace.write("instructions.jsonl", content);
        refused(&workspace, &lines, "pairs", expected, &complete);
    }
    workspace.write("instructions.jsonl", "{\"prompt\": \"One.\"}\n");
    goes_on(&workspace, &lines, &["data", "mask", "scores"]);
}

#[test]
fn a_trial_longer_than_the_models_window() {
    let workspace = workspace();
    let expected = ["model's window of 1024 tokens", "lower `context-lengths`"];
    refused(&workspace, &["--set", "params.length=1100"], "scores", &expected, &["data"]);
    goes_on(&workspace, &[], &["data"]);
}
