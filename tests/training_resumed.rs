//! Training on the built-in model that is killed or stopped goes on from its checkpoint, to the bits of a run that
//! nobody disturbed.

mod support;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use support::background::Background;
use support::workspace::Workspace;

const QUICKSTART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/pipelines/quickstart.yaml");
/// Enough steps to be disturbed between them: 48 pairs, 4 at a time, twice.
const LONGER: [&str; 8] = [
    "--only",
    "dpo",
    "--set",
    "stages.dpo.with.batch-pairs=4",
    "--set",
    "stages.dpo.with.epochs=2",
    "--set",
    "stages.dpo.with.evaluate-every=5",
];

/// The arguments of a run with this many minutes between two checkpoints.
fn arguments(minutes: &str) -> Vec<String> {
    let interval = format!("stages.dpo.resources.checkpoint-minutes={minutes}");
    let more = ["--set".to_owned(), interval];
    LONGER.iter().map(|argument| (*argument).to_owned()).chain(more).collect()
}

fn run(workspace: &Workspace, minutes: &str) {
    let arguments = arguments(minutes);
    let all: Vec<&str> = ["run", QUICKSTART].into_iter().chain(arguments.iter().map(String::as_str)).collect();
    workspace.succeeds(&all);
}

/// Starts a run, waits until its log tells of this step of training, and sends the signal; gives the exit code.
fn disturb(workspace: &Workspace, minutes: &str, steps: u64, signal: Signal) -> Option<i32> {
    let arguments = arguments(minutes);
    let mut run = Background::start(workspace, QUICKSTART, &arguments.iter().map(String::as_str).collect::<Vec<_>>());
    run.wait_until(|event| event["event"] == "stage-phase" && event["phase"] == "train");
    // Events of progress come once a second, in which all steps may pass.
    let (told, began) = (format!("step {steps} of "), Instant::now());
    while !log(workspace).contains(&told) {
        assert!(began.elapsed() < Duration::from_secs(120), "no step {steps}: {}", log(workspace));
        std::thread::sleep(Duration::from_millis(2));
    }
    run.signal(signal);
    run.finish().0
}

/// The log of the latest run's training.
fn log(workspace: &Workspace) -> String {
    std::fs::read_to_string(workspace.latest_run().join("logs/dpo.log")).expect("the log")
}

fn resumed(workspace: &Workspace) -> bool {
    log(workspace).contains("an earlier run came to step")
}

/// The one checkpoint that is kept.
fn checkpoint(workspace: &Workspace) -> PathBuf {
    let mut keys = std::fs::read_dir(workspace.cache().join("resume")).expect("a folder of checkpoints");
    let folder = keys.next().expect("a checkpoint").expect("an entry").path();
    assert!(keys.next().is_none(), "one stage keeps checkpoints");
    folder.join("checkpoint")
}

#[test]
fn killed_stopped_and_damaged_it_ends_with_the_same_bits_whatever_the_interval() {
    let undisturbed = Workspace::new("");
    run(&undisturbed, "10");
    assert!(!log(&undisturbed).contains("checkpoint after"), "nothing is written before the interval is over");
    let expected = undisturbed.digests();
    assert!(expected.iter().any(|line| line.starts_with("dpo.evaluation ")), "{expected:?}");
    assert_eq!(undisturbed.files_in("resume"), 0);

    // Killed twice, with a checkpoint after every step.
    let workspace = Workspace::new("");
    assert_eq!(disturb(&workspace, "0", 3, Signal::KILL), None);
    assert!(checkpoint(&workspace).is_file());
    assert_eq!(disturb(&workspace, "0", 12, Signal::KILL), None);
    assert!(resumed(&workspace));
    run(&workspace, "0");
    assert!(resumed(&workspace));
    assert_eq!(workspace.digests(), expected);
    assert_eq!(workspace.files_in("resume"), 0, "the checkpoint goes when the result is there");

    // Stopped, which writes a checkpoint whatever the interval; then the checkpoint is damaged.
    let workspace = Workspace::new("");
    assert_eq!(disturb(&workspace, "10", 3, Signal::INT), Some(130));
    assert_eq!(disturb(&workspace, "10", 8, Signal::INT), Some(130));
    assert!(resumed(&workspace));
    let path = checkpoint(&workspace);
    let mut content = std::fs::read(&path).expect("the checkpoint");
    let middle = content.len() / 2;
    content[middle] ^= 1;
    std::fs::write(&path, content).expect("the checkpoint");
    run(&workspace, "10");
    assert!(!resumed(&workspace));
    assert!(log(&workspace).contains("is not used: its digest does not fit"), "{}", log(&workspace));
    assert_eq!(workspace.digests(), expected);
}

#[test]
fn a_loss_that_is_not_finite_names_the_pairs() {
    let workspace = Workspace::new("");
    let mut run = vec!["run", QUICKSTART, "--only", "dpo", "--json"];
    run.extend(["--set", "stages.dpo.with.learning-rate=1e30", "--set", "stages.dpo.with.schedule=constant"]);
    let checked = workspace.run(&run);
    assert_eq!(checked.code, Some(2), "{}", checked.err);
    let events = support::workspace::parse(&checked.out);
    let failed = events.iter().find(|event| event["event"] == "stage-failed").expect("a failure");
    let message = failed["message"].as_str().expect("a message");
    assert!(message.starts_with("step 2: the ") && message.contains(" at pairs "), "{message}");
    let hint: &Value = &failed["hint"];
    assert!(hint.as_str().expect("a hint").contains("lower the learning rate"), "{hint}");
    assert_eq!(workspace.files_in("resume"), 0);
}
