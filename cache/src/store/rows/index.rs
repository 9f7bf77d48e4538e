//! Which rows a file holds, and where.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use super::file::{Place, RowKey, number32, number64};

/// Bytes of an entry: key, offset, length.
pub(super) const ENTRY: usize = 32 + 8 + 4;

/// Rows by key.
#[derive(Debug)]
pub(super) enum Index {
    /// As it stands in a segment: entries sorted by key.
    Sorted(Vec<u8>),
    /// Of a log.
    Growing(Growing),
}

/// Keys are digests, so their first bytes are as good a hash as any.
pub(super) type Growing = HashMap<RowKey, Place, BuildHasherDefault<FirstBytes>>;

#[derive(Debug, Default)]
pub(super) struct FirstBytes(u64);

impl Hasher for FirstBytes {
    fn write(&mut self, bytes: &[u8]) {
        if bytes.len() >= 8 {
            self.0 = number64(bytes);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

impl Index {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Sorted(bytes) => bytes.len() / ENTRY,
            Self::Growing(places) => places.len(),
        }
    }

    pub(super) fn find(&self, row: &RowKey) -> Option<Place> {
        match self {
            Self::Growing(places) => places.get(row).copied(),
            Self::Sorted(bytes) => {
                let (entries, _) = bytes.as_chunks::<ENTRY>();
                let found = entries.binary_search_by(|entry| entry[..32].cmp(row)).ok()?;
                Some(place(&entries[found]))
            }
        }
    }

    pub(super) fn each(&self, visit: &mut dyn FnMut(RowKey, Place)) {
        match self {
            Self::Growing(places) => places.iter().for_each(|(row, place)| visit(*row, *place)),
            Self::Sorted(bytes) => bytes.as_chunks::<ENTRY>().0.iter().for_each(|entry| {
                let mut row = [0; 32];
                row.copy_from_slice(&entry[..32]);
                visit(row, place(entry));
            }),
        }
    }
}

fn place(entry: &[u8; ENTRY]) -> Place {
    Place { offset: number64(&entry[32..]), length: number32(&entry[40..]) }
}

/// The entries of a log as they stand in a segment.
pub(super) fn sorted(places: &Growing) -> Vec<u8> {
    let mut rows: Vec<(&RowKey, &Place)> = places.iter().collect();
    rows.sort_unstable_by_key(|(row, _)| *row);
    let mut bytes = Vec::with_capacity(rows.len() * ENTRY);
    for (row, place) in rows {
        bytes.extend(row);
        bytes.extend(place.offset.to_le_bytes());
        bytes.extend(place.length.to_le_bytes());
    }
    bytes
}
