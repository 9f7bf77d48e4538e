//! The log of one writer.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::super::Durability;
use super::file::{self, Place, RowKey, Seal};
use super::index::{self, Growing};
use super::segment;
use crate::failpoint::step;
use crate::hash;
use crate::{CacheError, CacheResult, Digest, disk};

/// Ending of logs, of claims beside them, and of segments.
pub(super) const OPEN: &str = "open";
pub(super) const CLAIMS: &str = "claims";
pub(super) const ROWS: &str = "rows";
/// While rows are put, the log is on the disk at least this often: a power loss takes no more.
const SYNC_EVERY: Duration = Duration::from_secs(2);

/// A log that is being written. Its file is locked as long as it lives.
#[derive(Debug)]
pub(super) struct Log {
    path: PathBuf,
    file: File,
    seal: Seal,
    end: u64,
    pub(super) places: Growing,
    durability: Durability,
    synced: Instant,
}

impl Log {
    /// A new log. The map's lock is held meanwhile, so nobody takes it for one whose writer died.
    pub(super) fn create(
        folder: &Path,
        host: &str,
        seal: &Seal,
        fields: &[u8],
        durability: Durability,
    ) -> CacheResult<Self> {
        let header = file::header(seal, fields)
            .ok_or_else(|| CacheError::internal(format!("{} bytes of fields describe no rows", fields.len())))?;
        let failed = |error: io::Error| CacheError::store_io("write rows in", folder, &error);
        let make = |path: &Path| {
            step()?;
            OpenOptions::new().read(true).write(true).create_new(true).mode(0o666).open(path)
        };
        let named = tempfile::Builder::new()
            .prefix(&format!("{host}.{}.", std::process::id()))
            .suffix(&format!(".{OPEN}"))
            .make_in(folder, make)
            .map_err(failed)?;
        let (file, path) = named.keep().map_err(|error| failed(error.error))?;
        file.lock().map_err(failed)?;
        let mut log = Self {
            path,
            file,
            seal: seal.clone(),
            end: 0,
            places: Growing::default(),
            durability,
            synced: Instant::now(),
        };
        log.write(&header)?;
        Ok(log)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Where the keys of the rows stand that this writer makes.
    pub(super) fn claims(&self) -> PathBuf {
        self.path.with_extension(CLAIMS)
    }

    /// Says to others that these rows are being made.
    pub(super) fn claim(&self, rows: &[RowKey]) -> CacheResult<()> {
        use std::io::Write;
        let path = self.claims();
        let write = || {
            step()?;
            let mut file = OpenOptions::new().append(true).create(true).mode(0o666).open(&path)?;
            file.write_all(rows.as_flattened())
        };
        write().map_err(|error| CacheError::store_io("write", &path, &error))
    }

    /// Adds a result; it is there for everybody, and after this process's death, when this returns.
    pub(super) fn put(&mut self, row: &RowKey, result: &[u8]) -> CacheResult<()> {
        let frame = file::frame(&self.seal, row, result)
            .ok_or_else(|| CacheError::internal(format!("a row's result of {} bytes is too long", result.len())))?;
        let place = Place { offset: self.end, length: (frame.len() - file::FRAME) as u32 };
        self.write(&frame)?;
        self.places.insert(*row, place);
        if self.durability != Durability::None && self.synced.elapsed() > SYNC_EVERY {
            self.synced = Instant::now();
            self.file.sync_data().map_err(|error| self.failed(&error))?;
        }
        Ok(())
    }

    /// Makes it a segment, in the map's folder and under the map's lock, and gives its path; one without rows goes.
    pub(super) fn finish(mut self) -> CacheResult<Option<PathBuf>> {
        let claims = self.claims();
        disk::remove_if_there(&claims)?;
        if self.places.is_empty() {
            return disk::remove_file(&self.path).map(|()| None);
        }
        let tail = segment::tail(&self.seal, self.end, &index::sorted(&self.places));
        self.write(&tail)?;
        let (digest, _) = hash::hash_file(&mut self.file).map_err(|error| self.failed(&error))?;
        disk::set_mode(&self.path, 0o444)?;
        if self.durability != Durability::None {
            disk::sync(&self.path)?;
        }
        let folder = self.path.parent().unwrap_or(Path::new("."));
        let segment = folder.join(segment_name(&digest));
        if !disk::rename_new(&self.path, &segment)? {
            // The very same rows from another process.
            disk::remove_file(&self.path)?;
        }
        if self.durability != Durability::None {
            disk::sync(folder)?;
        }
        Ok(Some(segment))
    }

    /// Writes behind what is there; what a failed write leaves is written over by the next.
    fn write(&mut self, bytes: &[u8]) -> CacheResult<()> {
        step().and_then(|()| self.file.write_all_at(bytes, self.end)).map_err(|error| self.failed(&error))?;
        self.end += bytes.len() as u64;
        Ok(())
    }

    fn failed(&self, error: &io::Error) -> CacheError {
        CacheError::store_io("write", &self.path, error)
    }
}

/// The name of a segment with these bytes.
pub(super) fn segment_name(digest: &Digest) -> String {
    format!("{}.{ROWS}", digest.hex())
}
