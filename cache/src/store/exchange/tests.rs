//! Two stores and a folder between them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::super::tests::{assert_reads_back, files, folder, hit, key, make, miss, store_in};
use super::{MissReason, Pulled, Pushed};
use crate::remote::{Access, Remote};
use crate::{Digest, Fault, Store};

const GO_ON: &(dyn Fn() -> bool + Sync) = &|| false;

struct Team {
    folder: tempfile::TempDir,
    first: Store,
    second: Store,
    remote: Remote,
}

/// Two users; the first has the results of key 0 and 1.
fn team() -> Team {
    let folder = folder();
    let first = store_in(&folder.path().join("first"));
    for number in 0..2 {
        make(&first, key(number), &format!("salt {number}")).expect("a result");
    }
    let second = store_in(&folder.path().join("second"));
    let remote = open(folder.path(), Access::ReadWrite);
    Team { folder, first, second, remote }
}

/// The remote as another process sees it.
fn open(folder: &Path, access: Access) -> Remote {
    Remote::open(&format!("file://{}", folder.join("remote").display()), access).expect("a remote")
}

fn push(store: &Store, remote: &Remote, number: u8) -> Pushed {
    store.push(remote, &key(number), GO_ON).expect("pushed").expect("whole")
}

fn pull(store: &Store, remote: &Remote, number: u8) -> Pulled {
    store.pull(remote, &key(number), GO_ON).expect("pulled")
}

/// Writes over a file of the remote.
fn damage(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut content = fs::read(path).expect("content");
    change(&mut content);
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).expect("mode");
    fs::write(path, content).expect("written");
}

#[test]
fn what_one_pushes_the_other_pulls() {
    let Team { folder, first, second, remote } = team();
    assert_eq!(pull(&second, &remote, 0), Pulled::Absent { problems: vec![] });
    let pushed = push(&first, &remote, 0);
    assert_eq!((pushed.fresh, pushed.blobs), (true, 8));
    assert_eq!(push(&first, &remote, 0), Pushed { fresh: false, blobs: 0, bytes: 0 });
    // The four files of the tree are there.
    assert_eq!(push(&first, &remote, 1).blobs, 4);
    let Pulled::Arrived { blobs, bytes } = pull(&second, &remote, 0) else { panic!("it is there") };
    assert_eq!((blobs, bytes), (8, pushed.bytes));
    assert!(matches!(pull(&second, &remote, 1), Pulled::Arrived { blobs: 4, .. }));
    assert_eq!(pull(&second, &remote, 1), Pulled::Known);
    for number in 0..2 {
        assert_eq!(hit(&second, key(number)), hit(&first, key(number)));
        assert_reads_back(&second, &hit(&second, key(number)), &format!("salt {number}"));
    }
    assert_eq!(second.check(false).expect("check").problems, vec![]);
    // A remote in a folder is a store of this layout.
    let same = store_in(&folder.path().join("remote"));
    assert_eq!(hit(&same, key(0)), hit(&first, key(0)));
    assert_eq!(same.check(false).expect("check").problems, vec![]);
}

#[test]
fn every_file_of_a_remote_damaged_in_turn_is_found_and_healed_by_the_next_push() {
    let Team { folder, first, remote, .. } = team();
    push(&first, &remote, 0);
    let all = files(&folder.path().join("remote/cas"));
    assert_eq!(all.len(), 8);
    for (number, path) in all.iter().enumerate() {
        for change in [0, 1, 2_u8] {
            let good = fs::read(path).expect("content");
            damage(path, |content| match change {
                0 => content[0] ^= 1,
                1 => content.push(b'!'),
                _ => drop(content.pop()),
            });
            let user = store_in(&folder.path().join(format!("user {number} {change}")));
            let remote = open(folder.path(), Access::ReadWrite);
            let Pulled::Absent { problems } = pull(&user, &remote, 0) else { panic!("{} served", path.display()) };
            assert!(!problems.is_empty());
            assert_eq!(miss(&user, key(0)), MissReason::NoRecord);
            assert_eq!(files(&user.root().join("cas")), Vec::<PathBuf>::new());
            // The user makes the result and pushes it.
            make(&user, key(0), "salt 0").expect("made");
            assert_eq!(push(&user, &remote, 0).blobs, 8, "nothing of it is trusted");
            assert_eq!(fs::read(path).expect("content"), good);
        }
    }
}

#[test]
fn damaged_foreign_and_dangling_records_are_no_results() {
    let Team { folder, first, second, remote } = team();
    push(&first, &remote, 0);
    push(&first, &remote, 1);
    let records = files(&folder.path().join("remote/ac"));
    let good = fs::read(&records[0]).expect("record");
    for place in (0..good.len()).step_by(13) {
        damage(&records[0], |content| content[place] ^= 2);
        let Pulled::Absent { problems } = pull(&second, &remote, 0) else { panic!("served with byte {place} flipped") };
        assert_eq!(problems.len(), 1, "{problems:?}");
        if place % 2 == 0 {
            // Whoever made it as well heals it.
            push(&first, &remote, 0);
            assert_eq!(fs::read(&records[0]).expect("record"), good);
            assert!(matches!(
                pull(&store_in(&folder.path().join(place.to_string())), &remote, 0),
                Pulled::Arrived { .. }
            ));
        }
        damage(&records[0], |content| content.clone_from(&good));
    }
    // A record under another key.
    let other = fs::read(&records[1]).expect("record");
    damage(&records[0], |content| *content = other);
    assert!(matches!(pull(&second, &remote, 0), Pulled::Absent { problems } if problems.len() == 1));
    damage(&records[0], |content| *content = good);
    // A record whose blob is gone: the next push brings it back, though the record is there.
    let page = folder.path().join("remote").join(super::blob_place(&Digest::of_bytes(b"<p>salt 0</p>")));
    fs::remove_file(&page).expect("removed");
    let Pulled::Absent { problems } = pull(&second, &remote, 0) else { panic!("served without its blob") };
    assert!(problems[0].contains("is not there"), "{problems:?}");
    assert_eq!(push(&first, &open(folder.path(), Access::ReadWrite), 0).blobs, 1, "who does not know sends what lacks");
    assert!(matches!(pull(&second, &remote, 0), Pulled::Arrived { .. }));
}

#[test]
fn a_blob_damaged_here_is_not_sent() {
    let Team { folder, first, remote, .. } = team();
    damage(&first.layout().blob(&Digest::of_bytes(b"<p>salt 0</p>")), |content| content[3] ^= 1);
    let reason = first.push(&remote, &key(0), GO_ON).expect("pushing").expect_err("lost");
    assert!(matches!(reason, MissReason::DamagedBlob { .. }), "{reason}");
    assert_eq!(files(&folder.path().join("remote/ac")).len(), 0, "no record without its blobs");
}

#[test]
fn a_read_only_remote_is_read_and_not_written() {
    let Team { folder, first, second, remote } = team();
    push(&first, &remote, 0);
    let before = files(&folder.path().join("remote"));
    let remote = open(folder.path(), Access::ReadOnly);
    assert!(matches!(pull(&second, &remote, 0), Pulled::Arrived { .. }));
    let refused = first.push(&remote, &key(1), GO_ON).expect_err("read-only");
    assert!(refused.message.contains("it is read-only"), "{}", refused.message);
    assert_eq!(files(&folder.path().join("remote")), before);
}

#[test]
fn a_remote_of_another_layout_or_that_is_gone_is_told() {
    let Team { folder, first, second, remote } = team();
    push(&first, &remote, 0);
    fs::write(folder.path().join("remote/VERSION"), "retmask-cache 9\n").expect("written");
    let remote = open(folder.path(), Access::ReadOnly);
    let refused = second.pull(&remote, &key(0), GO_ON).expect_err("another layout");
    assert!(refused.message.contains("its VERSION says `retmask-cache 9`"), "{}", refused.message);
    assert_eq!(refused.fault, Fault::Environment);
}

#[test]
fn a_transfer_stops_when_it_is_asked_to() {
    let Team { folder: _folder, first, second, remote } = team();
    push(&first, &remote, 0);
    let stopped = second.pull(&remote, &key(0), &|| true).expect_err("stopped");
    assert!(stopped.message.contains("was stopped"), "{}", stopped.message);
    assert_eq!(miss(&second, key(0)), MissReason::NoRecord);
}

#[test]
fn runs_go_along_and_their_names_stay_names() {
    let Team { folder: _folder, first, second, remote } = team();
    let run = "20260101-000000-01-sample";
    let folder = first.runs_folder().expect("runs").join(run);
    fs::create_dir(&folder).expect("a run");
    for name in ["run.json", "secret.log"] {
        fs::write(folder.join(name), name).expect("a file");
    }
    first.push_run(&remote, run, &[folder.join("run.json"), folder.join("secret.log")]).expect("pushed");
    let wanted = |name: &str| name == "run.json";
    let pulled = second.pull_run(&remote, run, &wanted).expect("pulled").expect("it is there");
    assert_eq!(files(&pulled), [pulled.join("run.json")]);
    assert_eq!(second.pull_run(&remote, "20260101-000000-02-other", &wanted).expect("asked"), None);
    for name in ["../x", "..", "a/b", ""] {
        assert_eq!(second.pull_run(&remote, name, &wanted).expect_err(name).fault, Fault::Input);
    }
}
