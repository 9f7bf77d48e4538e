//! `retmask schema` against every pipeline of the project, and against what is wrong; `retmask init` writes what both the
//! schema and the program accept.

mod support;

use std::path::Path;

use serde_json::Value;
use support::json_schema::faults;
use support::workspace::Workspace;
use support::{program, run};

const PIPELINES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/pipelines");

fn schema() -> Value {
    let output = program().arg("schema").output().expect("the program starts");
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn document(text: &str) -> Value {
    serde_yaml::from_str(text).expect("YAML")
}

fn read(path: &Path) -> Value {
    document(&std::fs::read_to_string(path).expect("a pipeline"))
}

#[test]
fn every_pipeline_fits_the_schema() {
    let schema = schema();
    let mut count = 0;
    for entry in std::fs::read_dir(PIPELINES).expect("the pipelines") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            assert_eq!(faults(&schema, &read(&path)), Vec::<String>::new(), "{}", path.display());
            count += 1;
        }
    }
    assert!(count >= 9, "{count} pipelines in {PIPELINES}");
}

#[test]
fn the_schema_refuses_what_the_program_refuses() {
    let schema = schema();
    let base =
        "version: 1\nname: a\nsources: {s: {published-scores: f}}\nstages: {m: {kind: build-mask, in: {scores: s}}}\n";
    assert_eq!(faults(&schema, &document(base)), Vec::<String>::new());
    assert_eq!(run(base, &["check", "pipeline.yaml"]).code, Some(0));
    for (what, instead) in [
        ("version: 1", "version: 2"),
        ("name: a", "name: A B"),
        ("name: a\n", ""),
        ("build-mask", "build-masks"),
        ("in: {scores: s}", "in: {score: s}"),
        (", in: {scores: s}", ""),
        ("in: {scores: s}", "in: {scores: s}, with: {tau: high}"),
        ("in: {scores: s}", "in: {scores: s}, with: {taus: 0.1}"),
        ("in: {scores: s}", "in: {scores: s}, resources: {cpus: 0}"),
        ("published-scores: f", "published-scores: f, model: g"),
        ("{s: {published-scores: f}}", "{s: {published-scores: {hf: {}}}}"),
        ("stages: {m: {kind: build-mask, in: {scores: s}}}", "stages: {}"),
    ] {
        let broken = base.replace(what, instead);
        assert_ne!(broken, base, "{what}");
        assert_ne!(faults(&schema, &document(&broken)), Vec::<String>::new(), "{broken}");
        assert_eq!(run(&broken, &["check", "pipeline.yaml"]).code, Some(2), "{broken}");
    }
}

#[test]
fn init_writes_a_pipeline_that_is_accepted() {
    let schema = schema();
    let workspace = Workspace::new("");
    let model = workspace.path("My Model");
    std::fs::create_dir(&model).expect("a folder");
    let exported = workspace.succeeds(&["model", "export", "--model", "embedded:tiny", "--to", "tiny.gguf"]);
    assert!(workspace.path("tiny.gguf").is_file(), "{}", exported.out);
    std::fs::rename(workspace.path("tiny.gguf"), model.join("${a} \"b\".gguf")).expect("renamed");
    for (model, file, expected) in [
        ("My Model/${a} \"b\".gguf", "a-b.yaml", "f32"),
        ("owner/Llama-9.9-8B-Instruct", "llama-9-9-8b-instruct.yaml", "bf16"),
    ] {
        assert_eq!(workspace.succeeds(&["init", model]).out, format!("{file}\n"));
        let text = workspace.read(file);
        assert!(text.contains(&format!("numerics: {expected}")), "{text}");
        assert_eq!(faults(&schema, &document(&text)), Vec::<String>::new());
        let checked = workspace.succeeds(&["check", file]).out;
        assert!(checked.contains("is valid (14 stages, 4 sources)"), "{checked}");
        let again = workspace.run(&["init", model]);
        assert_eq!((again.code, workspace.read(file)), (Some(2), text));
        assert!(again.err.starts_with(&format!("error: {file} is there already\n")), "{}", again.err);
    }
    // The local model is found where the file says it is.
    let plan: Value = serde_json::from_str(&workspace.succeeds(&["plan", "a-b.yaml", "--json"]).out).expect("JSON");
    assert_eq!((&plan["sources"][0]["source"], &plan["sources"][0]["state"]), (&"model".into(), &"known".into()));
    for missing in ["nowhere.gguf", "./owner/name", "a b/c"] {
        let refused = workspace.run(&["init", missing]);
        assert_eq!(refused.code, Some(2), "{missing}");
        assert!(refused.err.starts_with(&format!("error: there is no model `{missing}`\n")), "{}", refused.err);
    }
}
