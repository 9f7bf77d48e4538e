//! Which rows a file holds, and where.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use super::file::{Place, RowKey, number32, number64};

/// Bytes of an entry: key, offset, length.
pub(super) const ENTRY: usize = 32 + 8 + 4;

/// Rows by key.
#[derive(Debug)]
pub(super) enum Index {
    /// As it stands in a segment.
    Sorted(Sorted),
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

/// Entries sorted by key. Keys are spread evenly, so their first bits say nearly where an entry is.
#[derive(Debug)]
pub(super) struct Sorted {
    entries: Vec<u8>,
    /// How many first bits of a key are looked up in `starts`.
    bits: u32,
    /// By these bits: the number of the first entry that has them or more.
    starts: Vec<u32>,
}

impl Sorted {
    /// `None` when the entries are not sorted.
    pub(super) fn new(entries: Vec<u8>) -> Option<Self> {
        let (all, _) = entries.as_chunks::<ENTRY>();
        let count = u32::try_from(all.len()).ok()?;
        if !all.is_sorted_by(|left, right| left[..32] < right[..32]) {
            return None;
        }
        // About four entries to a place.
        let bits = count.max(1).ilog2().saturating_sub(2);
        let mut starts = Vec::with_capacity((1 << bits) + 1);
        for (number, entry) in (0..).zip(all) {
            while starts.len() <= first_bits(entry, bits) {
                starts.push(number);
            }
        }
        starts.resize((1 << bits) + 1, count);
        Some(Self { entries, bits, starts })
    }

    pub(super) fn find(&self, row: &RowKey) -> Option<Place> {
        let at = first_bits(row, self.bits);
        let (entries, _) = self.entries.as_chunks::<ENTRY>();
        let near = &entries[self.starts[at] as usize..self.starts[at + 1] as usize];
        let found = near.binary_search_by(|entry| entry[..32].cmp(row)).ok()?;
        Some(place(&near[found]))
    }

    /// The keys, sorted.
    pub(super) fn rows(&self) -> impl Iterator<Item = RowKey> {
        let (entries, _) = self.entries.as_chunks::<ENTRY>();
        entries.iter().map(|entry| {
            let mut row = [0; 32];
            row.copy_from_slice(&entry[..32]);
            row
        })
    }
}

/// The first bits of a key as a number.
fn first_bits(key: &[u8], bits: u32) -> usize {
    let mut first = [0; 8];
    first.copy_from_slice(&key[..8]);
    // At most 30 of them, for entries are counted in 32 bits.
    (u64::from_be_bytes(first) >> 32 >> (32 - bits)) as usize
}

impl Index {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Sorted(sorted) => sorted.entries.len() / ENTRY,
            Self::Growing(places) => places.len(),
        }
    }

    pub(super) fn find(&self, row: &RowKey) -> Option<Place> {
        match self {
            Self::Growing(places) => places.get(row).copied(),
            Self::Sorted(sorted) => sorted.find(row),
        }
    }

    pub(super) fn each(&self, visit: &mut dyn FnMut(RowKey, Place)) {
        match self {
            Self::Growing(places) => places.iter().for_each(|(row, place)| visit(*row, *place)),
            Self::Sorted(sorted) => sorted.entries.as_chunks::<ENTRY>().0.iter().for_each(|entry| {
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
