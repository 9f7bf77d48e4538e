use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;

use proptest::prelude::*;

use super::walk::{Found, Rules, walk};
use super::{Manifest, TreeEntry};
use crate::{Digest, DigestKind, Fault};

fn entry(path: &str) -> TreeEntry {
    TreeEntry { path: path.to_owned(), executable: false, size: 3, digest: Digest::of_bytes(b"abc") }
}

fn manifest(paths: &[&str]) -> Result<Manifest, String> {
    Manifest::new(paths.iter().map(|path| entry(path)).collect())
}

fn any_entries() -> impl Strategy<Value = Vec<TreeEntry>> {
    let file = ("[a-zé 0-9.-]{1,6}(/[a-z 0-9]{1,3}){0,2}", any::<bool>(), any::<u32>(), any::<[u8; 32]>());
    prop::collection::vec(file, 0..6).prop_map(|files| {
        let entry = |(path, executable, size, digest): (String, bool, u32, [u8; 32])| TreeEntry {
            path,
            executable,
            size: size.into(),
            digest: Digest::new(DigestKind::Bytes, digest),
        };
        files.into_iter().map(entry).collect()
    })
}

proptest! {
    #[test]
    fn a_manifest_reads_back_as_itself(entries in any_entries()) {
        // Names that clash are another test's matter.
        if let Ok(manifest) = Manifest::new(entries) {
            prop_assert_eq!(Manifest::from_bytes(&manifest.to_bytes()), Ok(manifest));
        }
    }

    #[test]
    fn order_of_arrival_does_not_count(mut entries in any_entries(), seed in any::<u64>()) {
        let digest = Manifest::new(entries.clone()).map(|manifest| manifest.digest());
        let mut state = seed;
        for index in (1..entries.len()).rev() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            entries.swap(index, (state >> 33) as usize % (index + 1));
        }
        let again = Manifest::new(entries).map(|manifest| manifest.digest());
        prop_assert_eq!(digest.is_ok(), again.is_ok());
        if let (Ok(digest), Ok(again)) = (digest, again) {
            prop_assert_eq!(digest, again);
        }
    }

    #[test]
    fn a_changed_byte_is_refused_or_another_tree(
        entries in any_entries(), place in any::<prop::sample::Index>(), flip in 1u8..,
    ) {
        if let Ok(manifest) = Manifest::new(entries) {
            let mut bytes = manifest.to_bytes();
            let place = place.index(bytes.len());
            bytes[place] ^= flip;
            if let Ok(other) = Manifest::from_bytes(&bytes) {
                prop_assert_ne!(other.digest(), manifest.digest());
                prop_assert_ne!(other, manifest);
            }
        }
    }

    #[test]
    fn fields_do_not_run_into_each_other(left in any_entries(), right in any_entries()) {
        if let (Ok(left), Ok(right)) = (Manifest::new(left), Manifest::new(right)) {
            prop_assert_eq!(left == right, left.to_bytes() == right.to_bytes());
        }
    }
}

/// A fixed vector, confirmed by a separate implementation of blake3, so that others can check themselves and this
/// one cannot drift.
#[test]
fn the_canonical_bytes_are_fixed() {
    let mut tool = entry("bin/tool");
    tool.executable = true;
    let manifest = Manifest::new(vec![entry("config.json"), tool]).expect("sound names");
    let abc = "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85";
    let text = format!("retmask-tree 1\nx 3 {abc} bin/tool\n- 3 {abc} config.json\n");
    assert_eq!(String::from_utf8(manifest.to_bytes()), Ok(text));
    assert_eq!(manifest.digest().to_string(), "t3:2943d5bb08ec0c0f3d248cd14ab0e49167c51b728c24a92c884b13b1616e62e3");
}

#[test]
fn the_digest_of_a_tree_is_not_that_of_a_file_with_its_bytes() {
    let manifest = manifest(&["a"]).expect("sound names");
    assert_ne!(manifest.digest().bytes(), Digest::of_bytes(&manifest.to_bytes()).bytes());
}

#[test]
fn names_that_leave_the_tree_or_mislead_are_refused() {
    let deep = vec!["d"; 65].join("/");
    let long = "n".repeat(4097);
    let bad = [
        "/etc/passwd",
        "..",
        "../a",
        "a/../b",
        "a/..",
        ".",
        "a/./b",
        "",
        "a//b",
        "a/",
        "a\\b",
        "a\nb",
        "a\0b",
        "a\u{7f}b",
        &deep,
        &long,
    ];
    for path in bad {
        let why = manifest(&["fine", path]).expect_err(path);
        assert!(why.contains("cannot be in a tree"), "{why}");
    }
    for path in ["a", ".gitattributes", "...", "a b", "é/ü", "a:b"] {
        manifest(&[path]).expect(path);
    }
}

#[test]
fn clashing_names_are_refused() {
    let clashes: [&[&str]; 7] = [
        &["README", "readme"],
        &["Data/a", "data/b"],
        &["a/B/c", "a/b/d"],
        &["STRASSE", "straße"],
        &["ΣΑΣ", "σας"],
        &["a", "a"],
        &["a", "a/b"],
    ];
    for paths in clashes {
        let why = manifest(paths).expect_err(paths[0]);
        assert!(why.contains("case only") || why.contains("stands twice"), "{why}");
    }
    manifest(&["a/b", "a/c", "b/a", "ab"]).expect("no clash");
}

#[test]
fn hostile_manifests_are_refused() {
    let abc = "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85";
    let good = format!("retmask-tree 1\n- 3 {abc} a\n- 3 {abc} b\n");
    Manifest::from_bytes(good.as_bytes()).expect("the good one");
    let upper = abc.to_uppercase();
    let bad = [
        String::new(),
        "retmask-tree 2\n".to_owned(),
        "retmask-tree 1".to_owned(),
        format!("retmask-tree 1\n- 3 {abc} ../a\n"),
        format!("retmask-tree 1\n- 3 {abc} b\n- 3 {abc} a\n"),
        format!("retmask-tree 1\n- 03 {abc} a\n"),
        format!("retmask-tree 1\n- +3 {abc} a\n"),
        format!("retmask-tree 1\n- 3 {upper} a\n"),
        format!("retmask-tree 1\n- 3 {abc} a"),
        format!("retmask-tree 1\n- 3 {abc} a\n\n"),
        format!("retmask-tree 1\ny 3 {abc} a\n"),
        format!("retmask-tree 1\n- 18446744073709551616 {abc} a\n"),
        format!("retmask-tree 1\n- 18446744073709551615 {abc} a\n- 1 {abc} b\n"),
        format!("retmask-tree 1\n- 3 {abc}\n"),
    ];
    for text in bad {
        assert!(Manifest::from_bytes(text.as_bytes()).is_err(), "{text:?} was accepted");
    }
    assert!(Manifest::from_bytes(b"retmask-tree 1\n\xff").is_err());
}

fn names(found: &[Found]) -> Vec<&str> {
    let mut names: Vec<_> = found.iter().map(|found| found.relative.as_str()).collect();
    names.sort_unstable();
    names
}

fn write(path: &Path, content: &str) {
    fs::create_dir_all(path.parent().expect("a parent")).expect("folder");
    fs::write(path, content).expect("file");
}

#[test]
fn a_users_folder_may_link_out_of_itself_as_hub_caches_do() {
    let folder = tempfile::tempdir().expect("folder");
    let snapshot = folder.path().join("snapshots/1");
    write(&folder.path().join("blobs/77"), "{}");
    write(&folder.path().join("blobs/extra/more.txt"), "more");
    write(&snapshot.join(".cache/state"), "not part of it");
    fs::create_dir_all(&snapshot).expect("folder");
    symlink("../../blobs/77", snapshot.join("config.json")).expect("link");
    symlink("../../blobs/extra", snapshot.join("extra")).expect("link");
    assert_eq!(names(&walk(&snapshot, Rules::User).expect("a tree")), ["config.json", "extra/more.txt"]);
    let refused = walk(&snapshot, Rules::Own).expect_err("links lead out");
    assert_eq!(refused.fault, Fault::Internal);
    assert!(refused.message.contains("leads out of its tree"), "{}", refused.message);
}

#[test]
fn our_own_trees_may_link_inside_themselves() {
    let folder = tempfile::tempdir().expect("folder");
    write(&folder.path().join("shared/a"), "a");
    write(&folder.path().join(".hidden"), "counts");
    symlink("shared/a", folder.path().join("b")).expect("link");
    let found = walk(folder.path(), Rules::Own).expect("a tree");
    assert_eq!(names(&found), [".hidden", "b", "shared/a"]);
    assert!(found.iter().all(|found| found.linked == (found.relative == "b")));
}

#[test]
fn folders_that_no_tree_can_be_made_of_are_refused_with_the_path() {
    type Make = fn(&Path);
    let cases: [(&str, Make); 5] = [
        ("leads back into a folder", |folder| symlink(".", folder.join("loop")).expect("link")),
        ("cannot read", |folder| symlink("nowhere", folder.join("dangling")).expect("link")),
        ("is not UTF-8", |folder| fs::write(folder.join(OsStr::from_bytes(b"a\xff")), "").expect("file")),
        ("neither a file nor a folder", |folder| {
            std::os::unix::net::UnixListener::bind(folder.join("socket")).expect("socket");
        }),
        ("control characters", |folder| fs::write(folder.join("a\nb"), "").expect("file")),
    ];
    for (wanted, make) in cases {
        let folder = tempfile::tempdir().expect("folder");
        make(folder.path());
        let refused = walk(folder.path(), Rules::User).expect_err(wanted);
        assert_eq!(refused.fault, Fault::Input);
        assert!(refused.message.contains(wanted), "{}", refused.message);
        assert!(refused.message.contains(&*folder.path().to_string_lossy()), "{}", refused.message);
    }
    let absent = walk(Path::new("/nowhere/at/all"), Rules::User).expect_err("absent");
    assert_eq!(absent.fault, Fault::Input);
}
