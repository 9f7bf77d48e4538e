//! The memo's file: entries of fixed size, each with its own checksum, appended under a lock.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use crate::hash::Identity;
use crate::{Digest, DigestKind};

/// Bytes of an entry: identity 56, digest 32, checksum 8.
pub(super) const ENTRY: usize = 96;
/// When the file reaches this many bytes it is rewritten with the newest half of what still differs.
const LIMIT: u64 = 32_768 * ENTRY as u64;
/// Domain of the checksum; the number grows with the format.
const DOMAIN: &str = "retmask 2026-11 memo-entry v1";

/// The file with this identity has this `b3` digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub identity: Identity,
    pub digest: Digest,
}

impl Entry {
    pub(super) fn to_bytes(self) -> [u8; ENTRY] {
        let Identity { device, inode, size, modified, changed } = self.identity;
        let mut bytes = [0; ENTRY];
        let words = [device, inode, size, modified.0.cast_unsigned(), modified.1.cast_unsigned()];
        let words = words.into_iter().chain([changed.0.cast_unsigned(), changed.1.cast_unsigned()]);
        for (place, word) in bytes.chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        bytes[56..88].copy_from_slice(self.digest.bytes());
        let checksum = checksum(&bytes[..88]);
        bytes[88..].copy_from_slice(&checksum);
        bytes
    }

    /// `None` when the entry is torn or damaged.
    pub(super) fn from_bytes(bytes: &[u8; ENTRY]) -> Option<Self> {
        let word = |index: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&bytes[index * 8..index * 8 + 8]);
            u64::from_le_bytes(word)
        };
        if bytes[88..] != checksum(&bytes[..88]) {
            return None;
        }
        let mut digest = [0; 32];
        digest.copy_from_slice(&bytes[56..88]);
        let identity = Identity {
            device: word(0),
            inode: word(1),
            size: word(2),
            modified: (word(3).cast_signed(), word(4).cast_signed()),
            changed: (word(5).cast_signed(), word(6).cast_signed()),
        };
        Some(Self { identity, digest: Digest::new(DigestKind::Bytes, digest) })
    }
}

fn checksum(bytes: &[u8]) -> [u8; 8] {
    let mut first = [0; 8];
    first.copy_from_slice(&blake3::derive_key(DOMAIN, bytes)[..8]);
    first
}

/// The sound entries, oldest first. A file that is missing, unreadable or damaged only holds fewer.
pub(super) fn read(path: &Path) -> Vec<Entry> {
    File::open(path).map(|file| read_open(&file)).unwrap_or_default()
}

fn read_open(file: &File) -> Vec<Entry> {
    let mut bytes = Vec::new();
    // Writers never let it grow past the limit by much, so what lies beyond twice of it is foreign.
    if file.take(2 * LIMIT).read_to_end(&mut bytes).is_err() {
        return Vec::new();
    }
    bytes.as_chunks().0.iter().filter_map(Entry::from_bytes).collect()
}

/// Appends entries whole, also when other processes do so at the same time or died halfway.
pub(super) fn append(path: &Path, entries: &[Entry]) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut file = loop {
        let file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
        file.lock()?;
        // Another process may have replaced the file between opening and locking.
        match fs::metadata(path) {
            Ok(now) if now.ino() == file.metadata()?.ino() => break file,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    };
    let length = file.metadata()?.len();
    if length > LIMIT {
        return rewrite(path, &file, entries);
    }
    // A writer that died left part of an entry.
    let whole = length - length % ENTRY as u64;
    if whole != length {
        file.set_len(whole)?;
    }
    let bytes: Vec<u8> = entries.iter().flat_map(|entry| entry.to_bytes()).collect();
    file.write_all(&bytes)
}

/// Replaces the file (locked by the caller) by its newest entries and `fresh`.
fn rewrite(path: &Path, file: &File, fresh: &[Entry]) -> io::Result<()> {
    let mut entries = read_open(file);
    entries.extend_from_slice(fresh);
    let mut seen = HashSet::new();
    let keep = usize::try_from(LIMIT).unwrap_or(usize::MAX) / ENTRY / 2;
    let mut newest: Vec<_> = entries
        .iter()
        .rev()
        .filter(|entry| seen.insert((entry.identity.device, entry.identity.inode)))
        .take(keep)
        .collect();
    newest.reverse();
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut replacement =
        tempfile::Builder::new().prefix("memo.").permissions(fs::Permissions::from_mode(0o666)).tempfile_in(folder)?;
    let bytes: Vec<u8> = newest.into_iter().flat_map(|entry| entry.to_bytes()).collect();
    replacement.write_all(&bytes)?;
    replacement.persist(path)?;
    Ok(())
}
