//! One file: fetched from where an earlier attempt stopped, checked, and put in place.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::Duration;

use ureq::Body;
use ureq::http::{Response, StatusCode};

use super::cache::{Cache, failed};
use super::content::{ContentHasher, hash_file};
use super::http::{Client, Waiting, header};
use super::lock_file::{Pinned, PinnedFile};
use super::names::{Repository, Revision};
use super::refusal::{Subject, explain};
use super::url::escape;
use crate::error::{Error, Result};

/// Bytes read at a time.
const PIECE: usize = 256 << 10;
/// How often a body may break off in a row without a single byte more.
const ATTEMPTS: u32 = 5;
/// The pause after a body broke off without a byte; each one after is twice as long.
const PAUSE: Duration = Duration::from_millis(250);

/// Told while bytes come in.
pub(super) trait Transfer: Waiting + Sync {
    /// So many bytes more are there.
    fn gained(&self, bytes: u64);
    /// So many bytes were of no use.
    fn lost(&self, bytes: u64);
    /// Whether another file failed, so that this one need not go on.
    fn is_stopped(&self) -> bool;
}

/// Brings files of one commit.
pub(super) struct Downloader<'a> {
    pub(super) client: &'a Client,
    pub(super) cache: &'a Cache,
    pub(super) repository: &'a Repository,
    pub(super) pinned: &'a Pinned,
    pub(super) transfer: &'a dyn Transfer,
}

/// A file on its way.
struct Part<'a> {
    path: &'a Path,
    file: File,
    hasher: ContentHasher,
    /// Bytes in the file, all of them hashed.
    have: u64,
}

/// How one request ended.
enum Piece {
    Whole,
    Broken(String),
}

impl Downloader<'_> {
    /// Brings one file into the cache, its content checked.
    ///
    /// # Errors
    /// `Input` when the hub refuses it; `Environment` when it cannot be fetched whole, is not what its digest says,
    /// or cannot be written.
    pub(super) fn file(&self, file: &PinnedFile) -> Result<()> {
        let blob = self.cache.blob(self.repository, &file.digest);
        let part = self.cache.incomplete(self.repository, &file.digest);
        let _lock = self.lock(file)?;
        // Another process may have brought it while this one waited.
        let is_there = fs::metadata(&blob).is_ok_and(|facts| facts.is_file() && facts.len() == file.size)
            && hash_file(&blob, &file.digest).map_err(|error| failed("read", &blob, &error))? == file.digest;
        if is_there {
            self.transfer.gained(file.size.saturating_sub(self.cache.begun(self.repository, file)));
        } else {
            self.fetch(file, &part)?;
            fs::rename(&part, &blob).map_err(|error| failed("put in place", &blob, &error))?;
        }
        self.cache.link(self.repository, &self.pinned.commit, file)
    }

    /// Keeps other processes, the Python tools included, from fetching the same content.
    fn lock(&self, file: &PinnedFile) -> Result<File> {
        let path = self.cache.lock(self.repository, &file.digest);
        let blob = self.cache.blob(self.repository, &file.digest);
        for folder in [path.parent(), blob.parent()].into_iter().flatten() {
            fs::create_dir_all(folder).map_err(|error| failed("make", folder, &error))?;
        }
        let lock = File::options().read(true).write(true).create(true).truncate(false).open(&path);
        let lock = lock.map_err(|error| failed("lock", &path, &error))?;
        match lock.try_lock() {
            Ok(()) => return Ok(lock),
            Err(fs::TryLockError::WouldBlock) => {
                self.transfer.waiting(&format!("another process is fetching {}; waiting for it", file.path));
            }
            Err(fs::TryLockError::Error(error)) => return Err(failed("lock", &path, &error)),
        }
        lock.lock().map_err(|error| failed("lock", &path, &error))?;
        Ok(lock)
    }

    /// Fetches the whole content into `path`, going on where an earlier attempt stopped.
    fn fetch(&self, file: &PinnedFile, path: &Path) -> Result<()> {
        let mut part = Part::open(path, file).map_err(|error| failed("write", path, &error))?;
        let mut resumed = part.have > 0;
        loop {
            self.rest(file, &mut part)?;
            let found = std::mem::replace(&mut part.hasher, ContentHasher::new(&file.digest, file.size)).finish();
            if found == file.digest {
                return part.file.sync_all().map_err(|error| failed("write", path, &error));
            }
            self.transfer.lost(part.have);
            if !resumed {
                fs::remove_file(path).map_err(|error| failed("remove", path, &error))?;
                return Err(Error::environment(format!(
                    "{} of {} at {} has another content than it should: {found}, expected {}",
                    file.path, self.repository, self.pinned.commit, file.digest
                ))
                .with_hint(
                    "nothing of it was kept. If it happens again, what stands between here and the hub alters files, \
                     or the lock file is not of this repository",
                ));
            }
            // The beginning may be of a damaged disk or of another program: once more from the start.
            part.restart(file).map_err(|error| failed("write", path, &error))?;
            resumed = false;
        }
    }

    /// Asks until all bytes are there, however often the connection breaks.
    fn rest(&self, file: &PinnedFile, part: &mut Part<'_>) -> Result<()> {
        let (mut in_vain, mut pause) = (0, PAUSE);
        while part.have < file.size {
            let before = part.have;
            let Piece::Broken(reason) = self.piece(file, part)? else { return Ok(()) };
            if part.have > before {
                (in_vain, pause) = (0, PAUSE);
                continue;
            }
            in_vain += 1;
            if in_vain >= ATTEMPTS {
                return Err(Error::environment(format!(
                    "{} of {} breaks off after {} of {} bytes: {reason}",
                    file.path, self.repository, part.have, file.size
                ))
                .with_hint("what has been downloaded is kept; run again to go on"));
            }
            std::thread::sleep(pause);
            pause *= 2;
        }
        Ok(())
    }

    /// One request for what is missing.
    fn piece(&self, file: &PinnedFile, part: &mut Part<'_>) -> Result<Piece> {
        let address = format!(
            "/{}{}/resolve/{}/{}",
            self.repository.kind.address_prefix(),
            self.repository,
            self.pinned.commit,
            escape(&file.path, true)
        );
        let revision: &Revision = &self.pinned.revision;
        let subject = Subject { repository: self.repository, revision, file: Some(&file.path) };
        let response = self.client.get(&address, part.have, self.transfer);
        let response = response.map_err(|failure| explain(self.client, &subject, &failure))?;
        let other_size = |found: u64| {
            Error::environment(format!(
                "{} of {} has {found} bytes at the hub, where {} are expected",
                file.path, self.repository, file.size
            ))
        };
        match Start::of(&response) {
            Start::At { first, total } if first == part.have => {
                if let Some(total) = total.filter(|total| *total != file.size) {
                    return Err(other_size(total));
                }
            }
            // The whole file, or a part nobody asked for: what is there is of no use.
            Start::At { .. } | Start::Nowhere => {
                self.transfer.lost(part.have);
                part.restart(file).map_err(|error| failed("write", part.path, &error))?;
                return Ok(Piece::Broken("the hub does not go on where it should".into()));
            }
            Start::Beginning { total } => {
                if let Some(total) = total.filter(|total| *total != file.size) {
                    return Err(other_size(total));
                }
                self.transfer.lost(part.have);
                part.restart(file).map_err(|error| failed("write", part.path, &error))?;
            }
        }
        self.copy(file, part, response)
    }

    /// Takes the body, to the end of the file and not a byte beyond.
    fn copy(&self, file: &PinnedFile, part: &mut Part<'_>, response: Response<Body>) -> Result<Piece> {
        let mut body = response.into_body().into_reader();
        let mut buffer = vec![0; PIECE];
        loop {
            if self.transfer.is_stopped() {
                return Err(Error::interrupted());
            }
            let read = match body.read(&mut buffer) {
                Ok(0) if part.have == file.size => return Ok(Piece::Whole),
                Ok(0) => return Ok(Piece::Broken("the connection ended".into())),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if part.have < file.size => return Ok(Piece::Broken(error.to_string())),
                // Everything is there; how the connection ended is nobody's concern.
                Err(_) => return Ok(Piece::Whole),
            };
            if read as u64 > file.size - part.have {
                return Err(Error::environment(format!(
                    "the hub sends more of {} of {} than the {} bytes it has",
                    file.path, self.repository, file.size
                )));
            }
            part.file.write_all(&buffer[..read]).map_err(|error| failed("write", part.path, &error))?;
            part.hasher.update(&buffer[..read]);
            part.have += read as u64;
            self.transfer.gained(read as u64);
        }
    }
}

impl<'a> Part<'a> {
    /// Opens what an earlier attempt left, and hashes it.
    fn open(path: &'a Path, file: &PinnedFile) -> io::Result<Self> {
        let handle = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
        let mut part = Self { path, file: handle, hasher: ContentHasher::new(&file.digest, file.size), have: 0 };
        if part.file.metadata()?.len() > file.size {
            part.file.set_len(0)?;
        }
        part.have = part.hasher.update_from(&part.file)?;
        Ok(part)
    }

    fn restart(&mut self, file: &PinnedFile) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        self.hasher = ContentHasher::new(&file.digest, file.size);
        self.have = 0;
        Ok(())
    }
}

/// Where a body begins.
#[derive(Debug, PartialEq, Eq)]
enum Start {
    /// At the file's first byte; its size, where it is said.
    Beginning {
        total: Option<u64>,
    },
    At {
        first: u64,
        total: Option<u64>,
    },
    /// There are no such bytes.
    Nowhere,
}

impl Start {
    fn of(response: &Response<Body>) -> Self {
        let headers = response.headers();
        match response.status() {
            StatusCode::RANGE_NOT_SATISFIABLE => Self::Nowhere,
            StatusCode::PARTIAL_CONTENT => {
                header(headers, "content-range").and_then(content_range).unwrap_or(Self::Nowhere)
            }
            _ => Self::Beginning {
                total: header(headers, "content-length").and_then(|length| length.trim().parse().ok()),
            },
        }
    }
}

/// `bytes 100-199/200`, the total possibly `*`.
fn content_range(value: &str) -> Option<Start> {
    let (range, total) = value.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (first, _) = range.split_once('-')?;
    let total = if total == "*" { None } else { Some(total.parse().ok()?) };
    Some(Start::At { first: first.parse().ok()?, total })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        assert_eq!(content_range("bytes 100-199/200"), Some(Start::At { first: 100, total: Some(200) }));
        assert_eq!(content_range("bytes 0-0/*"), Some(Start::At { first: 0, total: None }));
        for wrong in ["", "bytes */200", "bytes 1-2", "lines 1-2/3", "bytes x-2/3"] {
            assert_eq!(content_range(wrong), None, "{wrong}");
        }
    }
}
