//! Archives: what is carried over, and what hostile ones are refused for.

use std::fs;
use std::path::{Path, PathBuf};

use super::super::tests::{assert_reads_back, files, folder, hit, key, make, store_in};
use super::{Entry, HEADER, RunFile};
use crate::{CacheError, Committed, Digest, DigestKind, Fault, Form, Key, Output, Record, Store};

/// A store with two results and a run, and an archive of both.
fn packed(folder: &Path) -> (Store, PathBuf) {
    let store = store_in(&folder.join("from"));
    for number in 0..2 {
        make(&store, key(number), &format!("salt {number}")).expect("a result");
    }
    let run = store.runs_folder().expect("runs").join("20260101-000000-01-sample");
    fs::create_dir(&run).expect("a run");
    fs::write(run.join("run.json"), "{}").expect("a file");
    let run_file = RunFile { run: "20260101-000000-01-sample".to_owned(), path: run.join("run.json") };
    let archive = folder.join("archive");
    let packed =
        store.pack(&[key(0), key(1)].into(), &[].into(), &[run_file], &archive, false).expect("packed").expect("whole");
    // Page, table, salt and manifest of each, and the four files of both trees.
    assert_eq!((packed.records, packed.blobs), (2, 12));
    assert_eq!(packed.bytes, fs::metadata(&archive).expect("the archive").len());
    (store, archive)
}

/// The message with which a store refuses this archive, and that it then holds nothing of it.
fn refused(folder: &Path, archive: &[u8]) -> String {
    let (path, root) = (folder.join("hostile"), folder.join("to"));
    fs::write(&path, archive).expect("an archive");
    let store = store_in(&root);
    let CacheError { fault, message, .. } = store.unpack(&path).expect_err("refused");
    assert_eq!(fault, Fault::Input, "{message}");
    for taken in ["cas", "ac", "runs"] {
        assert_eq!(files(&root.join(taken)), Vec::<PathBuf>::new(), "{message}");
    }
    drop(store);
    assert_eq!(files(&root.join("tmp")), Vec::<PathBuf>::new());
    message
}

/// An archive of these entries, with everything about the archive itself in order.
fn archive(entries: &[(Entry, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = HEADER.as_bytes().to_vec();
    for (entry, content) in entries {
        bytes.extend(entry.line().into_bytes());
        bytes.extend(content);
    }
    let end = Entry::End(Digest::of_bytes(&bytes)).line();
    bytes.extend(end.into_bytes());
    bytes
}

fn blob(content: &[u8]) -> (Entry, Vec<u8>) {
    (Entry::Blob(Digest::of_bytes(content), content.len() as u64), content.to_vec())
}

fn record(record: &Record) -> (Entry, Vec<u8>) {
    let (bytes, _) = record.to_bytes().expect("a record");
    (Entry::Record(record.key, bytes.len() as u64), bytes)
}

/// A record whose one output is a tree of this manifest text, sound or not.
fn tree_of(sample: &Record, manifest: &str, size: u64) -> Record {
    let digest =
        Digest::new(DigestKind::Tree, blake3::derive_key("retmask 2026-11 tree-manifest v1", manifest.as_bytes()));
    let blob = Digest::of_bytes(manifest.as_bytes());
    let output = Output { port: "tree".into(), media: "test/tree;v1".into(), form: Form::Tree, digest, blob, size };
    Record { outputs: vec![output], ..sample.clone() }
}

#[test]
fn what_is_packed_is_the_same_where_it_is_unpacked() {
    let folder = folder();
    let (from, archive) = packed(folder.path());
    let again = folder.path().join("again");
    let store = store_in(&folder.path().join("to"));
    let unpacked = store.unpack(&archive).expect("unpacked");
    assert_eq!((unpacked.fresh.len(), unpacked.known.len(), unpacked.blobs), (2, 0, 12));
    assert_eq!(unpacked.runs, ["20260101-000000-01-sample"]);
    for number in 0..2 {
        let record = hit(&store, key(number));
        assert_eq!(record, hit(&from, key(number)));
        assert_reads_back(&store, &record, &format!("salt {number}"));
    }
    assert_eq!(store.check(false).expect("check").problems, vec![]);
    let known = store.unpack(&archive).expect("unpacked again");
    assert_eq!((known.fresh.len(), known.known.len(), known.known_runs.len()), (0, 2, 1));
    let run_file = RunFile {
        run: "20260101-000000-01-sample".to_owned(),
        path: store.runs_folder().expect("runs").join("20260101-000000-01-sample/run.json"),
    };
    store.pack(&[key(0), key(1)].into(), &[].into(), &[run_file], &again, false).expect("packed").expect("whole");
    assert_eq!(fs::read(again).expect("bytes"), fs::read(archive).expect("bytes"), "same results, same bytes");
}

#[test]
fn a_damaged_result_is_not_packed() {
    let folder = folder();
    let store = store_in(&folder.path().join("from"));
    let (record, _) = make(&store, key(1), "one").expect("a result");
    let path = store.layout().blob(&record.outputs[0].blob);
    fs::remove_file(&path).expect("removed");
    fs::write(&path, "<p>eno</p>").expect("damaged");
    let target = folder.path().join("archive");
    let (lost, reason) =
        store.pack(&[key(1)].into(), &[].into(), &[], &target, false).expect("packing").expect_err("lost");
    assert!(lost == key(1) && reason.to_string().contains("was damaged"), "{reason}");
    assert!(!target.exists());
}

#[test]
fn a_result_that_differs_is_told_and_not_taken() {
    let folder = folder();
    let (_, archive) = packed(folder.path());
    let store = store_in(&folder.path().join("to"));
    let (mine, committed) = make(&store, key(0), "my own salt").expect("a result");
    assert_eq!(committed, Committed::New);
    let unpacked = store.unpack(&archive).expect("unpacked");
    assert_eq!((unpacked.fresh, unpacked.differing), (vec![key(1)], vec![key(0)]));
    assert_eq!(hit(&store, key(0)), mine);
}

#[test]
fn every_flipped_byte_and_every_cut_is_refused() {
    let folder = folder();
    let (_, archive) = packed(folder.path());
    let good = fs::read(archive).expect("bytes");
    for place in (0..good.len()).step_by(7).chain(good.len() - 80..good.len()) {
        let mut flipped = good.clone();
        flipped[place] ^= 0x04;
        refused(folder.path(), &flipped);
    }
    for length in (0..good.len()).step_by(31).chain(good.len() - 80..good.len()) {
        refused(folder.path(), &good[..length]);
    }
    assert!(refused(folder.path(), &[&good[..], b"x"].concat()).contains("something follows its last line"));
}

#[test]
fn sizes_that_lie_are_refused_before_anything_is_made_for_them() {
    let folder = folder();
    let (from, _) = packed(folder.path());
    let sound = hit(&from, key(0));
    let huge = format!("{HEADER}blob {} {}\n", Digest::of_bytes(b"").hex(), u64::MAX);
    assert!(
        refused(folder.path(), huge.as_bytes()).contains("an entry of 18446744073709551615 bytes, where 0 are left")
    );
    let huge = format!("{HEADER}record {} {}\n", key(0), 1_u64 << 40);
    assert!(refused(folder.path(), huge.as_bytes()).contains("where 0 are left"));
    let page = b"<p>salt 0</p>";
    let mut shorter = blob(page);
    shorter.0 = Entry::Blob(Digest::of_bytes(page), page.len() as u64 - 1);
    assert!(refused(folder.path(), &archive(&[shorter])).contains("have the digest"));
    // A record that gives its file another size than the blob has.
    let lying = Record { outputs: vec![Output { size: 5, ..sound.outputs[0].clone() }], ..sound.clone() };
    let message = refused(folder.path(), &archive(&[blob(page), record(&lying)]));
    assert!(message.contains("has 13 bytes, not 5"), "{message}");
    // A tree whose manifest gives a file another size.
    let manifest = format!("retmask-tree 1\n- 99 {} a\n", Digest::of_bytes(page).hex());
    let tree = tree_of(&sound, &manifest, 99);
    let message = refused(folder.path(), &archive(&[blob(page), blob(manifest.as_bytes()), record(&tree)]));
    assert!(message.contains("has 13 bytes, not 99"), "{message}");
}

#[test]
fn trees_that_leave_their_folder_collide_or_hold_links_are_refused() {
    let folder = folder();
    let (from, _) = packed(folder.path());
    let sound = hit(&from, key(0));
    let page = b"<p>salt 0</p>";
    let hex = Digest::of_bytes(page).hex();
    let lines = |lines: &[String]| format!("retmask-tree 1\n{}\n", lines.join("\n"));
    let file = |path: &str| format!("- 13 {hex} {path}");
    let hostile = [
        (lines(&[file("../escaped")]), "must not be `.` or `..`"),
        (lines(&[file("a/../../escaped")]), "must not be `.` or `..`"),
        (lines(&[file("/etc/passwd")]), "paths must be relative"),
        (lines(&[file("A"), file("a")]), "differ in upper and lower case only"),
        (lines(&[file("a"), file("a/b")]), "stands twice"),
        (lines(&[format!("l 13 {hex} link")]), "is not a file's line"),
        (lines(&[file("a\\b")]), "backslashes"),
    ];
    for (manifest, why) in hostile {
        let size = 13 * manifest.lines().skip(1).count() as u64;
        let tree = tree_of(&sound, &manifest, size);
        let message = refused(folder.path(), &archive(&[blob(page), blob(manifest.as_bytes()), record(&tree)]));
        assert!(message.contains(why), "{manifest}: {message}");
    }
    assert!(!folder.path().join("escaped").exists());
    // With a sound manifest the same archive is taken, so it is the manifest that is refused.
    let manifest = lines(&[file("a")]);
    let path = folder.path().join("sound");
    fs::write(&path, archive(&[blob(page), blob(manifest.as_bytes()), record(&tree_of(&sound, &manifest, 13))]))
        .expect("written");
    assert_eq!(store_in(&folder.path().join("sound-store")).unpack(&path).expect("unpacked").fresh.len(), 1);
}

#[test]
fn names_of_runs_cannot_be_paths_and_cannot_collide() {
    let folder = folder();
    let run = |run: &str, file: &str| format!("run {run} {file} 2\n{{}}");
    let whole = |entries: &str| {
        let mut bytes = format!("{HEADER}{entries}").into_bytes();
        let end = Entry::End(Digest::of_bytes(&bytes)).line();
        bytes.extend(end.into_bytes());
        bytes
    };
    for (name, file) in [
        ("..", "run.json"),
        ("../../x", "run.json"),
        ("/tmp/x", "run.json"),
        ("a", "../run.json"),
        ("a", ".hidden"),
        ("", "run.json"),
        ("a", "b/c"),
        ("a b", "c"),
        ("a\u{0}", "c"),
        ("ä", "c"),
    ] {
        let message = refused(folder.path(), &whole(&run(name, file)));
        assert!(message.contains("is not the line of an entry"), "{name} {file}: {message}");
    }
    let twice = [run("a", "run.json"), run("a", "RUN.json")].concat();
    assert!(refused(folder.path(), &whole(&twice)).contains("stands twice"));
    let twice = [run("a", "run.json"), run("A", "run.json")].concat();
    assert!(refused(folder.path(), &whole(&twice)).contains("differ in upper and lower case only"));
}

#[test]
fn other_contradictions_are_refused() {
    let folder = folder();
    let (from, _) = packed(folder.path());
    let sound = hit(&from, key(0));
    let page = b"<p>salt 0</p>";
    let of_page = Record { outputs: vec![sound.outputs[0].clone()], ..sound.clone() };
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (archive(&[record(&of_page)]), "is not there"),
        (archive(&[blob(page), blob(page)]), "stands twice"),
        (archive(&[blob(page), record(&of_page), record(&of_page)]), "it stands twice"),
        (
            archive(&[
                blob(page),
                (Entry::Record(Key::new([9; 32]), record(&of_page).1.len() as u64), record(&of_page).1),
            ]),
            "it is of the key",
        ),
        (b"retmask-archive 2\n".to_vec(), "which this program does not know"),
        (b"PK\x03\x04 something else\n".to_vec(), "does not begin with the line"),
        (Vec::new(), "ends within a line"),
        (vec![b'a'; 10_000], "the line is too long"),
        (format!("{HEADER}blob {} 013\n", Digest::of_bytes(page).hex()).into_bytes(), "is not the line of an entry"),
        (format!("{HEADER}link a b\n").into_bytes(), "is not the line of an entry"),
        (format!("{HEADER}rows ../up {} 1\n", "a".repeat(64)).into_bytes(), "is not the line of an entry"),
    ];
    for (bytes, why) in cases {
        let message = refused(folder.path(), &bytes);
        assert!(message.contains(why), "{why}: {message}");
    }
}

#[test]
fn rows_are_carried_and_those_of_another_scope_refused() {
    let folder = folder();
    let (from, _) = packed(folder.path());
    let (scope, row, fields) = (Key::new([5; 32]), [6; 32], serde_json::json!({"kind": "test"}));
    let mut map = from.row_map(&scope, &fields).expect("a map");
    map.put(&row, b"a result").expect("put");
    map.finish().expect("kept");
    let path = folder.path().join("with rows");
    let packed = from.pack(&[key(0)].into(), &[scope].into(), &[], &path, false).expect("packed").expect("whole");
    assert_eq!((packed.records, packed.segments), (1, 1));
    let store = store_in(&folder.path().join("taken"));
    for _ in 0..2 {
        assert_eq!(store.unpack(&path).expect("unpacked").segments, 1);
        let mut map = store.row_map(&scope, &fields).expect("a map");
        assert_eq!(map.get(&row).expect("read").as_deref(), Some(&b"a result"[..]));
    }
    assert_eq!(store.row_maps().expect("maps")[0].segments, 1);
    let (digest, segment) = from.segments_of(&scope).expect("segments").remove(0);
    let content = fs::read(&segment).expect("a segment");
    let entry = |scope: Key, digest: Digest, content: &[u8]| {
        (Entry::Rows { scope, digest, size: content.len() as u64 }, content.to_vec())
    };
    let mut flipped = content.clone();
    flipped[30] ^= 1;
    let torn = &content[..content.len() - 1];
    for (entries, why) in [
        (vec![entry(Key::new([4; 32]), digest, &content)], "are not of the scope"),
        (vec![entry(scope, Digest::of_bytes(b"no rows"), b"no rows")], "are not of the scope"),
        (vec![entry(scope, Digest::of_bytes(torn), torn)], "are not of the scope"),
        (vec![entry(scope, digest, &flipped)], "have the digest"),
        (vec![entry(scope, digest, &content), entry(scope, digest, &content)], "stand twice"),
    ] {
        let message = refused(folder.path(), &archive(&entries));
        assert!(message.contains(why), "{why}: {message}");
        assert_eq!(files(&folder.path().join("to/rows")), Vec::<PathBuf>::new(), "{why}");
    }
    // A damaged segment is not carried.
    fs::remove_file(&segment).expect("removed");
    fs::write(&segment, flipped).expect("damaged");
    let error = from.pack(&[].into(), &[scope].into(), &[], &path, true).expect_err("damaged");
    assert!(error.fault == Fault::Environment && error.message.contains("is damaged"), "{}", error.message);
}

#[test]
fn a_failing_disk_takes_in_nothing_half() {
    use crate::failpoint::{Action, arm, disarm};
    let folder = folder();
    let (_, archive) = packed(folder.path());
    for step in 0..1_000 {
        let store = store_in(&folder.path().join(format!("to {step}")));
        arm(step, Action::Fail(rustix::io::Errno::NOSPC));
        let unpacked = store.unpack(&archive);
        let reached = disarm();
        assert_eq!(store.check(false).expect("check").problems, vec![], "step {step}");
        let Err(error) = unpacked else {
            assert!(!reached && step > 40, "step {step} failed and nobody said so");
            return;
        };
        assert_eq!(error.fault, Fault::Environment, "{}", error.message);
        // With space again it is taken in, over what is left.
        assert_eq!(store.unpack(&archive).expect("unpacked").blobs, 12);
        assert_reads_back(&store, &hit(&store, key(1)), "salt 1");
    }
    panic!("no end");
}
