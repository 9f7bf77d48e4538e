//! Rows between users: who adds to a list that another has worked through computes what was added.

mod support;

use std::path::{Path, PathBuf};

use serde_json::Value;
use support::workspace::{Workspace, overwrite};

/// Responses of the built-in model, with and without two heads.
const PIPELINE: &str = "\
version: 1
name: shared-rows
sources:
  tiny: {embedded: tiny}
  scores: {published-scores: scores.json}
  instructions: {instructions: instructions.jsonl}
stages:
  mask: {kind: build-mask, in: {scores: scores}, with: {select: top-k, count: 2}}
  pairs:
    kind: sample-pairs
    in: {model: tiny, mask: mask, instructions: instructions}
    with: {max-new-tokens: 12, seed: 11}
";

/// A user with so many instructions.
fn user(instructions: usize) -> Workspace {
    let workspace = Workspace::new(PIPELINE);
    let heads = (0..24).map(|head| format!("\"{}-{}\": [{}]", head / 8, head % 8, f64::from(head * 5 % 24) / 24.0));
    workspace.write("scores.json", &format!("{{{}}}", heads.collect::<Vec<_>>().join(", ")));
    let lines = (0..instructions).map(|number| format!("{{\"prompt\": \"Count to {number}.\"}}\n"));
    workspace.write("instructions.jsonl", &lines.collect::<String>());
    workspace
}

/// Rows in all, reused and computed of the stage that has rows.
fn rows(events: &[Value]) -> [u64; 3] {
    let pairs = events.iter().find(|event| event["event"] == "stage-finished" && event["stage"] == "pairs");
    let pairs = pairs.expect("pairs were made");
    ["total", "reused", "computed"].map(|name| pairs["rows"][name].as_u64().expect("a count"))
}

fn run(user: &Workspace, more: &[&str]) -> Vec<Value> {
    user.events(&[&["run", "pipeline.yaml"], more].concat())
}

/// Events of this name: how many, and the sum of a number in them.
fn sum(events: &[Value], event: &str, number: &str) -> (usize, u64) {
    let found: Vec<u64> = events
        .iter()
        .filter(|found| found["event"] == event)
        .map(|found| found[number].as_u64().expect("a number"))
        .collect();
    (found.len(), found.iter().sum())
}

/// What somebody makes who has no one to share with.
fn alone(instructions: usize) -> Vec<String> {
    let user = user(instructions);
    run(&user, &[]);
    user.digests()
}

fn segments(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(segments(&path));
        } else if path.extension().is_some_and(|extension| extension == "rows") {
            found.push(path);
        }
    }
    found.sort();
    found
}

#[test]
fn who_adds_to_a_colleagues_list_computes_only_what_was_added() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let address = format!("file://{}", folder.path().join("remote").display());
    let remote = ["--remote", address.as_str()];
    let (ana, ben) = (user(10), user(13));
    let events = run(&ana, &remote);
    assert_eq!(rows(&events), [20, 0, 20]);
    assert_eq!(sum(&events, "rows-stored", "rows"), (2, 20), "a side each");
    let events = run(&ben, &remote);
    assert_eq!(sum(&events, "rows-fetched", "rows"), (2, 20));
    assert_eq!(rows(&events), [26, 20, 6], "three more instructions, two sides");
    assert_eq!(sum(&events, "rows-stored", "rows"), (2, 6), "only what is new is given");
    assert_eq!(ben.digests(), alone(13));
    ben.succeeds(&["cache", "verify"]);
    // Who wants fewer takes the segments that hold them, and no others.
    let carol = user(4);
    let events = run(&carol, &remote);
    assert_eq!((rows(&events), sum(&events, "rows-fetched", "rows")), ([8, 8, 0], (2, 20)));
    assert_eq!(sum(&events, "rows-stored", "rows"), (0, 0));
    // A remote that is only read takes nothing.
    let before = segments(folder.path());
    let dora = user(14);
    let events = run(&dora, &[&remote[..], &["--remote-mode", "read-only"]].concat());
    assert_eq!((rows(&events), segments(folder.path())), ([28, 26, 2], before));
}

#[test]
fn damaged_rows_of_a_remote_are_left_and_computed() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let address = format!("file://{}", folder.path().join("remote").display());
    let remote = ["--remote", address.as_str()];
    run(&user(6), &remote);
    let [first, second] = segments(folder.path()).try_into().expect("a side each");
    // One byte of a row; the index of the other.
    for (path, from_end) in [(&first, None), (&second, Some(60))] {
        let mut bytes = std::fs::read(path).expect("a segment");
        let at = from_end.map_or(bytes.len() / 3, |from_end| bytes.len() - from_end);
        bytes[at] ^= 1;
        overwrite(path, &bytes);
    }
    let ben = user(7);
    let required = ben.run(&[&["run", "pipeline.yaml", "--require-remote"], &remote[..]].concat());
    assert_eq!(required.code, Some(3), "{}", required.err);
    assert!(required.err.contains(".rows is damaged: its "), "{}", required.err);
    let events = run(&ben, &remote);
    assert_eq!(rows(&events), [14, 0, 14]);
    let told = events.iter().filter(|event| event["event"] == "remote-failed").count();
    assert!(told >= 2, "{told}");
    assert_eq!(ben.digests(), alone(7));
    ben.succeeds(&["cache", "verify"]);
    // What ben gave makes up for it: of a list of her own, erin computes her own instruction.
    assert_eq!(rows(&run(&user(8), &remote)), [16, 14, 2]);
}

#[test]
fn rows_go_with_what_is_pushed_and_exported_unless_they_are_to_stay() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let address = format!("file://{}", folder.path().join("remote").display());
    let remote = ["--remote", address.as_str()];
    let ana = user(8);
    run(&ana, &[]);
    let name = ana.latest_run().file_name().expect("a name").to_string_lossy().into_owned();
    let push = |more: &[&str]| ana.succeeds(&[&["cache", "push", "latest"], &remote[..], more].concat()).out;
    assert_eq!(push(&["--no-rows"]).matches(" rows").count(), 0);
    assert_eq!(segments(folder.path()).len(), 0);
    assert_eq!(push(&[]).matches(" 8 rows").count(), 2);
    assert!(push(&[]).lines().filter(|line| line.contains("0 rows")).all(|line| line.contains("there already")));
    let ben = user(9);
    let pulled = ben.succeeds(&[&["cache", "pull", &name], &remote[..]].concat()).out;
    assert_eq!(pulled.matches(" 8 rows").count(), 2, "{pulled}");
    let again = ben.succeeds(&[&["cache", "pull", &name], &remote[..]].concat()).out;
    assert_eq!(again.matches("nothing new").count(), 2, "{again}");
    assert_eq!(rows(&run(&ben, &[])), [18, 16, 2], "no remote is asked for them");
    // The same through a file.
    let file = folder.path().join("results").display().to_string();
    let told = ana.succeeds(&["cache", "export", "latest", "-o", &file]).out;
    assert!(told.contains(" and 2 files of rows, "), "{told}");
    let carol = user(9);
    assert!(carol.succeeds(&["cache", "import", &file]).out.contains(", 2 files of rows"));
    carol.succeeds(&["cache", "verify"]);
    assert_eq!(rows(&run(&carol, &[])), [18, 16, 2]);
    assert_eq!(carol.digests(), ben.digests());
    ana.succeeds(&["cache", "export", "latest", "-o", &file, "--overwrite", "--no-rows"]);
    let dora = user(9);
    dora.succeeds(&["cache", "import", &file]);
    assert_eq!(rows(&run(&dora, &[])), [18, 0, 18]);
}
