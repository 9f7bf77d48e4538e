//! The parts that logs and segments are made of, and reading them back.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;

use crate::Key;

/// The key of a row within its map.
pub(super) type RowKey = [u8; 32];

/// First line of a file; the number grows with the format.
const MAGIC: &[u8] = b"retmask-rows 1\n";
/// Domain of all checksums; the number grows with the format.
const DOMAIN: &str = "retmask 2026-11 rows v1";
/// Bytes of a frame before its result: key, length, checksum.
pub(super) const FRAME: usize = 32 + 4 + CHECKSUM;
const CHECKSUM: usize = 16;
/// The longest fields that are read back.
const MAX_FIELDS: u32 = 1 << 20;
/// Bytes read at a time while frames are walked.
const PIECE: usize = 1 << 20;

/// Checksums of one scope.
#[derive(Debug, Clone)]
pub(super) struct Seal([u8; 32]);

impl Seal {
    pub(super) fn new(scope: &Key) -> Self {
        Self(blake3::derive_key(DOMAIN, scope.bytes()))
    }

    fn of_result(&self, row: &RowKey, result: &[u8]) -> [u8; CHECKSUM] {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        // The key has a fixed length, so the two cannot run into each other.
        hasher.update(row).update(result);
        first(&hasher.finalize())
    }

    fn of_fields(&self, fields: &[u8]) -> [u8; CHECKSUM] {
        first(&blake3::keyed_hash(&self.0, fields))
    }

    /// Of a segment's index with its place.
    pub(super) fn of_index(&self, count: u64, offset: u64, index: &[u8]) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(&count.to_le_bytes()).update(&offset.to_le_bytes()).update(index);
        *hasher.finalize().as_bytes()
    }
}

fn first(hash: &blake3::Hash) -> [u8; CHECKSUM] {
    let mut short = [0; CHECKSUM];
    short.copy_from_slice(&hash.as_bytes()[..CHECKSUM]);
    short
}

/// Where a result lies in its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// Of the frame.
    pub offset: u64,
    /// Of the result, in bytes.
    pub length: u32,
}

/// A file's beginning.
pub(super) fn header(seal: &Seal, fields: &[u8]) -> Option<Vec<u8>> {
    let length = u32::try_from(fields.len()).ok().filter(|length| *length <= MAX_FIELDS)?;
    Some([MAGIC, &length.to_le_bytes(), fields, &seal.of_fields(fields)].concat())
}

/// The fields in a file's beginning and where frames start; `None` when it is no such file, or of another scope.
pub(super) fn read_header(file: &File, seal: &Seal) -> io::Result<Option<(Vec<u8>, u64)>> {
    let start = MAGIC.len() + 4;
    let Some(begin) = read_exact(file, 0, start)? else { return Ok(None) };
    let length = number32(&begin[MAGIC.len()..]);
    if !begin.starts_with(MAGIC) || length > MAX_FIELDS {
        return Ok(None);
    }
    let Some(mut fields) = read_exact(file, start as u64, length as usize + CHECKSUM)? else { return Ok(None) };
    let checksum = fields.split_off(length as usize);
    if checksum != seal.of_fields(&fields) {
        return Ok(None);
    }
    Ok(Some((fields, (start + length as usize + CHECKSUM) as u64)))
}

/// A row with its result as it stands in a file; `None` for a result that is too long.
pub(super) fn frame(seal: &Seal, row: &RowKey, result: &[u8]) -> Option<Vec<u8>> {
    let length = u32::try_from(result.len()).ok()?;
    let mut bytes = Vec::with_capacity(FRAME + result.len());
    bytes.extend(row);
    bytes.extend(length.to_le_bytes());
    bytes.extend(seal.of_result(row, result));
    bytes.extend(result);
    Some(bytes)
}

/// The result at a place; `None` when it is not there as it was written.
pub(super) fn read_result(file: &File, seal: &Seal, row: &RowKey, place: Place) -> io::Result<Option<Vec<u8>>> {
    // The place comes from an index that was verified, or from frames that were walked, so its length is real.
    let Some(mut bytes) = read_exact(file, place.offset, FRAME + place.length as usize)? else { return Ok(None) };
    let result = bytes.split_off(FRAME);
    let sound =
        bytes[..32] == *row && number32(&bytes[32..]) == place.length && bytes[36..] == seal.of_result(row, &result);
    Ok(sound.then_some(result))
}

/// How a walk over frames goes on after one that is not sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AfterDamage {
    /// It ends: a writer may be in the middle of it.
    Stop,
    /// With the one behind it, as far as its length can be believed.
    Skip,
}

/// Calls `visit` with every sound frame from `start` on. Gives the end of the last one.
pub(super) fn walk(
    file: &File,
    seal: &Seal,
    start: u64,
    after: AfterDamage,
    visit: &mut dyn FnMut(RowKey, Place),
) -> io::Result<u64> {
    let size = file.metadata()?.len();
    let (mut sound_until, mut offset) = (start, start);
    let mut window = Window { file, size, start, bytes: Vec::new() };
    while let Some(head) = window.at(offset, FRAME)? {
        let mut row = [0; 32];
        row.copy_from_slice(&head[..32]);
        let length = number32(&head[32..]);
        let end = offset + (FRAME + length as usize) as u64;
        let Some(bytes) = window.at(offset, FRAME + length as usize)? else { break };
        if bytes[36..FRAME] == seal.of_result(&row, &bytes[FRAME..]) {
            visit(row, Place { offset, length });
            sound_until = end;
        } else if after == AfterDamage::Stop {
            break;
        }
        offset = end;
    }
    Ok(sound_until)
}

/// A piece of a file, read ahead.
struct Window<'a> {
    file: &'a File,
    size: u64,
    start: u64,
    bytes: Vec<u8>,
}

impl Window<'_> {
    /// These bytes; `None` when the file ends before.
    fn at(&mut self, offset: u64, length: usize) -> io::Result<Option<&[u8]>> {
        if self.size.saturating_sub(offset) < length as u64 {
            return Ok(None);
        }
        let inside = offset >= self.start && offset + length as u64 <= self.start + self.bytes.len() as u64;
        if !inside {
            let ahead = (length.max(PIECE) as u64).min(self.size - offset) as usize;
            let Some(bytes) = read_exact(self.file, offset, ahead)? else { return Ok(None) };
            (self.start, self.bytes) = (offset, bytes);
        }
        let from = (offset - self.start) as usize;
        Ok(Some(&self.bytes[from..from + length]))
    }
}

/// So many bytes at an offset; `None` when the file ends before.
pub(super) fn read_exact(file: &File, offset: u64, length: usize) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = vec![0; length];
    match file.read_exact_at(&mut bytes, offset) {
        Ok(()) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

/// The first four bytes as a number.
pub(super) fn number32(bytes: &[u8]) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[..4]);
    u32::from_le_bytes(word)
}

/// The first eight bytes as a number.
pub(super) fn number64(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[..8]);
    u64::from_le_bytes(word)
}
