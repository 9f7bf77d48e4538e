//! Downloads that break, stall, lie or meet each other.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::place::{files_below, tiny};
use crate::server::{Fault, blob_name};

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
