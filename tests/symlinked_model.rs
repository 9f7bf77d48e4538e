//! A model folder of symbolic links, as the hub's cache has them: followed, and digested by content.

mod support;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::Value;
use support::workspace::Workspace;

const PIPELINE: &str = "\
version: 1
name: links
sources:
  model: {model: model}
stages:
  data: {kind: synthetic, with: {needles: 2, haystack-tokens: 300, instructions: 4}}
  scores:
    kind: score-heads
    in: {model: model, needles: data}
    with: {context-lengths: [240], depths: {min: 0, max: 100, count: 2}, buffer: 0, stop: end-token}
";

/// The files of the built-in model.
fn model() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("model/embedded/tiny")
}

/// A workspace whose model is a folder of plain files.
fn workspace() -> Workspace {
    let workspace = Workspace::new(PIPELINE);
    fs::create_dir(workspace.path("model")).expect("a folder");
    for file in fs::read_dir(model()).expect("the model") {
        let file = file.expect("a file").path();
        fs::copy(&file, workspace.path("model").join(file.file_name().expect("a name"))).expect("a copy");
    }
    workspace
}

/// Puts the model's files elsewhere, under other names, and links in their place.
fn link(workspace: &Workspace) {
    fs::create_dir(workspace.path("blobs")).expect("a folder");
    fs::rename(workspace.path("model"), workspace.path("plain")).expect("renamed");
    fs::create_dir(workspace.path("model")).expect("a folder");
    for (number, file) in fs::read_dir(workspace.path("plain")).expect("the model").enumerate() {
        let name = file.expect("a file").file_name();
        fs::rename(workspace.path("plain").join(&name), workspace.path("blobs").join(number.to_string()))
            .expect("moved");
        symlink(Path::new("../blobs").join(number.to_string()), workspace.path("model").join(name)).expect("a link");
    }
}

/// What a plan says of the stage that reads the model.
fn state(workspace: &Workspace) -> String {
    let plan: Value =
        serde_json::from_str(&workspace.succeeds(&["plan", "pipeline.yaml", "--json"]).out).expect("JSON");
    support::workspace::state_of(&plan, "scores")["state"].as_str().expect("a state").to_owned()
}

#[test]
fn links_are_followed_and_their_content_counts() {
    let workspace = workspace();
    workspace.succeeds(&["run", "pipeline.yaml"]);
    assert_eq!(state(&workspace), "hit");
    let plain = workspace.digests();

    link(&workspace);
    assert_eq!(state(&workspace), "hit", "the same files behind links are the same model");
    workspace.succeeds(&["run", "pipeline.yaml"]);
    assert_eq!(workspace.digests(), plain);

    // Another content behind the same link is another model.
    let name = fs::read_link(workspace.path("model/generation_config.json")).expect("a link");
    let blob = workspace.path("model").join(name);
    let text = fs::read_to_string(&blob).expect("the file");
    fs::write(&blob, format!("{text}\n")).expect("written");
    assert_eq!(state(&workspace), "run");
}

#[test]
fn a_link_to_nothing_is_named() {
    let workspace = workspace();
    fs::remove_file(workspace.path("model/model.safetensors")).expect("removed");
    symlink("../blobs/gone", workspace.path("model/model.safetensors")).expect("a link");
    let refused = workspace.run(&["run", "pipeline.yaml"]);
    assert_eq!(refused.code, Some(2), "{}", refused.err);
    assert!(refused.err.contains("model.safetensors"), "{}", refused.err);
    let asked = workspace.run(&["model", "info", "--model", "model"]);
    assert_eq!(asked.code, Some(2), "{}", asked.err);
    assert!(asked.err.contains("model.safetensors"), "{}", asked.err);
}
