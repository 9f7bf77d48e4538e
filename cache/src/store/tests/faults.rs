//! Failures of the file system at each step: one clear error, nothing half-published, and it works afterwards.

use rustix::io::Errno;

use super::*;
use crate::Fault;
use crate::failpoint::{Action, arm, disarm};

/// Runs `work` once for each step it takes, that step and all later ones failing; gives the number of steps.
fn fail_at_each_step(errno: Errno, mut work: impl FnMut(u32) -> bool) -> u32 {
    for step in 0..1_000 {
        if !work(step) {
            return step;
        }
        assert!(step < 999, "{errno} at {step} steps and no end");
    }
    unreachable!("the loop returns or panics")
}

#[test]
fn a_failing_disk_publishes_nothing_half() {
    for errno in [Errno::NOSPC, Errno::ROFS, Errno::ACCESS, Errno::IO] {
        let folder = quick_folder();
        let options = Options { durability: Durability::Strict, ..Options::default() };
        let steps = fail_at_each_step(errno, |step| {
            let (key, salt) = (Key::new([1; 32]), "one");
            let root = folder.path().join(step.to_string());
            arm(step, Action::Fail(errno));
            let made = Store::open_with(&root, options).and_then(|store| make(&store, key, salt));
            let reached = disarm();
            let Err(error) = made else {
                assert!(!reached, "step {step} failed and nobody said so");
                return false;
            };
            assert_eq!(error.fault, Fault::Environment, "step {step}: {}", error.message);
            assert!(error.message.contains(&*root.to_string_lossy()), "step {step}: {}", error.message);
            assert_eq!(error.hint.is_some(), errno != Errno::IO, "{}", error.message);
            // Space is back: nothing of it is known, nothing is broken, and the same work succeeds.
            let store = store_in(&root);
            assert_eq!(store.check(true).expect("check").problems, Vec::<Problem>::new());
            if let Lookup::Hit(record) = store.lookup(&key).expect("lookup") {
                // The record was in place and only its last sync failed: then it must be whole.
                assert_reads_back(&store, &record, salt);
            }
            let (record, _) = make(&store, key, salt).expect("made in the end");
            assert_eq!(hit(&store, key), record);
            assert_reads_back(&store, &record, salt);
            true
        });
        assert!(steps > 40, "{steps} steps only: is every file-system call a failpoint?");
    }
}

#[test]
fn a_failing_disk_exports_nothing_half() {
    let folder = folder();
    let store = store_in(&folder.path().join("store"));
    let (record, _) = make(&store, key(1), "one").expect("a result");
    let out = folder.path().join("out");
    fs::create_dir(&out).expect("folder");
    for port in ["page", "checkpoint"] {
        let target = out.join(port);
        let steps = fail_at_each_step(Errno::NOSPC, |step| {
            arm(step, Action::Fail(Errno::NOSPC));
            let exported = store.export(record.output(port).expect("port"), &target, false);
            disarm();
            let Err(error) = exported else { return false };
            assert_eq!(error.fault, Fault::Environment, "{}", error.message);
            assert!(error.hint.as_deref().is_some_and(|hint| hint.contains("free space")), "{error:?}");
            assert_eq!(fs::read_dir(&out).expect("folder").count(), 0, "{port}, step {step}");
            true
        });
        assert!(steps >= 3, "{steps} steps only");
        fs::rename(&target, folder.path().join(port)).expect("exported in the end");
    }
}

#[test]
fn a_damaged_blob_that_cannot_be_put_aside_is_not_served() {
    let folder = folder();
    let store = store_in(folder.path());
    let (record, _) = make(&store, key(1), "one").expect("a result");
    let page = record.output("page").expect("page");
    let blob = store.layout().blob(&page.blob);
    fs::set_permissions(&blob, fs::Permissions::from_mode(0o644)).expect("mode");
    fs::write(&blob, "<p>eno</p>").expect("tampered");
    arm(0, Action::Fail(Errno::ROFS));
    let refused = store.read(page);
    disarm();
    assert_eq!(refused.expect_err("refused").fault, Fault::Environment);
}
