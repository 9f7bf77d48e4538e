mod collect;
mod concurrent;
mod faults;
mod flips;
mod kill;
mod outcomes;
mod settle;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::json;
use tempfile::TempDir;

use super::{Committed, Durability, Lookup, MissReason, Options, Problem, Reading, Store};
use crate::{CacheResult, Digest, DigestKind, Form, Key, Output, Provenance, Record};

/// The files of the sample tree: path, content, executable.
const TREE: [(&str, &str, bool); 4] = [
    ("config.json", "{\"layers\": 2}", false),
    ("weights/part-1.safetensors", "weights of the first part", false),
    ("weights/part-2.safetensors", "weights of the second part", false),
    ("bin/tool", "#!/bin/sh\n", true),
];

pub(super) fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// A folder in memory where there is one, for tests that sync at every step.
fn quick_folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory).expect("a temporary folder") } else { folder() }
}

/// A store without syncs: what is tested does not lose power.
pub(super) fn store_in(folder: &Path) -> Store {
    open(folder).expect("a store")
}

fn open(folder: &Path) -> CacheResult<Store> {
    Store::open_with(folder, Options { durability: Durability::None, ..Options::default() })
}

pub(super) fn key(number: u8) -> Key {
    Key::new([number; 32])
}

/// A result with a file, a table and a tree, told from others by `salt`; published and committed.
pub(super) fn make(store: &Store, key: Key, salt: &str) -> CacheResult<(Record, Committed)> {
    let staging = store.stage()?;
    let paths: Vec<PathBuf> = ["page", "table", "checkpoint"].iter().map(|port| staging.path().join(port)).collect();
    fs::write(&paths[0], format!("<p>{salt}</p>")).expect("page");
    fs::write(&paths[1], format!("table {salt}")).expect("table");
    for (name, content, executable) in TREE {
        let path = paths[2].join(name);
        fs::create_dir_all(path.parent().expect("parent")).expect("folder");
        fs::write(&path, content).expect("file");
        fs::set_permissions(&path, fs::Permissions::from_mode(if executable { 0o755 } else { 0o644 })).expect("mode");
    }
    fs::write(paths[2].join("salt"), salt).expect("salt");
    let published = store.publish(&staging, &paths)?;
    let mut outputs: Vec<Output> = published
        .iter()
        .zip(["page", "table", "checkpoint"])
        .map(|(published, port)| Output {
            port: port.to_owned(),
            media: format!("test/{port};v1"),
            form: published.form,
            digest: published.digest,
            blob: published.blob,
            size: published.size,
        })
        .collect();
    outputs[1].digest = Digest::new(DigestKind::Logical, *blake3::hash(salt.as_bytes()).as_bytes());
    let provenance = Provenance {
        kind: "sample".to_owned(),
        epoch: 1,
        fields: json!({ "salt": salt }),
        created_milliseconds: 1_000,
        duration_milliseconds: 1,
        tools: BTreeMap::new(),
        private: false,
        rows: Vec::new(),
    };
    let record = Record { key, outputs, provenance };
    let committed = store.commit(&record)?;
    Ok((record, committed))
}

/// Reads every output in full and compares it with what `make` made.
pub(super) fn assert_reads_back(store: &Store, record: &Record, salt: &str) {
    let ready = |port: &str| match store.read(record.output(port).expect("the port")).expect("read") {
        Reading::Ready(readable) => readable,
        Reading::Lost(reason) => panic!("{port}: {reason}"),
    };
    assert_eq!(fs::read_to_string(ready("page").path()).expect("page"), format!("<p>{salt}</p>"));
    assert_eq!(fs::read_to_string(ready("table").path()).expect("table"), format!("table {salt}"));
    let checkpoint = ready("checkpoint");
    for (name, content, executable) in TREE {
        let path = checkpoint.path().join(name);
        assert_eq!(fs::read_to_string(&path).expect(name), content);
        let mode = fs::metadata(&path).expect(name).permissions().mode();
        assert_eq!(mode & 0o777, if executable { 0o555 } else { 0o444 }, "{name}");
    }
    assert_eq!(fs::read_to_string(checkpoint.path().join("salt")).expect("salt"), salt);
}

pub(super) fn hit(store: &Store, key: Key) -> Record {
    match store.lookup(&key).expect("lookup") {
        Lookup::Hit(record) => *record,
        Lookup::Miss(reason) => panic!("{reason}"),
    }
}

pub(super) fn miss(store: &Store, key: Key) -> MissReason {
    match store.lookup(&key).expect("lookup") {
        Lookup::Hit(_) => panic!("a hit, where none should be"),
        Lookup::Miss(reason) => reason,
    }
}

/// Every file below a folder.
pub(super) fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.expect("entry").path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// That nothing is left of staging but what living owners have.
fn assert_staging_empty(store: &Store) {
    assert_eq!(files(&store.root().join("tmp")), Vec::<PathBuf>::new());
}
