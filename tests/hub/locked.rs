//! The lock file.

use crate::place::{PIPELINE, Place, tiny};
use crate::server::{COMMIT, HubServer, REPOSITORY, git_blob};
use crate::support::workspace::{parse, stages_with};

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
    let config = git_blob(&HubServer::tiny_files()[1].1);
    place.edit_lock(&config, &"ab".repeat(20));
    let complaint = place.fails(2, &["plan", "pipeline.yaml", "--locked"], &[]);
    assert!(complaint.contains("config.json has another content than pipeline.yaml.lock says: git:"), "{complaint}");
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
