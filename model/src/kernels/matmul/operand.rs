//! The right-hand matrix of products, and its panels where they are packed as they are read.

use super::transpose::transpose;
use super::{InstructionSet, PANEL, PackedMatrix};
use crate::kernels::bf16::{pair_two_rows, round_row, round_two_rows};

/// The right-hand matrix of a product.
#[derive(Clone, Copy)]
pub enum Operand<'a> {
    /// Packed beforehand (weights that do not change).
    Packed(&'a PackedMatrix),
    /// Row-major B: b[k, j] = data[k * stride + j].
    RowMajor { data: &'a [f32], stride: usize },
    /// As `RowMajor`, of values kept as bf16.
    RowMajorBf16 { data: &'a [u16], stride: usize },
    /// Row-major Bᵀ: b[k, j] = data[j * stride + k].
    Transposed { data: &'a [f32], stride: usize },
}

impl Operand<'_> {
    /// Writes one panel (columns from `first`) of `depth` rows into `out`.
    pub(in crate::kernels) fn pack(
        &self,
        set: InstructionSet,
        first: usize,
        columns: usize,
        depth: usize,
        out: &mut [f32],
    ) {
        let width = PANEL.min(columns - first);
        match *self {
            Operand::Packed(_) => unreachable!("a packed operand is used as it is"),
            Operand::RowMajorBf16 { data, stride } => {
                for (k, row) in out.chunks_exact_mut(PANEL).take(depth).enumerate() {
                    let values = &data[k * stride + first..][..width];
                    row.iter_mut().zip(values).for_each(|(out, &half)| *out = f32::from_bits(u32::from(half) << 16));
                    row[width..].fill(0.0);
                }
            }
            Operand::RowMajor { data, stride } => {
                for (k, row) in out.chunks_exact_mut(PANEL).take(depth).enumerate() {
                    row[..width].copy_from_slice(&data[k * stride + first..][..width]);
                    row[width..].fill(0.0);
                }
            }
            Operand::Transposed { data, stride } => {
                transpose(set, &data[first * stride..], stride, width, depth, out);
                if width < PANEL {
                    out.chunks_exact_mut(PANEL).for_each(|row| row[width..].fill(0.0));
                }
            }
        }
    }

    /// Writes one panel (columns from `first`) as pairs of two k rounded to bf16, the last one of an odd depth padded with
    /// 0. `rows` is scratch.
    pub(super) fn pack_pairs(
        &self,
        set: InstructionSet,
        first: usize,
        columns: usize,
        depth: usize,
        out: &mut [u32],
        rows: &mut Vec<u32>,
    ) {
        let width = PANEL.min(columns - first);
        let pairs = depth.div_ceil(2);
        match *self {
            Operand::Packed(_) => unreachable!("a packed operand is used as it is"),
            Operand::RowMajor { data, stride } => {
                let row = |k: usize| if k < depth { &data[k * stride + first..][..width] } else { &ZEROS[..width] };
                for (pair, out) in out.chunks_exact_mut(PANEL).enumerate() {
                    round_two_rows(set, row(2 * pair), row(2 * pair + 1), &mut out[..width]);
                    out[width..].fill(0);
                }
            }
            Operand::RowMajorBf16 { data, stride } => {
                let row = |k: usize| if k < depth { &data[k * stride + first..][..width] } else { &NO_BITS[..width] };
                for (pair, out) in out.chunks_exact_mut(PANEL).enumerate() {
                    pair_two_rows(set, row(2 * pair), row(2 * pair + 1), &mut out[..width]);
                    out[width..].fill(0);
                }
            }
            Operand::Transposed { data, stride } => {
                rows.resize(PANEL * pairs, 0);
                for (column, row) in rows.chunks_exact_mut(pairs.max(1)).take(width).enumerate() {
                    round_row(set, &data[(first + column) * stride..][..depth], row);
                }
                transpose(set, rows, pairs, width, pairs, out);
                out.chunks_exact_mut(PANEL).for_each(|row| row[width..].fill(0));
            }
        }
    }
}

/// What stands behind the last row of an odd depth.
static ZEROS: [f32; PANEL] = [0.0; PANEL];
static NO_BITS: [u16; PANEL] = [0; PANEL];
