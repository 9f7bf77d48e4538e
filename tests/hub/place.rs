//! A pipeline with a source from the hub, and everything around it.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::server::{COMMIT, Fault, HubServer, blob_name};
use crate::support::Checked;
use crate::support::workspace::Workspace;

/// Stands for a user's token, and must be seen nowhere but by the hub.
pub const TOKEN: &str = "hf_the_token_of_a_test";
/// A needle of a few hundred tokens: a model must be there for it, and a second is enough.
pub const PIPELINE: &str = "\
version: 1
name: hub
sources:
  policy: {model: {hf: {repo: owner/tiny}}}
stages:
  data:
    kind: synthetic
    with: {needles: 1, haystack-tokens: 200, instructions: 1}
  scores:
    kind: score-heads
    in: {model: policy, needles: data}
    with: {context-lengths: [160], depths: [50], buffer: 0, stop: end-token, max-new-tokens: 2}
";
pub const MODEL_FILES: [&str; 6] = [
    "chat_template.jinja",
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
];

/// A pipeline, a cache, a folder for the hub's cache, and a server.
pub struct Place {
    pub workspace: Workspace,
    pub server: HubServer,
}

impl Place {
    pub fn new(server: HubServer) -> Self {
        Self { workspace: Workspace::new(PIPELINE), server }
    }

    pub fn command(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Command {
        let mut command = self.workspace.command(arguments);
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy().into_owned();
            let foreign = ["HF_", "HUGGING", "TRANSFORMERS_", "SSL_CERT"].iter().any(|prefix| name.starts_with(prefix));
            if foreign || name.to_ascii_lowercase().ends_with("_proxy") {
                command.env_remove(name);
            }
        }
        command.env("HF_HOME", self.home()).env("HF_ENDPOINT", self.server.endpoint());
        command.envs(variables.iter().copied());
        command
    }

    pub fn run_with(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Checked {
        let output = self.command(arguments, variables).output().expect("the program starts");
        Checked {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).expect("UTF-8"),
            err: String::from_utf8(output.stderr).expect("UTF-8"),
        }
    }

    pub fn run(&self, arguments: &[&str]) -> Checked {
        self.run_with(arguments, &[])
    }

    pub fn succeeds_with(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Checked {
        let checked = self.run_with(arguments, variables);
        assert_eq!(checked.code, Some(0), "{arguments:?}: {}", checked.err);
        checked
    }

    pub fn succeeds(&self, arguments: &[&str]) -> Checked {
        self.succeeds_with(arguments, &[])
    }

    /// The complaint of a run that fails with this exit code.
    pub fn fails(&self, code: i32, arguments: &[&str], variables: &[(&str, &str)]) -> String {
        let checked = self.run_with(arguments, variables);
        assert_eq!(checked.code, Some(code), "{arguments:?}: {}", checked.err);
        checked.err
    }

    pub fn home(&self) -> PathBuf {
        self.workspace.path("hf-home")
    }

    pub fn repository(&self) -> PathBuf {
        self.home().join("hub/models--owner--tiny")
    }

    pub fn snapshot(&self) -> PathBuf {
        self.repository().join("snapshots").join(COMMIT)
    }

    pub fn weights_blob(&self) -> PathBuf {
        let files = self.server.state();
        let (_, bytes) = files.files.iter().find(|(name, _)| name == "model.safetensors").expect("weights");
        self.repository().join("blobs").join(blob_name(bytes))
    }

    /// The digest of the source in the plan.
    pub fn plan_source(&self, variables: &[(&str, &str)]) -> Value {
        let plan = self.succeeds_with(&["plan", "pipeline.yaml", "--json"], variables).out;
        let plan: Value = serde_json::from_str(&plan).expect("JSON");
        plan["sources"][0].clone()
    }

    /// What the requests since the last call asked for, without the origin.
    pub fn asked(&self) -> Vec<String> {
        self.server.seen().into_iter().map(|seen| seen.path.split('?').next().expect("a path").to_owned()).collect()
    }

    pub fn fault(&self, faults: &[Fault]) {
        self.server.state().faults.extend(faults);
    }

    pub fn edit_pipeline(&self, from: &str, to: &str) {
        let text = self.workspace.read("pipeline.yaml");
        assert!(text.contains(from), "{text}");
        self.workspace.write("pipeline.yaml", &text.replace(from, to));
    }

    pub fn edit_lock(&self, from: &str, to: &str) {
        let text = self.workspace.read("pipeline.yaml.lock");
        assert!(text.contains(from), "{text}");
        self.workspace.write("pipeline.yaml.lock", &text.replace(from, to));
    }
}

pub fn tiny() -> Place {
    Place::new(HubServer::with_tiny())
}

/// Every file below a folder, as (relative path, bytes).
pub fn files_below(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    let Ok(entries) = std::fs::read_dir(folder) else { return files };
    for entry in entries {
        let path = entry.expect("an entry").path();
        if path.is_dir() && !path.is_symlink() {
            files.extend(files_below(&path));
        } else if !path.is_symlink() {
            files.push((path.clone(), std::fs::read(&path).expect("a file")));
        }
    }
    files
}

/// Puts the model into the cache as the hub's Python tools do, without this program.
pub fn fill_cache(place: &Place) {
    let repository = place.repository();
    for folder in ["refs", "blobs"] {
        std::fs::create_dir_all(repository.join(folder)).expect("a folder");
    }
    std::fs::create_dir_all(place.snapshot()).expect("a folder");
    std::fs::write(repository.join("refs/main"), COMMIT).expect("a reference");
    let mut files = HubServer::tiny_files();
    files.push(("README.md".into(), b"what else lies in a snapshot".to_vec()));
    for (name, bytes) in files {
        std::fs::write(repository.join("blobs").join(blob_name(&bytes)), &bytes).expect("a blob");
        let target = format!("../../blobs/{}", blob_name(&bytes));
        std::os::unix::fs::symlink(target, place.snapshot().join(name)).expect("a link");
    }
}
