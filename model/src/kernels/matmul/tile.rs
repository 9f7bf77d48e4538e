//! One register tile: up to 12 rows of A times one 32-column panel of B, for every instruction set.

#[cfg(target_arch = "x86_64")]
use super::step::NARROW;
use super::step::{Single, Step};
use super::{InstructionSet, PANEL};

/// The pointers of a tile, and how to walk them.
pub(in crate::kernels) struct Tile<'a, S: Step = Single> {
    pub a: *const S::Left,
    pub a_row_stride: usize,
    /// From one value of a row to the next.
    pub a_depth_stride: usize,
    /// Where the parts of B begin, one behind the other along the depth. For each step of a part, 32 readable values at its
    /// `step * b_stride`.
    pub parts: &'a [*const S::Right],
    pub b_stride: usize,
    /// Steps of each part, each of [`Step::LEFT_VALUES`] values of A.
    pub steps: usize,
    pub out: *mut f32,
    pub out_stride: usize,
    /// Columns to write, at most 32.
    pub width: usize,
    /// Whether the sums start from what the output holds.
    pub accumulate: bool,
    /// What will be read soon: while this tile is computed, a cache line of it is fetched with each step.
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "only AVX-512 code fetches ahead"))]
    pub ahead: Option<*const u8>,
}

/// Where the sums of some rows by a panel's columns go.
pub(super) struct Sums {
    pub out: *mut f32,
    pub out_stride: usize,
    /// Columns, at most 32.
    pub width: usize,
    /// Whether they start from what the output holds.
    pub accumulate: bool,
}

#[cfg(target_arch = "x86_64")]
impl Sums {
    /// The lanes of each register that are columns.
    fn masks(&self) -> [u16; 2] {
        [self.width.min(16), self.width.saturating_sub(16)].map(|width| ((1u32 << width) - 1) as u16)
    }

    /// What the sums start from.
    ///
    /// # Safety
    /// `ROWS` rows of the output must hold values where it accumulates; the processor must have AVX-512.
    #[inline(always)]
    pub unsafe fn start_avx512<const ROWS: usize>(&self) -> [[std::arch::x86_64::__m512; 2]; ROWS] {
        use std::arch::x86_64::*;
        let [low, high] = self.masks();
        // SAFETY: passed on to the caller; masked lanes are not touched.
        unsafe {
            let mut sums = [[_mm512_setzero_ps(); 2]; ROWS];
            if !self.accumulate {
                return sums;
            }
            for (row, sums) in sums.iter_mut().enumerate() {
                let out = self.out.add(row * self.out_stride);
                // Loads that follow masked stores wait until these have left the core, so whole panels go without masks.
                *sums = if self.width == PANEL {
                    [_mm512_loadu_ps(out), _mm512_loadu_ps(out.add(16))]
                } else {
                    [_mm512_maskz_loadu_ps(low, out), _mm512_maskz_loadu_ps(high, out.wrapping_add(16))]
                };
            }
            sums
        }
    }

    /// Writes the sums.
    ///
    /// # Safety
    /// `ROWS` rows of the output must be writable; the processor must have AVX-512.
    #[inline(always)]
    pub unsafe fn end_avx512<const ROWS: usize>(&self, sums: &[[std::arch::x86_64::__m512; 2]; ROWS]) {
        use std::arch::x86_64::*;
        let [low, high] = self.masks();
        // SAFETY: passed on to the caller; masked lanes are not touched.
        unsafe {
            for (row, sums) in sums.iter().enumerate() {
                let out = self.out.add(row * self.out_stride);
                if self.width == PANEL {
                    _mm512_storeu_ps(out, sums[0]);
                    _mm512_storeu_ps(out.add(16), sums[1]);
                } else {
                    _mm512_mask_storeu_ps(out, low, sums[0]);
                    _mm512_mask_storeu_ps(out.wrapping_add(16), high, sums[1]);
                }
            }
        }
    }
}

/// Bytes of a cache line.
#[cfg(target_arch = "x86_64")]
const LINE: usize = 64;

impl<S: Step> Tile<'_, S> {
    #[cfg(target_arch = "x86_64")]
    fn sums(&self) -> Sums {
        Sums { out: self.out, out_stride: self.out_stride, width: self.width, accumulate: self.accumulate }
    }

    /// Multiplies `height` rows, 1 to 12.
    ///
    /// # Safety
    /// The pointers must reach what the strides, `steps`, `height` and `width` say; no other thread may touch
    /// the output elements meanwhile; the processor must have `set`.
    pub unsafe fn run(&self, set: InstructionSet, height: usize) {
        macro_rules! heights {
            ($path:ident, $($n:literal)*) => {
                match height {
                    // SAFETY: passed on to the caller.
                    $($n => unsafe { $path::<$n, S>(self) },)*
                    _ => unreachable!("a tile has 1 to 12 rows"),
                }
            };
        }
        match set {
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx512 if !S::BF16_DOT => heights!(avx512, 1 2 3 4 5 6 7 8 9 10 11 12),
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx512 if is_x86_feature_detected!("avx512bf16") => {
                heights!(avx512_bf16, 1 2 3 4 5 6 7 8 9 10 11 12)
            }
            // Every processor with AVX-512 has AVX2 too.
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx512 | InstructionSet::Avx2 => heights!(avx2, 1 2 3 4 5 6 7 8 9 10 11 12),
            _ => heights!(portable, 1 2 3 4 5 6 7 8 9 10 11 12),
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn avx512_bf16<const ROWS: usize, S: Step>(tile: &Tile<S>) {
    // SAFETY: passed on to the caller of `Tile::run`.
    unsafe {
        match tile.ahead {
            Some(_) => avx512_body::<ROWS, true, S>(tile),
            None => avx512_body::<ROWS, false, S>(tile),
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn avx512<const ROWS: usize, S: Step>(tile: &Tile<S>) {
    // SAFETY: passed on to the caller of `Tile::run`.
    unsafe {
        match tile.ahead {
            Some(_) => avx512_body::<ROWS, true, S>(tile),
            None => avx512_body::<ROWS, false, S>(tile),
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn avx512_body<const ROWS: usize, const AHEAD: bool, S: Step>(tile: &Tile<S>) {
    use std::arch::x86_64::*;

    // SAFETY: the caller of `Tile::run` vouches for every pointer; a step has 512 bits in each of two registers.
    unsafe {
        let mut sums = tile.sums().start_avx512::<ROWS>();
        let mut a = tile.a;
        let mut ahead = tile.ahead.unwrap_or(std::ptr::null());
        for &part in tile.parts {
            let mut b = part;
            for _ in 0..tile.steps {
                if AHEAD {
                    // A hint: it reads nothing, wherever it points.
                    _mm_prefetch::<_MM_HINT_T0>(ahead.cast());
                    ahead = ahead.wrapping_add(LINE);
                }
                let right = [_mm512_loadu_si512(b.cast()), _mm512_loadu_si512(b.add(16).cast())];
                S::avx512(a, tile.a_row_stride, tile.a_depth_stride, right, &mut sums);
                a = a.wrapping_add(S::LEFT_VALUES * tile.a_depth_stride);
                b = b.wrapping_add(tile.b_stride);
            }
        }
        tile.sums().end_avx512(&sums);
    }
}

/// Rows and columns are walked in blocks of 4 x 16, which is what sixteen 256-bit registers hold.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn avx2<const ROWS: usize, S: Step>(tile: &Tile<S>) {
    let mut row = 0;
    while row < ROWS {
        for column in (0..tile.width).step_by(NARROW) {
            // SAFETY: passed on to the caller of `Tile::run`.
            unsafe {
                match ROWS - row {
                    1 => avx2_block::<1, S>(tile, row, column),
                    2 => avx2_block::<2, S>(tile, row, column),
                    3 => avx2_block::<3, S>(tile, row, column),
                    _ => avx2_block::<4, S>(tile, row, column),
                }
            }
        }
        row += 4;
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn avx2_block<const ROWS: usize, S: Step>(tile: &Tile<S>, first_row: usize, column: usize) {
    use std::arch::x86_64::*;

    let width = (tile.width - column).min(NARROW);
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
        for part in tile.parts {
            let mut b = part.wrapping_add(column);
            for _ in 0..tile.steps {
                S::avx2(a, tile.a_row_stride, tile.a_depth_stride, b, &mut sums);
                a = a.wrapping_add(S::LEFT_VALUES * tile.a_depth_stride);
                b = b.wrapping_add(tile.b_stride);
            }
        }
        for (row, sums) in sums.iter().enumerate() {
            _mm256_storeu_ps(buffer.as_mut_ptr(), sums[0]);
            _mm256_storeu_ps(buffer.as_mut_ptr().add(8), sums[1]);
            std::ptr::copy_nonoverlapping(buffer.as_ptr(), out(row), width);
        }
    }
}

unsafe fn portable<const ROWS: usize, S: Step>(tile: &Tile<S>) {
    for row in 0..ROWS {
        // SAFETY: the caller of `Tile::run` vouches for every pointer.
        unsafe {
            let out = tile.out.add(row * tile.out_stride);
            let mut sums = [0.0f32; PANEL];
            if tile.accumulate {
                std::ptr::copy_nonoverlapping(out, sums.as_mut_ptr(), tile.width);
            }
            let mut a = tile.a.wrapping_add(row * tile.a_row_stride);
            for &part in tile.parts {
                let mut b = part;
                for _ in 0..tile.steps {
                    S::portable(a, tile.a_depth_stride, b, &mut sums);
                    a = a.wrapping_add(S::LEFT_VALUES * tile.a_depth_stride);
                    b = b.wrapping_add(tile.b_stride);
                }
            }
            std::ptr::copy_nonoverlapping(sums.as_ptr(), out, tile.width);
        }
    }
}
