//! New buffers that are written whole, so that nobody clears them first.

use std::mem::MaybeUninit;

use super::team;

/// Elements one task writes where any number would do.
pub(super) const CHUNK: usize = 16 * 1024;

/// `length` values; `write` is given each chunk of `size` values, by its number, with nothing in it yet.
///
/// # Safety
/// `write` must write every value.
pub(super) unsafe fn written<T: Copy + Send>(
    length: usize,
    size: usize,
    write: impl Fn(usize, &mut [MaybeUninit<T>]) + Sync + Send,
) -> Vec<T> {
    let mut out = Vec::with_capacity(length);
    let room = &mut out.spare_capacity_mut()[..length];
    team::chunks_mut(room, size, write);
    // SAFETY: the chunks are all of it, and the caller vouches that they were written.
    unsafe { out.set_len(length) };
    out
}

/// Zeros of these lengths, in memory that is there: all threads touch its pages now, instead of each that is first written
/// to later being waited for.
pub(crate) fn zeros(lengths: impl Iterator<Item = usize>) -> Vec<Vec<f32>> {
    /// Two huge pages, so that threads do not ask for the same one.
    const TOUCHED: usize = 1 << 20;
    let mut all: Vec<(usize, Vec<f32>)> = lengths.map(|length| (length, Vec::with_capacity(length))).collect();
    let rooms = all.iter_mut().flat_map(|(length, out)| out.spare_capacity_mut()[..*length].chunks_mut(TOUCHED));
    let rooms: Vec<&mut [MaybeUninit<f32>]> = rooms.collect();
    team::each(rooms, |_, room| clear(room));
    let written = all.into_iter().map(|(length, mut out)| {
        // SAFETY: that much was written.
        unsafe { out.set_len(length) };
        out
    });
    written.collect()
}

/// Writes zeros.
pub(super) fn clear(room: &mut [MaybeUninit<f32>]) {
    for place in room {
        place.write(0.0);
    }
}

/// Chunk `number` of these values.
pub(super) fn chunk<T>(values: &[T], number: usize) -> &[T] {
    &values[number * CHUNK..values.len().min((number + 1) * CHUNK)]
}
