//! `retmask model` on the real binary.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use assert_cmd::Command;
use serde_json::Value;

/// A Llama model of a few kilobytes with a tensor of every element type.
fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("model/tests/fixtures/every-type.gguf")
}

fn retmask(arguments: &[&str]) -> Output {
    Command::cargo_bin("retmask").expect("the program is built").args(arguments).output().expect("the program runs")
}

/// Standard output of a run that succeeds and says nothing else.
fn said(arguments: &[&str]) -> String {
    let output = retmask(arguments);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && complaint.is_empty(), "{arguments:?}: {complaint}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// The complaint of a run that refuses its input.
fn refused(arguments: &[&str]) -> String {
    let output = retmask(arguments);
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {complaint}");
    assert!(output.stdout.is_empty(), "a refusal writes no data");
    assert!(complaint.starts_with("error: "), "{complaint}");
    complaint
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a UTF-8 path")
}

/// A file in a folder of its own.
struct Made {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

impl Made {
    fn new(name: &str, bytes: impl AsRef<[u8]>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(name);
        fs::write(&path, bytes).expect("written");
        Self { _folder: folder, path }
    }

    /// A copy of the fixture, changed.
    fn changed(change: impl FnOnce(&mut Vec<u8>)) -> Self {
        let mut bytes = fs::read(fixture()).expect("the fixture");
        change(&mut bytes);
        Self::new("model.gguf", bytes)
    }

    /// A copy of the fixture, the first occurrence of `from` replaced.
    fn replacing(from: &[u8], to: &[u8]) -> Self {
        Self::changed(|bytes| {
            let at = bytes.windows(from.len()).position(|window| window == from).expect("the fixture holds it");
            bytes[at..at + to.len()].copy_from_slice(to);
        })
    }
}

#[test]
fn info_is_a_table_for_people() {
    let table = said(&["model", "info", "--model", text(&fixture())]);
    insta::assert_snapshot!(table, @r"
    ");
}

#[test]
fn info_is_json_for_machines() {
    let json: Value =
        serde_json::from_str(&said(&["--json", "model", "info", "--model", text(&fixture())])).expect("JSON");
    assert_eq!(json["family"], "llama");
    assert_eq!(json["layers"], 1);
    assert_eq!(json["attention_heads"], 2);
    // Embedding 8 x 256, q and o 8 x 256 each, k and v 4 x 256 each, MLP 3 x 2 x 256, three norms of 256.
    assert_eq!(json["parameters"], 10_496);
    assert_eq!(json["weight_bytes_in_memory"], 4 * 10_496);
    // Keys and values of one head of 4, in f32.
    assert_eq!(json["key_value_bytes_per_token"], 2 * 4 * 4);
    assert_eq!(json["element_types"]["Q6_K"]["tensors"], 1);
    assert_eq!(json["tokenizer"], true);
}

#[test]
fn damaged_models_are_refused_with_exit_code_2() {
    let truncated = Made::changed(|bytes| bytes.truncate(3000));
    let complaint = refused(&["model", "info", "--model", text(&truncated.path)]);
    assert!(complaint.contains("the file is truncated or lies"), "{complaint}");

    // The tensor count follows magic and version.
    let lying = Made::changed(|bytes| bytes[8..16].fill(0xff));
    let complaint = refused(&["model", "info", "--model", text(&lying.path)]);
    assert!(complaint.contains("model.gguf: "), "{complaint}");

    let unknown = Made::replacing(b"\x05\0\0\0\0\0\0\0llama", b"\x05\0\0\0\0\0\0\0bloom");
    let complaint = refused(&["model", "info", "--model", text(&unknown.path)]);
    assert!(complaint.contains("the architecture `bloom` is not supported; `llama` is"), "{complaint}");

    let key = b"llama.feed_forward_length\x04\0\0\0";
    let misshapen = Made::replacing(&[&key[..], &[2]].concat(), &[&key[..], &[3]].concat());
    let complaint = refused(&["model", "info", "--model", text(&misshapen.path)]);
    assert!(complaint.contains("has the shape [2, 256], but the configuration asks for [3, 256]"), "{complaint}");

    let complaint = refused(&["model", "info", "--model", "no-such-model.gguf"]);
    assert!(complaint.contains("no-such-model.gguf"), "{complaint}");
}
