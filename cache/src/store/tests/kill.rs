//! SIGKILL at every step and at any moment: the store verifies, and the next one carries on.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::*;
use crate::failpoint::{Action, arm};

/// Set for the child: the store's folder.
const ROOT: &str = "RETMASK_CACHE_TEST_ROOT";
/// Set for the child: after how many steps it dies; absent when it is killed from outside.
const STEPS: &str = "RETMASK_CACHE_TEST_STEPS";

/// This test binary again, running only the named test, which sees `ROOT` and does the child's part.
fn child(test: &str, root: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this binary"));
    command.args(["--exact", &format!("store::tests::kill::{test}"), "--nocapture"]);
    command.env(ROOT, root).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn child_root() -> Option<PathBuf> {
    std::env::var_os(ROOT).map(PathBuf::from)
}

#[test]
fn death_at_every_step_leaves_a_store_that_verifies_and_continues() {
    if let Some(root) = child_root() {
        let steps = std::env::var(STEPS).expect("steps").parse().expect("a number");
        arm(steps, Action::Kill);
        let store = Store::open(&root).expect("a store");
        make(&store, key(1), &format!("salt {steps}")).expect("a result");
        std::process::exit(0);
    }
    let folder = quick_folder();
    // One store for all deaths but the first few, which are of its making.
    for steps in 0..1_000u32 {
        let root = if steps < 6 { folder.path().join(steps.to_string()) } else { folder.path().join("all") };
        let test = "death_at_every_step_leaves_a_store_that_verifies_and_continues";
        let status = child(test, &root).env(STEPS, steps.to_string()).status().expect("the child");
        let finished = status.success();
        assert!(finished || status.signal() == Some(9), "{status} at step {steps}");
        let store = store_in(&root);
        assert_staging_empty(&store);
        assert_eq!(store.check(true).expect("check").problems, Vec::<Problem>::new(), "step {steps}");
        let salt = format!("salt {steps}");
        if let Lookup::Hit(record) = store.lookup(&key(1)).expect("lookup") {
            assert_reads_back(&store, &record, &salt);
        }
        let (record, _) = make(&store, key(1), &salt).expect("made in the end");
        assert_reads_back(&store, &record, &salt);
        // The next death is to meet an absent record again.
        fs::remove_dir_all(store.root().join("ac")).expect("removed");
        if finished {
            assert!(steps > 40, "{steps} steps only: is every file-system call a failpoint?");
            return;
        }
    }
    panic!("the child never finished");
}

#[test]
fn death_at_every_step_of_a_collector_leaves_a_store_that_verifies_and_continues() {
    use crate::store::{Limits, Roots};
    let roots = || Roots { keys: BTreeMap::from([(key(2), "pin".to_owned())]), ..Roots::default() };
    if let Some(root) = child_root() {
        let steps = std::env::var(STEPS).expect("steps").parse().expect("a number");
        let store = store_in(&root);
        arm(steps, Action::Kill);
        store.collect(Limits::default(), false, &mut || Ok(roots())).expect("collected");
        std::process::exit(0);
    }
    for steps in 0..1_000u32 {
        let folder = quick_folder();
        let store = store_in(folder.path());
        for number in 0..3 {
            make(&store, key(number), &format!("salt {number}")).expect("a result");
        }
        drop(store);
        let test = "death_at_every_step_of_a_collector_leaves_a_store_that_verifies_and_continues";
        let status = child(test, folder.path()).env(STEPS, steps.to_string()).status().expect("the child");
        assert!(status.success() || status.signal() == Some(9), "{status} at step {steps}");
        let store = store_in(folder.path());
        assert_eq!(store.check(false).expect("check").problems, Vec::<Problem>::new(), "step {steps}");
        assert_reads_back(&store, &hit(&store, key(2)), "salt 2");
        // What went can be made again, over what is left of it.
        make(&store, key(0), "salt 0").expect("made again");
        drop(store);
        let store = store_in(folder.path());
        store.collect(Limits::default(), false, &mut || Ok(roots())).expect("the dead hold no lock");
        assert_eq!((files(&folder.path().join("cas")).len(), files(&folder.path().join("ac")).len()), (8, 1));
        if status.success() {
            assert!(steps > 8, "{steps} steps only: is every file-system call a failpoint?");
            return;
        }
    }
    panic!("the child never finished");
}

#[test]
fn death_at_any_moment_leaves_a_store_that_verifies_and_continues() {
    if let Some(root) = child_root() {
        let store = store_in(&root);
        let begun = store.records().expect("records").len() as u64;
        for number in begun..u64::MAX {
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&number.to_le_bytes());
            make(&store, Key::new(bytes), &format!("salt {number}")).expect("a result");
        }
    }
    let folder = folder();
    let mut records = 0;
    for round in 0..20u64 {
        let test = "death_at_any_moment_leaves_a_store_that_verifies_and_continues";
        let mut running = child(test, folder.path()).spawn().expect("the child");
        // Half of them at once, spread over the child's start and the making of the store; half once it is at work.
        let begun = Instant::now();
        while round % 2 == 1 && files(&folder.path().join("ac")).len() as u64 <= records + 2 {
            assert!(begun.elapsed() < Duration::from_secs(60), "the child does nothing");
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(round));
        running.kill().expect("killed");
        assert_eq!(running.wait().expect("the child's end").signal(), Some(9));
        let store = store_in(folder.path());
        assert_staging_empty(&store);
        let check = store.check(true).expect("check");
        assert_eq!(check.problems, Vec::<Problem>::new());
        assert!(check.records >= records);
        records = check.records;
    }
    assert!(records > 20, "{records} records only: the children were killed before they did anything");
    let store = store_in(folder.path());
    for record in store.records().expect("records") {
        let record = record.expect("sound");
        let salt = record.provenance.fields["salt"].as_str().expect("salt").to_owned();
        assert_reads_back(&store, &record, &salt);
    }
}
