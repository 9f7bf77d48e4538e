//! One step along the depth of a register tile, for every way the right-hand matrix is stored.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

use super::PANEL;
#[cfg(target_arch = "x86_64")]
use crate::kernels::bf16::UPPER;
use crate::kernels::bf16::split;

/// Columns of a block that 256-bit registers hold.
#[cfg(target_arch = "x86_64")]
pub(super) const NARROW: usize = 16;

/// What one step along the depth reads and adds. All instruction sets give the same bits.
pub(in crate::kernels) trait Step {
    /// What one row of the left-hand matrix holds for a step.
    type Left: Copy;
    /// What one column of the right-hand matrix holds for a step.
    type Right: Copy;
    /// How many values of a row of the left-hand matrix one step takes.
    const LEFT_VALUES: usize;
    /// Whether its 512-bit form needs AVX512-BF16.
    #[cfg(target_arch = "x86_64")]
    const BF16_DOT: bool = false;

    /// Adds one step to the sums of up to 12 rows by 32 columns; `right` holds 16 columns in each register.
    ///
    /// # Safety
    /// `left` must reach `ROWS` rows of `row_stride` (and `depth_stride` for a second value); the processor must have the
    /// instructions.
    #[cfg(target_arch = "x86_64")]
    unsafe fn avx512<const ROWS: usize>(
        left: *const Self::Left,
        row_stride: usize,
        depth_stride: usize,
        right: [__m512i; 2],
        sums: &mut [[__m512; 2]; ROWS],
    );

    /// Adds one step to the sums of up to 4 rows by 16 columns.
    ///
    /// # Safety
    /// As above; `right` must reach 16 columns.
    #[cfg(target_arch = "x86_64")]
    unsafe fn avx2<const ROWS: usize>(
        left: *const Self::Left,
        row_stride: usize,
        depth_stride: usize,
        right: *const Self::Right,
        sums: &mut [[__m256; 2]; ROWS],
    );

    /// Adds one step to the sums of one row by 32 columns.
    ///
    /// # Safety
    /// As above, with one row and 32 columns.
    unsafe fn portable(
        left: *const Self::Left,
        depth_stride: usize,
        right: *const Self::Right,
        sums: &mut [f32; PANEL],
    );
}

/// One k: f32 times f32.
pub(in crate::kernels) struct Single;

impl Step for Single {
    type Left = f32;
    type Right = f32;
    const LEFT_VALUES: usize = 1;

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    unsafe fn avx512<const ROWS: usize>(
        left: *const f32,
        row_stride: usize,
        _depth_stride: usize,
        right: [__m512i; 2],
        sums: &mut [[__m512; 2]; ROWS],
    ) {
        // SAFETY: passed on to the caller.
        unsafe {
            let [low, high] = right.map(|register| _mm512_castsi512_ps(register));
            for (row, sums) in sums.iter_mut().enumerate() {
                let value = _mm512_set1_ps(*left.add(row * row_stride));
                sums[0] = _mm512_fmadd_ps(value, low, sums[0]);
                sums[1] = _mm512_fmadd_ps(value, high, sums[1]);
            }
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    unsafe fn avx2<const ROWS: usize>(
        left: *const f32,
        row_stride: usize,
        _depth_stride: usize,
        right: *const f32,
        sums: &mut [[__m256; 2]; ROWS],
    ) {
        // SAFETY: passed on to the caller.
        unsafe {
            let (low, high) = (_mm256_loadu_ps(right), _mm256_loadu_ps(right.add(8)));
            for (row, sums) in sums.iter_mut().enumerate() {
                let value = _mm256_set1_ps(*left.add(row * row_stride));
                sums[0] = _mm256_fmadd_ps(value, low, sums[0]);
                sums[1] = _mm256_fmadd_ps(value, high, sums[1]);
            }
        }
    }

    #[inline(always)]
    unsafe fn portable(left: *const f32, _depth_stride: usize, right: *const f32, sums: &mut [f32; PANEL]) {
        // SAFETY: passed on to the caller.
        unsafe {
            for (column, sum) in sums.iter_mut().enumerate() {
                *sum = (*left).mul_add(*right.add(column), *sum);
            }
        }
    }
}

/// Two k: f32 times bf16 pairs, the lower k in the lower half. Widening is exact, so this gives the bits of two
/// steps of [`Single`].
pub(in crate::kernels) struct Widened;

impl Step for Widened {
    type Left = f32;
    type Right = u32;
    const LEFT_VALUES: usize = 2;

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    unsafe fn avx512<const ROWS: usize>(
        left: *const f32,
        row_stride: usize,
        depth_stride: usize,
        right: [__m512i; 2],
        sums: &mut [[__m512; 2]; ROWS],
    ) {
        // SAFETY: passed on to the caller.
        unsafe {
            let upper = _mm512_set1_epi32(UPPER as i32);
            let [low, high] = right;
            let first_low = _mm512_castsi512_ps(_mm512_slli_epi32::<16>(low));
            let first_high = _mm512_castsi512_ps(_mm512_slli_epi32::<16>(high));
            let second_low = _mm512_castsi512_ps(_mm512_and_si512(low, upper));
            let second_high = _mm512_castsi512_ps(_mm512_and_si512(high, upper));
            for (row, sums) in sums.iter_mut().enumerate() {
                let left = left.add(row * row_stride);
                let value = _mm512_set1_ps(*left);
                sums[0] = _mm512_fmadd_ps(value, first_low, sums[0]);
                sums[1] = _mm512_fmadd_ps(value, first_high, sums[1]);
                let value = _mm512_set1_ps(*left.add(depth_stride));
                sums[0] = _mm512_fmadd_ps(value, second_low, sums[0]);
                sums[1] = _mm512_fmadd_ps(value, second_high, sums[1]);
            }
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    unsafe fn avx2<const ROWS: usize>(
        left: *const f32,
        row_stride: usize,
        depth_stride: usize,
        right: *const u32,
        sums: &mut [[__m256; 2]; ROWS],
    ) {
        // SAFETY: passed on to the caller.
        unsafe {
            let (first, second) = halves(right);
            for (row, sums) in sums.iter_mut().enumerate() {
                let left = left.add(row * row_stride);
                let value = _mm256_set1_ps(*left);
                sums[0] = _mm256_fmadd_ps(value, first[0], sums[0]);
                sums[1] = _mm256_fmadd_ps(value, first[1], sums[1]);
                let value = _mm256_set1_ps(*left.add(depth_stride));
                sums[0] = _mm256_fmadd_ps(value, second[0], sums[0]);
                sums[1] = _mm256_fmadd_ps(value, second[1], sums[1]);
            }
        }
    }

    #[inline(always)]
    unsafe fn portable(left: *const f32, depth_stride: usize, right: *const u32, sums: &mut [f32; PANEL]) {
        // SAFETY: passed on to the caller.
        unsafe {
            for (column, sum) in sums.iter_mut().enumerate() {
                let (first, second) = split(*right.add(column));
                *sum = (*left).mul_add(first, *sum);
                *sum = (*left.add(depth_stride)).mul_add(second, *sum);
            }
        }
    }
}

/// Two k: bf16 pairs times bf16 pairs, as VDPBF16PS adds them: the upper product first, then the lower, each
/// sum rounded to f32 and flushed to zero when it is denormal.
pub(in crate::kernels) struct Dot;

impl Step for Dot {
    type Left = u32;
    type Right = u32;
    const LEFT_VALUES: usize = 1;
    #[cfg(target_arch = "x86_64")]
    const BF16_DOT: bool = true;

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    unsafe fn avx512<const ROWS: usize>(
        left: *const u32,
        row_stride: usize,
        _depth_stride: usize,
        right: [__m512i; 2],
        sums: &mut [[__m512; 2]; ROWS],
    ) {
        // SAFETY: passed on to the caller; the 512-bit integers are only looked at as pairs of bf16.
        unsafe {
            let [low, high]: [__m512bh; 2] = std::mem::transmute(right);
            for (row, sums) in sums.iter_mut().enumerate() {
                let pair: __m512bh = std::mem::transmute(_mm512_set1_epi32(*left.add(row * row_stride) as i32));
                sums[0] = _mm512_dpbf16_ps(sums[0], pair, low);
                sums[1] = _mm512_dpbf16_ps(sums[1], pair, high);
            }
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    unsafe fn avx2<const ROWS: usize>(
        left: *const u32,
        row_stride: usize,
        _depth_stride: usize,
        right: *const u32,
        sums: &mut [[__m256; 2]; ROWS],
    ) {
        // SAFETY: passed on to the caller.
        unsafe {
            let (lower, upper) = halves(right);
            for (row, sums) in sums.iter_mut().enumerate() {
                let (left_lower, left_upper) = split(*left.add(row * row_stride));
                let value = _mm256_set1_ps(left_upper);
                sums[0] = flushed_256(_mm256_fmadd_ps(value, upper[0], sums[0]));
                sums[1] = flushed_256(_mm256_fmadd_ps(value, upper[1], sums[1]));
                let value = _mm256_set1_ps(left_lower);
                sums[0] = flushed_256(_mm256_fmadd_ps(value, lower[0], sums[0]));
                sums[1] = flushed_256(_mm256_fmadd_ps(value, lower[1], sums[1]));
            }
        }
    }

    #[inline(always)]
    unsafe fn portable(left: *const u32, _depth_stride: usize, right: *const u32, sums: &mut [f32; PANEL]) {
        // SAFETY: passed on to the caller.
        unsafe {
            let (left_lower, left_upper) = split(*left);
            for (column, sum) in sums.iter_mut().enumerate() {
                let (lower, upper) = split(*right.add(column));
                *sum = flushed(left_upper.mul_add(upper, *sum));
                *sum = flushed(left_lower.mul_add(lower, *sum));
            }
        }
    }
}

/// Denormals become zero of their sign.
fn flushed(value: f32) -> f32 {
    if value.abs() < f32::MIN_POSITIVE { f32::from_bits(value.to_bits() & 0x8000_0000) } else { value }
}

/// # Safety
/// The processor must have AVX2.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn flushed_256(values: __m256) -> __m256 {
    // SAFETY: passed on to the caller.
    unsafe {
        let sign = _mm256_set1_ps(-0.0);
        let tiny = _mm256_cmp_ps::<_CMP_LT_OQ>(_mm256_andnot_ps(sign, values), _mm256_set1_ps(f32::MIN_POSITIVE));
        _mm256_andnot_ps(_mm256_andnot_ps(sign, tiny), values)
    }
}

/// The lower and the upper values of 16 pairs.
///
/// # Safety
/// They must be readable, and the processor must have AVX2.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn halves(pairs: *const u32) -> ([__m256; 2], [__m256; 2]) {
    // SAFETY: passed on to the caller.
    unsafe {
        let loaded = [_mm256_loadu_si256(pairs.cast()), _mm256_loadu_si256(pairs.add(NARROW / 2).cast())];
        let upper = _mm256_set1_epi32(UPPER as i32);
        let lower = [_mm256_slli_epi32::<16>(loaded[0]), _mm256_slli_epi32::<16>(loaded[1])];
        let upper = [_mm256_and_si256(loaded[0], upper), _mm256_and_si256(loaded[1], upper)];
        (
            [_mm256_castsi256_ps(lower[0]), _mm256_castsi256_ps(lower[1])],
            [_mm256_castsi256_ps(upper[0]), _mm256_castsi256_ps(upper[1])],
        )
    }
}
