//! Segments: what makes a log one, and opening them.

use std::fs::File;
use std::io;

use super::file::{self, Seal, number64};
use super::index::{ENTRY, Index, Sorted};

/// First bytes of a footer.
const DONE: &[u8; 8] = b"rowsdone";
/// Bytes of a footer: mark, count, offset of the index, digest.
const FOOTER: usize = 8 + 8 + 8 + 32;

/// What stands behind the frames, which end at `offset`.
pub(super) fn tail(seal: &Seal, offset: u64, index: &[u8]) -> Vec<u8> {
    let count = (index.len() / ENTRY) as u64;
    let digest = seal.of_index(count, offset, index);
    [index, DONE, &count.to_le_bytes(), &offset.to_le_bytes(), &digest].concat()
}

/// The verified index of a segment; `None` when the file is not a whole segment of this scope.
pub(super) fn index(file: &File, seal: &Seal) -> io::Result<Option<Index>> {
    let size = file.metadata()?.len();
    let Some((_, start)) = file::read_header(file, seal)? else { return Ok(None) };
    let Some(footer_at) = size.checked_sub(FOOTER as u64).filter(|at| *at >= start) else { return Ok(None) };
    let Some(footer) = file::read_exact(file, footer_at, FOOTER)? else { return Ok(None) };
    let (count, offset) = (number64(&footer[8..]), number64(&footer[16..]));
    let length = count.checked_mul(ENTRY as u64).filter(|length| *length <= footer_at - start);
    let Some(length) = length.filter(|length| offset.checked_add(*length) == Some(footer_at)) else { return Ok(None) };
    let Ok(length) = usize::try_from(length) else { return Ok(None) };
    if !footer.starts_with(DONE) || offset < start {
        return Ok(None);
    }
    let Some(index) = file::read_exact(file, offset, length)? else { return Ok(None) };
    let sound = footer[24..] == seal.of_index(count, offset, &index);
    Ok(if sound { Sorted::new(index).map(Index::Sorted) } else { None })
}
