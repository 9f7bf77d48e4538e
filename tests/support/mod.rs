//! Runs the real binary on a pipeline file in a folder of its own.

// Every test file uses a part of this module.
#![allow(dead_code)]

pub mod background;
pub mod json_schema;
pub mod model_free;
pub mod service;
pub mod shared;
pub mod workspace;

use std::fs;
use std::process::{Command, Stdio};

use serde_json::Value;

/// What a run of the program gave.
#[derive(Debug)]
pub struct Checked {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

/// The program with nothing of this process's settings.
pub fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_retmask"));
    for variable in
        ["RETMASK_CACHE", "RAYON_NUM_THREADS", "NO_COLOR", "XDG_CACHE_HOME", "RETMASK_REMOTE", "RETMASK_REMOTE_MODE"]
    {
        command.env_remove(variable);
    }
    command.stdin(Stdio::null());
    command
}

/// Runs the program with these arguments beside a file `pipeline.yaml` of this content.
pub fn run_bytes(content: &[u8], arguments: &[&str]) -> Checked {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::write(folder.path().join("pipeline.yaml"), content).expect("the pipeline file");
    let output = program().args(arguments).current_dir(folder.path()).output().expect("the program starts");
    Checked {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).expect("UTF-8 on standard output"),
        err: String::from_utf8(output.stderr).expect("UTF-8 on standard error"),
    }
}

/// As [`run_bytes`], for text.
pub fn run(content: &str, arguments: &[&str]) -> Checked {
    run_bytes(content.as_bytes(), arguments)
}

/// `retmask check` of this content.
pub fn check(content: &str) -> Checked {
    check_with(content, &[])
}

/// `retmask check` of this content with further arguments.
pub fn check_with(content: &str, arguments: &[&str]) -> Checked {
    run(content, &[&["check", "pipeline.yaml"], arguments].concat())
}

/// JSON text, indented and with its keys in order, so that tests do not depend on how the program orders them.
pub fn sorted_json(text: &str) -> String {
    fn sorted(value: Value) -> Value {
        match value {
            Value::Object(map) => {
                let mut entries: Vec<(String, Value)> = map.into_iter().collect();
                entries.sort_by(|left, right| left.0.cmp(&right.0));
                Value::Object(entries.into_iter().map(|(key, value)| (key, sorted(value))).collect())
            }
            Value::Array(list) => Value::Array(list.into_iter().map(sorted).collect()),
            other => other,
        }
    }
    format!("{:#}\n", sorted(serde_json::from_str(text).expect("JSON")))
}
