//! Single objects of a remote: looked for, read in pieces, written once.

use std::fs::{File, OpenOptions};
use std::future::{Future, poll_fn};
use std::io::{Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path as FilePath;

use object_store::path::Path;
use object_store::{Error, GetOptions, GetRange, ObjectStoreExt, PutMode, PutOptions, PutPayload};

use super::{Access, Remote};
use crate::hash::{self, Hasher};
use crate::{CacheError, CacheResult, Digest};

/// Bytes of an object that are asked for, or sent, at a time.
const PIECE: u64 = 16 << 20;
/// Larger objects are sent in pieces (which S3 wants to be of 5 MiB at least, and 10 000 at most).
const WHOLE_UP_TO: u64 = 32 << 20;
/// Most pieces of one object.
const MOST_PIECES: u64 = 10_000;
/// What the object `VERSION` says: the layout is that of a local store.
const VERSION: &[u8] = b"retmask-cache 1\n";

/// Whether the user wants to stop.
pub(crate) type Stop<'s> = &'s (dyn Fn() -> bool + Sync);

/// An object in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    /// Its name, as for reading it.
    pub name: String,
    pub size: u64,
    /// When it was written, since 1970-01-01 UTC, as the remote says.
    pub milliseconds: i64,
}

/// What came of copying an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fetched {
    /// It was copied; this is the digest of what came.
    Copied(Digest),
    /// It has this many bytes, which is not what it should have.
    OfSize(u64),
    Absent,
}

impl Remote {
    /// The size of an object; `None` when it is not there.
    pub(crate) fn size_of(&self, name: &str) -> CacheResult<Option<u64>> {
        match self.wait(self.objects.head(&self.place(name)))? {
            Ok(found) => Ok(Some(found.size)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.failed("look at", name, &error)),
        }
    }

    /// The names of the objects right below a folder, sorted.
    pub(crate) fn list(&self, folder: &str) -> CacheResult<Vec<String>> {
        let place = self.place(folder);
        match self.wait(self.objects.list_with_delimiter(Some(&place)))? {
            Ok(found) => {
                let names = found.objects.iter().filter_map(|object| object.location.filename().map(str::to_owned));
                let mut names: Vec<String> = names.collect();
                names.sort_unstable();
                Ok(names)
            }
            Err(Error::NotFound { .. }) => Ok(Vec::new()),
            Err(error) => Err(self.failed("list", folder, &error)),
        }
    }

    /// Objects anywhere below a folder, in whatever order the remote lists them; no more than `most`, and whether these
    /// are all.
    pub(crate) fn list_below(&self, folder: &str, most: usize) -> CacheResult<(Vec<Listed>, bool)> {
        let place = self.place(folder);
        let listing = async {
            let (mut stream, mut found) = (self.objects.list(Some(&place)), Vec::new());
            while let Some(object) = poll_fn(|context| stream.as_mut().poll_next(context)).await {
                if found.len() == most {
                    return Ok((found, false));
                }
                let object = object?;
                let name = object.location.as_ref().strip_prefix(&self.prefix).unwrap_or_default().to_owned();
                found.push(Listed { name, size: object.size, milliseconds: object.last_modified.timestamp_millis() });
            }
            Ok((found, true))
        };
        match self.wait(listing)? {
            Ok(found) => Ok(found),
            Err(Error::NotFound { .. }) => Ok((Vec::new(), true)),
            Err(error) => Err(self.failed("list", folder, &error)),
        }
    }

    /// The bytes of an object of at most `most` bytes; `None` when it is not there.
    pub(crate) fn read(&self, name: &str, most: u64) -> CacheResult<Option<Vec<u8>>> {
        match self.size_of(name)? {
            None => return Ok(None),
            Some(0) => return Ok(Some(Vec::new())),
            Some(size) if size > most => {
                return Err(self.trouble(format!("{name} has {size} bytes, where at most {most} are expected")));
            }
            Some(_) => {}
        }
        Ok(self.piece(name, 0, most)?.map(|(bytes, _)| bytes))
    }

    /// Copies an object that should have `size` bytes to a new file.
    pub(crate) fn fetch(&self, name: &str, size: u64, target: &FilePath, stop: Stop<'_>) -> CacheResult<Fetched> {
        let unwritable = |error| CacheError::store_io("write", target, &error);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(target).map_err(unwritable)?;
        let mut hasher = Hasher::new(size);
        if size == 0 {
            return Ok(match self.size_of(name)? {
                None => Fetched::Absent,
                Some(0) => Fetched::Copied(hasher.digest()),
                Some(found) => Fetched::OfSize(found),
            });
        }
        let mut done = 0;
        while done < size {
            if stop() {
                return Err(self.stopped());
            }
            let Some((bytes, all)) = self.piece(name, done, PIECE.min(size - done))? else {
                return Ok(Fetched::Absent);
            };
            if all != size || bytes.is_empty() || bytes.len() as u64 > size - done {
                return Ok(Fetched::OfSize(all));
            }
            hasher.update(&bytes);
            file.write_all(&bytes).map_err(unwritable)?;
            done += bytes.len() as u64;
        }
        Ok(Fetched::Copied(hasher.digest()))
    }

    /// Writes a new object; says whether it was not there. One that is there is left alone.
    pub(crate) fn put(&self, name: &str, bytes: Vec<u8>) -> CacheResult<bool> {
        self.put_as(name, bytes, PutMode::Create)
    }

    /// Writes an object, in place of one that is there.
    pub(crate) fn put_over(&self, name: &str, bytes: Vec<u8>) -> CacheResult<()> {
        self.put_as(name, bytes, PutMode::Overwrite).map(drop)
    }

    /// Copies a file of the store to an object, comparing it with its digest on the way: `false` when the file is not
    /// what its digest says, and then nothing is there that was not before. Whether the object is there already is
    /// for the caller to ask.
    pub(crate) fn send(&self, name: &str, file: &mut File, digest: &Digest, stop: Stop<'_>) -> CacheResult<bool> {
        let unreadable = |error| self.trouble(format!("cannot read what is to be sent as {name}: {error}"));
        let size = file.metadata().map_err(unreadable)?.len();
        file.rewind().map_err(unreadable)?;
        let mut hasher = Hasher::new(size);
        if size <= WHOLE_UP_TO {
            let mut bytes = vec![0; usize::try_from(size).map_err(|error| self.trouble(error))?];
            let read = hash::read_full(file, &mut bytes).map_err(unreadable)?;
            bytes.truncate(read);
            hasher.update(&bytes);
            if hasher.digest() != *digest {
                return Ok(false);
            }
            return self.put_as(name, bytes, PutMode::Overwrite).map(|_| true);
        }
        let piece = PIECE.max(size.div_ceil(MOST_PIECES));
        let mut upload = self
            .wait(self.objects.put_multipart(&self.place(name)))?
            .map_err(|error| self.failed("write", name, &error))?;
        let mut buffer = vec![0; usize::try_from(piece).map_err(|error| self.trouble(error))?];
        let sent = loop {
            if stop() {
                break Err(self.stopped());
            }
            let read = match hash::read_full(file, &mut buffer) {
                Ok(0) => break Ok(()),
                Ok(read) => read,
                Err(error) => break Err(unreadable(error)),
            };
            hasher.update(&buffer[..read]);
            let sent = self.wait(upload.put_part(PutPayload::from(buffer[..read].to_vec())));
            if let Err(error) = sent.and_then(|sent| sent.map_err(|error| self.failed("write", name, &error))) {
                break Err(error);
            }
        };
        if sent.is_err() || hasher.digest() != *digest {
            // The pieces are of no use. A remote that keeps them has rules for what was never completed.
            let _ = self.wait(upload.abort());
            return sent.map(|()| false);
        }
        self.wait(upload.complete())?.map_err(|error| self.failed("write", name, &error))?;
        Ok(true)
    }

    /// Makes sure that the remote has this layout, or has nothing yet. Asked once.
    pub(crate) fn check_version(&self) -> CacheResult<()> {
        if self.version.get().is_some() {
            return Ok(());
        }
        match self.read("VERSION", 1 << 10)? {
            Some(found) if found != VERSION => {
                let found = String::from_utf8_lossy(&found).trim_end().escape_debug().to_string();
                return Err(self.trouble(format!("its VERSION says `{found}`, which this program does not know")));
            }
            Some(_) => {}
            None if self.access == Access::ReadOnly => {}
            None => {
                self.put("VERSION", VERSION.to_vec())?;
            }
        }
        // Another thread may have been first.
        let _ = self.version.set(());
        Ok(())
    }

    /// Refuses to write where that is not allowed.
    pub(crate) fn require_write(&self) -> CacheResult<()> {
        match self.access {
            Access::ReadWrite => Ok(()),
            Access::ReadOnly => Err(self.trouble("it is read-only, as was asked for")),
        }
    }

    fn stopped(&self) -> CacheError {
        self.trouble("the transfer was stopped")
    }

    /// Some bytes of an object, and how many it has in all; `None` when it is not there.
    pub(crate) fn piece(&self, name: &str, start: u64, length: u64) -> CacheResult<Option<(Vec<u8>, u64)>> {
        let range = Some(GetRange::Bounded(start..start + length));
        let options = GetOptions { range, ..GetOptions::default() };
        let place = self.place(name);
        let read = async {
            let found = self.objects.get_opts(&place, options).await?;
            let all = found.meta.size;
            Ok((found.bytes().await?.to_vec(), all))
        };
        match self.wait(read)? {
            Ok(found) => Ok(Some(found)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.failed("read", name, &error)),
        }
    }

    fn put_as(&self, name: &str, bytes: Vec<u8>, mode: PutMode) -> CacheResult<bool> {
        let options = PutOptions { mode, ..PutOptions::default() };
        match self.wait(self.objects.put_opts(&self.place(name), PutPayload::from(bytes), options))? {
            Ok(_) => Ok(true),
            Err(Error::AlreadyExists { .. }) => Ok(false),
            Err(error) => Err(self.failed("write", name, &error)),
        }
    }

    fn place(&self, name: &str) -> Path {
        Path::from(format!("{}{name}", self.prefix))
    }

    /// Waits for one operation, on this thread.
    fn wait<F: Future>(&self, future: F) -> CacheResult<F::Output> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let runtime = runtime.map_err(|error| self.trouble(format!("no runtime: {error}")))?;
        Ok(runtime.block_on(future))
    }
}
