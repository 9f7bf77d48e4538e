//! Segments that come from elsewhere: believed only when every byte was compared.

use std::fs::File;
use std::io;
use std::path::Path;

use super::file::Seal;
use super::index::Index;
use super::log::{ROWS, segment_name};
use super::map::lock_map;
use super::segment;
use crate::{CacheError, CacheResult, Digest, Key, disk};

use super::super::records::list;
use super::super::{Durability, Store};

impl Store {
    /// The segments of a scope with their digests, in the order of these.
    pub(in super::super) fn segments_of(&self, scope: &Key) -> CacheResult<Vec<(Digest, std::path::PathBuf)>> {
        let named = |path: std::path::PathBuf| Some((segment_of(path.file_name()?.to_str()?)?, path));
        Ok(list(&self.layout().row_map(scope))?.into_iter().filter_map(named).collect())
    }

    /// Puts a file, whose bytes have this digest, into the row map of a scope, as one of its segments.
    pub(in super::super) fn adopt_segment(&self, scope: &Key, digest: &Digest, file: &Path) -> CacheResult<()> {
        let folder = self.layout().row_map(scope);
        disk::set_mode(file, 0o444)?;
        let durable = self.options().durability != Durability::None;
        if durable {
            disk::sync(file)?;
        }
        let _lock = lock_map(&folder)?;
        if !disk::rename_new(file, &folder.join(segment_name(digest)))? {
            // The very same segment, from another process.
            disk::remove_file(file)?;
        }
        if durable { disk::sync(&folder) } else { Ok(()) }
    }
}

/// How many rows a file holds that should be a segment of this scope; `None` when it is none.
pub(in super::super) fn rows_in(file: &Path, scope: &Key) -> CacheResult<Option<u64>> {
    let failed = |error: io::Error| CacheError::store_io("read", file, &error);
    let opened = File::open(file).map_err(failed)?;
    let index = segment::index(&opened, &Seal::new(scope)).map_err(failed)?;
    Ok(index.as_ref().map(|index: &Index| index.len() as u64))
}

/// The digest that a segment is named by; `None` for any other name.
pub(in super::super) fn segment_of(name: &str) -> Option<Digest> {
    let hex = name.strip_suffix(ROWS)?.strip_suffix('.')?;
    let digest = format!("b3:{hex}").parse().ok()?;
    (segment_name(&digest) == name).then_some(digest)
}
