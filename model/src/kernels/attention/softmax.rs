//! One row of attention's softmax, a tile of keys at a time: `exp(score * factor - shift)`, where no scaled score is above
//! `shift`. Rows are whole panels of 32; hidden scores are negative infinity.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

use crate::kernels::InstructionSet;
#[cfg(target_arch = "x86_64")]
use crate::kernels::elementwise::{EXP, LOWEST_EXP};
use crate::kernels::elementwise::{add_lanes, exp};
use crate::kernels::simd::dispatch;

/// Adding 1.5 * 2^23 rounds to the nearest integer and leaves it in the lowest bits.
const ROUND: f32 = 12_582_912.0;
/// 2^r for r from -1/2 to 1/2, from the fourth power down to the first, behind which comes 1: relative error below 3e-6.
const EXP2: [f32; 4] = [9.582_853e-3, 5.590_642_6e-2, 2.402_41e-1, 6.931_242e-1];
/// Where 2^t is taken for 0.
const LOWEST_EXP2: f32 = -125.0;

/// The largest score.
pub fn largest(set: InstructionSet, scores: &[f32]) -> f32 {
    match set {
        // SAFETY: the set is one that the processor has.
        #[cfg(target_arch = "x86_64")]
        InstructionSet::Avx512 => unsafe { largest_avx512(scores) },
        _ => dispatch!(set, body(scores: &[f32]) -> f32 {
            let mut lanes = [f32::NEG_INFINITY; 16];
            for chunk in scores.as_chunks::<16>().0 {
                for (lane, &score) in lanes.iter_mut().zip(chunk) {
                    *lane = if score > *lane { score } else { *lane };
                }
            }
            lanes.iter().copied().fold(f32::NEG_INFINITY, |best, score| if score > best { score } else { best })
        }),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn largest_avx512(scores: &[f32]) -> f32 {
    let mut lanes = _mm512_set1_ps(f32::NEG_INFINITY);
    for chunk in scores.as_chunks::<16>().0 {
        // SAFETY: a chunk is 16 values.
        lanes = _mm512_max_ps(unsafe { _mm512_loadu_ps(chunk.as_ptr()) }, lanes);
    }
    _mm512_reduce_max_ps(lanes)
}

/// Replaces scores by their exponentials and returns the sum, added in 16 interleaved lanes.
pub fn exponentials(set: InstructionSet, scores: &mut [f32], factor: f32, shift: f32) -> f32 {
    match set {
        // SAFETY: the set is one that the processor has.
        #[cfg(target_arch = "x86_64")]
        InstructionSet::Avx512 => unsafe { exponentials_avx512(scores, factor, shift) },
        _ => dispatch!(set, body(scores: &mut [f32], factor: f32, shift: f32) -> f32 {
            let mut lanes = [0.0f32; 16];
            for chunk in scores.as_chunks_mut::<16>().0 {
                for (lane, score) in lanes.iter_mut().zip(chunk) {
                    *score = exp(*score * factor - shift);
                    *lane += *score;
                }
            }
            add_lanes(&lanes)
        }),
    }
}

/// [`exp`] step by step, without what only positive numbers need.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn exponentials_avx512(scores: &mut [f32], factor: f32, shift: f32) -> f32 {
    let all = |value: f32| _mm512_set1_ps(value);
    let (factor, shift, lowest, round) = (all(factor), all(shift), all(LOWEST_EXP), all(ROUND));
    let mut lanes = all(0.0);
    for chunk in scores.as_chunks_mut::<16>().0 {
        // SAFETY: a chunk is 16 values.
        let score = unsafe { _mm512_loadu_ps(chunk.as_ptr()) };
        let x = _mm512_sub_ps(_mm512_mul_ps(score, factor), shift);
        let bounded = _mm512_max_ps(x, lowest);
        let n = _mm512_sub_ps(_mm512_fmadd_ps(bounded, all(std::f32::consts::LOG2_E), round), round);
        let rest = _mm512_fnmadd_ps(n, all(EXP.ln2_high), bounded);
        let rest = _mm512_fnmadd_ps(n, all(EXP.ln2_low), rest);
        let mut p = all(EXP.polynomial[0]);
        for &coefficient in &EXP.polynomial[1..] {
            p = _mm512_fmadd_ps(p, rest, all(coefficient));
        }
        p = _mm512_add_ps(_mm512_fmadd_ps(p, _mm512_mul_ps(rest, rest), rest), all(1.0));
        let normal = _mm512_cmp_ps_mask::<_CMP_GE_OQ>(x, lowest);
        let result = _mm512_maskz_scalef_ps(normal, p, n);
        lanes = _mm512_add_ps(lanes, result);
        // SAFETY: as above.
        unsafe { _mm512_storeu_ps(chunk.as_mut_ptr(), result) };
    }
    _mm512_reduce_add_ps(lanes)
}

/// Writes exponentials as bf16 pairs and returns the sum of what was not rounded, added in 16 interleaved lanes:
/// 2 to the power of score * factor * log2 e - shift * log2 e, by [`EXP2`]. What is written is rounded to 8 bits.
pub fn exponential_pairs(set: InstructionSet, scores: &[f32], factor: f32, shift: f32, pairs: &mut [u32]) -> f32 {
    let (factor, shift) = (factor * std::f32::consts::LOG2_E, shift * std::f32::consts::LOG2_E);
    match set {
        // SAFETY: the processor has the instructions.
        #[cfg(target_arch = "x86_64")]
        InstructionSet::Avx512 if is_x86_feature_detected!("avx512bf16") => unsafe {
            exponential_pairs_avx512(scores, factor, shift, pairs)
        },
        _ => dispatch!(set, body(scores: &[f32], factor: f32, shift: f32, pairs: &mut [u32]) -> f32 {
            let mut lanes = [0.0f32; 16];
            for (scores, pairs) in scores.as_chunks::<32>().0.iter().zip(pairs.as_chunks_mut::<16>().0) {
                let exponentials = scores.map(|score| power_of_two(score.mul_add(factor, -shift)));
                for half in exponentials.as_chunks::<16>().0 {
                    lanes.iter_mut().zip(half).for_each(|(lane, exponential)| *lane += exponential);
                }
                for (pair, two) in pairs.iter_mut().zip(exponentials.as_chunks::<2>().0) {
                    *pair = nearest(two[0]) | nearest(two[1]) << 16;
                }
            }
            add_lanes(&lanes)
        }),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bf16")]
fn exponential_pairs_avx512(scores: &[f32], factor: f32, shift: f32, pairs: &mut [u32]) -> f32 {
    let all = |value: f32| _mm512_set1_ps(value);
    let (factor, shift, lowest) = (all(factor), all(shift), all(LOWEST_EXP2));
    let power = |score: __m512| {
        let t = _mm512_fmsub_ps(score, factor, shift);
        let n = _mm512_roundscale_ps::<0>(t);
        let rest = _mm512_sub_ps(t, n);
        let mut p = all(EXP2[0]);
        for &coefficient in &EXP2[1..] {
            p = _mm512_fmadd_ps(p, rest, all(coefficient));
        }
        p = _mm512_fmadd_ps(p, rest, all(1.0));
        _mm512_maskz_scalef_ps(_mm512_cmp_ps_mask::<_CMP_GE_OQ>(t, lowest), p, n)
    };
    let mut lanes = all(0.0);
    for (scores, pairs) in scores.as_chunks::<32>().0.iter().zip(pairs.as_chunks_mut::<16>().0) {
        // SAFETY: 32 scores and 16 pairs.
        unsafe {
            let low = power(_mm512_loadu_ps(scores.as_ptr()));
            let high = power(_mm512_loadu_ps(scores.as_ptr().add(16)));
            lanes = _mm512_add_ps(_mm512_add_ps(lanes, low), high);
            // Of no denormals, so that rounding is that of `nearest`.
            let rounded = std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(high, low));
            _mm512_storeu_si512(pairs.as_mut_ptr().cast(), rounded);
        }
    }
    _mm512_reduce_add_ps(lanes)
}

/// 2^t for t of at most about 0; 0 below -125.
#[inline(always)]
fn power_of_two(t: f32) -> f32 {
    let rounded = t + ROUND;
    let rest = t - (rounded - ROUND);
    let p = EXP2[1..].iter().fold(EXP2[0], |p, &coefficient| p.mul_add(rest, coefficient)).mul_add(rest, 1.0);
    let result = f32::from_bits(p.to_bits().wrapping_add(rounded.to_bits() << 23));
    if t >= LOWEST_EXP2 { result } else { 0.0 }
}

/// The bits in bf16, to nearest, ties to even, of a value that is 0 or a normal number below infinity.
#[inline(always)]
fn nearest(value: f32) -> u32 {
    let bits = value.to_bits();
    (bits.wrapping_add(0x7fff + (bits >> 16 & 1))) >> 16
}

#[cfg(test)]
mod tests {
    use half::bf16;

    use super::*;

    #[test]
    fn exponentials_are_near_those_of_f64_and_rounded_to_nearest() {
        let (factor, shift) = (0.125, 2.5);
        let scores: Vec<f32> = (0..3_200).map(|i| (shift - i as f32 * 0.027_3) / factor).collect();
        let mut pairs = vec![0; scores.len() / 2];
        let mut expected_sum = 0.0;
        let sum = exponential_pairs(InstructionSet::best(), &scores, factor, shift, &mut pairs);
        for (place, &score) in scores.iter().enumerate() {
            let x = f64::from(score) * f64::from(factor) - f64::from(shift);
            let log2_e = std::f32::consts::LOG2_E;
            let found = f64::from(power_of_two(score.mul_add(factor * log2_e, -(shift * log2_e))));
            expected_sum += found;
            let written = bf16::from_bits((pairs[place / 2] >> (16 * (place % 2))) as u16);
            if x < -86.65 {
                assert_eq!((found, written), (0.0, bf16::ZERO));
            } else {
                // The polynomial's 3e-6; factor, shift and their product with log2 e are rounded, t is rounded once
                // more: at -87 that is four times half a unit in the last place of 125, times ln 2.
                assert!((found - x.exp()).abs() <= x.exp() * 1.7e-5, "{score}: {found} {}", x.exp());
                assert_eq!(written, bf16::from_f32(found as f32), "{score}");
            }
        }
        // 200 additions in each lane.
        assert!((f64::from(sum) - expected_sum).abs() < expected_sum * 200.0 * f64::from(f32::EPSILON));
        assert_eq!(power_of_two(0.0), 1.0);
        assert_eq!(power_of_two(f32::NEG_INFINITY), 0.0);
    }

    #[test]
    fn the_exponentials_of_the_class_f32_are_those_of_exp() {
        let (factor, shift) = (0.25, 7.0);
        for set in InstructionSet::available() {
            let scores: Vec<f32> = (0..3_200).map(|i| 28.0 - i as f32 * 0.119).chain([f32::NEG_INFINITY; 32]).collect();
            let mut found = scores.clone();
            let sum = exponentials(set, &mut found, factor, shift);
            let mut lanes = [0.0; 16];
            for (place, (&score, &found)) in scores.iter().zip(&found).enumerate() {
                assert_eq!(found.to_bits(), exp(score * factor - shift).to_bits(), "{set:?} {score}");
                lanes[place % 16] += found;
            }
            assert_eq!(sum.to_bits(), add_lanes(&lanes).to_bits(), "{set:?}");
            assert_eq!(largest(set, &scores), 28.0);
            assert_eq!(largest(set, &scores[3_200..]), f32::NEG_INFINITY);
        }
    }

    #[test]
    fn instruction_sets_agree_to_the_bit() {
        let mut values: Vec<f32> = (0..128).map(|i| ((i * 37 % 211) as f32 - 100.0) * 1.7).collect();
        values[5..9].fill(f32::NEG_INFINITY);
        let run = |set| {
            let shift = largest(set, &values) * 0.9;
            let mut pairs = vec![0; 64];
            let sum = exponential_pairs(set, &values, 0.9, shift, &mut pairs);
            (shift.to_bits(), sum.to_bits(), pairs)
        };
        let expected = run(InstructionSet::Portable);
        for set in InstructionSet::available() {
            assert!(run(set) == expected, "{set:?}");
        }
    }
}
