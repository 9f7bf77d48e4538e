//! The left-hand matrix of products, prepared once for all that it is multiplied with.

use rayon::prelude::*;

use super::step::pair_rounded;
use super::{InstructionSet, Left, LeftTiles, TILE_ROWS, round_row};
use crate::Numerics;
use crate::kernels::simd::dispatch;

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
}

impl<'a> LeftMatrix<'a> {
    /// Prepares A for products in a class.
    ///
    /// # Panics
    /// When the slice is shorter than the shape says: shapes are this crate's own.
    pub fn new(set: InstructionSet, numerics: Numerics, a: Left<'a>, rows: usize, depth: usize) -> Self {
        a.check(rows, depth);
        let values = match numerics {
            Numerics::Bf16 => Values::Rounded(round_rows(set, a, rows, depth)),
            Numerics::F32 if a.depth_stride == 1 || a.row_stride != 1 => Values::Rows(a),
            Numerics::F32 => Values::Tiles(gather(a, rows, depth)),
        };
        Self { rows, depth, values }
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
            Values::Rounded(_) => Numerics::Bf16,
        }
    }

    /// Where the values of the class `f32` lie.
    pub(super) fn single_tiles(&self) -> LeftTiles<f32> {
        match &self.values {
            Values::Rows(rows) => LeftTiles::of(*rows),
            Values::Tiles(tiles) => LeftTiles::packed(tiles, self.depth),
            Values::Rounded(_) => unreachable!("prepared for bf16"),
        }
    }

    /// Where the pairs of the class `bf16` lie.
    pub(super) fn pair_tiles(&self) -> LeftTiles<u32> {
        match &self.values {
            Values::Rounded(pairs) => LeftTiles::packed(pairs, self.depth.div_ceil(2)),
            Values::Rows(_) | Values::Tiles(_) => unreachable!("prepared for f32"),
        }
    }
}

/// Calls `fill` for groups of tiles, of `size` values each, with the first row of each group.
fn in_groups<T: Send>(out: &mut [T], size: usize, small: bool, fill: impl Fn(usize, &mut [T]) + Sync + Send) {
    let group = (TILES * size).max(1);
    if small {
        out.chunks_mut(group).enumerate().for_each(|(index, out)| fill(index * TILES * TILE_ROWS, out));
    } else {
        out.par_chunks_mut(group).enumerate().for_each(|(index, out)| fill(index * TILES * TILE_ROWS, out));
    }
}

/// The transpose of rows of `rows` contiguous values, as tiles.
fn gather(a: Left, rows: usize, depth: usize) -> Vec<f32> {
    let size = depth * TILE_ROWS;
    let mut tiles = vec![0.0; rows.div_ceil(TILE_ROWS) * size];
    in_groups(&mut tiles, size, rows * depth < SMALL, |first, out| {
        for k in 0..depth {
            let values = &a.data[k * a.depth_stride + first..][..(TILES * TILE_ROWS).min(rows - first)];
            for (tile, values) in values.chunks(TILE_ROWS).enumerate() {
                out[tile * size + k * TILE_ROWS..][..values.len()].copy_from_slice(values);
            }
        }
    });
    tiles
}

/// A rounded to bf16 pairs along k, the last one padded with 0: for each tile of 12 rows, and each pair, 12 values.
pub(super) fn round_rows(set: InstructionSet, a: Left, rows: usize, depth: usize) -> Vec<u32> {
    let pairs = depth.div_ceil(2);
    if pairs == 0 {
        return Vec::new();
    }
    let size = TILE_ROWS * pairs;
    let mut rounded = vec![0; rows.div_ceil(TILE_ROWS) * size];
    let small = rows * depth < SMALL;
    if a.row_stride == 1 && a.depth_stride != 1 {
        in_groups(&mut rounded, size, small, |first, out| round_columns(set, a, first, rows, depth, out));
        return rounded;
    }
    let round = |row_of_pairs: &mut Vec<u32>, (tile, out): (usize, &mut [u32])| {
        row_of_pairs.resize(pairs, 0);
        for (place, row) in (tile * TILE_ROWS..rows.min((tile + 1) * TILE_ROWS)).enumerate() {
            let first = row * a.row_stride;
            if a.depth_stride == 1 {
                round_row(set, &a.data[first..first + depth], row_of_pairs);
            } else {
                let value = |k: usize| if k < depth { a.data[first + k * a.depth_stride] } else { 0.0 };
                for (pair, out) in row_of_pairs.iter_mut().enumerate() {
                    *out = pair_rounded(value(2 * pair), value(2 * pair + 1));
                }
            }
            for (out, &pair) in out.chunks_exact_mut(TILE_ROWS).zip(row_of_pairs.iter()) {
                out[place] = pair;
            }
        }
    };
    if small {
        let mut row_of_pairs = Vec::new();
        rounded.chunks_exact_mut(size).enumerate().for_each(|tile| round(&mut row_of_pairs, tile));
    } else {
        rounded.par_chunks_exact_mut(size).enumerate().for_each_init(Vec::new, round);
    }
    rounded
}

/// Four tiles from row `first` on of a matrix whose columns are contiguous.
fn round_columns(set: InstructionSet, a: Left, first: usize, rows: usize, depth: usize, out: &mut [u32]) {
    let (count, size) = ((TILES * TILE_ROWS).min(rows - first), TILE_ROWS * depth.div_ceil(2));
    let nothing = [0.0; TILES * TILE_ROWS];
    let values = |k: usize| if k < depth { &a.data[k * a.depth_stride + first..][..count] } else { &nothing[..count] };
    for pair in 0..depth.div_ceil(2) {
        let (lower, upper) = (values(2 * pair), values(2 * pair + 1));
        let mut rounded = [0; TILES * TILE_ROWS];
        let into = &mut rounded;
        dispatch!(set, round(lower: &[f32], upper: &[f32], into: &mut [u32; TILES * TILE_ROWS]) {
            for ((out, &lower), &upper) in into.iter_mut().zip(lower).zip(upper) {
                *out = pair_rounded(lower, upper);
            }
        });
        for (tile, pairs) in rounded[..count].chunks(TILE_ROWS).enumerate() {
            out[tile * size + pair * TILE_ROWS..][..pairs.len()].copy_from_slice(pairs);
        }
    }
}
