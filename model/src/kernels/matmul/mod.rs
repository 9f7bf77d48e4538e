//! Matrix products with one order of addition: element (i, j) of A·B starts from 0 (or from what the output
//! holds) and adds a[i,k]·b[k,j] by fused multiply-add for k ascending. Lanes run across j, so neither the tile
//! a row falls into nor the vector width can change a bit.
//!
//! That is the class [`Numerics::F32`](crate::Numerics::F32). In [`Numerics::Bf16`](crate::Numerics::Bf16) both sides are rounded to bf16 first, and pairs of k
//! are added as VDPBF16PS does ([`step::Dot`]); the sums are f32 too.

mod compact;
#[cfg(target_arch = "x86_64")]
mod few_rows;
mod frozen;
mod left;
mod operand;
mod packed;
mod step;
#[cfg(test)]
mod tests;
mod tile;
mod transpose;

use std::cell::RefCell;

use super::{InstructionSet, team};
use crate::Numerics;
use compact::Panel;
pub use frozen::{Product, matmul_packed};
pub use left::{LeftMatrix, PairedRows};
pub use operand::Operand;
pub use packed::{PackedBytes, PackedMatrix};
pub(super) use step::{Dot, Single, Step};
use tile::Sums;
pub(super) use tile::Tile;

/// Columns of a panel: two 512-bit registers of f32.
pub const PANEL: usize = 32;
/// Most rows of a register tile: 12 x 2 accumulators of 32 registers.
pub const TILE_ROWS: usize = 12;
/// Rows one task multiplies with one panel, so that many threads find work in narrow layers.
const TASK_ROWS: usize = 22 * TILE_ROWS;
/// Most steps along the depth before the next rows: their 18 KiB of a panel stay in the first-level cache for all of a
/// task's rows. Sums wait in the output meanwhile, which changes no bit.
const BLOCK_STEPS: usize = 144;

/// The left-hand matrix of a product: a[i, k] = data[i * row_stride + k * depth_stride].
#[derive(Clone, Copy)]
pub struct Left<'a> {
    pub data: &'a [f32],
    pub row_stride: usize,
    pub depth_stride: usize,
}

impl<'a> Left<'a> {
    /// A row-major [rows, depth].
    pub fn row_major(data: &'a [f32], depth: usize) -> Self {
        Self { data, row_stride: depth, depth_stride: 1 }
    }

    /// The transpose of a row-major [depth, rows].
    pub fn transposed(data: &'a [f32], rows: usize) -> Self {
        Self { data, row_stride: 1, depth_stride: rows }
    }

    /// That it holds `rows` rows of `depth` values.
    fn check(&self, rows: usize, depth: usize) {
        if rows > 0 && depth > 0 {
            assert!(self.data.len() > (rows - 1) * self.row_stride + (depth - 1) * self.depth_stride, "left operand");
        }
    }
}

/// Sizes of a product: [rows, depth] · [depth, columns].
#[derive(Clone, Copy)]
pub struct Shape {
    pub rows: usize,
    pub columns: usize,
    pub depth: usize,
}

thread_local! {
    static PANEL_BUFFER: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
    /// A panel of pairs, and rows before they are transposed into one.
    static PAIR_BUFFERS: RefCell<(Vec<u32>, Vec<u32>)> = const { RefCell::new((Vec::new(), Vec::new())) };
    static WHOLE_BLOCKS: RefCell<WholeBlocks> = const { RefCell::new(WholeBlocks([0; BLOCK_STEPS * PANEL])) };
}

/// Pairs of a panel held in twelve bits, made whole, each register of them in one cache line.
#[repr(align(64))]
struct WholeBlocks([u32; BLOCK_STEPS * PANEL]);

/// out [rows, columns] = A · B in f32, or out += A · B with `accumulate`. A packed operand's class is its own.
///
/// # Panics
/// When a slice is shorter than the shape says: shapes are this crate's own.
pub fn matmul(set: InstructionSet, shape: Shape, a: Left, b: Operand, out: &mut [f32], accumulate: bool) {
    let Shape { rows, columns, depth } = shape;
    if let Operand::Packed(packed) = b {
        assert!(packed.depth() == depth && packed.columns() == columns, "packed operand");
        return frozen::matmul_one(set, rows, a, packed, out, accumulate);
    }
    multiply(set, &LeftMatrix::new(set, Numerics::F32, a, rows, depth), b, columns, out, accumulate);
}

/// out [rows, columns] = A · B in the class that A was prepared for, or out += A · B with `accumulate`; B is packed as it
/// is read.
///
/// # Panics
/// When a slice is shorter than the shape says, or B is packed: shapes and forms are this crate's own.
pub fn multiply(set: InstructionSet, a: &LeftMatrix, b: Operand, columns: usize, out: &mut [f32], accumulate: bool) {
    let rows = a.rows();
    if rows == 0 || columns == 0 {
        return;
    }
    assert_eq!(out.len(), rows * columns, "product output");
    // SAFETY: the output is as long as the product.
    unsafe { multiply_into(set, a, b, [columns; 2], SharedOutput(out.as_mut_ptr()), accumulate) }
}

/// A · B as a new matrix [rows, columns]; see [`multiply`].
///
/// # Panics
/// As [`multiply`].
pub fn product(set: InstructionSet, a: &LeftMatrix, b: Operand, columns: usize) -> Vec<f32> {
    product_apart(set, a, b, columns, columns)
}

/// As [`product`], with rows that start `stride` values apart. Between them is nothing to rely on.
///
/// # Panics
/// As [`multiply`], and when rows would overlap or reach a panel further than their columns and [`row_stride`].
pub fn product_apart(set: InstructionSet, a: &LeftMatrix, b: Operand, columns: usize, stride: usize) -> Vec<f32> {
    assert!(stride == columns || (columns..=row_stride(columns)).contains(&stride), "rows of a product");
    let length = a.rows() * stride;
    let mut out = Vec::with_capacity(length);
    if length > 0 {
        // SAFETY: there is room for the product, and all of it is written before it counts as there.
        unsafe {
            multiply_into(set, a, b, [columns, stride], SharedOutput(out.as_mut_ptr()), false);
            out.set_len(length);
        }
    }
    out
}

/// How far apart wide rows of f32 or bf16 lie best: whole panels, of an odd number, since rows that start at multiples of
/// 4 KiB meet in few lines of the caches.
pub fn row_stride(columns: usize) -> usize {
    (columns.div_ceil(PANEL) | 1) * PANEL
}

/// The columns of B, and those of the output, where 0 stands behind the product.
///
/// # Safety
/// `output` must be valid for writes of all its columns, and hold values where `accumulate` adds to them. Without it
/// every element is written and none is read.
unsafe fn multiply_into(
    set: InstructionSet,
    a: &LeftMatrix,
    b: Operand,
    [of_b, columns]: [usize; 2],
    output: SharedOutput,
    accumulate: bool,
) {
    let (rows, depth) = (a.rows(), a.depth());
    let panels = columns.div_ceil(PANEL);
    // Packing on the fly is paid once per task, so tasks take all rows unless threads would starve.
    let task_rows = if panels >= 2 * rayon::current_num_threads() { rows } else { TASK_ROWS };
    let row_tasks = rows.div_ceil(task_rows);
    let task = |index: usize| {
        let (panel, row_task) = (index / row_tasks, index % row_tasks);
        let first_column = panel * PANEL;
        let row_range = row_task * task_rows..((row_task + 1) * task_rows).min(rows);
        let block = Block { set, row_range, columns, first_column, output, accumulate };
        match a.numerics() {
            Numerics::F32 => PANEL_BUFFER.with_borrow_mut(|panel| {
                panel.resize(depth * PANEL, 0.0);
                if first_column < of_b {
                    b.pack(set, first_column, of_b, depth, panel);
                } else {
                    panel.fill(0.0);
                }
                // SAFETY: `LeftMatrix` holds all rows; a panel holds 32 values for each step; this task alone writes the
                // block's elements of the output.
                unsafe { block.multiply::<Single>(a.single_tiles(), panel, depth) }
            }),
            Numerics::Bf16 => PAIR_BUFFERS.with_borrow_mut(|(panel, rows)| {
                let pairs = depth.div_ceil(2);
                panel.resize(pairs * PANEL, 0);
                if first_column < of_b {
                    b.pack_pairs(set, first_column, of_b, depth, panel, rows);
                } else {
                    panel.fill(0);
                }
                // SAFETY: as above.
                unsafe { block.multiply::<Dot>(a.pair_tiles(), panel, pairs) }
            }),
        }
    };
    run_tasks(panels * row_tasks, rows * columns * depth, task);
}

/// Runs tasks 0 to `tasks`. Tiny products are done where they stand: a task costs more than 2^15 multiply-adds.
fn run_tasks(tasks: usize, multiply_adds: usize, task: impl Fn(usize) + Sync + Send) {
    if tasks == 1 || multiply_adds < 1 << 15 {
        (0..tasks).for_each(task);
    } else {
        team::for_each(tasks, task);
    }
}

/// The part of the output one task makes: some rows of one panel's columns.
struct Block {
    set: InstructionSet,
    row_range: std::ops::Range<usize>,
    columns: usize,
    first_column: usize,
    output: SharedOutput,
    accumulate: bool,
}

impl Block {
    /// Multiplies tile by tile.
    ///
    /// # Safety
    /// `left` must hold the rows with what `steps` take of them, `panel` 32 values for each step; no other thread may
    /// touch this block of the output meanwhile; the processor must have the instruction set.
    unsafe fn multiply<S: Step>(&self, left: LeftTiles<S::Left>, panel: &[S::Right], steps: usize) {
        let mut first_step = 0;
        // Blocks of about one length: a short one at the end would be mostly sums that come and go.
        let longest = steps.div_ceil(steps.div_ceil(BLOCK_STEPS).max(1));
        loop {
            let block_steps = longest.min(steps - first_step);
            let b = panel.as_ptr().wrapping_add(first_step * PANEL);
            // The block that comes next, of this panel or the one behind it.
            let next = b.wrapping_add(block_steps * PANEL).cast();
            // SAFETY: passed on to the caller.
            unsafe { self.tiles::<S>(left, first_step, b, block_steps, next) };
            first_step += block_steps;
            if first_step == steps {
                return;
            }
        }
    }

    /// The same with a panel held in twelve bits: a few rows read it as it is, more rows share blocks of it made whole.
    ///
    /// # Safety
    /// As [`Self::multiply`].
    unsafe fn multiply_compact<S: Step<Right = u32>>(&self, left: LeftTiles<S::Left>, mut panel: Panel) {
        #[cfg(target_arch = "x86_64")]
        if self.row_range.len() <= few_rows::FEW_ROWS && few_rows::supports::<S>(self.set) {
            let start = self.row_range.start;
            let a = LeftTiles { data: left.data.wrapping_add(start * left.tile_stride), ..left };
            // SAFETY: passed on to the caller.
            return unsafe { few_rows::multiply::<S>(a, self.row_range.len(), panel, &self.sums(start, false)) };
        }
        let blocks = panel.heads.len();
        let longest = blocks.div_ceil(blocks.div_ceil(BLOCK_STEPS / compact::BLOCK).max(1)) * compact::BLOCK;
        WHOLE_BLOCKS.with_borrow_mut(|whole| {
            let mut first_step = 0;
            loop {
                let steps = panel.expand(self.set, &mut whole.0[..longest * PANEL]);
                let next = panel.lines.as_ptr().cast();
                // SAFETY: passed on to the caller; so many steps of the panel were made whole.
                unsafe { self.tiles::<S>(left, first_step, whole.0.as_ptr(), steps, next) };
                first_step += steps;
                if panel.pairs == 0 {
                    return;
                }
            }
        });
    }

    /// Multiplies some steps of all rows with those at `b`, while memory at `next` is fetched: it is read while products are
    /// computed, not between them, one half by the second tile and one by the third.
    ///
    /// # Safety
    /// As [`Self::multiply`]; `b` must hold 32 values for each step.
    unsafe fn tiles<S: Step>(
        &self,
        left: LeftTiles<S::Left>,
        first_step: usize,
        b: *const S::Right,
        steps: usize,
        next: *const u8,
    ) {
        let half = steps * PANEL * size_of::<S::Right>() / 2;
        for (place, row) in self.row_range.clone().step_by(TILE_ROWS).enumerate() {
            let height = TILE_ROWS.min(self.row_range.end - row);
            let start = row * left.tile_stride + first_step * S::LEFT_VALUES * left.depth_stride;
            let Sums { out, out_stride, width, accumulate } = self.sums(row, first_step > 0);
            let tile = Tile::<S> {
                // The last tile may start past the slice when depth is 0; no element is read then.
                a: left.data.wrapping_add(start),
                a_row_stride: left.row_stride,
                a_depth_stride: left.depth_stride,
                parts: &[b],
                b_stride: PANEL,
                steps,
                out,
                out_stride,
                width,
                accumulate,
                ahead: matches!(place, 1 | 2).then(|| next.wrapping_add((place - 1) * half)),
            };
            // SAFETY: passed on to the caller.
            unsafe { tile.run(self.set, height) };
        }
    }

    /// Where the sums of rows from `row` on go; `begun` when they have been there before.
    fn sums(&self, row: usize, begun: bool) -> Sums {
        Sums {
            out: self.output.at(row * self.columns + self.first_column),
            out_stride: self.columns,
            width: PANEL.min(self.columns - self.first_column),
            accumulate: self.accumulate || begun,
        }
    }
}

/// Where the left-hand values of a product lie.
#[derive(Clone, Copy)]
struct LeftTiles<T> {
    data: *const T,
    /// From one row to the next when these start tiles.
    tile_stride: usize,
    /// From one row to the next within a tile.
    row_stride: usize,
    depth_stride: usize,
}

impl LeftTiles<f32> {
    fn of(a: Left) -> Self {
        let (row, depth) = (a.row_stride, a.depth_stride);
        Self { data: a.data.as_ptr(), tile_stride: row, row_stride: row, depth_stride: depth }
    }
}

impl<T> LeftTiles<T> {
    /// Rows of one value for each step, `stride` from one to the next.
    fn rows(rows: &[T], stride: usize) -> Self {
        Self { data: rows.as_ptr(), tile_stride: stride, row_stride: stride, depth_stride: 1 }
    }

    /// Tiles of 12 rows one after another, each with 12 values for each of its `steps`.
    fn packed(tiles: &[T], steps: usize) -> Self {
        Self { data: tiles.as_ptr(), tile_stride: steps, row_stride: 1, depth_stride: TILE_ROWS }
    }
}

/// A pointer that tasks with disjoint outputs may share.
#[derive(Clone, Copy)]
struct SharedOutput(*mut f32);

// SAFETY: tasks write disjoint elements, and the borrow of the output outlives them.
unsafe impl Send for SharedOutput {}
// SAFETY: as above.
unsafe impl Sync for SharedOutput {}

impl SharedOutput {
    fn at(&self, offset: usize) -> *mut f32 {
        self.0.wrapping_add(offset)
    }
}
