//! New buffers that are written whole, so that nobody clears them first.

use std::mem::MaybeUninit;

use super::team;

/// Elements one task writes.
pub(super) const CHUNK: usize = 16 * 1024;

/// `length` values; `write` is given each chunk of [`CHUNK`] values, by its number, with nothing in it yet.
///
/// # Safety
/// `write` must write every value.
pub(super) unsafe fn written<T: Copy + Send>(
    length: usize,
    write: impl Fn(usize, &mut [MaybeUninit<T>]) + Sync + Send,
) -> Vec<T> {
    let mut out = Vec::with_capacity(length);
    let room = &mut out.spare_capacity_mut()[..length];
    team::chunks_mut(room, CHUNK, write);
    // SAFETY: the chunks are all of it, and the caller vouches that they were written.
    unsafe { out.set_len(length) };
    out
}

/// Chunk `number` of these values.
pub(super) fn chunk<T>(values: &[T], number: usize) -> &[T] {
    &values[number * CHUNK..values.len().min((number + 1) * CHUNK)]
}
