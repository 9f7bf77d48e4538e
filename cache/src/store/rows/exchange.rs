//! Rows to and from a store elsewhere, by whole segments. Of a segment there its index is read first, so that one that
//! holds nothing that is wanted is not fetched, and one whose rows are all there is not sent.

use std::collections::{BTreeSet, HashSet};
use std::io;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use super::super::Store;
use super::super::exchange::at_once;
use super::super::layout::rows_place;
use super::arrive::{rows_in, segment_of};
use super::file::{RowKey, Seal};
use super::index::Sorted;
use super::log::segment_name;
use super::segment::{FOOTER, Footer};
use crate::remote::{Fetched, Remote};
use crate::{CacheError, CacheResult, Digest, Key, hash};

/// Most segments of one scope that are looked at: with more, those of the first digests.
const MOST_SEGMENTS: usize = 512;
/// A segment larger than this is left: rows of a whole run have less.
const LARGEST: u64 = 64 << 30;
/// Most bytes of the index of one segment.
const LARGEST_INDEX: u64 = 1 << 30;

/// What exchanging rows with a remote did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RowsMoved {
    pub segments: u64,
    /// Rows in these; some may stand in several.
    pub rows: u64,
    pub bytes: u64,
    /// What is there and not sound; it was left.
    pub problems: Vec<String>,
}

/// A segment of a remote.
struct There {
    digest: Digest,
    size: u64,
    index: Sorted,
}

impl Store {
    /// Brings the segments of a scope that hold a row that is wanted, the largest first, each only if those before it do
    /// not have the row. `stop` is asked now and then.
    ///
    /// # Errors
    /// Environment: the remote cannot be read, the transfer was stopped, or this store cannot be written.
    pub fn pull_rows(
        &self,
        remote: &Remote,
        scope: &Key,
        wanted: &dyn Fn(&[u8; 32]) -> bool,
        stop: &(dyn Fn() -> bool + Sync),
    ) -> CacheResult<RowsMoved> {
        let _in_use = self.begin_use()?;
        remote.check_version()?;
        let here: BTreeSet<Digest> = self.segments_of(scope)?.into_iter().map(|(digest, _)| digest).collect();
        let mut moved = RowsMoved::default();
        let mut there = segments_there(remote, scope, &|digest| !here.contains(digest), &mut moved.problems)?;
        there.sort_by_key(|segment| (std::cmp::Reverse(segment.size), segment.digest));
        let mut brought: Vec<Sorted> = Vec::new();
        for There { digest, size, index } in there {
            let lacking = |row: &RowKey| wanted(row) && brought.iter().all(|index| index.find(row).is_none());
            if !index.rows().any(|row| lacking(&row)) {
                continue;
            }
            match self.bring_segment(remote, scope, &digest, size, stop)? {
                Ok(rows) => {
                    moved.segments += 1;
                    moved.rows += rows;
                    moved.bytes += size;
                    brought.push(index);
                }
                Err(problem) => moved.problems.push(problem),
            }
        }
        if !moved.problems.is_empty() {
            remote.distrust(scope);
        }
        Ok(moved)
    }

    /// The rows that are kept of a scope, as far as is known without reading them.
    ///
    /// # Errors
    /// Environment: the store cannot be read.
    pub fn kept_rows(&self, scope: &Key) -> CacheResult<HashSet<[u8; 32]>> {
        let (mut rows, seal) = (HashSet::new(), Seal::new(scope));
        for (_, path) in self.segments_of(scope)? {
            let failed = |error: io::Error| CacheError::store_io("read", &path, &error);
            match hash::open(&path, false) {
                Ok(file) => {
                    if let Some(index) = super::segment::index(&file, &seal).map_err(failed)? {
                        index.each(&mut |row, _| {
                            rows.insert(row);
                        });
                    }
                }
                // Merged meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(failed(error)),
            }
        }
        Ok(rows)
    }

    /// Brings one segment and gives its rows, or what is wrong with it.
    fn bring_segment(
        &self,
        remote: &Remote,
        scope: &Key,
        digest: &Digest,
        size: u64,
        stop: &(dyn Fn() -> bool + Sync),
    ) -> CacheResult<Result<u64, String>> {
        let name = object(scope, digest);
        let staging = self.stage()?;
        let file = staging.path().join("segment");
        match remote.fetch(&name, size, &file, stop)? {
            Fetched::Copied(found) if found == *digest => {}
            Fetched::Copied(found) => return Ok(Err(format!("{name} is damaged: its bytes have the digest {found}"))),
            Fetched::OfSize(found) => return Ok(Err(format!("{name} is damaged: it has {found} bytes, not {size}"))),
            Fetched::Absent => return Ok(Err(format!("{name} is not there any more"))),
        }
        let Some(rows) = rows_in(&file, scope)? else { return Ok(Err(format!("{name} holds no rows of its folder"))) };
        self.adopt_segment(scope, digest, &file)?;
        Ok(Ok(rows))
    }

    /// Sends the segments of a scope that hold a row which the remote lacks; all of them, where something of the scope was
    /// found damaged there before.
    ///
    /// # Errors
    /// Environment: the remote cannot be read or written, the transfer was stopped, or this store cannot be read.
    pub fn push_rows(&self, remote: &Remote, scope: &Key, stop: &(dyn Fn() -> bool + Sync)) -> CacheResult<RowsMoved> {
        remote.require_write()?;
        let mut moved = RowsMoved::default();
        let here = self.segments_of(scope)?;
        if here.is_empty() {
            return Ok(moved);
        }
        remote.check_version()?;
        let anew = remote.is_distrusted(scope);
        let names: BTreeSet<String> = remote.list(&rows_place(scope))?.into_iter().collect();
        let fresh: Vec<_> = here.iter().filter(|(digest, _)| anew || !names.contains(&segment_name(digest))).collect();
        if fresh.is_empty() {
            return Ok(moved);
        }
        // What lies there under other names: others' rows, and what was merged here since.
        let known: BTreeSet<Digest> = here.iter().map(|(digest, _)| *digest).collect();
        let others = |digest: &Digest| !anew && !known.contains(digest);
        let there = segments_there(remote, scope, &others, &mut moved.problems)?;
        let seal = Seal::new(scope);
        for (digest, path) in fresh {
            let failed = |error: io::Error| CacheError::store_io("read", path, &error);
            let mut file = match hash::open(path, false) {
                Ok(file) => file,
                // Merged meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(failed(error)),
            };
            let Some(index) = super::segment::index(&file, &seal).map_err(failed)? else {
                moved.problems.push(damaged(path));
                continue;
            };
            let mut lacking = false;
            index.each(&mut |row, _| lacking |= there.iter().all(|segment| segment.index.find(&row).is_none()));
            if !lacking {
                continue;
            }
            if remote.send(&object(scope, digest), &mut file, digest, stop)? {
                moved.segments += 1;
                moved.rows += index.len() as u64;
                moved.bytes += file.metadata().map_err(failed)?.len();
            } else {
                moved.problems.push(damaged(path));
            }
        }
        Ok(moved)
    }
}

fn damaged(path: &Path) -> String {
    format!("{} is damaged; `retmask cache verify --repair` keeps its sound rows", path.display())
}

fn object(scope: &Key, digest: &Digest) -> String {
    format!("{}/{}", rows_place(scope), segment_name(digest))
}

/// The segments of a remote that this is true of, with their indexes; what is not sound is told as a problem.
fn segments_there(
    remote: &Remote,
    scope: &Key,
    wanted: &dyn Fn(&Digest) -> bool,
    problems: &mut Vec<String>,
) -> CacheResult<Vec<There>> {
    let names = remote.list(&rows_place(scope))?;
    let digests = names.iter().filter_map(|name| segment_of(name)).filter(wanted).take(MOST_SEGMENTS);
    let digests: Vec<Digest> = digests.collect();
    let (found, wrong, seal) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()), Seal::new(scope));
    at_once(&digests, &|digest| {
        match index_there(remote, scope, digest, &seal)? {
            Ok(there) => found.lock().unwrap_or_else(PoisonError::into_inner).push(there),
            Err(problem) => wrong.lock().unwrap_or_else(PoisonError::into_inner).push(problem),
        }
        Ok(())
    })?;
    problems.extend(wrong.into_inner().unwrap_or_else(PoisonError::into_inner));
    problems.sort_unstable();
    Ok(found.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// The index of a segment of a remote, or what is wrong with it.
fn index_there(remote: &Remote, scope: &Key, digest: &Digest, seal: &Seal) -> CacheResult<Result<There, String>> {
    let name = object(scope, digest);
    let wrong = |what: &str| Ok(Err(format!("{name} {what}")));
    let Some(size) = remote.size_of(&name)? else { return wrong("is not there any more") };
    if size > LARGEST {
        return wrong("is larger than rows are");
    }
    let Some(at) = size.checked_sub(FOOTER as u64) else { return wrong("is no segment of rows") };
    let Some((bytes, _)) = remote.piece(&name, at, FOOTER as u64)? else { return wrong("is not there any more") };
    let footer = Footer::read(&bytes, size).filter(|footer| footer.length as u64 <= LARGEST_INDEX);
    let Some(footer) = footer else { return wrong("is no segment of rows") };
    let index = match footer.length {
        0 => Vec::new(),
        length => match remote.piece(&name, footer.offset, length as u64)? {
            Some((bytes, _)) => bytes,
            None => return wrong("is not there any more"),
        },
    };
    match footer.index(seal, index) {
        Some(index) => Ok(Ok(There { digest: *digest, size, index })),
        None => wrong("is damaged: its index is not the one it states"),
    }
}
