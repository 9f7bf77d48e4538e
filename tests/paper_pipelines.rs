//! The pipelines of `pipelines/`: all of them are right, and those of the paper's models state its settings.

use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use serde_json::{Value, json};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines")
}

fn check(arguments: &[&str]) {
    let output =
        Command::cargo_bin("retmask").expect("the program").args(arguments).output().expect("the program runs");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn read(name: &str) -> Value {
    let text = fs::read_to_string(folder().join(name)).expect("a pipeline");
    serde_yaml::from_str(&text).expect("YAML")
}

#[test]
fn every_pipeline_passes_the_check() {
    let mut names: Vec<String> = fs::read_dir(folder())
        .expect("pipelines")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .map(|path| path.to_str().expect("UTF-8").to_owned())
        .collect();
    names.sort();
    for name in &names {
        check(&["check", name]);
    }
    let expected = [
        "llama-ablations",
        "llama-gpus",
        "llama",
        "olmo3-instruct",
        "olmo3-think",
        "quickstart-ablations",
        "quickstart",
        "qwen3",
        "smollm2-ablations",
        "smollm2-helmet",
        "smollm2",
        "tiny-pretrain",
    ]
    .map(|name| folder().join(format!("{name}.yaml")).to_str().expect("UTF-8").to_owned());
    assert_eq!(names, expected);
    // As their comments say, a folder can take the place of the repository.
    let qwen = folder().join("qwen3.yaml");
    check(&["check", qwen.to_str().expect("UTF-8"), "--set", "sources.model={model: some/folder}"]);
}

/// What differs between the paper's models: file, repository, tau, tokens of a response, thinking in responses and in the
/// evaluation, the released window, lengths in K.
type Model = (&'static str, &'static str, f64, u64, Option<bool>, Option<bool>, u64, &'static [u64]);
const MODELS: [Model; 4] = [
    ("llama.yaml", "meta-llama/Llama-3.1-8B-Instruct", 0.1, 2048, None, None, 131_072, &[8, 16, 32, 64, 128]),
    ("qwen3.yaml", "Qwen/Qwen3-8B", 0.05, 4096, Some(true), Some(true), 40_960, &[8, 16, 32, 64, 128]),
    ("olmo3-instruct.yaml", "allenai/Olmo-3-7B-Instruct", 0.05, 2048, None, None, 65_536, &[8, 16, 32, 64]),
    ("olmo3-think.yaml", "allenai/Olmo-3-7B-Think", 0.05, 2048, None, Some(true), 65_536, &[8, 16, 32, 64]),
];

#[test]
fn the_papers_models_have_its_settings() {
    for (file, repository, tau, tokens, thinking, reasoning, window, lengths) in MODELS {
        let pipeline = read(file);
        assert_eq!(pipeline["params"]["repo"], repository);
        assert_eq!(pipeline["params"]["tau"], tau, "{file}");
        let stages = &pipeline["stages"];
        let with = |stage: &str| &stages[stage]["with"];
        let grid = json!({"min": 0, "max": 5000, "count": 20});
        assert_eq!(with("scores")["context-lengths"], grid, "{file}");
        assert_eq!(with("scores")["depths"], json!({"min": 0, "max": 100, "count": 10}));
        let script = [("sentence-break", "llama2"), ("score-form", "script"), ("stop", "script")];
        assert!(script.iter().all(|(field, value)| with("scores")[field] == *value), "{file}");
        assert_eq!((&with("scores")["max-new-tokens"], &with("scores")["buffer"]), (&json!(50), &json!(200)));
        assert_eq!(with("trained-scores"), with("scores"), "{file}: both models are scored alike");
        assert_eq!(with("pairs")["temperature"], 0.6);
        assert_eq!(with("pairs")["max-new-tokens"], tokens, "{file}");
        assert_eq!(with("pairs")["thinking"].as_bool(), thinking, "{file}");
        let dpo = [
            ("beta", 0.1),
            ("learning-rate", 5e-7),
            ("learning-rate-floor", 5e-8),
            ("warmup-ratio", 0.1),
            ("epochs", 2.0),
            ("batch-pairs", 512.0),
            ("adam-beta1", 0.9),
            ("adam-beta2", 0.95),
            ("adam-epsilon", 1e-8),
            ("weight-decay", 0.1),
            ("clip-norm", 1.0),
            ("max-prompt-length", 512.0),
            ("max-length", 1024.0),
        ];
        for (field, value) in dpo {
            assert_eq!(with("dpo")[field].as_f64(), Some(value), "{file}: {field}");
        }
        for stage in ["reference", "dpo"] {
            assert_eq!(with(stage)["compat"], "trl-0.24", "{file}");
        }
        assert_eq!(with("trained"), with("base"), "{file}: both models are evaluated alike");
        assert_eq!(with("base")["thinking"].as_bool(), reasoning, "{file}");
        assert_eq!(pipeline["params"]["datasets"].as_array().map(Vec::len), Some(21), "{file}: all of HELMET");
        let thoughts = if reasoning == Some(true) { 32_768 } else { 0 };
        let axis = pipeline["matrix"]["length"].as_object().expect("an axis");
        let found = axis.iter().map(|(name, point)| {
            let tokens = point.as_u64().or(point["tokens"].as_u64()).expect("a length");
            let stretched = |yarn: &Value| Some(yarn["factor"].as_u64()? * yarn["original-context"].as_u64()?);
            let window = stretched(&point["yarn"]).unwrap_or(window);
            assert!(tokens + thoughts <= window, "{file}: {name} does not fit {window}");
            assert_eq!(*name, format!("{}k", tokens / 1024), "{file}");
            tokens / 1024
        });
        assert_eq!(found.collect::<Vec<u64>>(), lengths, "{file}");
    }
}
