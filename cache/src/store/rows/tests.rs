use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rustix::io::Errno;
use serde_json::json;

use super::super::{Limits, Options, Store};
use super::{Claim, CollectedRows, RowMap};
use crate::failpoint::{Action, arm, disarm};
use crate::{Durability, Key};

const SCOPE: Key = Key::new([7; 32]);

struct Fixture {
    _folder: tempfile::TempDir,
    store: Store,
}

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = Options { durability: Durability::None, ..Options::default() };
        let store = Store::open_with(&folder.path().join("cache"), options).unwrap();
        Self { _folder: folder, store }
    }

    fn map(&self) -> RowMap {
        self.store.row_map(&SCOPE, &json!({"kind": "test"})).unwrap()
    }

    fn files(&self, ending: &str) -> Vec<PathBuf> {
        let folder = self.store.layout().row_map(&SCOPE);
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.extension().is_some_and(|found| found == ending)).collect()
    }

    /// Makes these rows and closes the map.
    fn keep(&self, rows: impl IntoIterator<Item = u32>) {
        let mut map = self.map();
        for row in rows {
            map.put(&key(row), &result(row)).unwrap();
        }
        map.finish().unwrap();
    }
}

fn key(row: u32) -> [u8; 32] {
    *blake3::hash(&row.to_le_bytes()).as_bytes()
}

/// Lengths from nothing to more than one block.
fn result(row: u32) -> Vec<u8> {
    vec![row as u8; (row as usize * 37) % 5_000]
}

fn holds(map: &mut RowMap, rows: impl IntoIterator<Item = u32>) -> bool {
    rows.into_iter().all(|row| map.get(&key(row)).unwrap() == Some(result(row)))
}

#[test]
fn rows_come_back_from_the_log_and_from_segments() {
    let fixture = Fixture::new();
    let mut map = fixture.map();
    assert_eq!(map.get(&key(1)).unwrap(), None);
    assert_eq!(map.claim(&[key(0), key(1)]).unwrap(), [Claim::Mine, Claim::Mine]);
    map.put(&key(0), &result(0)).unwrap();
    map.put(&key(1), &result(1)).unwrap();
    assert!(holds(&mut map, 0..2));
    map.finish().unwrap();
    assert_eq!((fixture.files("rows").len(), fixture.files("open").len(), fixture.files("claims").len()), (1, 0, 0));
    fixture.keep(2..200);
    let mut map = fixture.map();
    assert!(holds(&mut map, 0..200));
    assert_eq!(map.claim(&[key(5), key(200)]).unwrap(), [Claim::Kept, Claim::Mine]);
    drop(map);
    assert_eq!(fixture.files("rows").len(), 2, "a writer without rows leaves nothing");
    let facts = fixture.store.row_maps().unwrap();
    assert_eq!((facts.len(), facts[0].scope, facts[0].rows, facts[0].segments), (1, SCOPE, 200, 2));
    assert_eq!((&facts[0].fields, facts[0].in_use), (&json!({"kind": "test"}), false));
    let check = fixture.store.check_rows(false).unwrap();
    assert_eq!((check.segments, check.damaged.len()), (2, 0));
}

#[test]
fn of_several_writers_each_makes_its_own_and_sees_the_others() {
    let fixture = Fixture::new();
    let (mut first, mut second) = (fixture.map(), fixture.map());
    let rows: Vec<[u8; 32]> = (0..4).map(key).collect();
    assert_eq!(first.claim(&rows[..3]).unwrap(), [Claim::Mine; 3]);
    let elsewhere = Claim::Elsewhere;
    assert_eq!(second.claim(&rows).unwrap(), [elsewhere, elsewhere, elsewhere, Claim::Mine]);
    first.put(&rows[0], &result(0)).unwrap();
    assert_eq!(second.claim(&rows[..2]).unwrap(), [Claim::Kept, elsewhere]);
    assert!(holds(&mut second, 0..1));
    assert!(!fixture.store.remove_rows(&SCOPE).unwrap(), "somebody writes there");
    first.put(&rows[1], &result(1)).unwrap();
    first.finish().unwrap();
    assert_eq!(second.claim(&rows[..3]).unwrap(), [Claim::Kept, Claim::Kept, Claim::Mine], "its claims went with it");
    assert!(holds(&mut second, 0..2));
    second.put(&rows[2], &result(2)).unwrap();
    second.finish().unwrap();
    assert!(holds(&mut fixture.map(), 0..3));
    let mut reader = fixture.map();
    assert!(fixture.store.remove_rows(&SCOPE).unwrap());
    assert_eq!(fixture.store.row_maps().unwrap(), []);
    // Whoever had opened it reads on, and may begin to write.
    assert!(holds(&mut reader, 0..3));
    reader.put(&key(7), &result(7)).unwrap();
    reader.finish().unwrap();
    assert!(holds(&mut fixture.map(), [7]));
    assert_eq!(fixture.map().get(&key(1)).unwrap(), None);
}

#[test]
fn many_segments_become_few() {
    let fixture = Fixture::new();
    for row in 0..40 {
        fixture.keep([row, row + 1]);
    }
    assert!(fixture.files("rows").len() < 16, "{}", fixture.files("rows").len());
    assert!(holds(&mut fixture.map(), 0..41));
    // The same rows over and over: the merged segment may be one that is there.
    for _ in 0..20 {
        fixture.keep(0..3);
    }
    assert!(holds(&mut fixture.map(), 0..41));
    assert_eq!(fixture.store.check_rows(false).unwrap().damaged, Vec::<PathBuf>::new());
}

#[test]
fn every_flipped_byte_is_found_and_costs_its_row_only() {
    let fixture = Fixture::new();
    let rows = 6..9;
    fixture.keep(rows.clone());
    let path = fixture.files("rows").remove(0);
    let sound = fs::read(&path).unwrap();
    for at in 0..sound.len() {
        for path in fixture.files("rows") {
            fs::remove_file(path).unwrap();
        }
        let mut damaged = sound.clone();
        damaged[at] ^= 0x40;
        fs::write(&path, &damaged).unwrap();
        assert_eq!(fixture.store.check_rows(false).unwrap().damaged, std::slice::from_ref(&path), "byte {at}");
        let mut map = fixture.map();
        let found: Vec<Option<Vec<u8>>> = rows.clone().map(|row| map.get(&key(row)).unwrap()).collect();
        for (row, found) in rows.clone().zip(&found) {
            assert!(found.is_none() || *found == Some(result(row)), "byte {at}: row {row} was served damaged");
        }
        let claims = map.claim(&rows.clone().map(key).collect::<Vec<_>>()).unwrap();
        let lost = claims.iter().filter(|claim| **claim == Claim::Mine).count();
        assert!(lost <= 1, "byte {at}: {lost} rows lost");
        for ((row, claim), found) in rows.clone().zip(claims).zip(found) {
            assert_eq!(claim == Claim::Mine, found.is_none(), "byte {at}");
            if claim == Claim::Mine {
                map.put(&key(row), &result(row)).unwrap();
            }
        }
        map.finish().unwrap();
        assert!(holds(&mut fixture.map(), rows.clone()), "byte {at}");
        let repaired = fixture.store.check_rows(true).unwrap();
        assert!(repaired.damaged.is_empty() || lost == 0, "byte {at}: {repaired:?}");
        assert_eq!(fixture.store.check_rows(false).unwrap().damaged, Vec::<PathBuf>::new(), "byte {at}");
        assert!(holds(&mut fixture.map(), rows.clone()), "byte {at}, after the repair");
    }
}

#[test]
fn segments_of_another_scope_are_not_served() {
    let fixture = Fixture::new();
    fixture.keep(0..3);
    let other = Key::new([8; 32]);
    drop(fixture.store.row_map(&other, &json!({})).unwrap());
    let path = fixture.files("rows").remove(0);
    fs::copy(&path, fixture.store.layout().row_map(&other).join(path.file_name().unwrap())).unwrap();
    let mut map = fixture.store.row_map(&other, &json!({})).unwrap();
    assert!((0..3).all(|row| map.get(&key(row)).unwrap().is_none()));
}

#[test]
fn a_torn_end_costs_what_was_torn() {
    let fixture = Fixture::new();
    let mut map = fixture.map();
    map.claim(&[key(1), key(2)]).unwrap();
    map.put(&key(1), &result(1)).unwrap();
    map.put(&key(2), &result(2)).unwrap();
    let log = fixture.files("open").remove(0);
    let whole = fs::read(&log).unwrap();
    drop(map);
    for cut in 0..whole.len() {
        fixture.store.remove_rows(&SCOPE).unwrap();
        drop(fixture.map());
        fs::write(&log, &whole[..cut]).unwrap();
        let mut map = fixture.map();
        let first = holds(&mut map, 1..2);
        assert!(!holds(&mut map, 2..3), "{cut} bytes cannot hold the second row");
        assert_eq!(map.claim(&[key(1), key(2)]).unwrap()[0] == Claim::Kept, first);
        assert!(first || cut < whole.len() - result(2).len() - 52, "{cut} bytes hold the first row");
        map.put(&key(2), &result(2)).unwrap();
        map.finish().unwrap();
        assert!(holds(&mut fixture.map(), 2..3));
        assert!(!fixture.files("open").contains(&log), "the log of the dead is gone");
    }
}

#[test]
fn an_unwritable_disk_is_an_error_and_loses_nothing() {
    for steps in 0..60 {
        let fixture = Fixture::new();
        fixture.keep(0..2);
        arm(steps, Action::Fail(Errno::NOSPC));
        let tried = (|| {
            let mut map = fixture.store.row_map(&SCOPE, &json!({"kind": "test"}))?;
            map.claim(&[key(9)])?;
            map.put(&key(9), &result(9))?;
            map.finish()
        })();
        let failed = disarm();
        assert_eq!(failed, tried.is_err(), "step {steps}: {tried:?}");
        let mut map = fixture.map();
        assert!(holds(&mut map, 0..2), "step {steps}");
        assert_ne!(map.claim(&[key(9)]).unwrap(), [Claim::Elsewhere], "step {steps}");
        map.put(&key(9), &result(9)).unwrap();
        map.finish().unwrap();
        assert!(holds(&mut fixture.map(), [0, 1, 9]), "step {steps}");
        for path in fixture.files("rows") {
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o444);
        }
        if !failed {
            assert!(steps > 5, "{steps} steps only: is every file-system call a failpoint?");
            return;
        }
    }
    panic!("more steps than were tried");
}

/// Set for the child: the store's folder, and after how many steps it dies.
const ROOT: &str = "RETMASK_CACHE_TEST_ROOT";
const STEPS: &str = "RETMASK_CACHE_TEST_STEPS";

#[test]
fn killed_writers_lose_only_what_they_had_not_put() {
    if let Some(root) = std::env::var_os(ROOT) {
        let steps = std::env::var(STEPS).expect("steps").parse().expect("a number");
        let store = Store::open(&PathBuf::from(root)).unwrap();
        arm(steps, Action::Kill);
        let mut map = store.row_map(&SCOPE, &json!({"kind": "test"})).unwrap();
        map.claim(&(0..6).map(key).collect::<Vec<_>>()).unwrap();
        for row in 0..6 {
            map.put(&key(row), &result(row)).unwrap();
            // What is said here was put before.
            println!("put {row}");
        }
        map.finish().unwrap();
        std::process::exit(0);
    }
    for steps in 0.. {
        let fixture = Fixture::new();
        let mut command = Command::new(std::env::current_exe().unwrap());
        let test = "store::rows::tests::killed_writers_lose_only_what_they_had_not_put";
        command.args(["--exact", test, "--nocapture"]);
        let output = command.env(ROOT, fixture.store.root()).env(STEPS, steps.to_string()).output().unwrap();
        assert!(output.status.success() || output.status.signal() == Some(9), "{output:?}");
        let said = String::from_utf8(output.stdout).unwrap();
        let put = said.lines().filter(|line| line.starts_with("put ")).count() as u32;
        let mut map = fixture.map();
        assert!(holds(&mut map, 0..put), "killed at step {steps}");
        let claims = map.claim(&(0..6).map(key).collect::<Vec<_>>()).unwrap();
        assert!(!claims.contains(&Claim::Elsewhere), "the dead claim nothing");
        for (row, claim) in (0..6).zip(claims) {
            if claim == Claim::Mine {
                map.put(&key(row), &result(row)).unwrap();
            }
        }
        map.finish().unwrap();
        assert!(holds(&mut fixture.map(), 0..6), "killed at step {steps}");
        assert_eq!((fixture.files("open").len(), fixture.files("claims").len()), (0, 0), "killed at step {steps}");
        assert_eq!(fixture.store.check_rows(false).unwrap().damaged, Vec::<PathBuf>::new());
        if output.status.success() {
            assert_eq!(put, 6);
            assert!(steps > 10, "{steps} steps only: is every file-system call a failpoint?");
            return;
        }
    }
}

/// A collector that removes every map that nobody writes to, beside two writers and one who looks at all maps: what was
/// put stays until its writer is done, and nothing that goes meanwhile is a fault.
#[test]
fn a_collector_beside_writers_takes_nothing_from_them() {
    let fixture = Fixture::new();
    let (done, removed) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                let collected = fixture.store.collect_rows(u64::MAX, Limits::default(), false).expect("collected");
                removed.fetch_add(collected.removed.len() as u64, Ordering::SeqCst);
                std::thread::sleep(Duration::from_micros(300));
            }
        });
        scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                fixture.store.row_maps().expect("maps");
                assert_eq!(fixture.store.check_rows(false).expect("check").damaged, Vec::<PathBuf>::new());
                fixture.store.kept_rows(&SCOPE).expect("rows");
                fixture.store.areas().expect("areas");
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        let writers: Vec<_> = (0..2u32)
            .map(|writer| {
                let fixture = &fixture;
                scope.spawn(move || {
                    for round in 0..50u32 {
                        let mut map = fixture.map();
                        let rows = [10 * writer + round % 3, 10 * writer + 5];
                        for row in rows {
                            map.put(&key(row), &result(row)).expect("put");
                        }
                        // As another process finds them.
                        let mut found = fixture.map();
                        assert!(rows.iter().all(|&row| holds(&mut found, row..row + 1)), "round {round}");
                        map.finish().expect("finished");
                        drop(found);
                        // Time for the collector to find nobody there.
                        std::thread::sleep(Duration::from_millis(u64::from(round % 3)));
                    }
                })
            })
            .collect();
        let ended: Vec<_> = writers.into_iter().map(|writer| writer.join()).collect();
        done.store(true, Ordering::SeqCst);
        ended.into_iter().for_each(|writer| writer.expect("a writer lost something"));
    });
    assert!(removed.into_inner() > 5, "the collector was to remove what the writers made");
}

#[test]
fn unused_maps_are_collected_and_used_ones_stay() {
    let fixture = Fixture::new();
    fixture.keep(0..3);
    let used = fixture.store.row_maps().unwrap()[0].used;
    let collect = |kept_since: u64, limits: Limits, dry_run: bool| {
        let collected = fixture.store.collect_rows(kept_since, limits, dry_run).unwrap();
        assert_eq!(collected.removed.len() as u64 + collected.kept, 1);
        assert_eq!(collected.freed > 0, collected.removed.len() == 1);
        collected.kept == 0
    };
    let no_limits = Limits::default();
    assert!(!collect(used, no_limits, false), "a recent run used it");
    assert!(!collect(used + 1, Limits { used_since: Some(used), ..no_limits }, false), "it is young enough");
    assert!(!collect(used + 1, Limits { max_bytes: Some(1 << 20), ..no_limits }, false), "it is small enough");
    let writer = {
        let mut map = fixture.map();
        map.put(&key(9), &result(9)).unwrap();
        map
    };
    assert!(!collect(u64::MAX, no_limits, false), "somebody writes to it");
    drop(writer);
    assert!(collect(u64::MAX, Limits { max_bytes: Some(100), ..no_limits }, true));
    assert!(holds(&mut fixture.map(), 0..3), "nothing went");
    assert!(collect(u64::MAX, no_limits, false));
    assert_eq!(fixture.store.row_maps().unwrap(), []);
    assert_eq!(fixture.store.collect_rows(u64::MAX, no_limits, false).unwrap(), CollectedRows::default());
}
