//! The records of a remote, read to be compared with and not to be relied on.
//!
//! Records never change, so each is read from the remote once: a copy stays in `remotes/`.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use super::archive::is_name;
use super::exchange::at_once;
use super::layout::Layout;
use super::records::list;
use super::{Store, disk};
use crate::record::{MAX_BYTES, Record};
use crate::remote::{Listed, Remote};
use crate::{CacheError, CacheResult, Key};

/// Most records of a remote that are listed at all.
const MOST_LISTED: usize = 50_000;

/// Records of a remote that this store has not.
#[derive(Debug, Clone, Default)]
pub struct RecordsThere {
    pub records: Vec<Record>,
    /// So many more are there and were not read this time; the next time goes on with them.
    pub unread: usize,
    /// Whether there may be still more: only so many are listed.
    pub cut: bool,
}

/// A record of a remote by its name.
struct Named {
    key: Key,
    /// The name of its file.
    file: String,
    object: Listed,
}

impl Store {
    /// The records of a remote that this store lacks. Those that were not read before are, the youngest first, and no
    /// more than `most` of them; what is not sound is left out.
    ///
    /// # Errors
    /// Environment: the remote cannot be read, or this store not be written.
    pub fn records_there(&self, remote: &Remote, most: usize) -> CacheResult<RecordsThere> {
        remote.check_version()?;
        let (listed, whole) = remote.list_below("ac", MOST_LISTED)?;
        let mut named: Vec<Named> = listed.into_iter().filter_map(Named::of).collect();
        named.retain(|named| !self.layout().records(&named.key).join(&named.file).exists());
        named.sort_by(|left, right| {
            (right.object.milliseconds, &left.object.name).cmp(&(left.object.milliseconds, &right.object.name))
        });
        let folder = self.layout().records_of_remote(remote.address());
        let mut there = RecordsThere { cut: !whole, ..RecordsThere::default() };
        let (mut known, mut missing) = (BTreeSet::new(), Vec::new());
        for named in named {
            known.insert(named.copy());
            match fs::read(folder.join(named.copy())).ok().and_then(|bytes| named.record(&bytes)) {
                Some(record) => there.records.push(record),
                None => missing.push(named),
            }
        }
        there.unread = missing.len().saturating_sub(most);
        missing.truncate(most);
        if !missing.is_empty() {
            disk::make_folders(&folder)?;
        }
        let read = Mutex::new(Vec::new());
        at_once(&missing, &|named| {
            let Some(bytes) = remote.read(&named.object.name, MAX_BYTES)? else { return Ok(()) };
            let Some(record) = named.record(&bytes) else { return Ok(()) };
            keep_copy(&folder.join(named.copy()), &bytes)?;
            read.lock().unwrap_or_else(PoisonError::into_inner).push(record);
            Ok(())
        })?;
        there.records.extend(read.into_inner().unwrap_or_else(PoisonError::into_inner));
        there.records.sort_by_key(|record| (record.key, record.provenance.created_milliseconds));
        if whole {
            forget(&folder, &known)?;
        }
        Ok(there)
    }
}

/// Writes a copy. It need not last: it is read again where it is missing or damaged.
fn keep_copy(copy: &Path, bytes: &[u8]) -> CacheResult<()> {
    let failed = |error: io::Error| CacheError::store_io("write", copy, &error);
    let folder = copy.parent().unwrap_or(Path::new("."));
    let named = tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o666)).tempfile_in(folder);
    let mut file = named.map_err(failed)?;
    file.write_all(bytes).map_err(failed)?;
    file.persist(copy).map(drop).map_err(|error| failed(error.error))
}

impl Named {
    /// `None` for an object that has not the name of a record.
    fn of(object: Listed) -> Option<Self> {
        let parts: Vec<&str> = object.name.split('/').collect();
        let ["ac", fan_out, key, file] = parts[..] else { return None };
        let named = is_name(file) && file.ends_with(".rec") && key.starts_with(fan_out) && fan_out.len() == 2;
        let (key, file) = (key.parse().ok().filter(|_| named)?, file.to_owned());
        (object.size <= MAX_BYTES).then_some(Self { key, file, object })
    }

    /// The name of its copy.
    fn copy(&self) -> String {
        format!("{}.{}", self.key, self.file)
    }

    /// The record of these bytes; `None` when they are not what the name says.
    fn record(&self, bytes: &[u8]) -> Option<Record> {
        let (record, digest) = Record::from_bytes(bytes).ok()?;
        (record.key == self.key && Layout::record_name(&digest) == self.file).then_some(record)
    }
}

/// Removes the copies of records that the remote has no more.
fn forget(folder: &Path, known: &BTreeSet<String>) -> CacheResult<()> {
    for path in list(folder)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.ends_with(".rec") && !known.contains(&name) {
            // Another process may have been quicker.
            let _ = fs::remove_file(&path);
        }
    }
    Ok(())
}
