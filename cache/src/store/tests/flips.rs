//! Every byte of every stored file, flipped in turn, is found, and nothing false is served.

use super::*;

fn flip(path: &Path, place: usize) -> Vec<u8> {
    let content = fs::read(path).expect("content");
    let mut flipped = content.clone();
    flipped[place] ^= 0x10;
    replace(path, &flipped);
    content
}

fn replace(path: &Path, content: &[u8]) {
    if path.exists() {
        fs::set_permissions(path, fs::Permissions::from_mode(0o644)).expect("mode");
    }
    fs::write(path, content).expect("written");
    fs::set_permissions(path, fs::Permissions::from_mode(0o444)).expect("mode");
}

/// Looks the result up and reads all of it; the reason if any of it is not there.
fn read_all(store: &Store, key: Key) -> Option<MissReason> {
    let record = match store.lookup(&key).expect("lookup") {
        Lookup::Hit(record) => record,
        Lookup::Miss(reason) => return Some(reason),
    };
    record.outputs.iter().find_map(|output| match store.read(output).expect("read") {
        Reading::Ready(_) => None,
        Reading::Lost(reason) => Some(reason),
    })
}

#[test]
fn every_flipped_byte_of_a_blob_is_found_and_put_aside() {
    let folder = folder();
    let store = store_in(folder.path());
    let (record, _) = make(&store, key(1), "one").expect("a result");
    let mut flips = 0;
    for blob in files(&folder.path().join("cas")) {
        for place in 0..fs::read(&blob).expect("content").len() {
            let good = flip(&blob, place);
            let reason = read_all(&store, key(1)).expect("the flip must be found");
            let MissReason::DamagedBlob { digest, quarantined, .. } = &reason else { panic!("{reason}") };
            assert_eq!(store.layout().blob(digest), blob);
            assert!(quarantined.exists() && !blob.exists());
            assert!(matches!(read_all(&store, key(1)), Some(MissReason::MissingBlob { .. })));
            replace(&blob, &good);
            flips += 1;
        }
    }
    assert!(flips > 500, "{flips} flips only");
    assert_reads_back(&store, &record, "one");
}

#[test]
fn a_blob_cut_short_made_longer_removed_or_replaced_is_found() {
    let folder = folder();
    let store = store_in(folder.path());
    let (record, _) = make(&store, key(1), "one").expect("a result");
    for blob in files(&folder.path().join("cas")) {
        let good = fs::read(&blob).expect("content");
        let longer = [&good[..], b"!"].concat();
        for bad in [&good[..good.len() - 1], &[], &longer] {
            replace(&blob, bad);
            assert!(matches!(read_all(&store, key(1)), Some(MissReason::DamagedBlob { .. })));
        }
        assert!(matches!(read_all(&store, key(1)), Some(MissReason::MissingBlob { .. })));
        let elsewhere = folder.path().join("elsewhere");
        replace(&elsewhere, &good);
        std::os::unix::fs::symlink(&elsewhere, &blob).expect("link");
        assert!(matches!(read_all(&store, key(1)), Some(MissReason::DamagedBlob { .. })), "a link is not a blob");
        fs::create_dir(&blob).expect("folder");
        assert!(matches!(read_all(&store, key(1)), Some(MissReason::DamagedBlob { .. })), "nor is a folder");
        replace(&blob, &good);
    }
    assert_reads_back(&store, &record, "one");
}

#[test]
fn every_flipped_byte_of_a_record_is_found() {
    let folder = folder();
    let store = store_in(folder.path());
    let (record, _) = make(&store, key(1), "one").expect("a result");
    let path = files(&folder.path().join("ac")).pop().expect("the record");
    let mut put_aside = 0;
    for place in 0..fs::read(&path).expect("content").len() {
        let good = flip(&path, place);
        match miss(&store, key(1)) {
            MissReason::DamagedRecord { quarantined, .. } => {
                assert!(quarantined.exists() && !path.exists());
                put_aside += 1;
            }
            // The flip hit the version: a newer program's record is left alone.
            MissReason::UnknownVersion { .. } => assert!(path.exists()),
            reason => panic!("{reason}"),
        }
        replace(&path, &good);
    }
    assert!(put_aside > 500, "{put_aside} only");
    assert_eq!(hit(&store, key(1)), record);
}

#[test]
fn a_record_under_another_key_or_name_is_not_served() {
    let folder = folder();
    let store = store_in(folder.path());
    make(&store, key(1), "one").expect("a result");
    let path = files(&folder.path().join("ac")).pop().expect("the record");
    let elsewhere = store.layout().records(&key(2)).join(path.file_name().expect("name"));
    fs::create_dir_all(elsewhere.parent().expect("parent")).expect("folder");
    fs::copy(&path, &elsewhere).expect("copied");
    assert!(matches!(miss(&store, key(2)), MissReason::DamagedRecord { .. }));
    fs::rename(&path, path.with_file_name("unsigned.0000000000000000.rec")).expect("renamed");
    assert!(matches!(miss(&store, key(1)), MissReason::DamagedRecord { .. }));
}

#[test]
fn what_was_damaged_is_made_again_and_then_served() {
    let folder = folder();
    let store = store_in(folder.path());
    let (record, _) = make(&store, key(1), "one").expect("a result");
    for path in files(&folder.path().join("cas")).into_iter().chain(files(&folder.path().join("ac"))) {
        flip(&path, 0);
    }
    assert!(read_all(&store, key(1)).is_some());
    let (again, committed) = make(&store, key(1), "one").expect("made again");
    assert_eq!((&again, committed), (&record, Committed::New));
    assert_eq!(read_all(&store, key(1)), None);
    assert_reads_back(&store, &record, "one");
}

#[test]
fn a_damaged_blob_is_healed_by_publishing_it_even_if_its_size_is_right() {
    let folder = folder();
    let store = store_in(folder.path());
    let (record, _) = make(&store, key(1), "one").expect("a result");
    let blob = store.layout().blob(&record.output("page").expect("page").blob);
    flip(&blob, 3);
    // The record and the sizes look whole, so only publishing the same bytes again can notice.
    assert_eq!(hit(&store, key(1)), record);
    let (_, committed) = make(&store, key(1), "one").expect("made again");
    assert_eq!(committed, Committed::Already(Box::new(record.clone())));
    assert_reads_back(&store, &record, "one");
}

#[test]
fn a_full_check_finds_what_lookups_do_not_touch() {
    let folder = folder();
    let store = store_in(folder.path());
    let (record, _) = make(&store, key(1), "one").expect("a result");
    let blobs = files(&folder.path().join("cas"));
    flip(&blobs[0], 0);
    fs::write(folder.path().join("cas/b3/stray"), "").ok();
    let check = store.check(true).expect("check");
    assert_eq!((check.records, check.blobs), (0, 7));
    // The blob, the stray file, and the record that names the blob.
    assert_eq!(check.problems.len(), 3, "{:?}", check.problems);
    assert!(store.verify(&record).expect("verify").is_some());
}

#[test]
fn exporting_a_damaged_blob_leaves_nothing_behind() {
    let folder = folder();
    let store = store_in(&folder.path().join("store"));
    let (record, _) = make(&store, key(1), "one").expect("a result");
    for (port, blob) in [("page", "<p>one</p>"), ("checkpoint", TREE[2].1)] {
        flip(&store.layout().blob(&Digest::of_bytes(blob.as_bytes())), 2);
        let target = folder.path().join("out");
        let lost = store.export(record.output(port).expect("port"), &target, false).expect("export");
        assert!(matches!(lost, Some(MissReason::DamagedBlob { .. })), "{lost:?}");
        assert_eq!(fs::read_dir(folder.path()).expect("folder").count(), 1, "only the store is there");
    }
}
