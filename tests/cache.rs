//! `retmask cache` on the real binary: what is listed, verified, kept and removed, beside running pipelines too.

mod support;

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;
use support::background::Background;
use support::model_free;
use support::workspace::{Workspace, overwrite, parse, stages_with};

fn tau(value: &str) -> String {
    format!("params.tau={value}")
}

fn json(workspace: &Workspace, arguments: &[&str]) -> Value {
    let checked = workspace.succeeds(&[arguments, &["--json"]].concat());
    serde_json::from_str(&checked.out).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {}", checked.out))
}

/// Kind, size and number of uses of what `cache ls` lists, with these filters.
fn listed(workspace: &Workspace, filters: &[&str]) -> Vec<(String, u64, usize)> {
    let lines = parse(&workspace.succeeds(&[&["cache", "ls", "--json"], filters].concat()).out);
    let told = |line: &Value| {
        let text = |name: &str| line[name].as_str().expect("text").to_owned();
        (text("kind"), line["bytes"].as_u64().expect("bytes"), line["runs"].as_array().expect("runs").len())
    };
    lines.iter().map(told).collect()
}

#[test]
fn results_are_listed_with_their_runs_and_measured_with_shared_files_once() {
    let workspace = model_free::workspace();
    workspace.succeeds(&["run", "pipeline.yaml"]);
    // 0.095 chooses the same heads as 0.1: another result, the same stored file.
    workspace.succeeds(&["run", "pipeline.yaml", "--set", &tau("0.095")]);
    let all = listed(&workspace, &[]);
    let of_kind = |kind: &str| all.iter().filter(|(found, ..)| found == kind).count();
    assert_eq!((all.len(), of_kind("build-mask"), of_kind("synthetic")), (4, 3, 1));
    assert_eq!(all.iter().filter(|(_, _, runs)| *runs == 2).count(), 2, "data and random are of both runs");
    assert_eq!(listed(&workspace, &["--kind", "synthetic"]).len(), 1);
    assert_eq!(listed(&workspace, &["--run", "latest"]).len(), 3);
    assert_eq!(listed(&workspace, &["--pipeline", "other"]).len(), 0);
    assert_eq!(listed(&workspace, &["--older-than", "1h"]).len(), 0);
    let unknown = workspace.run(&["cache", "ls", "--run", "yesterday"]);
    assert_eq!((unknown.code, unknown.err.contains("there is no run `yesterday`")), (Some(2), true), "{}", unknown.err);
    let du = json(&workspace, &["cache", "du"]);
    let sizes: u64 = all.iter().map(|(_, bytes, _)| bytes).sum();
    let on_disk = workspace.bytes_in("cas") + workspace.bytes_in("ac");
    assert_eq!(du["bytes"].as_u64(), Some(on_disk), "what is measured is what is there");
    assert_eq!(du["folders"]["cas"]["bytes"].as_u64(), Some(workspace.bytes_in("cas")));
    assert!(sizes > on_disk, "two results of one stored file are listed with it each");
    let table = workspace.succeeds(&["cache", "du", "--by", "pipeline"]).out;
    let total: Vec<&str> =
        table.lines().find(|line| line.starts_with("all results")).expect("a total").split_whitespace().collect();
    assert_eq!(total[2], "4", "{table}");
}

#[test]
fn a_damaged_store_is_told_repaired_and_made_whole_by_the_next_run() {
    let workspace = model_free::workspace();
    workspace.succeeds(&["run", "pipeline.yaml"]);
    let digests = workspace.digests();
    let clean = json(&workspace, &["cache", "verify"]);
    assert_eq!((clean["records"].as_u64(), clean["problems"].as_array().map(Vec::len)), (Some(3), Some(0)));
    let blob = workspace.blob_of("mask", "mask");
    let mut bytes = std::fs::read(&blob).expect("the blob");
    bytes[7] ^= 1;
    overwrite(&blob, &bytes);
    let found = workspace.run(&["cache", "verify"]);
    assert_eq!(found.code, Some(3), "{}", found.err);
    assert!(found.out.contains("is damaged: its content has the digest"), "{}", found.out);
    assert!(found.err.contains("1 problems in") && found.err.contains("verify --repair"), "{}", found.err);
    assert!(blob.exists(), "nothing is changed without --repair");
    let repaired = json(&workspace, &["cache", "verify", "--repair"]);
    // The stored file, and the record that has lost it.
    assert_eq!(repaired["problems"].as_array().map(Vec::len), Some(2), "{repaired}");
    assert_eq!((workspace.files_in("quarantine"), workspace.files_in("ac")), (1, 2));
    workspace.succeeds(&["cache", "verify"]);
    assert_eq!(stages_with(&workspace.events(&["run", "pipeline.yaml"]), "stage-started"), ["mask"]);
    assert_eq!(workspace.digests(), digests);
}

#[test]
fn what_no_root_keeps_is_removed_and_pins_and_recent_runs_stay() {
    let workspace = model_free::workspace();
    for value in ["0.1", "0.2", "0.15", "0.25"] {
        workspace.succeeds(&["run", "pipeline.yaml", "--set", &tau(value)]);
    }
    let nothing_old = ["cache", "gc", "--keep-runs", "1", "--keep-for", "0s"];
    // Two weeks of runs are kept unless less is asked for.
    assert_eq!(json(&workspace, &["cache", "gc"])["removed"].as_array().map(Vec::len), Some(0));
    let runs = std::fs::read_dir(workspace.cache().join("runs")).expect("runs");
    let first = runs.map(|run| run.expect("a run").file_name().into_string().expect("a name")).min().expect("a run");
    workspace.succeeds(&["cache", "pin", &format!("mask@{first}"), "--note", "the paper's table 2"]);
    assert_eq!(listed(&workspace, &["--pinned"]).len(), 1);
    let before = (workspace.files_in("cas"), workspace.files_in("ac"));
    let planned = json(&workspace, &[&nothing_old[..], &["--dry-run"]].concat());
    assert_eq!((workspace.files_in("cas"), workspace.files_in("ac")), before);
    let on_disk = || workspace.bytes_in("cas") + workspace.bytes_in("ac");
    let (all, done) = (on_disk(), json(&workspace, &nothing_old));
    assert_eq!(done["removed"], planned["removed"]);
    assert_eq!(done["removed"].as_array().map(Vec::len), Some(2), "the masks of 0.2 and 0.15");
    assert_eq!(done["freed_bytes"].as_u64(), Some(all - on_disk()));
    assert_eq!(done["kept_bytes"].as_u64(), Some(on_disk()));
    let hits = |value: &str| {
        let plan = json(&workspace, &["plan", "pipeline.yaml", "--set", &tau(value)]);
        plan["stages"].as_array().expect("stages").iter().filter(|stage| stage["state"] == "hit").count()
    };
    assert_eq!([hits("0.1"), hits("0.25"), hits("0.2"), hits("0.15")], [3, 3, 2, 2]);
    workspace.succeeds(&["cache", "unpin", &format!("mask@{first}")]);
    assert_eq!(json(&workspace, &nothing_old)["removed"].as_array().map(Vec::len), Some(1));
    assert_eq!(hits("0.1"), 2);
    workspace.succeeds(&["cache", "verify"]);
}

/// Sets when a file was last written, in days before now.
fn age(path: &std::path::Path, days: u64) {
    let time = std::time::SystemTime::now() - std::time::Duration::from_secs(days * 24 * 3600);
    std::fs::File::open(path).and_then(|file| file.set_modified(time)).expect("its time is set");
}

/// What unfinished work has left goes once it has its result, or when nobody went on for long, but not while somebody is
/// at it.
#[test]
fn abandoned_checkpoints_are_removed_and_those_in_use_stay() {
    let workspace = model_free::workspace();
    workspace.succeeds(&["run", "pipeline.yaml"]);
    let done = parse(&workspace.succeeds(&["cache", "ls", "--json"]).out)[0]["key"].as_str().expect("a key").to_owned();
    let [old, young, busy] = ["a", "b", "c"].map(|digit| digit.repeat(64));
    for (key, days) in [(&done, 0), (&old, 15), (&young, 13), (&busy, 15)] {
        let folder = workspace.cache().join("resume").join(key);
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::write(folder.join("step-7"), vec![0; 1000]).expect("a checkpoint");
        age(&folder.join("step-7"), days);
        age(&folder, days);
    }
    // Whoever works at a key holds its lock.
    let lock = std::fs::File::create(workspace.cache().join("lock").join(&busy)).expect("a lock");
    lock.lock().expect("nobody else has it");
    let removed = |gc: &Value| {
        let list = gc["checkpoints"]["removed"].as_array().expect("a list").iter();
        list.map(|found| found["key"].as_str().expect("a key").to_owned()).collect::<Vec<_>>()
    };
    let mut expected = vec![done.clone(), old];
    expected.sort();
    let planned = json(&workspace, &["cache", "gc", "--dry-run"]);
    assert_eq!((removed(&planned), workspace.files_in("resume")), (expected.clone(), 4));
    let told = workspace.succeeds(&["cache", "gc", "--dry-run"]).out;
    assert!(told.contains("2 checkpoints would be removed, 2.0 KiB freed; 2 stay, 2.0 KiB\n"), "{told}");
    assert!(told.contains("it has its result") && told.contains("nobody went on"), "{told}");
    let gone = json(&workspace, &["cache", "gc"]);
    assert_eq!((removed(&gone), workspace.files_in("resume")), (expected, 2));
    drop(lock);
    assert_eq!(removed(&json(&workspace, &["cache", "gc", "--keep-for", "14d"])), [busy]);
    assert_eq!(removed(&json(&workspace, &["cache", "gc", "--keep-for", "12d"])), [young]);
}

#[test]
fn old_records_of_runs_go_when_asked_for_with_their_logs() {
    let workspace = model_free::workspace();
    for value in ["0.1", "0.2", "0.15"] {
        workspace.succeeds(&["run", "pipeline.yaml", "--set", &tau(value)]);
    }
    let runs = || {
        let entries = std::fs::read_dir(workspace.cache().join("runs")).expect("runs");
        let mut names: Vec<String> =
            entries.map(|run| run.expect("a run").file_name().into_string().expect("a name")).collect();
        names.sort();
        names
    };
    let all = runs();
    // A run that ended before it had a record.
    std::fs::create_dir(workspace.cache().join("runs/20200101-000000-01-dead")).expect("a folder");
    age(&workspace.cache().join("runs/20200101-000000-01-dead"), 900);
    let gc = |more: &[&str]| {
        let arguments = [&["cache", "gc", "--keep-runs", "1", "--keep-for", "0s"], more].concat();
        let list = json(&workspace, &arguments)["runs"]["removed"].clone();
        let names = list.as_array().expect("a list").iter().map(|run| run["run"].as_str().expect("a name").to_owned());
        names.collect::<Vec<_>>()
    };
    assert_eq!(gc(&[]), Vec::<String>::new(), "history stays unless it is to go");
    assert_eq!(gc(&["--max-run-age", "100d"]), ["20200101-000000-01-dead"]);
    let old = [&all[..2]].concat();
    assert_eq!(gc(&["--max-run-age", "0s", "--dry-run"]), old);
    assert_eq!(runs(), all);
    let told = ["cache", "gc", "--keep-runs", "1", "--keep-for", "0s", "--max-run-age", "0s", "--dry-run"];
    let told = workspace.succeeds(&told).out;
    assert!(told.contains("run to remove") && told.contains("2 records of runs would be removed"), "{told}");
    assert_eq!(gc(&["--max-run-age", "0s"]), old);
    assert_eq!(runs(), all[2..]);
    workspace.succeeds(&["runs"]);
}

#[test]
fn a_size_limit_takes_what_was_used_longest_ago() {
    let workspace = model_free::workspace();
    for value in ["0.1", "0.2", "0.15", "0.1"] {
        workspace.succeeds(&["run", "pipeline.yaml", "--set", &tau(value)]);
    }
    let size = workspace.bytes_in("cas") + workspace.bytes_in("ac");
    let limit = format!("{}B", size - 1);
    let gc = ["cache", "gc", "--keep-runs", "0", "--keep-for", "0s", "--max-size", &limit];
    let removed = json(&workspace, &gc)["removed"].clone();
    assert_eq!(removed.as_array().map(Vec::len), Some(1));
    // Of 0.1 there is an older result, but it was used last.
    let plan = workspace.succeeds(&["plan", "pipeline.yaml", "--set", &tau("0.2")]).out;
    assert!(plan.ends_with("1 to run, 0 depend on them, 2 in the store\n"), "{plan}");
    let wrong = workspace.run(&["cache", "gc", "--max-size", "much"]);
    assert_eq!((wrong.code, wrong.err.contains("such as 24GB")), (Some(2), true), "{}", wrong.err);
}

/// Collectors that keep nothing, in a loop beside three people who run pipelines: nobody notices.
#[test]
fn a_collector_in_a_loop_beside_running_pipelines_takes_nothing_from_them() {
    const RUNS: usize = 12;
    let workspace = model_free::workspace();
    workspace.succeeds(&["run", "pipeline.yaml"]);
    let done = AtomicBool::new(false);
    let (removed, lost) = std::thread::scope(|scope| {
        let collector = scope.spawn(|| {
            let mut removed = 0;
            while !done.load(Ordering::SeqCst) {
                let gc = json(&workspace, &["cache", "gc", "--keep-runs", "0", "--keep-for", "0s"]);
                removed += gc["removed"].as_array().map_or(0, Vec::len);
            }
            removed
        });
        let users: Vec<_> = (0..3)
            .map(|user| {
                let workspace = &workspace;
                scope.spawn(move || {
                    let mut lost = 0;
                    for run in 0..RUNS {
                        // Some results are of all users, some of one, some of one run.
                        let needles = format!("params.needles={}", 1 + (run + user) % 3);
                        let tau = format!("params.tau=0.{:03}", 100 + run);
                        let events = workspace.events(&["run", "pipeline.yaml", "--set", &needles, "--set", &tau]);
                        lost += stages_with(&events, "input-lost").len();
                        let finished = events.iter().find(|event| event["event"] == "run-finished").expect("an end");
                        assert_eq!((finished["failed"].as_u64(), finished["skipped"].as_u64()), (Some(0), Some(0)));
                    }
                    lost
                })
            })
            .collect();
        let lost: usize = users.into_iter().map(|user| user.join().expect("a run failed")).sum();
        done.store(true, Ordering::SeqCst);
        (collector.join().expect("a collector failed"), lost)
    });
    assert_eq!(lost, 0, "stages whose inputs were removed while they needed them");
    assert!(removed > RUNS, "the collector was to remove what they made, and removed {removed}");
    workspace.succeeds(&["cache", "verify"]);
}

#[test]
fn eight_processes_on_one_pipeline_and_one_store_execute_every_stage_once() {
    let workspace = model_free::workspace();
    // Long enough for all of them to meet.
    let longer = ["--set", "params.needles=400", "--set", "params.haystack=2000"];
    let all: Vec<Background> = (0..8).map(|_| Background::start(&workspace, "pipeline.yaml", &longer)).collect();
    let mut events = Vec::new();
    for run in all {
        let (code, seen, errors) = run.finish();
        assert_eq!(code, Some(0), "{errors}");
        events.extend(seen);
    }
    let mut started = stages_with(&events, "stage-started");
    let hits = stages_with(&events, "stage-hit").len();
    assert_eq!((started.len(), hits), (3, 3 * 7), "{started:?}");
    started.dedup();
    assert_eq!(started, ["data", "mask", "random"]);
    assert_eq!(workspace.files_in("ac"), 3);
    workspace.succeeds(&["cache", "verify"]);
}

/// Kills at 200 arbitrary moments: each time the store verifies, and the next run goes on; in the end everything is as
/// a run that nobody disturbed made it.
#[test]
fn two_hundred_kills_leave_a_sound_store_and_the_same_results() {
    let workspace = model_free::workspace();
    let stages = ["--set", "params.needles=40", "--set", "params.haystack=1000"];
    let began = std::time::Instant::now();
    workspace.succeeds(&[&["run", "pipeline.yaml"], &stages[..]].concat());
    // A run that makes everything takes as long; kills fall into its whole length.
    let mut longest = u64::try_from(began.elapsed().as_micros()).expect("a short time");
    let digests = workspace.digests();
    let mut random = 0x9E37_79B9_7F4A_7C15_u64;
    let mut killed = 0;
    while killed < 200 {
        // xorshift64: any spread will do.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let mut run = Background::start(&workspace, "pipeline.yaml", &stages);
        std::thread::sleep(std::time::Duration::from_micros(random % longest));
        if run.kill_if_running() {
            killed += 1;
            workspace.succeeds(&["cache", "verify"]);
        } else {
            // The machine was busier when it was measured.
            longest = (longest * 7 / 8).max(5_000);
        }
        if workspace.files_in("ac") == 3 {
            // Everything is there: it is to be made again.
            std::fs::remove_dir_all(workspace.cache().join("ac")).expect("records");
        }
    }
    workspace.succeeds(&[&["run", "pipeline.yaml"], &stages[..]].concat());
    assert_eq!(workspace.digests(), digests);
    let checked = json(&workspace, &["cache", "verify"]);
    assert_eq!(checked["records"].as_u64(), Some(3), "{checked}");
    assert_eq!((workspace.files_in("tmp"), workspace.files_in("quarantine")), (0, 0));
}
