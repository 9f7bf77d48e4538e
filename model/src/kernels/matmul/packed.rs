//! A weight packed once for many products.

use std::cell::RefCell;
use std::iter::Sum;

use rayon::prelude::*;

use super::compact::Compact;
use super::{InstructionSet, Operand, PANEL};
use crate::Numerics;
use crate::kernels::bf16::{pair_exactly, split};

/// A matrix B of shape [depth, columns] cut into panels of 32 columns: panel p holds, for each k, the 32 values
/// b[k, 32p..32p+32], padded with zeros.
///
/// In the class `f32`, values that all fit bf16, as those of a bf16 checkpoint do, are held as such; the products are the
/// same. In the class `bf16` all values are rounded to it. Values of bf16 take twelve bits each where their exponents let
/// them, else 16.
pub struct PackedMatrix {
    depth: usize,
    columns: usize,
    panels: Panels,
}

/// Bytes that packed weights take before their values are known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PackedBytes {
    /// As trained weights are, whose neighbours have few different exponents.
    pub usual: u64,
    /// With any values.
    pub most: u64,
}

impl PackedBytes {
    /// The same whatever the values are.
    pub fn just(bytes: usize) -> Self {
        Self { usual: bytes as u64, most: bytes as u64 }
    }
}

impl Sum for PackedBytes {
    fn sum<I: Iterator<Item = Self>>(parts: I) -> Self {
        let add = |sum: Self, part: Self| Self { usual: sum.usual + part.usual, most: sum.most + part.most };
        parts.fold(Self::default(), add)
    }
}

/// The panels one after another; pairs hold the values of two k, the lower k in the lower half.
pub(super) enum Panels {
    F32(Vec<f32>),
    /// Pairs of values that bf16 holds exactly.
    Exact(Compact),
    /// Pairs of values rounded to bf16, for an odd depth with a 0 as the last.
    Rounded(Compact),
}

impl PackedMatrix {
    /// Packs the transpose of a row-major weight [columns, depth], as `y = x · weightᵀ` needs it.
    pub fn from_weight(weight: &[f32], columns: usize, depth: usize, numerics: Numerics) -> Self {
        let fits = |values: &[f32]| values.iter().all(|value| value.to_bits() & 0xffff == 0);
        let panels = match numerics {
            Numerics::Bf16 => Panels::Rounded(pack_rounded(weight, columns, depth)),
            Numerics::F32 if depth.is_multiple_of(2) && weight.par_chunks(1 << 16).all(fits) => {
                Panels::Exact(pack_exactly(weight, columns, depth))
            }
            Numerics::F32 => Panels::F32(pack(weight, columns, depth)),
        };
        Self { depth, columns, panels }
    }

    /// Number of columns of B (rows of the weight it was packed from).
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Length of the sums.
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// The class its products are computed in.
    pub fn numerics(&self) -> Numerics {
        match self.panels {
            Panels::F32(_) | Panels::Exact(_) => Numerics::F32,
            Panels::Rounded(_) => Numerics::Bf16,
        }
    }

    /// Bytes that the panels of a weight [columns, depth] will take, whose values bf16 holds exactly or not.
    pub fn bytes_of(columns: usize, depth: usize, numerics: Numerics, exact: bool) -> PackedBytes {
        let panels = columns.div_ceil(PANEL);
        if numerics == Numerics::F32 && !(exact && depth.is_multiple_of(2)) {
            return PackedBytes::just(panels * PANEL * depth * size_of::<f32>());
        }
        let [usual, most] = [false, true].map(|raw| Compact::bytes_of(panels, depth.div_ceil(2), raw) as u64);
        PackedBytes { usual, most }
    }

    /// Bytes the panels take.
    pub fn bytes(&self) -> usize {
        match &self.panels {
            Panels::F32(data) => size_of_val(data.as_slice()),
            Panels::Exact(pairs) | Panels::Rounded(pairs) => pairs.bytes(),
        }
    }

    pub(super) fn panels(&self) -> &Panels {
        &self.panels
    }

    /// Copies column `column` of B (row `column` of the weight it was packed from).
    pub fn copy_column(&self, column: usize, out: &mut [f32]) {
        let (panel, lane) = (column / PANEL, column % PANEL);
        match &self.panels {
            Panels::F32(data) => {
                let panel = &data[panel * self.depth * PANEL..];
                for (k, value) in out.iter_mut().enumerate() {
                    *value = panel[k * PANEL + lane];
                }
            }
            Panels::Exact(pairs) | Panels::Rounded(pairs) => {
                let mut values = out.chunks_mut(2);
                pairs.panel(panel).for_each_of_column(lane, |pair| {
                    let (lower, upper) = split(pair);
                    let values = values.next().unwrap_or_default();
                    values.iter_mut().zip([lower, upper]).for_each(|(value, found)| *value = found);
                });
            }
        }
    }
}

fn pack(weight: &[f32], columns: usize, depth: usize) -> Vec<f32> {
    let mut data = vec![0.0; columns.div_ceil(PANEL) * depth * PANEL];
    data.par_chunks_mut((depth * PANEL).max(1)).enumerate().for_each(|(panel, out)| {
        Operand::Transposed { data: weight, stride: depth }.pack(
            InstructionSet::best(),
            panel * PANEL,
            columns,
            depth,
            out,
        );
    });
    data
}

/// Pairs of values that bf16 holds.
fn pack_exactly(weight: &[f32], columns: usize, depth: usize) -> Compact {
    thread_local! {
        static PANEL_VALUES: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
    }
    let operand = Operand::Transposed { data: weight, stride: depth };
    Compact::pack(columns.div_ceil(PANEL), depth / 2, |index, out| {
        PANEL_VALUES.with_borrow_mut(|panel| {
            panel.resize(depth * PANEL, 0.0);
            operand.pack(InstructionSet::best(), index * PANEL, columns, depth, panel);
            for (out, two) in out.chunks_exact_mut(PANEL).zip(panel.chunks_exact(2 * PANEL)) {
                for (lane, out) in out.iter_mut().enumerate() {
                    *out = pair_exactly(two[lane], two[PANEL + lane]);
                }
            }
        });
    })
}

fn pack_rounded(weight: &[f32], columns: usize, depth: usize) -> Compact {
    thread_local! {
        static ROWS: RefCell<Vec<u32>> = const { RefCell::new(Vec::new()) };
    }
    let operand = Operand::Transposed { data: weight, stride: depth };
    Compact::pack(columns.div_ceil(PANEL), depth.div_ceil(2), |index, out| {
        ROWS.with_borrow_mut(|rows| {
            operand.pack_pairs(InstructionSet::best(), index * PANEL, columns, depth, out, rows);
        });
    })
}
