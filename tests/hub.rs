//! Sources from the Hugging Face hub on the real binary, against a local server that speaks its protocol.

mod support;

#[path = "support/hub_server.rs"]
mod hub_server;

use std::path::{Path, PathBuf};
use std::process::Command;

use hub_server::{COMMIT, Fault, HubServer, REPOSITORY, SIGNATURE, blob_name};
use serde_json::{Value, json};
use support::Checked;
use support::workspace::{Workspace, parse, stages_with, state_of};

/// Stands for a user's token, and must be seen nowhere but by the hub.
const TOKEN: &str = "hf_kdjfhgieurhtgieurh";
/// A needle of a few hundred tokens: a model must be there for it, and a second is enough.
const PIPELINE: &str = "\
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
const MODEL_FILES: [&str; 6] = [
    "chat_template.jinja",
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
];

/// A pipeline, a cache, a folder for the hub's cache, and a server.
struct Place {
    workspace: Workspace,
    server: HubServer,
}

impl Place {
    fn new(server: HubServer) -> Self {
        Self { workspace: Workspace::new(PIPELINE), server }
    }

    fn command(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Command {
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

    fn run_with(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Checked {
        let output = self.command(arguments, variables).output().expect("the program starts");
        Checked {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).expect("UTF-8"),
            err: String::from_utf8(output.stderr).expect("UTF-8"),
        }
    }

    fn run(&self, arguments: &[&str]) -> Checked {
        self.run_with(arguments, &[])
    }

    fn succeeds_with(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Checked {
        let checked = self.run_with(arguments, variables);
        assert_eq!(checked.code, Some(0), "{arguments:?}: {}", checked.err);
        checked
    }

    fn succeeds(&self, arguments: &[&str]) -> Checked {
        self.succeeds_with(arguments, &[])
    }

    /// The complaint of a run that fails with this exit code.
    fn fails(&self, code: i32, arguments: &[&str], variables: &[(&str, &str)]) -> String {
        let checked = self.run_with(arguments, variables);
        assert_eq!(checked.code, Some(code), "{arguments:?}: {}", checked.err);
        checked.err
    }

    fn home(&self) -> PathBuf {
        self.workspace.path("hf-home")
    }

    fn repository(&self) -> PathBuf {
        self.home().join("hub/models--owner--tiny")
    }

    fn snapshot(&self) -> PathBuf {
        self.repository().join("snapshots").join(COMMIT)
    }

    fn weights_blob(&self) -> PathBuf {
        let files = self.server.state();
        let (_, bytes) = files.files.iter().find(|(name, _)| name == "model.safetensors").expect("weights");
        self.repository().join("blobs").join(blob_name(bytes))
    }

    /// The digest of the source in the plan.
    fn plan_source(&self, variables: &[(&str, &str)]) -> Value {
        let plan = self.succeeds_with(&["plan", "pipeline.yaml", "--json"], variables).out;
        let plan: Value = serde_json::from_str(&plan).expect("JSON");
        plan["sources"][0].clone()
    }

    /// What the requests since the last call asked for, without the origin.
    fn asked(&self) -> Vec<String> {
        self.server.seen().into_iter().map(|seen| seen.path.split('?').next().expect("a path").to_owned()).collect()
    }

    fn fault(&self, faults: &[Fault]) {
        self.server.state().faults.extend(faults);
    }

    fn edit_pipeline(&self, from: &str, to: &str) {
        let text = self.workspace.read("pipeline.yaml");
        assert!(text.contains(from), "{text}");
        self.workspace.write("pipeline.yaml", &text.replace(from, to));
    }

    fn edit_lock(&self, from: &str, to: &str) {
        let text = self.workspace.read("pipeline.yaml.lock");
        assert!(text.contains(from), "{text}");
        self.workspace.write("pipeline.yaml.lock", &text.replace(from, to));
    }
}

fn tiny() -> Place {
    Place::new(HubServer::with_tiny())
}

/// Every file below a folder, as (relative path, bytes).
fn files_below(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
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

#[test]
fn a_model_comes_from_the_hub_into_its_cache_and_runs() {
    let place = tiny();
    let checked = place.succeeds(&["run", "pipeline.yaml"]);
    assert!(
        checked.err.contains(&format!("policy: fetching 6 files of {REPOSITORY} at main ({COMMIT}), 1.4 MiB")),
        "{}",
        checked.err
    );
    assert!(checked.err.contains("policy: fetched in "), "{}", checked.err);
    // The layout of the hub's own tools.
    assert_eq!(std::fs::read_to_string(place.repository().join("refs/main")).expect("a reference"), COMMIT);
    let mut names: Vec<String> = std::fs::read_dir(place.snapshot())
        .expect("a snapshot")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"))
        .collect();
    names.sort();
    assert_eq!(names, MODEL_FILES, "only what is needed");
    for (name, bytes) in HubServer::tiny_files() {
        let link = std::fs::read_link(place.snapshot().join(&name)).expect("a link");
        assert_eq!(link, Path::new("../../blobs").join(blob_name(&bytes)), "{name}");
        assert_eq!(std::fs::read(place.snapshot().join(&name)).expect("the file"), bytes, "{name}");
    }
    let blobs = files_below(&place.repository().join("blobs"));
    assert_eq!(
        blobs.len(),
        6,
        "nothing incomplete is left: {:?}",
        blobs.iter().map(|(path, _)| path).collect::<Vec<_>>()
    );
    // The record says what `main` was.
    let facts: Value =
        serde_json::from_slice(&std::fs::read(place.workspace.latest_run().join("run.json")).expect("a record"))
            .expect("JSON");
    let expected = json!([{ "source": "policy", "repo": REPOSITORY, "type": "model", "revision": "main", "commit": COMMIT, "locked": false }]);
    assert_eq!(facts["sources"], expected);
    // A second run asks what `main` is, and fetches nothing.
    place.asked();
    let events = parse(&place.succeeds(&["run", "pipeline.yaml", "--json"]).out);
    assert_eq!(stages_with(&events, "stage-hit"), ["data", "scores"]);
    assert_eq!(place.asked(), [format!("/api/models/{REPOSITORY}/revision/main")]);
}

#[test]
fn equal_content_has_equal_keys_wherever_it_comes_from() {
    let place = tiny();
    place.succeeds(&["run", "pipeline.yaml"]);
    let folder = place.workspace.path("local");
    std::fs::create_dir(&folder).expect("a folder");
    for (name, bytes) in HubServer::tiny_files() {
        std::fs::write(folder.join(name), bytes).expect("a file");
    }
    let local = parse(&place.succeeds(&["run", "pipeline.yaml", "--set", "sources.policy.model=local", "--json"]).out);
    assert_eq!(stages_with(&local, "stage-hit"), ["data", "scores"]);
    place.edit_pipeline("{model: {hf: {repo: owner/tiny}}}", "{embedded: tiny}");
    let embedded = parse(&place.succeeds(&["run", "pipeline.yaml", "--json"]).out);
    assert_eq!(stages_with(&embedded, "stage-hit"), ["data", "scores"]);
}

#[test]
fn check_graph_and_plan_ask_nobody() {
    let place = tiny();
    place.succeeds(&["check", "pipeline.yaml"]);
    let graph = place.succeeds(&["graph", "pipeline.yaml"]).out;
    assert!(graph.contains("owner/tiny at main (Hugging Face)"), "{graph}");
    let graph: Value = serde_json::from_str(&place.succeeds(&["graph", "pipeline.yaml", "--json"]).out).expect("JSON");
    let expected = json!({ "repo": REPOSITORY, "type": "model", "revision": "main", "files": null });
    assert_eq!(graph["sources"][0]["hf"], expected);
    let plan = place.succeeds(&["plan", "pipeline.yaml"]).out;
    assert!(plan.contains("depends  on the download of policy"), "{plan}");
    assert!(plan.contains("`retmask run` downloads\n  source `policy`: owner/tiny at main is not in "), "{plan}");
    assert!(plan.contains("its size is not known before the hub is asked"), "{plan}");
    assert_eq!(place.asked(), Vec::<String>::new());
    // The lock file knows the size.
    place.succeeds(&["lock", "pipeline.yaml"]);
    place.asked();
    let plan = place.succeeds(&["plan", "pipeline.yaml"]).out;
    assert!(plan.contains(&format!("6 of 6 files of owner/tiny at main ({COMMIT}) are not in ")), "{plan}");
    let size: usize = HubServer::tiny_files().iter().map(|(_, bytes)| bytes.len()).sum();
    assert_eq!(place.plan_source(&[])["bytes"], size);
    assert_eq!(place.asked(), Vec::<String>::new());
    // With the files there, the plan knows the keys.
    place.succeeds(&["run", "pipeline.yaml"]);
    place.asked();
    let plan: Value = serde_json::from_str(&place.succeeds(&["plan", "pipeline.yaml", "--json"]).out).expect("JSON");
    assert_eq!(state_of(&plan, "scores")["state"], "hit");
    assert_eq!(plan["sources"][0]["hub"]["commit"], COMMIT);
    assert_eq!(place.asked(), Vec::<String>::new());
}

#[test]
fn the_token_goes_to_the_hub_and_nowhere_else() {
    let place = tiny();
    place.server.state().token = Some(TOKEN.into());
    let refused = place.fails(2, &["run", "pipeline.yaml"], &[]);
    assert!(refused.contains("there is no model owner/tiny, or it is private"), "{refused}");
    assert!(refused.contains("set HF_TOKEN"), "{refused}");
    // From the file that a login writes, and from the environment, which goes before it.
    std::fs::create_dir_all(place.home()).expect("a folder");
    std::fs::write(place.home().join("token"), "hf_another\n").expect("a token");
    let refused = place.fails(2, &["run", "pipeline.yaml"], &[]);
    assert!(refused.contains("the hub does not accept the token"), "{refused}");
    assert!(!refused.contains("hf_another"), "{refused}");
    place.server.seen();
    let checked = place.succeeds_with(&["run", "pipeline.yaml", "--json"], &[("HF_TOKEN", TOKEN)]);
    let seen = place.server.seen();
    let (storage, hub): (Vec<_>, Vec<_>) = seen.iter().partition(|seen| seen.is_storage);
    assert!(!storage.is_empty() && storage.iter().all(|seen| seen.authorization.is_none()), "{storage:?}");
    let bearer = format!("Bearer {TOKEN}");
    assert!(hub.iter().all(|seen| seen.authorization.as_ref() == Some(&bearer)), "{hub:?}");
    for secret in [TOKEN, SIGNATURE] {
        assert!(!checked.out.contains(secret) && !checked.err.contains(secret));
        for (path, bytes) in files_below(&place.workspace.cache()).into_iter().chain(files_below(&place.home())) {
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "{} holds a secret", path.display());
        }
    }
    // A login's token counts where none is set, and not where that is forbidden.
    std::fs::write(place.home().join("token"), format!("{TOKEN}\n")).expect("a token");
    place.succeeds(&["run", "pipeline.yaml"]);
    place.fails(2, &["run", "pipeline.yaml"], &[("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")]);
    let refused = place.fails(2, &["run", "pipeline.yaml"], &[("HF_TOKEN", "hf_two words")]);
    assert!(refused.contains("HF_TOKEN is no access token") && !refused.contains("words"), "{refused}");
}

#[test]
fn what_the_hub_refuses_is_explained() {
    let place = tiny();
    let page = format!("{}/owner/tiny", place.server.endpoint());
    for (status, code, variables, message, hint) in [
        (
            401,
            "GatedRepo",
            &[][..],
            "the model owner/tiny is gated",
            format!("accept the licence at {page}, then set HF_TOKEN"),
        ),
        (
            403,
            "GatedRepo",
            &[("HF_TOKEN", TOKEN)][..],
            "is gated",
            format!("accept the licence at {page} with the account"),
        ),
        (403, "", &[("HF_TOKEN", TOKEN)][..], "the token may not read", "/settings/tokens".into()),
        (404, "RepoNotFound", &[][..], "there is no model owner/tiny", page.clone()),
        (404, "RevisionNotFound", &[][..], "owner/tiny has no revision `main`", format!("{page}/tree/main")),
    ] {
        place.server.state().refusal = Some((status, code));
        let refused = place.fails(2, &["run", "pipeline.yaml"], variables);
        assert!(refused.contains("error: source `policy`: "), "{refused}");
        assert!(refused.contains(message) && refused.contains(&hint), "{status} {code}: {refused}");
    }
    // What is wrong at the hub is not the user's fault; it is tried again before.
    place.server.state().refusal = Some((503, ""));
    place.server.seen();
    let refused = place.fails(3, &["run", "pipeline.yaml"], &[]);
    assert!(refused.contains("answers 503"), "{refused}");
    assert_eq!(place.asked().len(), 5);
    place.server.state().refusal = None;
    // A file that is listed and gone.
    let mut files = HubServer::tiny_files();
    place.server.state().siblings =
        Some(files.iter().map(|(name, bytes)| json!({ "rfilename": name, "size": bytes.len(), "blobId": hub_server::git_blob(bytes) })).collect());
    files.retain(|(name, _)| name != "tokenizer.json");
    place.server.state().files = files;
    let refused = place.fails(2, &["run", "pipeline.yaml"], &[]);
    assert!(refused.contains("owner/tiny has no file tokenizer.json at main"), "{refused}");
    // Nobody there at all.
    let refused = place.fails(3, &["run", "pipeline.yaml"], &[("HF_ENDPOINT", "http://127.0.0.1:9")]);
    assert!(refused.contains("127.0.0.1:9 does not answer") && refused.contains("HF_HUB_OFFLINE=1"), "{refused}");
    let refused = place.fails(2, &["run", "pipeline.yaml"], &[("HF_ENDPOINT", "https://user:secret@hub.example")]);
    assert!(refused.contains("HF_ENDPOINT holds a user name or password") && !refused.contains("secret"), "{refused}");
}

#[test]
fn a_broken_connection_is_taken_up_where_it_broke() {
    let place = tiny();
    place.fault(&[Fault::CutAfter(500_000), Fault::EndAfter(300_000), Fault::CutAfter(0)]);
    let checked = place.succeeds(&["run", "pipeline.yaml"]);
    let ranges: Vec<Option<String>> =
        place.server.seen().into_iter().filter(|seen| seen.is_storage).map(|seen| seen.range).collect();
    let expected = [None, Some("bytes=500000-".into()), Some("bytes=800000-".into()), Some("bytes=800000-".into())];
    assert_eq!(ranges, expected, "{}", checked.err);
}

#[test]
fn a_download_that_ends_is_continued_by_the_next_run() {
    let place = tiny();
    place.fault(&[Fault::CutAfter(700_000)]);
    place.fault(&[Fault::CutAfter(0); 5]);
    let refused = place.fails(3, &["run", "pipeline.yaml"], &[]);
    assert!(refused.contains("model.safetensors of owner/tiny breaks off after 700000 of 1418256 bytes"), "{refused}");
    assert!(refused.contains("run again to go on"), "{refused}");
    let part = place.weights_blob().with_extension("incomplete");
    assert_eq!(std::fs::metadata(&part).expect("the beginning").len(), 700_000);
    assert!(!place.snapshot().join("model.safetensors").exists(), "nothing half is in place");
    place.server.seen();
    let checked = place.succeeds(&["run", "pipeline.yaml"]);
    let seen = place.server.seen();
    let storage: Vec<_> = seen.iter().filter(|seen| seen.is_storage).collect();
    assert_eq!(storage.len(), 1);
    assert_eq!(storage[0].range.as_deref(), Some("bytes=700000-"));
    assert!(!part.exists());
    // The small files were there: only the rest of one is fetched.
    assert!(checked.err.contains("fetching 1 file of") && checked.err.contains("701 KiB"), "{}", checked.err);
}

#[test]
fn an_interrupted_download_is_continued_by_the_next_run() {
    let place = tiny();
    place.fault(&[Fault::StallAfter(600_000)]);
    let mut child = place.command(&["run", "pipeline.yaml", "--quiet"], &[]).spawn().expect("the program starts");
    let part = place.weights_blob().with_extension("incomplete");
    let began = std::time::Instant::now();
    while std::fs::metadata(&part).map_or(0, |facts| facts.len()) < 600_000 {
        assert!(began.elapsed().as_secs() < 30, "the download does not come that far");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let process = rustix::process::Pid::from_raw(i32::try_from(child.id()).expect("an id")).expect("an id");
    rustix::process::kill_process(process, rustix::process::Signal::INT).expect("the process is there");
    assert_eq!(child.wait().expect("it ends").code(), Some(130));
    place.server.seen();
    place.succeeds(&["run", "pipeline.yaml"]);
    let seen = place.server.seen();
    assert_eq!(seen.iter().find(|seen| seen.is_storage).and_then(|seen| seen.range.as_deref()), Some("bytes=600000-"));
}

#[test]
fn a_server_without_ranges_and_a_damaged_beginning_start_over() {
    let place = tiny();
    place.fault(&[Fault::CutAfter(400_000), Fault::WholeFile]);
    place.succeeds(&["run", "pipeline.yaml"]);
    // A beginning that is not the file's: found out at the end, and fetched anew.
    let place = tiny();
    let blob = place.weights_blob();
    std::fs::create_dir_all(blob.parent().expect("a folder")).expect("a folder");
    std::fs::write(blob.with_extension("incomplete"), vec![7; 300_000]).expect("a beginning");
    place.succeeds(&["run", "pipeline.yaml"]);
    let ranges: Vec<Option<String>> =
        place.server.seen().into_iter().filter(|seen| seen.is_storage).map(|seen| seen.range).collect();
    assert_eq!(ranges, [Some("bytes=300000-".into()), None]);
    assert_eq!(
        blob_name(&std::fs::read(&blob).expect("the weights")),
        blob.file_name().expect("a name").to_string_lossy()
    );
}

#[test]
fn a_content_that_is_not_what_it_should_be_is_refused() {
    let place = tiny();
    place.fault(&[Fault::Altered]);
    let refused = place.fails(3, &["run", "pipeline.yaml"], &[]);
    let digest = place.weights_blob().file_name().expect("a name").to_string_lossy().into_owned();
    assert!(refused.contains("model.safetensors of owner/tiny at "), "{refused}");
    assert!(refused.contains("another content than it should: sha256:"), "{refused}");
    assert!(refused.contains(&format!("expected sha256:{digest}")), "{refused}");
    assert!(!place.weights_blob().exists() && !place.weights_blob().with_extension("incomplete").exists());
    place.fault(&[Fault::ShortBy(1000)]);
    let refused = place.fails(3, &["run", "pipeline.yaml"], &[]);
    assert!(refused.contains("has 1417256 bytes at the hub, where 1418256 are expected"), "{refused}");
    // A small file is checked as well, by git's digest.
    let place = tiny();
    let siblings: Value = place
        .server
        .state()
        .files
        .iter()
        .map(|(name, bytes)| json!({ "rfilename": name, "size": bytes.len(), "blobId": "ab".repeat(20) }))
        .collect();
    place.server.state().siblings = Some(siblings);
    let refused = place.fails(3, &["run", "pipeline.yaml"], &[]);
    assert!(refused.contains(&format!("expected git:{}", "ab".repeat(20))), "{refused}");
    // A file on its way when another fails is kept as far as it came.
    let incomplete = |(path, _): &(PathBuf, Vec<u8>)| path.extension().is_some_and(|name| name == "incomplete");
    assert!(files_below(&place.repository().join("blobs")).iter().all(incomplete));
    assert!(!place.snapshot().exists());
}

#[test]
fn a_busy_hub_is_waited_for_as_long_as_it_asks() {
    let place = tiny();
    place.server.state().list_faults.extend([Fault::Busy("1"), Fault::Status(502, ""), Fault::CutAfter(10)]);
    place.fault(&[Fault::Busy("1")]);
    let began = std::time::Instant::now();
    let checked = place.succeeds(&["run", "pipeline.yaml"]);
    assert!(began.elapsed().as_secs() >= 3, "it did not wait");
    assert_eq!(checked.err.matches("is busy; asking again in 1 s").count(), 3, "{}", checked.err);
    // A wait of hours is not sat out.
    let place = tiny();
    place.server.state().list_faults.push_back(Fault::Busy("7200"));
    let refused = place.fails(3, &["run", "pipeline.yaml"], &[]);
    assert!(refused.contains("limits the rate of requests") && refused.contains("120 minutes"), "{refused}");
}

#[test]
fn offline_only_the_cache_is_used() {
    let offline = &[("HF_HUB_OFFLINE", "1")];
    let place = tiny();
    let refused = place.fails(2, &["run", "pipeline.yaml"], offline);
    assert!(refused.contains("owner/tiny at main is not in the Hugging Face cache"), "{refused}");
    assert!(refused.contains("HF_HUB_OFFLINE is set"), "{refused}");
    let plan = place.succeeds_with(&["plan", "pipeline.yaml"], offline).out;
    assert!(plan.contains("blocked  source policy is missing"), "{plan}");
    place.succeeds(&["run", "pipeline.yaml"]);
    place.server.seen();
    let events = parse(&place.succeeds_with(&["run", "pipeline.yaml", "--json"], offline).out);
    assert_eq!(stages_with(&events, "stage-hit"), ["data", "scores"]);
    std::fs::remove_file(place.snapshot().join("config.json")).expect("a link");
    std::fs::remove_file(place.repository().join("blobs").join(hub_server::git_blob(&HubServer::tiny_files()[1].1)))
        .expect("a blob");
    let refused = place.fails(2, &["run", "pipeline.yaml"], offline);
    assert!(
        refused.contains("config.json of owner/tiny at ") && refused.contains("HF_HUB_OFFLINE is set"),
        "{refused}"
    );
    assert_eq!(place.asked(), Vec::<String>::new());
}

/// Puts the model into the cache as the hub's Python tools do, without this program.
fn fill_cache(place: &Place) {
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

#[test]
fn what_other_tools_have_fetched_is_used() {
    let place = tiny();
    fill_cache(&place);
    place.succeeds(&["run", "pipeline.yaml"]);
    assert_eq!(place.asked(), [format!("/api/models/{REPOSITORY}/revision/main")]);
    let online = place.plan_source(&[])["digest"].clone();
    // Offline with a store that knows nothing: the snapshot says what there is, and has the same content.
    let other = tiny();
    fill_cache(&other);
    let offline = &[("HF_HUB_OFFLINE", "yes")];
    other.succeeds_with(&["run", "pipeline.yaml"], offline);
    assert_eq!(other.plan_source(offline)["digest"], online);
    assert_eq!(other.asked(), Vec::<String>::new());
}

#[test]
fn a_damaged_file_in_the_cache_is_fetched_again() {
    let place = tiny();
    fill_cache(&place);
    let blob = place.weights_blob();
    let good = std::fs::read(&blob).expect("the weights");
    let mut damaged = good.clone();
    damaged[1000] ^= 1;
    std::fs::write(&blob, &damaged).expect("damage");
    let refused = place.fails(2, &["run", "pipeline.yaml"], &[("HF_HUB_OFFLINE", "1")]);
    assert!(refused.contains("model.safetensors of owner/tiny"), "{refused}");
    place.succeeds(&["run", "pipeline.yaml"]);
    assert_eq!(std::fs::read(&blob).expect("the weights"), good);
}

#[test]
fn hostile_lists_write_nothing() {
    let bytes = b"harmless".to_vec();
    for name in ["../../../../escaped", "/tmp/escaped", "a/../../escaped", "..\\escaped", "a\u{0}b"] {
        let place = tiny();
        let sibling = json!({ "rfilename": name, "size": bytes.len(), "blobId": hub_server::git_blob(&bytes) });
        let mut siblings: Vec<Value> = vec![sibling];
        for (name, bytes) in HubServer::tiny_files() {
            siblings.push(json!({ "rfilename": name, "size": bytes.len(), "blobId": hub_server::git_blob(&bytes) }));
        }
        place.server.state().siblings = Some(siblings.into());
        let refused = place.fails(3, &["run", "pipeline.yaml"], &[]);
        assert!(refused.contains("cannot be used: the file name"), "{name}: {refused}");
        assert!(!place.home().exists(), "{name}");
    }
    // A size that no disk has is refused before a byte is written.
    let place = tiny();
    let siblings: Value = HubServer::tiny_files()
        .iter()
        .map(|(name, bytes)| json!({ "rfilename": name, "size": u64::MAX / 2, "blobId": hub_server::git_blob(bytes) }))
        .collect();
    place.server.state().siblings = Some(siblings);
    let refused = place.fails(3, &["run", "pipeline.yaml"], &[]);
    assert!(refused.contains("owner/tiny needs ") && refused.contains(" left"), "{refused}");
    // A folder of the snapshot that leads elsewhere is not written through.
    let mut files = HubServer::tiny_files();
    files.push(("extra/more.json".into(), b"{}".to_vec()));
    let place = Place::new(HubServer::new(files));
    place.edit_pipeline("{repo: owner/tiny}", "{repo: owner/tiny, files: ['*.json', 'extra/*', '*.safetensors']}");
    let elsewhere = place.workspace.path("elsewhere");
    std::fs::create_dir(&elsewhere).expect("a folder");
    std::fs::create_dir_all(place.snapshot()).expect("a folder");
    std::os::unix::fs::symlink(&elsewhere, place.snapshot().join("extra")).expect("a link");
    let refused = place.fails(3, &["run", "pipeline.yaml"], &[]);
    assert!(refused.contains("leads out of the snapshot"), "{refused}");
    assert_eq!(std::fs::read_dir(&elsewhere).expect("the folder").count(), 0);
}

#[test]
fn shards_come_as_the_index_names_them() {
    let mut files = HubServer::tiny_files();
    let weights = files.iter().position(|(name, _)| name == "model.safetensors").expect("weights");
    let (_, bytes) = files.remove(weights);
    let length = u64::from_le_bytes(bytes[..8].try_into().expect("a length"));
    let header: Value = serde_json::from_slice(&bytes[8..8 + usize::try_from(length).expect("small")]).expect("JSON");
    let names = header.as_object().expect("a map").keys().filter(|name| *name != "__metadata__");
    let map: serde_json::Map<String, Value> =
        names.map(|name| (name.clone(), "model-00001-of-00001.safetensors".into())).collect();
    files.push(("model.safetensors.index.json".into(), json!({ "weight_map": map }).to_string().into_bytes()));
    files.push(("model-00001-of-00001.safetensors".into(), bytes.clone()));
    files.push(("consolidated.safetensors".into(), bytes));
    let place = Place::new(HubServer::new(files));
    // Locking reads the index and fetches nothing else.
    place.succeeds(&["lock", "pipeline.yaml"]);
    let asked = place.asked();
    assert_eq!(asked.len(), 2, "{asked:?}");
    assert!(asked[1].ends_with("/model.safetensors.index.json"), "{asked:?}");
    let lock = place.workspace.read("pipeline.yaml.lock");
    assert!(lock.contains("model-00001-of-00001.safetensors") && !lock.contains("consolidated"), "{lock}");
    place.succeeds(&["run", "pipeline.yaml", "--locked"]);
    let asked = place.asked();
    assert!(asked.iter().all(|path| !path.contains("consolidated") && !path.contains("/api/")), "{asked:?}");
    // An index that names what is not there.
    let index = json!({ "weight_map": { "a": "../outside.safetensors" } }).to_string().into_bytes();
    let position = place.server.state().files.iter().position(|(name, _)| name.ends_with("index.json"));
    place.server.state().files[position.expect("the index")].1 = index;
    place.server.state().commit = "ab".repeat(20);
    let refused = place.fails(2, &["lock", "pipeline.yaml"], &[]);
    assert!(refused.contains("names `../outside.safetensors`, which it lacks"), "{refused}");
}

#[test]
fn a_lock_file_pins_what_main_is() {
    let place = tiny();
    let refused = place.fails(2, &["run", "pipeline.yaml", "--locked"], &[]);
    assert!(refused.contains("pipeline.yaml.lock is missing"), "{refused}");
    assert!(refused.contains("`retmask lock pipeline.yaml` writes it"), "{refused}");
    let table = place.succeeds(&["lock", "pipeline.yaml"]).out;
    assert!(table.contains(COMMIT) && table.ends_with("written to pipeline.yaml.lock\n"), "{table}");
    assert_eq!(place.asked(), [format!("/api/models/{REPOSITORY}/revision/main")], "nothing is downloaded");
    let lock = place.workspace.read("pipeline.yaml.lock");
    place.succeeds(&["lock", "pipeline.yaml"]);
    assert_eq!(place.workspace.read("pipeline.yaml.lock"), lock, "equal contents, equal bytes");
    // `main` moves on; what is locked does not.
    let moved = "fe".repeat(20);
    place.asked();
    for arguments in
        [&["run", "pipeline.yaml", "--locked"][..], &["run", "pipeline.yaml"], &["plan", "pipeline.yaml", "--locked"]]
    {
        place.succeeds(arguments);
        assert!(place.asked().iter().all(|path| !path.contains("/api/")), "the hub is not asked what main is");
        place.server.state().commit.clone_from(&moved);
    }
    let facts = std::fs::read_to_string(place.workspace.latest_run().join("run.json")).expect("a record");
    assert!(facts.contains(COMMIT) && facts.contains("\"locked\": true"), "{facts}");
    // Locking again takes the new commit.
    place.succeeds(&["lock", "pipeline.yaml"]);
    assert!(place.workspace.read("pipeline.yaml.lock").contains(&moved));
}

#[test]
fn locked_refuses_anything_else() {
    let place = tiny();
    place.succeeds(&["lock", "pipeline.yaml"]);
    place.succeeds(&["run", "pipeline.yaml", "--locked"]);
    let refused = |place: &Place| {
        let plan = place.fails(2, &["plan", "pipeline.yaml", "--locked"], &[]);
        assert_eq!(place.fails(2, &["run", "pipeline.yaml", "--locked"], &[]), plan);
        assert!(plan.contains("`retmask lock pipeline.yaml` writes it anew"), "{plan}");
        plan
    };
    // Another revision, another repository, other files.
    for (change, message) in [
        ("{repo: owner/tiny, revision: v2}", "is for the revision main, the pipeline asks for v2"),
        ("{repo: owner/other}", "is for the model owner/tiny, the pipeline asks for the model owner/other"),
        ("{repo: owner/tiny, type: dataset}", "the pipeline asks for the dataset owner/tiny"),
        ("{repo: owner/tiny, files: ['*.json', '*.safetensors']}", "is for other `files`"),
    ] {
        place.workspace.write("pipeline.yaml", &PIPELINE.replace("{repo: owner/tiny}", change));
        let refused = refused(&place);
        assert!(refused.contains("pipeline.yaml.lock: the entry of source `policy`"), "{refused}");
        assert!(refused.contains(message), "{refused}");
        // Without --locked the entry is set aside, and that is said.
        let plan = place.succeeds(&["plan", "pipeline.yaml"]);
        assert!(plan.err.contains("warning: ") && plan.err.contains("it is not used"), "{}", plan.err);
    }
    // A source without an entry, and an entry without a source.
    place.workspace.write("pipeline.yaml", &PIPELINE.replace("policy", "model"));
    let complaint = refused(&place);
    assert!(complaint.contains("pipeline.yaml.lock has no entry for source `model`"), "{complaint}");
    assert!(complaint.contains("has an entry for `policy`, which is no source from the hub"), "{complaint}");
    // Another digest: what the hub and the cache have is not what is locked.
    place.workspace.write("pipeline.yaml", PIPELINE);
    let config = hub_server::git_blob(&HubServer::tiny_files()[1].1);
    place.edit_lock(&config, &"ab".repeat(20));
    let complaint = place.fails(3, &["run", "pipeline.yaml", "--locked"], &[]);
    assert!(complaint.contains("config.json of owner/tiny"), "{complaint}");
    assert!(complaint.contains(&format!("git:{config}, expected git:{}", "ab".repeat(20))), "{complaint}");
    // A lock file that is none.
    place.workspace.write("pipeline.yaml.lock", "{\n  \"version\": 1,\n  \"sources\": {},\n  \"extra\": 1\n}\n");
    let complaint = place.fails(2, &["run", "pipeline.yaml"], &[]);
    assert!(
        complaint.contains("pipeline.yaml.lock: unknown field `extra`") && complaint.contains("line 4"),
        "{complaint}"
    );
}

#[test]
fn locked_and_cached_nothing_is_asked() {
    let place = tiny();
    place.succeeds(&["lock", "pipeline.yaml"]);
    place.succeeds(&["run", "pipeline.yaml"]);
    // The endpoint answers nobody: it is not looked at.
    let nowhere = &[("HF_ENDPOINT", "http://127.0.0.1:9")];
    let events = parse(&place.succeeds_with(&["run", "pipeline.yaml", "--locked", "--json"], nowhere).out);
    assert_eq!(stages_with(&events, "stage-hit"), ["data", "scores"]);
    // As is a commit that is known, without a lock file.
    std::fs::remove_file(place.workspace.path("pipeline.yaml.lock")).expect("the lock file");
    place.edit_pipeline("{repo: owner/tiny}", &format!("{{repo: owner/tiny, revision: {COMMIT}}}"));
    place.succeeds(&["run", "pipeline.yaml"]);
    let events = parse(&place.succeeds_with(&["run", "pipeline.yaml", "--json"], nowhere).out);
    assert_eq!(stages_with(&events, "stage-hit"), ["data", "scores"]);
}

#[test]
fn a_single_file_of_a_dataset_or_a_model() {
    let rows = b"{\"prompt\": \"one\"}\n{\"prompt\": \"two\"}\n".to_vec();
    let gguf = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("model/tests/fixtures/every-type.gguf"))
        .expect("the fixture");
    let files = vec![
        ("data/train.jsonl".to_owned(), rows),
        ("data/test.jsonl".to_owned(), b"{}".to_vec()),
        ("tiny.gguf".to_owned(), gguf.clone()),
    ];
    let place = Place::new(HubServer::new(files));
    let pipeline = "\
version: 1
name: files
sources:
  rows: {instructions: {hf: {repo: owner/tiny, files: [data/train.jsonl]}}}
  gguf: {model: {hf: {repo: former/tiny, revision: refs/pr/1, files: ['*.gguf']}}}
  scores: {published-scores: scores.json}
stages:
  mask: {kind: build-mask, in: {scores: scores}}
  pairs: {kind: sample-pairs, in: {model: gguf, mask: mask, instructions: rows}}
";
    place.workspace.write("pipeline.yaml", pipeline);
    place.workspace.write("scores.json", r#"{"0-0": [0.5], "0-1": [0.0]}"#);
    place.succeeds(&["lock", "pipeline.yaml"]);
    // The fixture is no model that can answer; what matters is what came, and as what.
    place.run(&["run", "pipeline.yaml", "--locked"]);
    let plan = place.succeeds(&["plan", "pipeline.yaml", "--json", "--locked"]).out;
    let plan: Value = serde_json::from_str(&plan).expect("JSON");
    let digests: Vec<&str> = (0..2).map(|index| plan["sources"][index]["digest"].as_str().expect("a digest")).collect();
    assert!(digests.iter().all(|digest| digest.starts_with("b3:")), "{digests:?}");
    assert_eq!(digests[1], format!("b3:{}", blake3::hash(&gguf).to_hex()));
    assert!(place.home().join("hub/datasets--owner--tiny/snapshots").join(COMMIT).join("data/train.jsonl").is_file());
    assert!(place.home().join("hub/models--former--tiny/refs/refs/pr/1").is_file());
    // Two files where one is needed.
    place.edit_pipeline("[data/train.jsonl]", "['data/*.jsonl']");
    let refused = place.fails(2, &["run", "pipeline.yaml"], &[]);
    assert!(refused.contains("source `rows` is one file, and what is named of the repository are 2"), "{refused}");
    place.edit_pipeline("['data/*.jsonl']", "[data/other.jsonl]");
    let refused = place.fails(2, &["run", "pipeline.yaml"], &[]);
    assert!(
        refused.contains("has no file `data/other.jsonl`") && refused.contains("it has data/test.jsonl"),
        "{refused}"
    );
}

#[test]
fn two_runs_at_once_fetch_each_file_once() {
    let place = tiny();
    let children = [(); 2].map(|()| {
        let mut command = place.command(&["run", "pipeline.yaml"], &[]);
        command
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .expect("the program starts")
    });
    for child in children {
        let output = child.wait_with_output().expect("it ends");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let fetched: Vec<String> = place.asked().into_iter().filter(|path| path.contains("/resolve/")).collect();
    assert_eq!(fetched.len(), 6, "{fetched:?}");
}

#[test]
fn faults_of_a_source_have_their_place() {
    let place = tiny();
    for (source, message, line, column) in [
        ("{model: {hf: {}}}", "`hf` has no `repo`", 4, 20),
        ("{model: {}}", "`model` does not say where it is", 4, 12),
        ("{model: {hub: {repo: a/b}}}", "`model` has no key `hub`", 4, 20),
        ("{model: {hf: {repository: a/b}}}", "`hf` has no key `repository`", 4, 25),
        ("{model: {hf: owner/name}}", "`hf` is a map of keys and values", 4, 24),
        ("{model: {hf: {repo: gpt2}}}", "`gpt2` is no repository of the hub: write OWNER/NAME", 4, 31),
        ("{model: {hf: {repo: ../etc}}}", "is no repository of the hub", 4, 31),
        ("{model: {hf: {repo: a/b, revision: ../x}}}", "`../x` is no revision", 4, 46),
        ("{model: {hf: {repo: a/b, revision: 12}}}", "`revision` is text, found the number 12", 4, 46),
        ("{model: {hf: {repo: a/b, type: space}}}", "`space` is no type of repository", 4, 42),
        ("{model: {hf: {repo: a/b, files: x.gguf}}}", "`files` is a list of paths", 4, 43),
        ("{model: {hf: {repo: a/b, files: []}}}", "`files` names no file", 4, 43),
        ("{model: {hf: {repo: a/b, files: [a, /b]}}}", "the file name `/b` is absolute", 4, 47),
        ("{model: {hf: {repo: a/b}}, fetch: x}", "needs no `fetch`", 4, 38),
        ("{instructions: {hf: {repo: a/b}}}", "does not say which file of the repository it is", 4, 27),
        ("{embedded: {hf: {repo: a/b}}}", "`embedded` is text, found a map", 4, 22),
    ] {
        let pipeline = format!("version: 1\nname: faults\nsources:\n  source: {source}\n");
        let stages = "stages:\n  data: {kind: synthetic}\n";
        place.workspace.write("pipeline.yaml", &format!("{pipeline}{stages}"));
        let complaint = place.fails(2, &["check", "pipeline.yaml", "--json"], &[]);
        let complaint: Value = serde_json::from_str(&complaint).expect("JSON");
        let found: Vec<(&str, Option<u64>, Option<u64>)> = complaint["errors"]
            .as_array()
            .expect("errors")
            .iter()
            .map(|error| (error["message"].as_str().expect("text"), error["line"].as_u64(), error["column"].as_u64()))
            .collect();
        assert_eq!(found.len(), 1, "{source}: {found:?}");
        assert!(found[0].0.contains(message), "{source}: {found:?}");
        assert_eq!((found[0].1, found[0].2), (Some(line), Some(column)), "{source}: {found:?}");
    }
}

#[test]
fn a_pipeline_without_the_hub_does_not_look_at_its_settings() {
    let place = tiny();
    place.workspace.write("pipeline.yaml", &PIPELINE.replace("{model: {hf: {repo: owner/tiny}}}", "{embedded: tiny}"));
    place.succeeds_with(&["run", "pipeline.yaml", "--locked"], &[("HF_ENDPOINT", "no address")]);
    let noted = place.succeeds(&["lock", "pipeline.yaml"]).err;
    assert!(noted.contains("there is nothing to lock"), "{noted}");
    assert!(!place.workspace.path("pipeline.yaml.lock").exists());
}
