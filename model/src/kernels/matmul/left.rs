//! The left-hand matrix of products, prepared once for all that it is multiplied with.

use std::borrow::Cow;
use std::mem::MaybeUninit;
use std::ops::Range;

use super::{InstructionSet, Left, LeftTiles, TILE_ROWS};
use crate::Numerics;
use crate::kernels::bf16::{narrowed_rows, pair_rounded, round_row, round_two_rows};
use crate::kernels::simd::dispatch;
use crate::kernels::team;

/// Tiles whose values of one k are read together: 48 values are three cache lines.
const TILES: usize = 4;
/// Smaller matrices are prepared where they stand.
const SMALL: usize = 1 << 15;

/// A matrix A of [rows, depth] in the form that the register tiles of a class read.
pub struct LeftMatrix<'a> {
    rows: usize,
    depth: usize,
    values: Values<'a>,
}

enum Values<'a> {
    /// As it lies: its rows are contiguous.
    Rows(Left<'a>),
    /// For each tile of 12 rows, and each k, 12 values.
    Tiles(Vec<f32>),
    /// The same with pairs of two k rounded to bf16.
    Rounded(Vec<u32>),
    /// Rows of such pairs as they lie.
    PairRows { pairs: Cow<'a, [u32]>, stride: usize },
}

/// Rows of values rounded to bf16, two neighbours in each of `pairs`, the first in the lower half, from `stride` pairs to the
/// next row; an odd last one is beside 0.
#[derive(Clone, Copy)]
pub struct PairedRows<'a> {
    pub pairs: &'a [u32],
    pub stride: usize,
}

impl<'a> LeftMatrix<'a> {
    /// Prepares A for products in a class.
    ///
    /// # Panics
    /// When the slice is shorter than the shape says: shapes are this crate's own.
    pub fn new(set: InstructionSet, numerics: Numerics, a: Left<'a>, rows: usize, depth: usize) -> Self {
        a.check(rows, depth);
        let values = match numerics {
            Numerics::Bf16 if a.depth_stride == 1 && a.row_stride == depth => {
                let pairs = narrowed_rows(set, &a.data[..rows * depth], depth).into();
                Values::PairRows { pairs, stride: depth.div_ceil(2) }
            }
            Numerics::Bf16 => Values::Rounded(round_rows(set, a, rows, depth)),
            Numerics::F32 if a.depth_stride == 1 || a.row_stride != 1 => Values::Rows(a),
            Numerics::F32 => Values::Tiles(gather(a, rows, depth)),
        };
        Self { rows, depth, values }
    }

    /// Rows of pairs as they lie, for the class `bf16`.
    ///
    /// # Panics
    /// As [`LeftMatrix::new`].
    pub fn paired(PairedRows { pairs, stride }: PairedRows<'a>, rows: usize, depth: usize) -> Self {
        assert!(rows == 0 || pairs.len() >= (rows - 1) * stride + depth.div_ceil(2), "rows of pairs");
        Self { rows, depth, values: Values::PairRows { pairs: Cow::Borrowed(pairs), stride } }
    }

    /// The transpose of `depth` rows of `rows` values in pairs, for the class `bf16`.
    ///
    /// # Panics
    /// As [`LeftMatrix::new`].
    pub fn paired_transposed(set: InstructionSet, source: PairedRows, rows: usize, depth: usize) -> Self {
        assert!(depth == 0 || source.pairs.len() >= (depth - 1) * source.stride + rows.div_ceil(2), "rows of pairs");
        Self { rows, depth, values: Values::Rounded(interleave(set, source, rows, depth)) }
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    pub(super) fn depth(&self) -> usize {
        self.depth
    }

    /// The class it was prepared for.
    pub(super) fn numerics(&self) -> Numerics {
        match self.values {
            Values::Rows(_) | Values::Tiles(_) => Numerics::F32,
            Values::Rounded(_) | Values::PairRows { .. } => Numerics::Bf16,
        }
    }

    /// Where the values of the class `f32` lie.
    pub(super) fn single_tiles(&self) -> LeftTiles<f32> {
        match &self.values {
            Values::Rows(rows) => LeftTiles::of(*rows),
            Values::Tiles(tiles) => LeftTiles::packed(tiles, self.depth),
            Values::Rounded(_) | Values::PairRows { .. } => unreachable!("prepared for bf16"),
        }
    }

    /// Where the pairs of the class `bf16` lie.
    pub(super) fn pair_tiles(&self) -> LeftTiles<u32> {
        match &self.values {
            Values::Rounded(pairs) => LeftTiles::packed(pairs, self.depth.div_ceil(2)),
            Values::PairRows { pairs, stride } => LeftTiles::rows(pairs, *stride),
            Values::Rows(_) | Values::Tiles(_) => unreachable!("prepared for f32"),
        }
    }
}

/// Tiles of `size` values for all rows, made in groups of four: `fill` is given the first row of a group and its place, where
/// there is nothing yet, and writes all of it.
///
/// # Safety
/// `fill` must write every value.
unsafe fn in_groups<T: Copy + Send>(
    rows: usize,
    size: usize,
    small: bool,
    fill: impl Fn(usize, &mut [MaybeUninit<T>]) + Sync + Send,
) -> Vec<T> {
    let length = rows.div_ceil(TILE_ROWS) * size;
    let mut out = Vec::with_capacity(length);
    let group = (TILES * size).max(1);
    let room = &mut out.spare_capacity_mut()[..length];
    if small {
        room.chunks_mut(group).enumerate().for_each(|(index, out)| fill(index * TILES * TILE_ROWS, out));
    } else {
        team::chunks_mut(room, group, |index, out| fill(index * TILES * TILE_ROWS, out));
    }
    // SAFETY: the groups are all of it, and the caller vouches that they were written.
    unsafe { out.set_len(length) };
    out
}

/// Writes the values of some rows at one step of their tiles; places behind the last row become 0.
fn put<T: Copy + Default>(out: &mut [MaybeUninit<T>], size: usize, step: usize, values: &[T]) {
    for (tile, tiles) in out.chunks_exact_mut(size).enumerate() {
        let values = values.get(tile * TILE_ROWS..).unwrap_or_default();
        let out = &mut tiles[step * TILE_ROWS..][..TILE_ROWS];
        if let Some(values) = values.first_chunk::<TILE_ROWS>() {
            out.write_copy_of_slice(values);
        } else {
            for (place, out) in out.iter_mut().enumerate() {
                out.write(values.get(place).copied().unwrap_or_default());
            }
        }
    }
}

/// The transpose of rows of `rows` contiguous values, as tiles.
fn gather(a: Left, rows: usize, depth: usize) -> Vec<f32> {
    let size = depth * TILE_ROWS;
    let fill = |first: usize, out: &mut [MaybeUninit<f32>]| {
        for k in 0..depth {
            put(out, size, k, &a.data[k * a.depth_stride + first..][..(TILES * TILE_ROWS).min(rows - first)]);
        }
    };
    // SAFETY: every step of every tile is put.
    unsafe { in_groups(rows, size, rows * depth < SMALL, fill) }
}

/// The transpose of rows of pairs: for each tile of 12 columns, and each two rows, 12 pairs.
fn interleave(set: InstructionSet, source: PairedRows, rows: usize, depth: usize) -> Vec<u32> {
    /// Two columns each.
    const PAIRS: usize = TILES * TILE_ROWS / 2;
    static NOTHING: [u32; PAIRS] = [0; PAIRS];
    let steps = depth.div_ceil(2);
    let size = TILE_ROWS * steps;
    let fill = |first: usize, out: &mut [MaybeUninit<u32>]| {
        let count = (TILES * TILE_ROWS).min(rows - first).div_ceil(2);
        let row = |k: usize| match k < depth {
            true => &source.pairs[k * source.stride + first / 2..][..count],
            false => &NOTHING[..count],
        };
        for step in 0..steps {
            let (lower, upper) = (row(2 * step), row(2 * step + 1));
            let mut met = [[0; 2]; PAIRS];
            let into = &mut met;
            dispatch!(set, meet(lower: &[u32], upper: &[u32], into: &mut [[u32; 2]; PAIRS]) {
                for ((out, &lower), &upper) in into.iter_mut().zip(lower).zip(upper) {
                    *out = [lower & 0xffff | upper << 16, lower >> 16 | upper & 0xffff_0000];
                }
            });
            put(out, size, step, met.as_flattened());
        }
    };
    if steps == 0 {
        return Vec::new();
    }
    // SAFETY: every step of every tile is put.
    unsafe { in_groups(rows, size, rows * depth < SMALL, fill) }
}

/// A rounded to bf16 pairs along k, the last one padded with 0: for each tile of 12 rows, and each pair, 12 values.
pub(super) fn round_rows(set: InstructionSet, a: Left, rows: usize, depth: usize) -> Vec<u32> {
    let pairs = depth.div_ceil(2);
    let size = TILE_ROWS * pairs;
    let by_columns = a.row_stride == 1 && a.depth_stride != 1;
    let fill = |first: usize, out: &mut [MaybeUninit<u32>]| {
        let count = (TILES * TILE_ROWS).min(rows - first);
        if by_columns {
            round_columns(set, a, first, count, depth, out);
            return;
        }
        for (tile, out) in out.chunks_exact_mut(size).enumerate() {
            let first = first + tile * TILE_ROWS;
            round_tile(set, a, first..rows.min(first + TILE_ROWS), depth, out);
        }
    };
    if pairs == 0 {
        return Vec::new();
    }
    // SAFETY: every step of every tile is put.
    unsafe { in_groups(rows, size, rows * depth < SMALL, fill) }
}

/// One tile of a matrix.
fn round_tile(set: InstructionSet, a: Left, rows: Range<usize>, depth: usize, out: &mut [MaybeUninit<u32>]) {
    /// Pairs of a row that are rounded before they are shared out among the steps.
    const PAIRS: usize = 32;
    let pairs = depth.div_ceil(2);
    for start in (0..pairs).step_by(PAIRS) {
        let count = PAIRS.min(pairs - start);
        let mut rounded = [[0; PAIRS]; TILE_ROWS];
        for (row, rounded) in rows.clone().zip(&mut rounded) {
            let (first, end) = (row * a.row_stride, depth.min(2 * (start + count)));
            if a.depth_stride == 1 {
                round_row(set, &a.data[first + 2 * start..first + end], &mut rounded[..count]);
            } else {
                let value = |k: usize| if k < depth { a.data[first + k * a.depth_stride] } else { 0.0 };
                for (pair, out) in rounded[..count].iter_mut().enumerate() {
                    *out = pair_rounded(value(2 * (start + pair)), value(2 * (start + pair) + 1));
                }
            }
        }
        for (pair, out) in out[start * TILE_ROWS..][..count * TILE_ROWS].chunks_exact_mut(TILE_ROWS).enumerate() {
            out.iter_mut().zip(&rounded).for_each(|(out, row)| {
                out.write(row[pair]);
            });
        }
    }
}

/// Tiles of `count` rows from row `first` on, of a matrix whose columns are contiguous.
fn round_columns(set: InstructionSet, a: Left, first: usize, count: usize, depth: usize, out: &mut [MaybeUninit<u32>]) {
    let size = TILE_ROWS * depth.div_ceil(2);
    let nothing = [0.0; TILES * TILE_ROWS];
    let values = |k: usize| if k < depth { &a.data[k * a.depth_stride + first..][..count] } else { &nothing[..count] };
    for pair in 0..depth.div_ceil(2) {
        let (lower, upper) = (values(2 * pair), values(2 * pair + 1));
        let mut rounded = [0; TILES * TILE_ROWS];
        round_two_rows(set, lower, upper, &mut rounded[..lower.len()]);
        put(out, size, pair, &rounded);
    }
}
