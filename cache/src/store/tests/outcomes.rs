//! What publishing, committing, finding, reading and exporting do when all goes well, and what they refuse.

use std::os::unix::fs::{MetadataExt, symlink};

use super::*;
use crate::{Fault, Verify};

#[test]
fn a_result_is_found_and_read_again() {
    let folder = folder();
    let store = store_in(folder.path());
    assert_eq!(miss(&store, key(1)), MissReason::NoRecord);
    let (record, committed) = make(&store, key(1), "one").expect("a result");
    assert_eq!(committed, Committed::New);
    // Also by another process, which knows only what is on the disk.
    let other = store_in(folder.path());
    assert_eq!(hit(&other, key(1)), record);
    assert_reads_back(&other, &record, "one");
    assert_eq!(other.verify(&record).expect("verify"), None);
    let check = other.check(true).expect("check");
    // Page, table, five files of the tree and its manifest.
    assert_eq!((check.records, check.blobs, check.problems), (1, 8, vec![]));
    drop((store, other));
    assert_staging_empty(&store_in(folder.path()));
}

#[test]
fn blobs_are_read_only_and_stored_once() {
    let folder = folder();
    let store = store_in(folder.path());
    make(&store, key(1), "one").expect("a result");
    make(&store, key(2), "two").expect("a result");
    let blobs = files(&folder.path().join("cas"));
    // The tree's other four files are shared.
    assert_eq!(blobs.len(), 8 + 4);
    for blob in blobs {
        assert_eq!(fs::metadata(&blob).expect("metadata").mode() & 0o777, 0o444, "{}", blob.display());
        let name = blob.file_name().expect("name").to_string_lossy().into_owned();
        assert_eq!(name, Digest::of_bytes(&fs::read(&blob).expect("content")).hex());
    }
    assert_eq!(store.records().expect("records").into_iter().flatten().count(), 2);
}

#[test]
fn the_first_of_several_results_counts() {
    let folder = folder();
    let store = store_in(folder.path());
    let (first, _) = make(&store, key(1), "one").expect("a result");
    assert_eq!(make(&store, key(1), "one").expect("a result").1, Committed::Already(Box::new(first.clone())));
    let (_, committed) = make(&store, key(1), "other").expect("a result");
    let ports = ["checkpoint", "page", "table"].map(str::to_owned).to_vec();
    assert_eq!(committed, Committed::Differs { kept: Box::new(first.clone()), ports });
    assert_eq!(hit(&store, key(1)), first);
}

#[test]
fn a_record_of_what_was_not_published_is_refused() {
    let folder = folder();
    let store = store_in(folder.path());
    let (mut record, _) = make(&store, key(1), "one").expect("a result");
    record.key = key(2);
    let absent = Digest::of_bytes(b"never published");
    (record.outputs[0].digest, record.outputs[0].blob) = (absent, absent);
    let refused = store.commit(&record).expect_err("refused");
    assert_eq!(refused.fault, Fault::Internal);
    assert!(refused.message.contains("`page` is missing"), "{}", refused.message);
    assert_eq!(miss(&store, key(2)), MissReason::NoRecord);
}

#[test]
fn only_what_lies_in_staging_is_taken() {
    let folder = folder();
    let store = store_in(&folder.path().join("store"));
    let outside = folder.path().join("outside");
    fs::write(&outside, "not the store's").expect("file");
    let staging = store.stage().expect("staging");
    symlink(&outside, staging.path().join("link")).expect("link");
    fs::create_dir(staging.path().join("tree")).expect("folder");
    symlink(&outside, staging.path().join("tree/link")).expect("link");
    let bad = ["link", "tree", "absent", ".", "../../../outside"];
    for name in bad.map(|name| staging.path().join(name)).into_iter().chain([outside.clone()]) {
        let refused = store.publish(&staging, std::slice::from_ref(&name)).expect_err("refused");
        assert_eq!(refused.fault, Fault::Internal, "{}: {}", name.display(), refused.message);
    }
    assert_eq!(fs::read_to_string(&outside).expect("still there"), "not the store's");
    assert_eq!(files(&store.root().join("cas")), Vec::<PathBuf>::new());
}

#[test]
fn a_second_name_of_a_published_file_is_no_way_into_the_store() {
    let folder = folder();
    let store = store_in(&folder.path().join("store"));
    let staging = store.stage().expect("staging");
    let path = staging.path().join("page");
    fs::write(&path, "good").expect("file");
    let alias = folder.path().join("alias");
    fs::hard_link(&path, &alias).expect("alias");
    store.publish(&staging, &[path]).expect("published");
    fs::remove_file(&alias).expect("removed");
    fs::write(&alias, "evil").expect("written");
    assert_eq!(store.check(true).expect("check").problems, Vec::<Problem>::new());
    assert_eq!(store.check(true).expect("check").blobs, 1);
}

#[test]
fn equal_files_and_links_in_a_tree_are_one_blob() {
    let folder = folder();
    let store = store_in(folder.path());
    let staging = store.stage().expect("staging");
    let tree = staging.path().join("tree");
    fs::create_dir(&tree).expect("folder");
    for name in ["a", "b", "c"] {
        fs::write(tree.join(name), "same").expect("file");
    }
    symlink("a", tree.join("link")).expect("link");
    let again = tree.clone();
    let published = store.publish(&staging, &[tree, again]).expect("published");
    assert_eq!(published[0], published[1]);
    assert_eq!(published[0].size, 16);
    assert_eq!(store.check(true).expect("check").blobs, 2);
}

#[test]
fn an_empty_tree_and_an_empty_file_are_results_too() {
    let folder = folder();
    let store = store_in(folder.path());
    let staging = store.stage().expect("staging");
    fs::create_dir(staging.path().join("tree")).expect("folder");
    fs::write(staging.path().join("file"), "").expect("file");
    let paths = ["tree", "file"].map(|name| staging.path().join(name));
    let published = store.publish(&staging, &paths).expect("published");
    assert_eq!((published[0].form, published[0].size), (Form::Tree, 0));
    assert_eq!((published[1].digest, published[1].size), (Digest::of_bytes(b""), 0));
}

#[test]
fn exports_are_copies_that_appear_whole() {
    let folder = folder();
    let store = store_in(&folder.path().join("store"));
    let (record, _) = make(&store, key(1), "one").expect("a result");
    let out = folder.path().join("out");
    fs::create_dir(&out).expect("folder");
    for port in ["page", "checkpoint"] {
        let output = record.output(port).expect("port");
        let target = out.join(port);
        assert_eq!(store.export(output, &target, false).expect("export"), None);
        let refused = store.export(output, &target, false).expect_err("exists");
        assert_eq!(refused.fault, Fault::Input);
        assert!(refused.message.contains("exists already"), "{}", refused.message);
    }
    // Written to by their owner, they change nothing in the store.
    fs::write(out.join("page"), "mine").expect("writable");
    fs::write(out.join("checkpoint/config.json"), "mine").expect("writable");
    fs::write(out.join("checkpoint/stale"), "left over").expect("writable");
    assert_ne!(fs::metadata(out.join("checkpoint/bin/tool")).expect("tool").mode() & 0o100, 0);
    for port in ["page", "checkpoint"] {
        let output = record.output(port).expect("port");
        assert_eq!(store.export(output, &out.join(port), true).expect("export"), None);
    }
    assert_eq!(fs::read_to_string(out.join("page")).expect("page"), "<p>one</p>");
    assert_eq!(fs::read_to_string(out.join("checkpoint/config.json")).expect("config"), TREE[0].1);
    assert!(!out.join("checkpoint/stale").exists());
    assert_eq!(fs::read_dir(&out).expect("folder").count(), 2, "no temporary names are left");
    for (port, target) in [("page", "checkpoint"), ("checkpoint", "page"), ("page", "absent/page")] {
        let refused = store.export(record.output(port).expect("port"), &out.join(target), true).expect_err(target);
        assert_eq!(refused.fault, Fault::Input, "{}", refused.message);
    }
    assert_eq!(store.check(true).expect("check").problems, Vec::<Problem>::new());
}

#[test]
fn foreign_folders_and_versions_are_refused() {
    let folder = folder();
    fs::write(folder.path().join("thesis.tex"), "").expect("file");
    let refused = Store::open(folder.path()).expect_err("foreign");
    assert_eq!(refused.fault, Fault::Input);
    assert!(refused.message.contains("thesis.tex"), "{}", refused.message);
    let refused = Store::open(&folder.path().join("thesis.tex")).expect_err("a file");
    assert_eq!(refused.fault, Fault::Input);
    fs::write(folder.path().join("VERSION"), "retmask-cache 2\n").expect("file");
    let refused = Store::open(folder.path()).expect_err("newer");
    assert_eq!(refused.fault, Fault::Input);
    assert!(refused.message.contains("`retmask-cache 2`"), "{}", refused.message);
}

#[test]
fn a_store_given_away_by_its_maker_halfway_is_finished() {
    let folder = folder();
    fs::write(folder.path().join("VERSION.x1"), "retm").expect("file");
    make(&store_in(folder.path()), key(1), "one").expect("a result");
}

#[test]
fn durable_settings_store_the_same() {
    for durability in [Durability::Batch, Durability::Strict] {
        let folder = folder();
        let store = Store::open_with(folder.path(), Options { durability, verify: Verify::Always }).expect("a store");
        let (record, _) = make(&store, key(1), "one").expect("a result");
        assert_eq!(hit(&store, key(1)), record);
        assert_reads_back(&store, &record, "one");
    }
}

#[test]
fn the_memo_saves_the_second_verification_and_no_change_escapes_it() {
    let folder = folder();
    let store = store_in(folder.path());
    let (record, _) = make(&store, key(1), "one").expect("a result");
    let page = record.output("page").expect("page");
    let blob = store.layout().blob(&page.blob);
    let identity = crate::hash::Identity::of(&fs::metadata(&blob).expect("metadata"));
    // As if it had been verified long after it was made.
    let later = std::time::SystemTime::now() + std::time::Duration::from_secs(5);
    store.memo().remember(identity, page.blob, later);
    assert_reads_back(&store, &record, "one");
    let now = crate::hash::Identity::of(&fs::metadata(&blob).expect("metadata"));
    assert_eq!(store.memo().recall(&now), Some(page.blob), "reading must not make it forget");
    std::thread::sleep(std::time::Duration::from_millis(20));
    fs::set_permissions(&blob, fs::Permissions::from_mode(0o644)).expect("mode");
    fs::write(&blob, "<p>eno</p>").expect("tampered");
    assert!(matches!(store.read(page).expect("read"), Reading::Lost(MissReason::DamagedBlob { .. })));
}
