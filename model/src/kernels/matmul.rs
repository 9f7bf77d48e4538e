//! Matrix products with one order of addition: element (i, j) of A·B starts from 0 (or from what the output
//! holds) and adds a[i,k]·b[k,j] by fused multiply-add for k ascending. Lanes run across j, so neither the tile
//! a row falls into nor the vector width can change a bit.

use std::cell::RefCell;

use rayon::prelude::*;

use super::InstructionSet;

/// Columns of a panel: two 512-bit registers of f32.
pub const PANEL: usize = 32;
/// Most rows of a register tile: 12 x 2 accumulators of 32 registers.
pub const TILE_ROWS: usize = 12;
/// Rows one task multiplies with one panel, so that many threads find work in narrow layers.
const TASK_ROWS: usize = 20 * TILE_ROWS;

/// A matrix B of shape [depth, columns] cut into panels of 32 columns: panel p holds, for each k, the 32 values
/// b[k, 32p..32p+32], padded with zeros.
pub struct PackedMatrix {
    depth: usize,
    columns: usize,
    data: Vec<f32>,
}

impl PackedMatrix {
    /// Packs the transpose of a row-major weight [columns, depth], as `y = x · weightᵀ` needs it.
    pub fn from_weight(weight: &[f32], columns: usize, depth: usize) -> Self {
        let mut data = vec![0.0; columns.div_ceil(PANEL) * depth * PANEL];
        data.par_chunks_mut((depth * PANEL).max(1)).enumerate().for_each(|(panel, out)| {
            Operand::Transposed { data: weight, stride: depth }.pack(panel * PANEL, columns, 0..depth, out);
        });
        Self { depth, columns, data }
    }

    /// Number of columns of B (rows of the weight it was packed from).
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Length of the sums.
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// Copies column `column` of B (row `column` of the weight it was packed from).
    pub fn copy_column(&self, column: usize, out: &mut [f32]) {
        let panel = &self.data[(column / PANEL) * self.depth * PANEL..];
        for (k, value) in out.iter_mut().enumerate() {
            *value = panel[k * PANEL + column % PANEL];
        }
    }
}

/// The right-hand matrix of a product.
#[derive(Clone, Copy)]
pub enum Operand<'a> {
    /// Packed beforehand (weights that do not change).
    Packed(&'a PackedMatrix),
    /// Row-major B: b[k, j] = data[k * stride + j].
    RowMajor { data: &'a [f32], stride: usize },
    /// Row-major Bᵀ: b[k, j] = data[j * stride + k].
    Transposed { data: &'a [f32], stride: usize },
}

impl Operand<'_> {
    /// Writes one panel (columns from `first`) of rows `depth` into `out`.
    fn pack(&self, first: usize, columns: usize, depth: std::ops::Range<usize>, out: &mut [f32]) {
        let width = PANEL.min(columns - first);
        match *self {
            Operand::Packed(_) => unreachable!("a packed operand is used as it is"),
            Operand::RowMajor { data, stride } => {
                for (row, k) in out.chunks_exact_mut(PANEL).zip(depth) {
                    row[..width].copy_from_slice(&data[k * stride + first..][..width]);
                    row[width..].fill(0.0);
                }
            }
            Operand::Transposed { data, stride } => {
                // In blocks of 16 k, so that each source line is read once while the destination stays in cache.
                let depth_length = depth.len();
                for block in (0..depth_length).step_by(16) {
                    let end = (block + 16).min(depth_length);
                    for column in 0..width {
                        let source = &data[(first + column) * stride + depth.start..];
                        for k in block..end {
                            out[k * PANEL + column] = source[k];
                        }
                    }
                }
                if width < PANEL {
                    out.chunks_exact_mut(PANEL).for_each(|row| row[width..].fill(0.0));
                }
            }
        }
    }
}

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
}

/// out [rows, columns] = A · B, or out += A · B with `accumulate`.
///
/// # Panics
/// When a slice is shorter than the shape says: shapes are this crate's own.
pub fn matmul(set: InstructionSet, shape: Shape, a: Left, b: Operand, out: &mut [f32], accumulate: bool) {
    let Shape { rows, columns, depth } = shape;
    if rows == 0 || columns == 0 {
        return;
    }
    assert_eq!(out.len(), rows * columns, "product output");
    if depth > 0 {
        assert!(a.data.len() > (rows - 1) * a.row_stride + (depth - 1) * a.depth_stride, "left operand");
    }
    if let Operand::Packed(packed) = b {
        assert!(packed.depth == depth && packed.columns == columns, "packed operand");
    }
    let panels = columns.div_ceil(PANEL);
    // Packing on the fly is paid once per task, so those tasks take all rows unless threads would starve.
    let task_rows = match b {
        Operand::Packed(_) => TASK_ROWS,
        _ if panels >= 2 * rayon::current_num_threads() => rows,
        _ => TASK_ROWS,
    };
    let row_tasks = rows.div_ceil(task_rows);
    let output = SharedOutput(out.as_mut_ptr());
    let task = |index: usize| {
        let (panel, row_task) = (index / row_tasks, index % row_tasks);
        let first_column = panel * PANEL;
        let row_range = row_task * task_rows..((row_task + 1) * task_rows).min(rows);
        let run = |panel_data: &[f32]| {
            let mut row = row_range.start;
            while row < row_range.end {
                let height = TILE_ROWS.min(row_range.end - row);
                let tile = Tile {
                    // The last tile may start past the slice when depth is 0; no element is read then.
                    a: a.data.as_ptr().wrapping_add(row * a.row_stride),
                    a_row_stride: a.row_stride,
                    a_depth_stride: a.depth_stride,
                    b: panel_data.as_ptr(),
                    b_stride: PANEL,
                    depth,
                    out: output.at(row * columns + first_column),
                    out_stride: columns,
                    width: PANEL.min(columns - first_column),
                    accumulate,
                };
                // SAFETY: the asserts above bound every read of A; the panel holds depth x 32 values; this task
                // alone writes rows `row_range` of columns `first_column..+width` of the output.
                unsafe { tile.run(set, height) };
                row += height;
            }
        };
        match b {
            Operand::Packed(packed) => run(&packed.data[panel * depth * PANEL..][..depth * PANEL]),
            _ => PANEL_BUFFER.with_borrow_mut(|buffer| {
                buffer.resize(depth * PANEL, 0.0);
                b.pack(first_column, columns, 0..depth, buffer);
                run(buffer);
            }),
        }
    };
    let tasks = panels * row_tasks;
    // Tiny products are done where they stand: a task costs more than 2^15 multiply-adds.
    if tasks == 1 || rows * columns * depth < 1 << 15 {
        (0..tasks).for_each(task);
    } else {
        (0..tasks).into_par_iter().for_each(task);
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

/// One register tile: up to 12 rows of A times one 32-column panel of B.
#[derive(Clone, Copy)]
pub(super) struct Tile {
    pub a: *const f32,
    pub a_row_stride: usize,
    pub a_depth_stride: usize,
    /// For each k, 32 readable values at `b + k * b_stride`.
    pub b: *const f32,
    pub b_stride: usize,
    pub depth: usize,
    pub out: *mut f32,
    pub out_stride: usize,
    /// Columns to write, at most 32.
    pub width: usize,
    /// Whether the sums start from what the output holds.
    pub accumulate: bool,
}

impl Tile {
    /// Multiplies `height` rows, 1 to 12.
    ///
    /// # Safety
    /// The pointers must reach what the strides, `depth`, `height` and `width` say; no other thread may touch
    /// the output elements meanwhile; the processor must have `set`.
    pub unsafe fn run(&self, set: InstructionSet, height: usize) {
        macro_rules! heights {
            ($module:ident, $($n:literal)*) => {
                match height {
                    // SAFETY: passed on to the caller.
                    $($n => unsafe { $module::tile::<$n>(self) },)*
                    _ => unreachable!("a tile has 1 to 12 rows"),
                }
            };
        }
        match set {
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx512 => heights!(avx512, 1 2 3 4 5 6 7 8 9 10 11 12),
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx2 => heights!(avx2, 1 2 3 4 5 6 7 8 9 10 11 12),
            _ => heights!(portable, 1 2 3 4 5 6 7 8 9 10 11 12),
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use std::arch::x86_64::*;

    use super::Tile;

    #[target_feature(enable = "avx512f")]
    pub unsafe fn tile<const ROWS: usize>(tile: &Tile) {
        let low_width = tile.width.min(16) as u32;
        let high_width = tile.width.saturating_sub(16) as u32;
        let low_mask = ((1u32 << low_width) - 1) as __mmask16;
        let high_mask = ((1u32 << high_width) - 1) as __mmask16;
        // SAFETY: the caller of `Tile::run` vouches for every pointer; masked lanes are not touched.
        unsafe {
            let mut sums = [[_mm512_setzero_ps(); 2]; ROWS];
            if tile.accumulate {
                for (row, sums) in sums.iter_mut().enumerate() {
                    let out = tile.out.add(row * tile.out_stride);
                    sums[0] = _mm512_maskz_loadu_ps(low_mask, out);
                    sums[1] = _mm512_maskz_loadu_ps(high_mask, out.wrapping_add(16));
                }
            }
            let (mut a, mut b) = (tile.a, tile.b);
            for _ in 0..tile.depth {
                let low = _mm512_loadu_ps(b);
                let high = _mm512_loadu_ps(b.add(16));
                for (row, sums) in sums.iter_mut().enumerate() {
                    let value = _mm512_set1_ps(*a.add(row * tile.a_row_stride));
                    sums[0] = _mm512_fmadd_ps(value, low, sums[0]);
                    sums[1] = _mm512_fmadd_ps(value, high, sums[1]);
                }
                a = a.wrapping_add(tile.a_depth_stride);
                b = b.wrapping_add(tile.b_stride);
            }
            for (row, sums) in sums.iter().enumerate() {
                let out = tile.out.add(row * tile.out_stride);
                _mm512_mask_storeu_ps(out, low_mask, sums[0]);
                _mm512_mask_storeu_ps(out.wrapping_add(16), high_mask, sums[1]);
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::*;

    use super::{PANEL, Tile};

    /// Rows and columns are walked in blocks of 4 x 16, which is what sixteen 256-bit registers hold.
    #[target_feature(enable = "avx2,fma")]
    pub unsafe fn tile<const ROWS: usize>(tile: &Tile) {
        let mut row = 0;
        while row < ROWS {
            for column in (0..tile.width).step_by(16) {
                // SAFETY: passed on to the caller of `Tile::run`.
                unsafe {
                    match ROWS - row {
                        1 => block::<1>(tile, row, column),
                        2 => block::<2>(tile, row, column),
                        3 => block::<3>(tile, row, column),
                        _ => block::<4>(tile, row, column),
                    }
                }
            }
            row += 4;
        }
    }

    #[target_feature(enable = "avx2,fma")]
    unsafe fn block<const ROWS: usize>(tile: &Tile, first_row: usize, column: usize) {
        let width = (tile.width - column).min(16);
        // SAFETY: the caller of `Tile::run` vouches for every pointer; partial widths go through a buffer.
        unsafe {
            let out = |row: usize| tile.out.add((first_row + row) * tile.out_stride + column);
            let mut buffer = [0.0f32; PANEL];
            let mut sums = [[_mm256_setzero_ps(); 2]; ROWS];
            if tile.accumulate {
                for (row, sums) in sums.iter_mut().enumerate() {
                    std::ptr::copy_nonoverlapping(out(row), buffer.as_mut_ptr(), width);
                    sums[0] = _mm256_loadu_ps(buffer.as_ptr());
                    sums[1] = _mm256_loadu_ps(buffer.as_ptr().add(8));
                }
            }
            let mut a = tile.a.wrapping_add(first_row * tile.a_row_stride);
            let mut b = tile.b.wrapping_add(column);
            for _ in 0..tile.depth {
                let (low, high) = (_mm256_loadu_ps(b), _mm256_loadu_ps(b.add(8)));
                for (row, sums) in sums.iter_mut().enumerate() {
                    let value = _mm256_set1_ps(*a.add(row * tile.a_row_stride));
                    sums[0] = _mm256_fmadd_ps(value, low, sums[0]);
                    sums[1] = _mm256_fmadd_ps(value, high, sums[1]);
                }
                a = a.wrapping_add(tile.a_depth_stride);
                b = b.wrapping_add(tile.b_stride);
            }
            for (row, sums) in sums.iter().enumerate() {
                _mm256_storeu_ps(buffer.as_mut_ptr(), sums[0]);
                _mm256_storeu_ps(buffer.as_mut_ptr().add(8), sums[1]);
                std::ptr::copy_nonoverlapping(buffer.as_ptr(), out(row), width);
            }
        }
    }
}

mod portable {
    use super::{PANEL, Tile};

    pub unsafe fn tile<const ROWS: usize>(tile: &Tile) {
        for row in 0..ROWS {
            // SAFETY: the caller of `Tile::run` vouches for every pointer.
            unsafe {
                let out = tile.out.add(row * tile.out_stride);
                let mut sums = [0.0f32; PANEL];
                if tile.accumulate {
                    std::ptr::copy_nonoverlapping(out, sums.as_mut_ptr(), tile.width);
                }
                for k in 0..tile.depth {
                    let a = *tile.a.add(row * tile.a_row_stride + k * tile.a_depth_stride);
                    let b = tile.b.add(k * tile.b_stride);
                    for (column, sum) in sums.iter_mut().enumerate() {
                        *sum = a.mul_add(*b.add(column), *sum);
                    }
                }
                std::ptr::copy_nonoverlapping(sums.as_ptr(), out, tile.width);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn values(count: usize, seed: usize) -> Vec<f32> {
        (0..count).map(|i| ((i * 2_654_435_761 + seed * 40_503) % 2_001) as f32 / 1_000.0 - 1.0).collect()
    }

    /// The definition: k ascending, fused multiply-add.
    fn reference(shape: Shape, a: Left, b: impl Fn(usize, usize) -> f32, start: &[f32]) -> Vec<u32> {
        let mut out = Vec::new();
        for i in 0..shape.rows {
            for j in 0..shape.columns {
                let mut sum = start[i * shape.columns + j];
                for k in 0..shape.depth {
                    sum = a.data[i * a.row_stride + k * a.depth_stride].mul_add(b(k, j), sum);
                }
                out.push(sum.to_bits());
            }
        }
        out
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]
        #[test]
        fn every_path_gives_the_bits_of_the_definition(
            rows in 1usize..40, columns in 1usize..100, depth in 0usize..70, accumulate: bool, transposed: bool,
        ) {
            let shape = Shape { rows, columns, depth };
            let left = values(rows * depth, 1);
            let a = if transposed { Left::transposed(&left, rows) } else { Left::row_major(&left, depth) };
            let weight = values(columns * depth, 2);
            let start = if accumulate { values(rows * columns, 3) } else { vec![0.0; rows * columns] };
            let as_weight = reference(shape, a, |k, j| weight[j * depth + k], &start);
            let as_rows = reference(shape, a, |k, j| weight[k * columns + j], &start);
            let packed = PackedMatrix::from_weight(&weight, columns, depth);
            for set in InstructionSet::available() {
                for (operand, expected) in [
                    (Operand::Packed(&packed), &as_weight),
                    (Operand::Transposed { data: &weight, stride: depth }, &as_weight),
                    (Operand::RowMajor { data: &weight, stride: columns }, &as_rows),
                ] {
                    let mut out = start.clone();
                    matmul(set, shape, a, operand, &mut out, accumulate);
                    let bits: Vec<u32> = out.iter().map(|value| value.to_bits()).collect();
                    prop_assert!(&bits == expected, "{set:?} {shape:?}", shape = (rows, columns, depth));
                }
            }
        }
    }

    #[test]
    fn a_column_comes_back_as_it_was_packed() {
        let weight = values(45 * 7, 4);
        let packed = PackedMatrix::from_weight(&weight, 45, 7);
        let mut row = vec![0.0; 7];
        packed.copy_column(40, &mut row);
        assert_eq!(row, weight[40 * 7..41 * 7]);
    }
}
