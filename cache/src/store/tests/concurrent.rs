//! Several at once: threads with stores of their own, which is what processes are to each other.

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::*;

#[test]
fn many_publishing_the_same_end_with_one() {
    let folder = folder();
    let root = folder.path().join("store");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                // Opening an absent store at once is part of it.
                let store = store_in(&root);
                for round in 0..10 {
                    let (record, _) = make(&store, key(round), &round.to_string()).expect("a result");
                    assert_reads_back(&store, &record, &round.to_string());
                }
            });
        }
    });
    let store = store_in(&root);
    let check = store.check(true).expect("check");
    // Per round page, table, salt and manifest, and the four files that all share; equal records have equal names.
    assert_eq!((check.records, check.blobs, check.problems), (10, 44, vec![]));
    assert_eq!(files(&root.join("ac")).len(), 10);
    assert_eq!(files(&root.join("quarantine")), Vec::<PathBuf>::new());
    assert_staging_empty(&store);
}

#[test]
fn two_processes_publishing_the_same_end_with_one() {
    const ROOT: &str = "RETMASK_CACHE_TEST_PAIR";
    let publish = |root: &Path| {
        let store = store_in(root);
        for round in 0..20 {
            make(&store, key(round), &round.to_string()).expect("a result");
        }
    };
    if let Some(root) = std::env::var_os(ROOT) {
        return publish(Path::new(&root));
    }
    let folder = folder();
    let test = "store::tests::concurrent::two_processes_publishing_the_same_end_with_one";
    let mut other = Command::new(std::env::current_exe().expect("this binary"))
        .args(["--exact", test])
        .env(ROOT, folder.path())
        .stdout(Stdio::null())
        .spawn()
        .expect("another process");
    publish(folder.path());
    assert!(other.wait().expect("its end").success());
    let store = store_in(folder.path());
    let check = store.check(true).expect("check");
    assert_eq!((check.records, check.blobs, check.problems), (20, 84, vec![]));
    assert_staging_empty(&store);
}

#[test]
fn a_key_is_worked_on_by_one_at_a_time() {
    let folder = folder();
    let inside: [AtomicU32; 10] = Default::default();
    let made = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let store = store_in(folder.path());
                for (round, inside) in (0..).zip(&inside) {
                    let lock = store.lock(&key(round), &mut |_| true).expect("lock").expect("held");
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two inside");
                    if let Lookup::Miss(_) = store.lookup(&key(round)).expect("lookup") {
                        make(&store, key(round), "x").expect("a result");
                        made.fetch_add(1, Ordering::SeqCst);
                    }
                    inside.fetch_sub(1, Ordering::SeqCst);
                    drop(lock);
                }
            });
        }
    });
    assert_eq!(made.into_inner(), 10, "single flight");
}

#[test]
fn a_waiter_hears_who_holds_the_lock_and_may_give_up() {
    let folder = folder();
    let store = store_in(folder.path());
    let lock = store.try_lock(&key(1)).expect("lock").expect("free");
    assert!(store.try_lock(&key(1)).expect("lock").is_none());
    assert!(store.try_lock(&key(2)).expect("lock").is_some(), "another key is free");
    let mut heard = Vec::new();
    let given_up = store.lock(&key(1), &mut |holder| {
        heard.push(holder.map(str::to_owned));
        heard.len() < 3
    });
    assert!(given_up.expect("lock").is_none());
    assert_eq!(heard.len(), 3);
    let me = format!(".{}", std::process::id());
    assert!(heard.iter().all(|holder| holder.as_ref().is_some_and(|holder| holder.ends_with(&me))), "{heard:?}");
    drop(lock);
    assert!(store.try_lock(&key(1)).expect("lock").is_some());
    assert_eq!(files(&folder.path().join("lock")).len(), 0, "released locks leave no files");
}

#[test]
fn the_lock_of_the_dead_is_free() {
    const ROOT: &str = "RETMASK_CACHE_TEST_LOCK";
    if let Some(root) = std::env::var_os(ROOT) {
        let store = store_in(Path::new(&root));
        let _lock = store.try_lock(&key(1)).expect("lock").expect("free");
        let _use = store.begin_use().expect("use");
        let staging = store.stage().expect("staging");
        fs::write(staging.path().join("half"), "done").expect("file");
        loop {
            std::thread::sleep(Duration::from_secs(1));
        }
    }
    let folder = folder();
    let store = store_in(folder.path());
    let mut other = Command::new(std::env::current_exe().expect("this binary"))
        .args(["--exact", "store::tests::concurrent::the_lock_of_the_dead_is_free"])
        .env(ROOT, folder.path())
        .stdout(Stdio::null())
        .spawn()
        .expect("another process");
    let staged = || files(&folder.path().join("tmp")).iter().any(|path| path.ends_with("half"));
    let began = Instant::now();
    while !staged() {
        assert!(began.elapsed() < Duration::from_secs(60), "the other process did not start");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(store.try_lock(&key(1)).expect("lock").is_none());
    store_in(folder.path());
    assert!(staged(), "what a living process staged must stay");
    other.kill().expect("killed");
    other.wait().expect("its end");
    assert!(store.try_lock(&key(1)).expect("lock").is_some());
    store_in(folder.path());
    assert_staging_empty(&store);
}

#[test]
fn staging_folders_are_private_and_vanish() {
    let folder = folder();
    let store = store_in(folder.path());
    let (first, second) = (store.stage().expect("staging"), store.stage().expect("staging"));
    assert_ne!(first.path(), second.path());
    let path = first.path().to_path_buf();
    assert_eq!(fs::metadata(&path).expect("folder").permissions().mode() & 0o777, 0o700);
    fs::create_dir(path.join("sealed")).expect("folder");
    fs::write(path.join("sealed/file"), "").expect("file");
    fs::set_permissions(path.join("sealed"), fs::Permissions::from_mode(0o500)).expect("mode");
    drop(first);
    assert!(!path.exists() && second.path().exists());
    // Another store in this process is not the dead's heir.
    store_in(folder.path());
    assert!(second.path().exists());
}
