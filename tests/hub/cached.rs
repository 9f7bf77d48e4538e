//! What is in the hub's cache already.

use std::path::Path;

use crate::place::{fill_cache, tiny};
use crate::server::{COMMIT, HubServer, REPOSITORY, git_blob};
use crate::support::workspace::{parse, stages_with};

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
    std::fs::remove_file(place.repository().join("blobs").join(git_blob(&HubServer::tiny_files()[1].1)))
        .expect("a blob");
    let refused = place.fails(2, &["run", "pipeline.yaml"], offline);
    assert!(
        refused.contains("config.json of owner/tiny at ") && refused.contains("HF_HUB_OFFLINE is set"),
        "{refused}"
    );
    assert_eq!(place.asked(), Vec::<String>::new());
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
fn the_cache_is_where_the_environment_says() {
    let place = tiny();
    let (other, user) = (place.workspace.path("other"), place.workspace.path("user"));
    let (other, user) = (other.to_str().expect("UTF-8"), user.to_str().expect("UTF-8"));
    let snapshot = format!("models--owner--tiny/snapshots/{COMMIT}/config.json");
    for (variables, folder) in [
        (&[("HF_HUB_CACHE", other)][..], other.to_owned()),
        (&[("HF_HOME", ""), ("XDG_CACHE_HOME", user)][..], format!("{user}/huggingface/hub")),
        (&[("HF_HOME", ""), ("HOME", user)][..], format!("{user}/.cache/huggingface/hub")),
        (&[("HF_HOME", "~/hf"), ("HOME", user)][..], format!("{user}/hf/hub")),
    ] {
        place.succeeds_with(&["run", "pipeline.yaml"], variables);
        assert!(Path::new(&folder).join(&snapshot).is_file(), "{folder}");
    }
    assert!(!place.home().exists());
}
