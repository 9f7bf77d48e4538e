//! One row of attention's softmax, a tile of keys at a time.

use crate::kernels::InstructionSet;
use crate::kernels::elementwise::add_lanes;
use crate::kernels::simd::dispatch;

/// Multiplies scores by `factor` and returns the largest product; negative infinity for none.
pub fn scale_and_maximum(set: InstructionSet, scores: &mut [f32], factor: f32) -> f32 {
    dispatch!(set, body(scores: &mut [f32], factor: f32) -> f32 {
        let mut lanes = [f32::NEG_INFINITY; 16];
        let mut chunks = scores.chunks_exact_mut(16);
        for chunk in &mut chunks {
            for (lane, score) in lanes.iter_mut().zip(chunk) {
                *score *= factor;
                *lane = if *score > *lane { *score } else { *lane };
            }
        }
        for (lane, score) in lanes.iter_mut().zip(chunks.into_remainder()) {
            *score *= factor;
            *lane = if *score > *lane { *score } else { *lane };
        }
        lanes.iter().copied().fold(f32::NEG_INFINITY, |best, score| if score > best { score } else { best })
    })
}

/// Writes `exp(scores - shift)` as bf16 pairs and returns the sum of what was not rounded, added in 16 interleaved
/// lanes. No score is above `shift`; their number is a multiple of 32.
pub fn exponential_pairs(set: InstructionSet, scores: &[f32], shift: f32, pairs: &mut [u32]) -> f32 {
    dispatch!(set, body(scores: &[f32], shift: f32, pairs: &mut [u32]) -> f32 {
        let mut lanes = [0.0f32; 16];
        let (scores, _) = scores.as_chunks::<32>();
        let (pairs, _) = pairs.as_chunks_mut::<16>();
        for (scores, pairs) in scores.iter().zip(pairs) {
            let mut exponentials = [0.0f32; 32];
            for (exponential, &score) in exponentials.iter_mut().zip(scores) {
                *exponential = exp_below_zero(score - shift);
            }
            for lane in 0..16 {
                lanes[lane] += exponentials[lane];
            }
            for lane in 0..16 {
                lanes[lane] += exponentials[16 + lane];
            }
            for (pair, two) in pairs.iter_mut().zip(exponentials.as_chunks::<2>().0) {
                *pair = nearest(two[0]) | nearest(two[1]) << 16;
            }
        }
        add_lanes(&lanes)
    })
}

/// e^x for x of at most 0, which is all that a softmax needs: 2 to the nearest integer of x log2 e times 2 to the rest,
/// by a polynomial of degree 5 with a relative error below 2e-7. Where x is near its limit of -87, the rest carries the
/// rounding of x log2 e (relative error below 6e-6); below, the result is 0. What is written is rounded to 8 bits.
#[inline(always)]
fn exp_below_zero(x: f32) -> f32 {
    const LOG2_E: f32 = std::f32::consts::LOG2_E;
    // Adding 1.5 * 2^23 rounds to the nearest integer and leaves it in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    const LOWEST: f32 = -87.0;
    let bounded = if x > LOWEST { x } else { LOWEST };
    let rounded = bounded.mul_add(LOG2_E, ROUND);
    let rest = bounded.mul_add(LOG2_E, -(rounded - ROUND));
    #[expect(clippy::approx_constant, reason = "fitted with the others, not the nearest to ln 2")]
    const LINEAR: f32 = 6.931_47e-1;
    let mut p = 1.326_472e-3_f32;
    p = p.mul_add(rest, 9.671_514e-3);
    p = p.mul_add(rest, 5.550_733_6e-2);
    p = p.mul_add(rest, 2.402_224_2e-1);
    p = p.mul_add(rest, LINEAR);
    p = p.mul_add(rest, 1.0);
    let result = f32::from_bits(p.to_bits().wrapping_add(rounded.to_bits() << 23));
    if x < LOWEST { 0.0 } else { result }
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
        let scores: Vec<f32> = (0..3_200).map(|i| 2.5 - i as f32 * 0.027_3).collect();
        let mut pairs = vec![0; scores.len() / 2];
        let mut expected_sum = 0.0;
        let sum = exponential_pairs(InstructionSet::best(), &scores, 2.5, &mut pairs);
        for (place, &score) in scores.iter().enumerate() {
            let exact = f64::from(score - 2.5).exp();
            let found = f64::from(exp_below_zero(score - 2.5));
            expected_sum += found;
            let written = bf16::from_bits((pairs[place / 2] >> (16 * (place % 2))) as u16);
            if score - 2.5 < -87.0 {
                assert_eq!((found, written), (0.0, bf16::ZERO));
            } else {
                // The polynomial's 2e-7, and half a unit in the last place of x log2 e, times ln 2: 5.3e-6 at -87.
                assert!((found - exact).abs() <= exact * 6e-6, "{score}: {found} {exact}");
                assert_eq!(written, bf16::from_f32(found as f32), "{score}");
            }
        }
        // 200 additions in each lane.
        assert!((f64::from(sum) - expected_sum).abs() < expected_sum * 200.0 * f64::from(f32::EPSILON));
        assert_eq!(exp_below_zero(0.0), 1.0);
        assert_eq!(exp_below_zero(f32::NEG_INFINITY), 0.0);
    }

    #[test]
    fn instruction_sets_agree_to_the_bit() {
        let values: Vec<f32> = (0..128).map(|i| ((i * 37 % 211) as f32 - 100.0) * 0.17).collect();
        let run = |set| {
            let mut scores = values.clone();
            let largest = scale_and_maximum(set, &mut scores, 0.3);
            let mut pairs = vec![0; 64];
            let sum = exponential_pairs(set, &scores, largest, &mut pairs);
            let bits: Vec<u32> = scores.iter().map(|score| score.to_bits()).collect();
            (largest.to_bits(), sum.to_bits(), pairs, bits)
        };
        let expected = run(InstructionSet::Portable);
        for set in InstructionSet::available() {
            assert!(run(set) == expected, "{set:?}");
        }
    }
}
