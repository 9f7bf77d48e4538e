//! Collecting: what goes, what stays, and what is never taken from under a process that uses it.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rustix::io::Errno;

use super::*;
use crate::failpoint::{Action, arm, disarm};
use crate::store::{Limits, Roots};

/// Bytes that every sample result has alike: the four files of its tree.
fn shared_bytes() -> u64 {
    TREE.iter().map(|(_, content, _)| content.len() as u64).sum()
}

/// Results under the keys 0, 1, ..., made by a process that has ended.
fn store_with(folder: &Path, results: u8) -> Store {
    let store = store_in(folder);
    for number in 0..results {
        make(&store, key(number), &format!("salt {number}")).expect("a result");
    }
    drop(store);
    store_in(folder)
}

/// Roots of these keys; key n was last used at time n.
fn roots(keep: &[u8]) -> Roots {
    Roots {
        keys: keep.iter().map(|&number| (key(number), "pin".to_owned())).collect(),
        used: (0..=255).map(|number| (key(number), u64::from(number))).collect(),
    }
}

fn collect(store: &Store, limits: Limits, keep: &[u8]) -> crate::store::Collected {
    store.collect(limits, false, &mut || Ok(roots(keep))).expect("collected")
}

/// The keys that have a usable result, read in full.
fn present(store: &Store, results: u8) -> Vec<u8> {
    let present = |&number: &u8| match store.lookup(&key(number)).expect("lookup") {
        Lookup::Hit(record) => {
            assert_reads_back(store, &record, &format!("salt {number}"));
            true
        }
        Lookup::Miss(_) => false,
    };
    (0..results).filter(present).collect()
}

fn paths(root: &Path) -> BTreeSet<PathBuf> {
    files(&root.join("cas")).into_iter().chain(files(&root.join("ac"))).collect()
}

#[test]
fn what_no_root_keeps_goes_with_its_blobs_and_nothing_else_does() {
    let folder = folder();
    let store = store_with(folder.path(), 4);
    let before = paths(folder.path());
    let planned = store.collect(Limits::default(), true, &mut || Ok(roots(&[1, 3]))).expect("planned");
    assert_eq!(paths(folder.path()), before, "a dry run changes nothing");
    let sizes = |paths: &BTreeSet<PathBuf>| paths.iter().map(|path| fs::metadata(path).expect("size").len()).sum();
    let all: u64 = sizes(&before);
    let collected = collect(&store, Limits::default(), &[1, 3]);
    assert_eq!(collected, planned, "and says what is done");
    let keys: Vec<Key> = collected.removed.iter().map(|removed| removed.key).collect();
    assert_eq!(keys, [key(0), key(2)]);
    // Page, table, salt and manifest of each; the four files of the tree are in use still.
    assert_eq!((collected.removed_blobs, collected.kept), (8, 2));
    let left: u64 = sizes(&paths(folder.path()));
    assert_eq!((collected.freed, collected.kept_bytes), (all - left, left));
    assert_eq!(present(&store, 4), [1, 3]);
    let check = store.check(false).expect("check");
    assert_eq!((check.records, check.blobs, check.problems), (2, 12, vec![]));
    assert_eq!(files(&folder.path().join("ac")).len(), 2);
    let nothing = collect(&store_in(folder.path()), Limits::default(), &[1, 3]);
    assert_eq!((nothing.removed.len(), nothing.freed), (0, 0));
}

#[test]
fn limits_take_what_was_used_longest_ago_and_no_root() {
    let folder = folder();
    let store = store_with(folder.path(), 5);
    let inventory = store.inventory().expect("inventory");
    let own = inventory.records.values().next().expect("a record").bytes() - shared_bytes();
    let total = shared_bytes() + 5 * own;
    // Within the limits nothing goes, however little is kept by roots.
    let limit = |max_bytes, used_since| Limits { max_bytes, used_since };
    assert_eq!(collect(&store, limit(Some(total), None), &[]).removed.len(), 0);
    assert_eq!(collect(&store, limit(None, Some(0)), &[]).removed.len(), 0);
    // One byte too many: the one used longest ago that no root keeps.
    let collected = collect(&store, limit(Some(total - 1), None), &[0]);
    assert_eq!(collected.removed.iter().map(|removed| removed.key).collect::<Vec<_>>(), [key(1)]);
    // By age: 2 is too old, 3 is not, 0 is but has a root.
    let collected = collect(&store, limit(None, Some(3)), &[0]);
    assert_eq!(collected.removed.iter().map(|removed| removed.key).collect::<Vec<_>>(), [key(2)]);
    // Roots stay even where they alone are too much.
    let collected = collect(&store, limit(Some(1), None), &[0, 4]);
    assert_eq!(collected.removed.iter().map(|removed| removed.key).collect::<Vec<_>>(), [key(3)]);
    assert!(collected.kept_bytes > 1);
    drop(store);
    assert_eq!(present(&store_in(folder.path()), 5), [0, 4]);
}

#[test]
fn what_a_living_process_looked_up_or_published_stays() {
    let folder = folder();
    let collector = store_with(folder.path(), 3);
    let user = store_in(folder.path());
    let in_use = user.begin_use().expect("use");
    assert_eq!(hit(&user, key(1)).key, key(1));
    // Published, and not yet recorded.
    let staging = user.stage().expect("staging");
    let path = staging.path().join("page");
    fs::write(&path, "soon to be recorded").expect("file");
    let blob = user.publish(&staging, &[path]).expect("published")[0].blob;
    let collected = collect(&collector, Limits::default(), &[]);
    assert_eq!((collected.removed.len(), collected.kept_by["in use"].0), (2, 1));
    assert!(user.layout().blob(&blob).exists());
    assert_eq!(present(&user, 3), [1]);
    assert_eq!(store_in(folder.path()).check(false).expect("check").problems, Vec::<Problem>::new());
    drop((staging, in_use, user));
    assert_eq!(collect(&collector, Limits::default(), &[]).removed.len(), 1);
    assert_eq!(paths(folder.path()), BTreeSet::new(), "nobody uses anything now");
}

#[test]
fn what_was_looked_up_together_stays_and_a_collector_waits_meanwhile() {
    let folder = folder();
    let collector = store_with(folder.path(), 3);
    let user = store_in(folder.path());
    let _in_use = user.begin_use().expect("use");
    let collected = AtomicBool::new(false);
    std::thread::scope(|scope| {
        user.look_up_together(|| {
            hit(&user, key(0));
            scope.spawn(|| {
                assert_eq!(collect(&collector, Limits::default(), &[]).removed.len(), 1);
                collected.store(true, Ordering::SeqCst);
            });
            std::thread::sleep(Duration::from_millis(100));
            assert!(!collected.load(Ordering::SeqCst), "it waits");
            // Together inside together.
            user.look_up_together(|| hit(&user, key(2))).expect("listed");
        })
        .expect("listed");
    });
    assert_eq!(present(&user, 3), [0, 2]);
}

#[test]
fn an_artifact_without_a_record_stays_while_it_is_read() {
    let folder = folder();
    let user = store_in(folder.path());
    let (record, _) = make(&user, key(1), "one").expect("a result");
    drop(user);
    fs::remove_dir_all(folder.path().join("ac")).expect("no record names it now");
    let user = store_in(folder.path());
    let _in_use = user.begin_use().expect("use");
    let tree = record.output("checkpoint").expect("port");
    let Reading::Ready(_readable) = user.read(tree).expect("read") else { panic!("lost") };
    collect(&store_in(folder.path()), Limits::default(), &[]);
    // The manifest and its five files.
    assert_eq!(files(&folder.path().join("cas")).len(), 6);
    assert!(matches!(user.read(tree).expect("read"), Reading::Ready(_)));
}

#[test]
fn records_of_newer_programs_stay_and_keep_every_blob() {
    let folder = folder();
    let store = store_with(folder.path(), 2);
    let record = files(&folder.path().join("ac")).pop().expect("a record");
    let text = fs::read_to_string(&record).expect("text").replacen("retmask-record 1", "retmask-record 2", 1);
    fs::set_permissions(&record, fs::Permissions::from_mode(0o644)).expect("mode");
    fs::write(&record, text).expect("written");
    let collected = collect(&store, Limits::default(), &[]);
    assert_eq!((collected.removed.len(), collected.removed_blobs), (1, 0));
    assert!(record.exists());
}

#[test]
fn one_collector_works_at_a_time() {
    let folder = folder();
    let store = store_with(folder.path(), 1);
    let other = store_in(folder.path());
    let refused = store.collect(Limits::default(), false, &mut || {
        let refused = other.collect(Limits::default(), false, &mut || Ok(Roots::default()));
        refused.map(|_| Roots::default())
    });
    let error = refused.expect_err("busy");
    assert!(error.message.contains("another collector is at work"), "{}", error.message);
    assert_eq!(present(&store, 1), [0], "and nothing was removed");
}

/// A collector without roots in a loop beside three users who make, look up and read, and one who looks at everything:
/// nobody ever loses anything, and nothing that goes meanwhile is a fault.
#[test]
fn a_collector_beside_users_takes_nothing_from_them() {
    let folder = quick_folder();
    store_in(folder.path());
    let (done, removed) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let store = store_in(folder.path());
            while !done.load(Ordering::SeqCst) {
                assert_eq!(store.check(false).expect("check").problems, Vec::<Problem>::new());
                let inventory = store.inventory().expect("inventory");
                assert_eq!((inventory.damaged.len(), inventory.unknown.len()), (0, 0));
                assert!(
                    store
                        .records()
                        .expect("records")
                        .iter()
                        .all(|record| !matches!(record, Err(MissReason::DamagedRecord { .. })))
                );
                store.areas().expect("areas");
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                let collected = collect(&store_in(folder.path()), Limits::default(), &[]);
                removed.fetch_add(collected.removed.len() as u64, Ordering::SeqCst);
            }
        });
        let users: Vec<_> = (0..3u8)
            .map(|user| {
                let folder = folder.path();
                scope.spawn(move || {
                    for round in 0..40u8 {
                        // A process of its own as far as the store can tell.
                        let store = store_in(folder);
                        let _in_use = store.begin_use().expect("use");
                        // Two keys of all users, one of its own: some are there, some are not.
                        for number in [round % 2, 2, 10 + user] {
                            let (salt, key) = (format!("salt {number}"), key(number));
                            let record = match store.lookup(&key).expect("lookup") {
                                Lookup::Hit(record) => *record,
                                Lookup::Miss(MissReason::NoRecord) => make(&store, key, &salt).expect("a result").0,
                                Lookup::Miss(reason) => panic!("round {round}: {reason}"),
                            };
                            assert_reads_back(&store, &record, &salt);
                            assert_eq!(store.verify(&record).expect("verify"), None);
                        }
                        for number in [round % 2, 2, 10 + user] {
                            assert_reads_back(&store, &hit(&store, super::key(number)), &format!("salt {number}"));
                        }
                    }
                })
            })
            .collect();
        let ended: Vec<_> = users.into_iter().map(|user| user.join()).collect();
        done.store(true, Ordering::SeqCst);
        ended.into_iter().for_each(|user| user.expect("a user lost something"));
    });
    assert!(removed.into_inner() > 20, "the collector was to remove what the users made");
    assert_eq!(store_in(folder.path()).check(false).expect("check").problems, Vec::<Problem>::new());
}

#[test]
fn a_failing_disk_leaves_whole_results() {
    for steps in 0..1_000 {
        let folder = quick_folder();
        let store = store_with(folder.path(), 3);
        arm(steps, Action::Fail(Errno::IO));
        let collected = store.collect(Limits::default(), false, &mut || Ok(roots(&[2])));
        let reached = disarm();
        assert_eq!(store.check(false).expect("check").problems, Vec::<Problem>::new(), "step {steps}");
        assert!(present(&store_in(folder.path()), 3).contains(&2));
        match collected {
            Err(error) => assert_eq!(error.fault, crate::Fault::Environment, "{}", error.message),
            Ok(_) => {
                assert!(!reached, "step {steps} failed and nobody said so");
                assert!(steps > 8, "{steps} steps only");
                return;
            }
        }
        collect(&store_in(folder.path()), Limits::default(), &[2]);
        assert_eq!(files(&folder.path().join("cas")).len(), 8, "the next collector finishes it");
    }
    panic!("no end");
}

#[test]
fn verifying_without_repair_changes_nothing_and_with_it_leaves_a_clean_store() {
    let folder = folder();
    let store = store_with(folder.path(), 2);
    let damage = |path: &Path| {
        fs::set_permissions(path, fs::Permissions::from_mode(0o644)).expect("mode");
        let mut content = fs::read(path).expect("content");
        content[0] ^= 1;
        fs::write(path, content).expect("written");
    };
    damage(&store.layout().blob(&Digest::of_bytes(b"<p>salt 0</p>")));
    damage(&files(&store.layout().records(&key(1)))[0]);
    fs::write(folder.path().join("cas/b3/stray"), "").expect("stray");
    let before = (paths(folder.path()), files(&folder.path().join("quarantine")));
    let found = store.check(false).expect("check");
    // The blob, the stray file, the record. The record of the damaged blob still finds a file of the right size.
    assert_eq!(found.problems.len(), 3, "{:?}", found.problems);
    assert!(found.problems.iter().all(|problem| problem.repair.is_none()));
    assert_eq!((paths(folder.path()), files(&folder.path().join("quarantine"))), before);
    let repaired = store.check(true).expect("check");
    assert_eq!(repaired.problems.len(), 4, "and the record that lost the blob: {:?}", repaired.problems);
    assert!(repaired.problems.iter().all(|problem| problem.repair.is_some()), "{:?}", repaired.problems);
    assert_eq!(files(&folder.path().join("quarantine")).len(), 3);
    let clean = store.check(false).expect("check");
    assert_eq!((clean.records, clean.problems), (0, vec![]));
    assert_eq!((miss(&store, key(0)), miss(&store, key(1))), (MissReason::NoRecord, MissReason::NoRecord));
    make(&store, key(0), "salt 0").expect("made again");
    assert_eq!(present(&store, 2), [0]);
}

#[test]
fn pins_are_kept_told_and_removed() {
    let folder = folder();
    let store = store_with(folder.path(), 1);
    assert!(store.pin(&key(0), "the paper's table 2").expect("pin"));
    assert!(!store.pin(&key(0), "again").expect("pin"));
    let pins = store_in(folder.path()).pins().expect("pins");
    assert_eq!(pins, BTreeMap::from([(key(0), "the paper's table 2".to_owned())]));
    assert!(store.unpin(&key(0)).expect("unpin"));
    assert!(!store.unpin(&key(0)).expect("unpin"));
    assert!(store.pins().expect("pins").is_empty());
}
