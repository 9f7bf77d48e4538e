//! What the tests on real data share.
#![allow(dead_code, reason = "every test file takes what it needs")]

use std::path::{Path, PathBuf};

use serde_json::Value;

/// A file or folder of the shared data: below `RETMASK_SHARED`, else below `shared` beside the repository.
/// A test that was asked for and has no data fails with this message; it never passes.
pub fn shared(path: &str) -> PathBuf {
    let root = std::env::var_os("RETMASK_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared"), PathBuf::from);
    let full = root.join(path);
    assert!(full.exists(), "{} is missing: set RETMASK_SHARED to the folder of the shared data", full.display());
    full
}

/// The JSON values of a JSONL file, one per line.
pub fn lines(path: &Path) -> Vec<Value> {
    let content = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    content.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A string field.
pub fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_else(|| panic!("no text `{field}` in {value}"))
}

/// The SmolLM2 model file: `RETMASK_SMOLLM2`, or where `scripts/fetch-smollm2` puts it.
pub fn smollm2() -> PathBuf {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../data");
    let path = std::env::var_os("RETMASK_SMOLLM2")
        .map_or_else(|| data.join("smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"), PathBuf::from);
    assert!(path.is_file(), "{} is missing; scripts/fetch-smollm2 brings it", path.display());
    path
}
