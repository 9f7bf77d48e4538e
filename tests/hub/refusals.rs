//! What the hub refuses, what it must not see, and what it must not do.

use serde_json::{Value, json};

use crate::place::{Place, TOKEN, files_below, tiny};
use crate::server::{HubServer, SIGNATURE, git_blob};

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
    place.server.state().siblings = Some(
        files
            .iter()
            .map(|(name, bytes)| json!({ "rfilename": name, "size": bytes.len(), "blobId": git_blob(bytes) }))
            .collect(),
    );
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
fn hostile_lists_write_nothing() {
    let bytes = b"harmless".to_vec();
    for name in ["../../../../escaped", "/tmp/escaped", "a/../../escaped", "..\\escaped", "a\u{0}b"] {
        let place = tiny();
        let sibling = json!({ "rfilename": name, "size": bytes.len(), "blobId": git_blob(&bytes) });
        let mut siblings: Vec<Value> = vec![sibling];
        for (name, bytes) in HubServer::tiny_files() {
            siblings.push(json!({ "rfilename": name, "size": bytes.len(), "blobId": git_blob(&bytes) }));
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
        .map(|(name, bytes)| json!({ "rfilename": name, "size": u64::MAX / 2, "blobId": git_blob(bytes) }))
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
