//! Rounding to bf16 and back: to nearest, ties to even; denormals become zero of their sign, as the products of AVX512-BF16
//! take them. Two values that stand together are a pair, the first in the lower half.

use std::mem::MaybeUninit;

use super::simd::{InstructionSet, dispatch};
use super::written::{CHUNK, chunk, written};

/// The bits of the upper half.
pub(super) const UPPER: u32 = 0xffff_0000;

/// The bits of a value in bf16, without a branch, so that a loop over values becomes vector code.
#[inline(always)]
pub(super) fn rounded(value: f32) -> u32 {
    let bits = value.to_bits();
    let magnitude = bits & 0x7fff_ffff;
    // Half of the last place, and the last place itself when it is odd; a carry reaches the exponent as it should.
    let nearest = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
    let zero = bits >> 16 & 0x8000;
    let quiet = bits >> 16 | 0x40;
    if magnitude > 0x7f80_0000 {
        quiet
    } else if magnitude < 0x0080_0000 {
        zero
    } else {
        nearest
    }
}

/// Two values rounded.
#[inline(always)]
pub(super) fn pair_rounded(lower: f32, upper: f32) -> u32 {
    rounded(lower) | rounded(upper) << 16
}

/// Two values as a pair, exact: the caller knows that bf16 holds both.
#[inline(always)]
pub(super) fn pair_exactly(lower: f32, upper: f32) -> u32 {
    (lower.to_bits() >> 16) | (upper.to_bits() & UPPER)
}

/// The lower and the upper value of a pair.
#[inline(always)]
pub(super) fn split(pair: u32) -> (f32, f32) {
    (f32::from_bits(pair << 16), f32::from_bits(pair & UPPER))
}

/// One contiguous row as pairs, the last one of an odd row with 0 above.
///
/// # Panics
/// When there are not half as many pairs as values, rounded up: shapes are this crate's own.
pub(crate) fn round_row(set: InstructionSet, row: &[f32], out: &mut [u32]) {
    assert_eq!(out.len(), row.len().div_ceil(2), "pairs of a row");
    // SAFETY: there is room for the pairs.
    unsafe { put_row(set, row, out.as_mut_ptr()) }
}

/// As [`round_row`], to where `out` points.
///
/// # Safety
/// There must be room for the pairs.
unsafe fn put_row(set: InstructionSet, row: &[f32], out: *mut u32) {
    #[cfg(target_arch = "x86_64")]
    if hardware(set) {
        // SAFETY: the processor has the instructions; for the rest the caller vouches.
        return unsafe { x86::put_row(row, out.cast(), row.len().next_multiple_of(2)) };
    }
    // SAFETY: the caller vouches for it.
    let out = unsafe { std::slice::from_raw_parts_mut(out.cast::<MaybeUninit<u32>>(), row.len().div_ceil(2)) };
    dispatch!(set, round(row: &[f32], out: &mut [MaybeUninit<u32>]) {
        let (pairs, odd) = row.as_chunks::<2>();
        for (out, &[lower, upper]) in out.iter_mut().zip(pairs) {
            out.write(pair_rounded(lower, upper));
        }
        if let ([lower], Some(last)) = (odd, out.last_mut()) {
            last.write(pair_rounded(*lower, 0.0));
        }
    });
}

/// Pairs of the values of two rows that stand above each other.
///
/// # Panics
/// When lengths differ: shapes are this crate's own.
pub(super) fn round_two_rows(set: InstructionSet, lower: &[f32], upper: &[f32], out: &mut [u32]) {
    assert!(lower.len() == upper.len() && lower.len() == out.len(), "rows of pairs");
    #[cfg(target_arch = "x86_64")]
    if hardware(set) {
        // SAFETY: the processor has the instructions, and all three are of one length.
        return unsafe { x86::round_two_rows(lower, upper, out) };
    }
    dispatch!(set, round(lower: &[f32], upper: &[f32], out: &mut [u32]) {
        for ((out, &lower), &upper) in out.iter_mut().zip(lower).zip(upper) {
            *out = pair_rounded(lower, upper);
        }
    });
}

/// Pairs of the values of two rows of bf16 that stand above each other.
pub(super) fn pair_two_rows(set: InstructionSet, lower: &[u16], upper: &[u16], out: &mut [u32]) {
    dispatch!(set, pair(lower: &[u16], upper: &[u16], out: &mut [u32]) {
        for ((out, &lower), &upper) in out.iter_mut().zip(lower).zip(upper) {
            *out = u32::from(lower) | u32::from(upper) << 16;
        }
    });
}

/// Values rounded.
pub fn narrowed(set: InstructionSet, values: &[f32]) -> Vec<u16> {
    let write = |number: usize, out: &mut [MaybeUninit<u16>]| {
        let values = chunk(values, number);
        #[cfg(target_arch = "x86_64")]
        if hardware(set) {
            // SAFETY: the processor has the instructions; the output is as long as the values.
            return unsafe { x86::put_row(values, out.as_mut_ptr().cast(), values.len()) };
        }
        dispatch!(set, body(values: &[f32], out: &mut [MaybeUninit<u16>]) {
            for (out, &value) in out.iter_mut().zip(values) {
                out.write(rounded(value) as u16);
            }
        });
    };
    // SAFETY: the input is as long as the output, and so are its chunks.
    unsafe { written(values.len(), CHUNK, write) }
}

/// Rows of `width` values, each rounded to pairs.
pub fn narrowed_rows(set: InstructionSet, values: &[f32], width: usize) -> Vec<u32> {
    /// Rows of one task.
    const ROWS: usize = 8;
    if values.is_empty() || width == 0 {
        return Vec::new();
    }
    let pairs = width.div_ceil(2);
    let write = |task: usize, out: &mut [MaybeUninit<u32>]| {
        for (row, out) in values[task * ROWS * width..].chunks_exact(width).zip(out.chunks_exact_mut(pairs)) {
            // SAFETY: there is room for the pairs of a row.
            unsafe { put_row(set, row, out.as_mut_ptr().cast()) };
        }
    };
    // SAFETY: the output has as many rows as the values.
    unsafe { written(values.len() / width * pairs, ROWS * pairs, write) }
}

/// Values of bf16.
pub fn widened(set: InstructionSet, values: &[u16]) -> Vec<f32> {
    let write = |number: usize, out: &mut [MaybeUninit<f32>]| {
        let values = chunk(values, number);
        dispatch!(set, body(values: &[u16], out: &mut [MaybeUninit<f32>]) {
            for (out, &value) in out.iter_mut().zip(values) {
                out.write(f32::from_bits(u32::from(value) << 16));
            }
        });
    };
    // SAFETY: as in `narrowed`.
    unsafe { written(values.len(), CHUNK, write) }
}

/// Whether the processor rounds by itself.
#[cfg(target_arch = "x86_64")]
fn hardware(set: InstructionSet) -> bool {
    set == InstructionSet::Avx512 && is_x86_feature_detected!("avx512bf16")
}

/// VCVTNE2PS2BF16 takes denormals as zero and makes NaNs quiet, as [`rounded`] does.
#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    /// Lanes of a register of f32.
    const LANES: usize = 16;

    /// The first `count` lanes; all of them from 16 on.
    fn first_lanes(count: usize) -> u16 {
        if count >= LANES { u16::MAX } else { (1 << count) - 1 }
    }

    /// Writes `count` values of bf16: those of the row, and zeros behind it.
    ///
    /// # Safety
    /// There must be room for `count`, which is at least as many as the row has and at most one more.
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    pub(super) unsafe fn put_row(row: &[f32], out: *mut u16, count: usize) {
        let (chunks, rest) = row.as_chunks::<{ 2 * LANES }>();
        for (place, chunk) in chunks.iter().enumerate() {
            // SAFETY: a chunk is two registers, and the output has room for as many values.
            unsafe {
                let (low, high) = (_mm512_loadu_ps(chunk.as_ptr()), _mm512_loadu_ps(chunk.as_ptr().add(LANES)));
                _mm512_storeu_si512(out.add(place * 2 * LANES).cast(), rounded(low, high));
            }
        }
        let left = count - chunks.len() * 2 * LANES;
        if left > 0 {
            let from = rest.as_ptr();
            // SAFETY: lanes behind the row are neither read nor, beyond `count`, written.
            unsafe {
                let low = _mm512_maskz_loadu_ps(first_lanes(rest.len()), from);
                let behind = rest.len().saturating_sub(LANES);
                let high = _mm512_maskz_loadu_ps(first_lanes(behind), from.wrapping_add(LANES));
                let mask = if left >= 2 * LANES { u32::MAX } else { (1 << left) - 1 };
                _mm512_mask_storeu_epi16(out.add(row.len() - rest.len()).cast(), mask, rounded(low, high));
            }
        }
    }

    /// As the function of the same name above.
    ///
    /// # Safety
    /// All three must be of one length.
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    pub(super) unsafe fn round_two_rows(lower: &[f32], upper: &[f32], out: &mut [u32]) {
        // Word 2i is word i of the lower row, word 2i + 1 that of the upper.
        let alternating: [i16; 2 * LANES] = std::array::from_fn(|word| (word / 2 + word % 2 * LANES) as i16);
        for first in (0..out.len()).step_by(LANES) {
            let mask = first_lanes(out.len() - first);
            // SAFETY: masked lanes are not touched.
            unsafe {
                let order = _mm512_loadu_si512(alternating.as_ptr().cast());
                let lower = _mm512_maskz_loadu_ps(mask, lower.as_ptr().add(first));
                let upper = _mm512_maskz_loadu_ps(mask, upper.as_ptr().add(first));
                let pairs = _mm512_permutexvar_epi16(order, rounded(lower, upper));
                _mm512_mask_storeu_epi32(out.as_mut_ptr().add(first).cast(), mask, pairs);
            }
        }
    }

    /// The values of two registers in one.
    #[target_feature(enable = "avx512f,avx512bf16")]
    fn rounded(low: __m512, high: __m512) -> __m512i {
        // SAFETY: both are 512 bits, whatever they mean.
        unsafe { std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(high, low)) }
    }
}

#[cfg(test)]
mod tests {
    use half::bf16;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn rounding_is_that_of_bf16_with_denormals_as_zero(bits: u32) {
            let value = f32::from_bits(bits);
            let flushed = if value.is_subnormal() { 0.0f32.copysign(value) } else { value };
            let expected = if value.is_nan() { None } else { Some(bf16::from_f32(flushed).to_bits()) };
            let found = rounded(value) as u16;
            prop_assert_eq!(expected.unwrap_or(found), found);
            prop_assert_eq!(value.is_nan(), bf16::from_bits(found).is_nan());
        }

        #[test]
        fn instruction_sets_round_rows_alike(
            bits in prop::collection::vec(
                prop_oneof![
                    any::<u32>(),
                    // Ties, denormals, infinities and NaNs.
                    any::<u16>().prop_map(|upper| u32::from(upper) << 16 | 0x8000),
                    (0u32..0x0081_0000),
                    (0x7f7f_0000u32..=0x7fff_ffff),
                ],
                0..100,
            )
        ) {
            let row: Vec<f32> = bits.iter().map(|&bits| f32::from_bits(bits)).collect();
            let above: Vec<f32> = row.iter().rev().copied().collect();
            for set in InstructionSet::available() {
                let expected: Vec<u16> = row.iter().map(|&value| rounded(value) as u16).collect();
                prop_assert_eq!(&narrowed(set, &row), &expected, "{:?}", set);
                let mut pairs = vec![u32::MAX; row.len().div_ceil(2)];
                round_row(set, &row, &mut pairs);
                let padded = expected.chunks(2).map(|two| {
                    u32::from(two[0]) | two.get(1).map_or(0, |&upper| u32::from(upper) << 16)
                });
                prop_assert_eq!(&pairs, &padded.collect::<Vec<_>>(), "{:?}", set);
                prop_assert_eq!(&narrowed_rows(set, &row, row.len()), &pairs, "{:?}", set);
                let mut pairs = vec![u32::MAX; row.len()];
                round_two_rows(set, &row, &above, &mut pairs);
                let expected: Vec<u32> =
                    row.iter().zip(&above).map(|(&lower, &upper)| pair_rounded(lower, upper)).collect();
                prop_assert_eq!(&pairs, &expected, "{:?}", set);
            }
        }
    }
}
