//! What a source from the hub brings, and what is said without asking.

use std::path::Path;

use serde_json::{Value, json};

use crate::place::{MODEL_FILES, PIPELINE, Place, files_below, tiny};
use crate::server::{COMMIT, HubServer, REPOSITORY, blob_name};
use crate::support::workspace::{parse, stages_with, state_of};

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

#[test]
fn programs_are_told_what_comes() {
    let place = tiny();
    let events = parse(&place.succeeds(&["run", "pipeline.yaml", "--json"]).out);
    let place_of = |name: &str| events.iter().position(|event| event["event"] == name).expect("the event");
    let order = ["source-started", "source-progress", "source-finished", "run-started"].map(place_of);
    assert!(order.is_sorted(), "{order:?}");
    let started = &events[order[0]];
    assert_eq!((&started["commit"], &started["files"]), (&json!(COMMIT), &json!(6)));
    let last = events.iter().rfind(|event| event["event"] == "source-progress").expect("progress");
    assert_eq!(last["done"], started["bytes"], "all of it came");
    assert_eq!(last["fetched"], started["bytes"]);
}
