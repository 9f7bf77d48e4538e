//! Rows are computed once: across kills, longer, reordered and edited lists, masks, stages and processes.

mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use support::background::Background;
use support::workspace::{Workspace, overwrite};

/// Responses of the built-in model, with two masks drawn from scores written by hand.
const PIPELINE: &str = "\
version: 1
name: rows
params: {new-tokens: 12}
sources:
  tiny: {embedded: tiny}
  scores: {published-scores: scores.json}
  instructions: {instructions: instructions.jsonl}
matrix: {mask: {one: {select: top-k, count: 2}, other: {select: top-k, count: 3}}}
stages:
  mask: {matrix: mask, kind: build-mask, in: {scores: scores}, with: '${matrix.mask}'}
  pairs:
    matrix: mask
    kind: sample-pairs
    in: {model: tiny, mask: mask, instructions: instructions}
    with: {max-new-tokens: '${params.new-tokens}', seed: 3}
  reference:
    matrix: mask
    kind: reference-logprobs
    in: {model: tiny, pairs: pairs}
";
const ONE: [&str; 2] = ["--only", "pairs[mask=one]"];
const OTHER: [&str; 2] = ["--only", "pairs[mask=other]"];

/// A folder with these instructions.
fn workspace(instructions: &[String]) -> Workspace {
    let workspace = Workspace::new(PIPELINE);
    // Heads in an order of their own, none alike, so that the masks are those of no other test.
    let heads: BTreeMap<String, [f64; 1]> =
        (0..24).map(|head| (format!("{}-{}", head / 8, head % 8), [f64::from(head * 7 % 24) / 24.0])).collect();
    workspace.write("scores.json", &serde_json::to_string(&heads).expect("JSON"));
    write(&workspace, instructions);
    workspace
}

fn write(workspace: &Workspace, instructions: &[String]) {
    let lines: Vec<String> = instructions.iter().map(|text| serde_json::json!({"prompt": text}).to_string()).collect();
    workspace.write("instructions.jsonl", &lines.join("\n"));
}

fn instructions(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("Say {number} in {} words.", number % 5 + 1)).collect()
}

/// Rows in all, reused and computed of every stage that ended, by stage.
fn rows(events: &[Value]) -> BTreeMap<String, [u64; 3]> {
    let finished = events.iter().filter(|event| event["event"] == "stage-finished" && !event["rows"].is_null());
    let counts =
        |event: &Value| ["total", "reused", "computed"].map(|name| event["rows"][name].as_u64().expect("a count"));
    finished.map(|event| (event["stage"].as_str().expect("a stage").to_owned(), counts(event))).collect()
}

fn run(workspace: &Workspace, more: &[&str]) -> BTreeMap<String, [u64; 3]> {
    rows(&workspace.events(&[&["run", "pipeline.yaml"], more].concat()))
}

/// The digests of the latest run, as of a cache that never held anything.
fn fresh(workspace: &Workspace, more: &[&str]) -> Vec<String> {
    let other = Workspace::new(PIPELINE);
    for file in ["scores.json", "instructions.jsonl"] {
        other.write(file, &workspace.read(file));
    }
    other.succeeds(&[&["run", "pipeline.yaml"], more].concat());
    other.digests()
}

/// Files of the rows with this ending.
fn files(workspace: &Workspace, ending: &str) -> Vec<PathBuf> {
    fn walk(folder: &Path, ending: &str, found: &mut Vec<PathBuf>) {
        let Ok(entries) = std::fs::read_dir(folder) else { return };
        for path in entries.map(|entry| entry.expect("an entry").path()) {
            if path.is_dir() {
                walk(&path, ending, found);
            } else if path.extension().is_some_and(|found| found == ending) {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(&workspace.cache().join("rows"), ending, &mut found);
    found
}

/// How many whole rows stand in logs.
fn rows_in_logs(workspace: &Workspace) -> u64 {
    let number = |bytes: &[u8]| u32::from_le_bytes(bytes[..4].try_into().expect("four bytes")) as usize;
    let mut count = 0;
    for log in files(workspace, "open") {
        let bytes = std::fs::read(log).expect("a log");
        let Some(fields) = bytes.get(15..19) else { continue };
        let mut offset = 19 + number(fields) + 16;
        while let Some(length) = bytes.get(offset + 32..offset + 36) {
            offset += 52 + number(length);
            count += u64::from(offset <= bytes.len());
        }
    }
    count
}

#[test]
fn a_run_that_was_stopped_or_killed_goes_on_with_the_rows_it_had() {
    let workspace = workspace(&instructions(120));
    let longer = ["--set", "params.new-tokens=48"];
    let arguments = [&ONE[..], &longer[..]].concat();
    let mut known = 0;
    for signal in [Signal::KILL, Signal::INT, Signal::KILL] {
        let mut run = Background::start(&workspace, "pipeline.yaml", &arguments);
        // What an earlier run left in logs is in segments by then.
        run.wait_for("stage-rows", "pairs[mask=one]");
        let began = Instant::now();
        while rows_in_logs(&workspace) < 20 {
            assert!(began.elapsed() < Duration::from_secs(120), "no rows were kept");
            std::thread::sleep(Duration::from_millis(5));
        }
        run.signal(signal);
        let (code, events, errors) = run.finish();
        assert_eq!(code, if signal == Signal::KILL { None } else { Some(130) }, "{errors}");
        let begun = events.iter().find(|event| event["event"] == "stage-rows").expect("rows");
        assert_eq!(begun["reused"], known, "everything that was kept is reused");
        // A kill leaves logs; an interrupt makes segments of them.
        known = rows_in_segments(&workspace) + rows_in_logs(&workspace);
        assert!(known >= 20, "{known}");
    }
    let counts = run(&workspace, &arguments);
    assert_eq!(counts["pairs[mask=one]"], [240, known, 240 - known]);
    assert_eq!(workspace.digests(), fresh(&workspace, &arguments));
    assert_eq!((files(&workspace, "open").len(), files(&workspace, "claims").len()), (0, 0));
}

/// Rows in segments: their number stands 48 bytes before the end.
fn rows_in_segments(workspace: &Workspace) -> u64 {
    let count = |path: &PathBuf| {
        let bytes = std::fs::read(path).expect("a segment");
        let at = bytes.len() - 48;
        u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
    };
    files(workspace, "rows").iter().map(count).sum()
}

#[test]
fn longer_reordered_and_edited_lists_compute_what_is_new() {
    let mut list = instructions(10);
    let workspace = workspace(&list);
    let counts = |workspace: &Workspace| run(workspace, &ONE)["pairs[mask=one]"];
    assert_eq!(counts(&workspace), [20, 0, 20]);
    list.extend(["Name a colour.".to_owned(), "Name a fruit.".to_owned()]);
    write(&workspace, &list);
    assert_eq!(counts(&workspace), [24, 20, 4]);
    list.reverse();
    write(&workspace, &list);
    assert_eq!(counts(&workspace), [24, 24, 0]);
    list[4].push('!');
    write(&workspace, &list);
    assert_eq!(counts(&workspace), [24, 22, 2]);
    assert_eq!(workspace.digests(), fresh(&workspace, &ONE));
    // A seeded part of them, and more samples: of each row one is there already.
    workspace.write("pipeline.yaml", &PIPELINE.replace("seed: 3}", "seed: 3, limit: 5, subset: random, samples: 2}"));
    assert_eq!(counts(&workspace), [20, 10, 10]);
    let table = workspace.succeeds(&["run", "pipeline.yaml", "--only", "pairs[mask=other]"]);
    assert!(table.out.contains("10 of 20 rows reused"), "{}", table.out);
    assert!(table.err.contains("pairs[mask=other]: 10 of 20 rows are kept from before"), "{}", table.err);
    // What is forced computes everything, for comparison.
    let forced = run(&workspace, &["--only", "pairs[mask=other]", "--force", "pairs*"]);
    assert_eq!(forced["pairs[mask=other]"], [20, 0, 20]);
}

#[test]
fn the_chosen_side_of_all_masks_is_computed_once() {
    let workspace = workspace(&instructions(10));
    let counts = run(&workspace, &[]);
    let pairs: Vec<[u64; 3]> = ["pairs[mask=one]", "pairs[mask=other]"].map(|stage| counts[stage]).to_vec();
    assert_eq!(pairs.iter().map(|[_, _, computed]| computed).sum::<u64>(), 30, "{pairs:?}");
    // Its log-probabilities as well, as far as the pair was kept on both sides.
    let [_, reused, _] = counts["reference[mask=other]"];
    let [_, first_reused, _] = counts["reference[mask=one]"];
    assert!(reused + first_reused >= 5, "{counts:?}");
}

#[test]
fn processes_at_once_share_the_work() {
    let workspace = workspace(&instructions(40));
    let runs = [&ONE, &OTHER, &ONE].map(|only| Background::start(&workspace, "pipeline.yaml", only));
    let mut computed = 0;
    for run in runs {
        let (code, events, errors) = run.finish();
        assert_eq!(code, Some(0), "{errors}");
        computed += rows(&events).values().map(|[_, _, computed]| computed).sum::<u64>();
    }
    assert_eq!(computed, 120, "chosen once, rejected once for each mask");
    for only in [ONE, OTHER] {
        workspace.succeeds(&[&["run", "pipeline.yaml"], &only[..]].concat());
        assert_eq!(workspace.digests(), fresh(&workspace, &only));
    }
}

#[test]
fn a_damaged_row_is_found_and_computed_again() {
    let workspace = workspace(&instructions(10));
    assert_eq!(run(&workspace, &ONE)["pairs[mask=one]"], [20, 0, 20]);
    let digests = workspace.digests();
    let segments = files(&workspace, "rows");
    assert_eq!(segments.len(), 2, "a side each");
    assert!(workspace.succeeds(&["cache", "verify"]).out.contains("and so are 2 segments of rows"));
    let mut bytes = std::fs::read(&segments[0]).expect("a segment");
    // In the first third are rows: the index stands behind them.
    let at = bytes.len() / 3;
    bytes[at] ^= 1;
    overwrite(&segments[0], &bytes);
    let verify = workspace.run(&["cache", "verify"]);
    assert_eq!(verify.code, Some(3), "{}", verify.out);
    assert!(verify.out.contains("it holds rows, and its bytes are not those it is named for"), "{}", verify.out);
    std::fs::remove_dir_all(workspace.cache().join("ac")).expect("the records");
    assert_eq!(run(&workspace, &ONE)["pairs[mask=one]"], [20, 19, 1]);
    assert_eq!(workspace.digests(), digests);
    assert_eq!(workspace.files_in("quarantine"), 1);
    std::fs::remove_dir_all(workspace.cache().join("ac")).expect("the records");
    assert_eq!(run(&workspace, &ONE)["pairs[mask=one]"], [20, 20, 0], "it is whole again");
    workspace.succeeds(&["cache", "verify"]);
    let swept = workspace.succeeds(&["cache", "gc", "--keep-for", "0s"]);
    assert!(swept.out.contains("2 row maps removed"), "{}", swept.out);
    assert_eq!(workspace.files_in("rows"), 0);
}

#[test]
fn trials_sequences_and_examples_are_rows_too() {
    const STAGES: &str = "\
version: 1
name: every-kind
params: {depths: [0, 50], samples: 3}
sources: {tiny: {embedded: tiny}}
stages:
  data: {kind: synthetic, with: {seed: 5, needles: 2, instructions: 6}}
  scores:
    kind: score-heads
    in: {model: tiny, needles: data}
    with: {context-lengths: [120], depths: '${params.depths}', buffer: 0, stop: end-token}
  mask: {kind: build-mask, in: {scores: scores}, with: {select: top-k, count: 3}}
  pairs: {kind: sample-pairs, in: {model: tiny, mask: mask, instructions: data.instructions}, with: {max-new-tokens: 16}}
  reference: {kind: reference-logprobs, in: {model: tiny, pairs: pairs}}
  predictions:
    kind: helmet
    in: {model: tiny, mask: mask}
    with: {datasets: [json_kv], length: 640, samples: '${params.samples}'}
";
    let workspace = Workspace::new(STAGES);
    let first = run(&workspace, &[]);
    assert_eq!((first["scores"], first["predictions"]), ([4, 0, 4], [3, 0, 3]));
    let digests = workspace.digests();
    std::fs::remove_dir_all(workspace.cache().join("ac")).expect("the records");
    let again = run(&workspace, &[]);
    assert_eq!(again.keys().collect::<Vec<_>>(), ["pairs", "predictions", "reference", "scores"]);
    for (stage, [total, reused, computed]) in &again {
        assert_eq!((*reused, *computed), (*total, 0), "{stage}");
    }
    assert_eq!(workspace.digests(), digests);
    // A larger grid holds the smaller one.
    let more = run(&workspace, &["--set", "params.depths=[0, 50, 100]", "--only", "scores"]);
    assert_eq!(more["scores"], [6, 4, 2]);
}
