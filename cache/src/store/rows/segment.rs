//! Segments: what makes a log one, and their indexes.

use std::fs::File;
use std::io;

use super::file::{self, Seal, number64};
use super::index::{ENTRY, Index, Sorted};

/// First bytes of a footer.
const DONE: &[u8; 8] = b"rowsdone";
/// Bytes of a footer: mark, count, offset of the index, digest.
pub(super) const FOOTER: usize = 8 + 8 + 8 + 32;

/// What stands behind the frames, which end at `offset`.
pub(super) fn tail(seal: &Seal, offset: u64, index: &[u8]) -> Vec<u8> {
    let count = (index.len() / ENTRY) as u64;
    let digest = seal.of_index(count, offset, index);
    [index, DONE, &count.to_le_bytes(), &offset.to_le_bytes(), &digest].concat()
}

/// Where the index of a segment stands.
#[derive(Debug)]
pub(super) struct Footer {
    count: u64,
    pub(super) offset: u64,
    /// Bytes of the index.
    pub(super) length: usize,
    digest: [u8; 32],
}

impl Footer {
    /// Reads the last bytes of a segment of this size; `None` when they are no footer, or contradict it.
    pub(super) fn read(bytes: &[u8], size: u64) -> Option<Self> {
        let at = size.checked_sub(FOOTER as u64)?;
        if bytes.len() != FOOTER || !bytes.starts_with(DONE) {
            return None;
        }
        let (count, offset) = (number64(&bytes[8..]), number64(&bytes[16..]));
        let length = count.checked_mul(ENTRY as u64).filter(|length| offset.checked_add(*length) == Some(at))?;
        let mut digest = [0; 32];
        digest.copy_from_slice(&bytes[24..]);
        Some(Self { count, offset, length: usize::try_from(length).ok()?, digest })
    }

    /// The index of these bytes; `None` when it is not that of the footer, or of another scope.
    pub(super) fn index(&self, seal: &Seal, bytes: Vec<u8>) -> Option<Sorted> {
        let sound = bytes.len() == self.length && self.digest == seal.of_index(self.count, self.offset, &bytes);
        if sound { Sorted::new(bytes) } else { None }
    }
}

/// The verified index of a segment; `None` when the file is not a whole segment of this scope.
pub(super) fn index(file: &File, seal: &Seal) -> io::Result<Option<Index>> {
    let size = file.metadata()?.len();
    let Some((_, start)) = file::read_header(file, seal)? else { return Ok(None) };
    let Some(footer_at) = size.checked_sub(FOOTER as u64).filter(|at| *at >= start) else { return Ok(None) };
    let Some(bytes) = file::read_exact(file, footer_at, FOOTER)? else { return Ok(None) };
    let Some(footer) = Footer::read(&bytes, size).filter(|footer| footer.offset >= start) else { return Ok(None) };
    let Some(bytes) = file::read_exact(file, footer.offset, footer.length)? else { return Ok(None) };
    Ok(footer.index(seal, bytes).map(Index::Sorted))
}
