//! The digest of a file's bytes, read in pieces.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

use crate::{Digest, DigestKind};

/// Below this a file is hashed on the calling thread: waking others would cost more.
const PARALLEL_FROM: u64 = 1 << 20;
/// Bytes read at a time from a large file. Read, not mapped: a file cut short by another process while
/// it is mapped would kill this one.
const PIECE: usize = 4 << 20;
/// Bytes read at a time from a small file.
const SMALL_PIECE: u64 = 128 << 10;
/// How often a file that changes while it is hashed is tried again.
const ATTEMPTS: usize = 3;

/// What tells a file from every other, and from itself after a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    pub device: u64,
    pub inode: u64,
    pub size: u64,
    pub modified: (i64, i64),
    pub changed: (i64, i64),
}

impl Identity {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// A file opened for reading, never through a last symbolic link when `follow` is false, and never waiting for the
/// other end of a pipe.
pub(crate) fn open(path: &Path, follow: bool) -> io::Result<File> {
    let mut flags = OFlags::NONBLOCK;
    if !follow {
        flags |= OFlags::NOFOLLOW;
    }
    OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path)
}

/// The digest of an open file's bytes and its identity, where both belong together: a file that changes
/// while it is read is read again, and refused with `InvalidData` when it keeps changing.
pub(crate) fn hash_file(file: &mut File) -> io::Result<(Digest, Identity)> {
    for _ in 0..ATTEMPTS {
        let before = Identity::of(&file.metadata()?);
        io::Seek::rewind(file)?;
        let mut hasher = Hasher::new(before.size);
        let read = hasher.read_all(file)?;
        if read == before.size && Identity::of(&file.metadata()?) == before {
            return Ok((hasher.digest(), before));
        }
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, "it is being written to by another program"))
}

/// Takes a file's bytes in order.
pub(crate) struct Hasher {
    hasher: blake3::Hasher,
    size: u64,
}

impl Hasher {
    /// For a file of about `size` bytes.
    pub(crate) fn new(size: u64) -> Self {
        Self { hasher: blake3::Hasher::new(), size }
    }

    /// A buffer fit for the file's size.
    pub(crate) fn buffer(&self) -> Vec<u8> {
        let length = if self.size < PARALLEL_FROM {
            usize::try_from(self.size.clamp(1, SMALL_PIECE)).unwrap_or(PIECE)
        } else {
            PIECE
        };
        vec![0; length]
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        if self.size < PARALLEL_FROM {
            self.hasher.update(bytes);
        } else {
            self.hasher.update_rayon(bytes);
        }
    }

    fn read_all(&mut self, file: &mut File) -> io::Result<u64> {
        let mut buffer = self.buffer();
        let mut total = 0;
        loop {
            let read = read_full(file, &mut buffer)?;
            if read == 0 {
                return Ok(total);
            }
            self.update(&buffer[..read]);
            total += read as u64;
        }
    }

    pub(crate) fn digest(&self) -> Digest {
        Digest::new(DigestKind::Bytes, *self.hasher.finalize().as_bytes())
    }
}

/// Fills the buffer as far as the file goes.
pub(crate) fn read_full(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
