//! Training on the built-in model that is killed before each system call on its checkpoints: on those that make a folder,
//! write a checkpoint, sync it and put it in the place of the one before, on those that read it, and on those that remove
//! it when the result is there. The next run goes on from what was kept and ends with the bits of one that nobody disturbed.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use support::workspace::{Workspace, state_of};

const QUICKSTART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/pipelines/quickstart.yaml");
/// Four pairs of training, two a step, with a checkpoint after each of the two steps.
const SMALL: [&str; 6] = [
    "data.with.instructions=14",
    "dpo.with.training-pairs=6",
    "dpo.with.batch-pairs=2",
    "dpo.with.micro-batch-pairs=2",
    "dpo.with.held-out=2",
    "dpo.resources.checkpoint-minutes=0",
];
/// What a run says that goes on from a checkpoint.
const RESUMED: &str = "an earlier run came to step";

fn arguments(command: &str, only: &str) -> Vec<String> {
    let values = SMALL.iter().flat_map(|value| ["--set".to_owned(), format!("stages.{value}")]);
    let first = [command, QUICKSTART, "--only", only].map(str::to_owned);
    first.into_iter().chain(values).collect()
}

fn succeeds(workspace: &Workspace, arguments: &[String]) -> String {
    workspace.succeeds(&arguments.iter().map(String::as_str).collect::<Vec<_>>()).out
}

/// A workspace with a copy of another's cache.
fn copy_of(other: &Workspace) -> Workspace {
    let workspace = Workspace::new("");
    let copied = Command::new("cp").arg("-a").args([other.cache(), workspace.cache()]).status();
    assert!(copied.expect("cp starts").success());
    workspace
}

/// Where the training keeps its checkpoints.
fn resume_folder(workspace: &Workspace, key: &str) -> PathBuf {
    fs::canonicalize(workspace.cache()).expect("the cache").join("resume").join(key)
}

/// Runs the training under strace, which follows the calls on its checkpoints alone, and kills the program before the n-th
/// call of a name where one is given. Gives how it ended and the calls in order, each as its thread and its name.
fn traced(workspace: &Workspace, key: &str, kill: Option<(&str, u32)>) -> (ExitStatus, Vec<(String, String)>) {
    let log = workspace.path("strace.log");
    let folder = resume_folder(workspace, key);
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-o"]).arg(&log);
    for path in [folder.clone(), folder.join("checkpoint"), folder.join("checkpoint.new")] {
        command.arg("-P").arg(path);
    }
    if let Some((call, n)) = kill {
        command.args(["-e", &format!("inject={call}:signal=KILL:when={n}")]);
    }
    command.arg(workspace.command(&[]).get_program()).args(arguments("run", "dpo")).arg("--quiet");
    command.current_dir(workspace.path(".")).env("RETMASK_CACHE", workspace.cache());
    let status = command.output().expect("strace starts").status;
    let text = fs::read_to_string(&log).expect("its log");
    fs::remove_file(log).expect("its log goes");
    let call = |line: &str| {
        let (thread, rest) = line.split_once(' ')?;
        let (name, _) = rest.trim_start().split_once('(')?;
        Some((thread.to_owned(), name.to_owned()))
    };
    (status, text.lines().filter_map(call).collect())
}

/// The places to be killed at: of each name, the first to the last call that one thread makes. strace counts by thread and
/// name. Pieces of one file follow each other with nothing between them, so that of these the first, the last and every
/// fourth stand for all.
fn places(calls: &[(String, String)]) -> Vec<(String, u32)> {
    let mut most: BTreeMap<&str, u32> = BTreeMap::new();
    let mut counts: BTreeMap<(&str, &str), u32> = BTreeMap::new();
    for (thread, name) in calls {
        let count = counts.entry((thread, name)).or_default();
        *count += 1;
        let most = most.entry(name).or_default();
        *most = (*most).max(*count);
    }
    let each = most.into_iter().flat_map(|(name, most)| {
        let is_piece = matches!(name, "read" | "write");
        let stands = move |n: &u32| !is_piece || *n == 1 || *n == most || *n % 4 == 2;
        (1..=most).filter(stands).map(move |n| (name.to_owned(), n))
    });
    each.collect()
}

/// Kills the training of a copy of this cache at each place; what was kept is gone on from, and the results are these.
fn killed_at_each(start: &Workspace, key: &str, places: &[(String, u32)], expected: &[String]) {
    for (call, n) in places {
        let workspace = copy_of(start);
        let (status, _) = traced(&workspace, key, Some((call, *n)));
        assert_eq!(status.signal(), Some(9), "{call} {n}: {status}");
        let folder = resume_folder(&workspace, key);
        let (was_kept, had_result) = (folder.join("checkpoint").is_file(), has_result(&workspace, key));
        succeeds(&workspace, &["cache".to_owned(), "verify".to_owned()]);
        succeeds(&workspace, &arguments("run", "dpo"));
        assert_eq!(workspace.digests(), expected, "{call} {n}");
        if !had_result {
            let log = fs::read_to_string(workspace.latest_run().join("logs/dpo.log")).expect("the log");
            assert_eq!(log.contains(RESUMED), was_kept, "{call} {n}: {log}");
            assert!(!folder.exists(), "{call} {n}: it goes with the result");
        }
        succeeds(&workspace, &["cache".to_owned(), "verify".to_owned()]);
        succeeds(&workspace, &["cache".to_owned(), "gc".to_owned()]);
        assert_eq!(workspace.files_in("resume"), 0, "{call} {n}: gc removes what a killed run left of it");
    }
}

fn has_result(workspace: &Workspace, key: &str) -> bool {
    let records: &Path = &workspace.cache().join("ac").join(&key[..2]).join(key);
    records.is_dir()
}

#[test]
#[ignore = "needs strace; scripts/test runs it"]
fn training_killed_at_every_step_of_a_checkpoint_ends_with_the_same_bits() {
    let prepared = Workspace::new("");
    succeeds(&prepared, &arguments("run", "reference"));
    let plan = succeeds(&prepared, &[arguments("plan", "dpo"), vec!["--json".to_owned()]].concat());
    let plan = serde_json::from_str(&plan).expect("JSON");
    let key = state_of(&plan, "dpo")["key"].as_str().expect("the key, since all before it is there").to_owned();
    let undisturbed = copy_of(&prepared);
    let (status, calls) = traced(&undisturbed, &key, None);
    assert!(status.success(), "{status}");
    let expected = undisturbed.digests();
    assert_eq!(undisturbed.files_in("resume"), 0);
    // Two checkpoints, the second in the place of the first.
    let count = |calls: &[(String, String)], name: &str| calls.iter().filter(|(_, call)| call == name).count();
    assert_eq!((count(&calls, "rename"), count(&calls, "fsync"), count(&calls, "unlinkat")), (2, 4, 2), "{calls:?}");
    killed_at_each(&prepared, &key, &places(&calls), &expected);

    // And where it goes on from the first of them: killed as it reads.
    let begun = copy_of(&prepared);
    assert_eq!(traced(&begun, &key, Some(("fsync", 2))).0.signal(), Some(9));
    let (status, calls) = traced(&copy_of(&begun), &key, None);
    assert!(status.success(), "{status}");
    let first_written = calls.iter().position(|(_, call)| call == "write").expect("the second checkpoint");
    let reading = &calls[..first_written];
    assert!(count(reading, "read") > 4, "{reading:?}");
    killed_at_each(&begun, &key, &places(reading), &expected);
}
