use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::log::{ENTRY, Entry};
use super::{Expected, Memo, log, racy};
use crate::hash::Identity;
use crate::{Digest, Fault};

fn identity_of(path: &Path) -> Identity {
    Identity::of(&fs::metadata(path).expect("metadata"))
}

/// A time at which a file of now is no longer young.
fn later() -> SystemTime {
    SystemTime::now() + Duration::from_secs(5)
}

fn sample(number: u64) -> Entry {
    let identity =
        Identity { device: 1, inode: number, size: 3, modified: (100, 5), changed: (-7, i64::from(u32::MAX)) };
    Entry { identity, digest: Digest::of_bytes(&number.to_le_bytes()) }
}

/// A memo that says something false of `path`, so that whether it was asked can be seen.
fn lying_memo(folder: &Path, path: &Path) -> (Memo, Digest) {
    let memo = Memo::new(folder.join("memo/host.1"));
    let lie = Digest::of_bytes(b"a lie");
    memo.remember(identity_of(path), lie, later());
    memo.save();
    assert!(memo.trouble().is_none());
    (Memo::new(folder.join("memo/host.1")), lie)
}

#[test]
fn an_unchanged_file_is_not_hashed_again() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("file");
    fs::write(&path, "one").expect("file");
    let (memo, lie) = lying_memo(folder.path(), &path);
    assert_eq!(memo.file(&path).expect("digest"), (lie, 3));
}

#[test]
fn every_change_is_noticed() {
    type Change = fn(&Path);
    let changes: [Change; 4] = [
        |path| fs::write(path, "longer").expect("write"),
        // In place, same size, with the old time stamp put back.
        |path| {
            let modified = fs::metadata(path).expect("metadata").modified().expect("time");
            fs::write(path, "two").expect("write");
            File::options().write(true).open(path).and_then(|file| file.set_modified(modified)).expect("time");
        },
        // Another file with the same size and time in its place.
        |path| {
            let modified = fs::metadata(path).expect("metadata").modified().expect("time");
            let other = path.with_extension("other");
            fs::write(&other, "two").expect("write");
            File::options().write(true).open(&other).and_then(|file| file.set_modified(modified)).expect("time");
            fs::rename(other, path).expect("rename");
        },
        |path| File::options().write(true).open(path).and_then(|file| file.set_modified(later())).expect("time"),
    ];
    for change in changes {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("file");
        fs::write(&path, "one").expect("file");
        let (memo, _) = lying_memo(folder.path(), &path);
        // Past the clock tick of the file system, which is all that ctime can tell.
        std::thread::sleep(Duration::from_millis(20));
        change(&path);
        let content = fs::read(&path).expect("content");
        assert_eq!(memo.file(&path).expect("digest").0, Digest::of_bytes(&content));
    }
}

#[test]
fn a_young_file_is_not_remembered() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("file");
    fs::write(&path, "one").expect("file");
    let memo = Memo::new(folder.path().join("memo"));
    let (digest, _) = memo.file(&path).expect("digest");
    assert_eq!(memo.recall(&identity_of(&path)), None);
    assert!(!folder.path().join("memo").exists());
    memo.remember(identity_of(&path), digest, later());
    assert_eq!(memo.recall(&identity_of(&path)), Some(digest));
}

#[test]
fn young_means_less_than_two_seconds_or_in_the_future() {
    let at = |seconds: u64, nanos: u32| SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos);
    let file = |modified, changed| Identity { modified, changed, ..sample(1).identity };
    assert!(!racy(&file((100, 0), (100, 0)), at(102, 0)));
    assert!(racy(&file((100, 1), (100, 0)), at(102, 0)));
    assert!(racy(&file((0, 0), (100, 1)), at(102, 0)), "an old mtime can be put back; ctime cannot");
    assert!(racy(&file((200, 0), (100, 0)), at(150, 0)));
    assert!(racy(&file((0, 0), (0, 0)), at(1, 0)), "a clock at its origin proves nothing");
}

#[test]
fn no_flipped_bit_of_an_entry_goes_unnoticed() {
    let entry = sample(9);
    let bytes = entry.to_bytes();
    assert_eq!(Entry::from_bytes(&bytes), Some(entry));
    for bit in 0..8 * ENTRY {
        let mut bytes = bytes;
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(Entry::from_bytes(&bytes), None, "bit {bit}");
    }
}

#[test]
fn a_damaged_or_torn_file_only_forgets() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("memo");
    let entries: Vec<_> = (0..3).map(sample).collect();
    log::append(&path, &entries).expect("append");
    let whole = fs::read(&path).expect("content");
    for length in 0..whole.len() {
        fs::write(&path, &whole[..length]).expect("write");
        assert_eq!(log::read(&path), entries[..length / ENTRY]);
        log::append(&path, &[sample(7)]).expect("append");
        assert_eq!(log::read(&path).last(), Some(&sample(7)), "appended after a tear at {length}");
        assert_eq!(log::read(&path).len(), length / ENTRY + 1);
    }
    fs::write(&path, b"something else entirely, and longer than one entry would ever be: ".repeat(40)).expect("write");
    assert_eq!(log::read(&path), []);
}

#[test]
fn a_memo_that_cannot_be_written_is_only_slower() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("file");
    fs::write(&path, "one").expect("file");
    // A folder stands where the file would be.
    let memo = Memo::new(folder.path().to_path_buf());
    memo.remember(identity_of(&path), Digest::of_bytes(b"one"), later());
    memo.save();
    assert_eq!(memo.trouble().expect("trouble").fault, Fault::Environment);
    assert_eq!(memo.file(&path).expect("digest"), (Digest::of_bytes(b"one"), 3));
}

#[test]
fn many_writers_lose_nothing() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("memo");
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let path = &path;
            scope.spawn(move || {
                for number in 0..50 {
                    log::append(path, &[sample(writer * 1000 + number), sample(writer * 1000 + 500 + number)])
                        .expect("append");
                }
            });
        }
    });
    let mut found: Vec<_> = log::read(&path).iter().map(|entry| entry.identity.inode).collect();
    found.sort_unstable();
    let wanted: Vec<u64> =
        (0..4).flat_map(|writer| (0..50).chain(500..550).map(move |number| writer * 1000 + number)).collect();
    assert_eq!(found, wanted);
}

#[test]
fn a_long_file_is_rewritten_with_the_newest() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("memo");
    let entries: Vec<_> = (0..32_769).map(sample).collect();
    log::append(&path, &entries).expect("append");
    log::append(&path, &[sample(5), sample(40_000)]).expect("append");
    let found = log::read(&path);
    assert_eq!(found.len(), 16_384);
    assert_eq!(found[found.len() - 3..], [sample(32_768), sample(5), sample(40_000)]);
    assert_eq!(found.iter().filter(|entry| **entry == sample(5)).count(), 1);
    log::append(&path, &[sample(41_000)]).expect("append");
    assert_eq!(log::read(&path).len(), 16_385);
}

#[test]
fn what_is_not_as_expected_is_the_users_fault() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("file");
    fs::write(&path, "one").expect("file");
    let memo = Memo::new(folder.path().join("memo"));
    let absent = folder.path().join("absent");
    for (path, expected) in [
        (path.as_path(), Expected::Folder),
        (folder.path(), Expected::File),
        (absent.as_path(), Expected::Either),
        (&path.join("below"), Expected::Either),
    ] {
        let refused = memo.digest(path, expected).expect_err("refused");
        assert_eq!(refused.fault, Fault::Input, "{}", refused.message);
        assert!(refused.message.contains(&*path.to_string_lossy()), "{}", refused.message);
    }
    assert_eq!(memo.digest(&path, Expected::File).expect("digest"), Digest::of_bytes(b"one"));
    fs::remove_file(folder.path().join("memo")).ok();
    assert_eq!(
        memo.digest(folder.path(), Expected::Either).expect("digest"),
        memo.tree(folder.path()).expect("tree").digest()
    );
}

#[test]
fn large_and_small_files_hash_as_one_piece() {
    let folder = tempfile::tempdir().expect("folder");
    let memo = Memo::new(folder.path().join("memo"));
    // Around the sizes at which pieces and threads change.
    for size in [0, 1, (128 << 10) - 1, (128 << 10) + 1, (1 << 20) - 1, 1 << 20, (4 << 20) + 1, 9 << 20] {
        let bytes: Vec<u8> = (0..size).map(|index: usize| (index % 251) as u8).collect();
        let path = folder.path().join("file");
        fs::write(&path, &bytes).expect("file");
        assert_eq!(memo.file(&path).expect("digest"), (Digest::of_bytes(&bytes), size as u64));
    }
}
