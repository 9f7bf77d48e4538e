//! Exponential, softmax pieces, and the gated activation of the MLP.

use std::mem::MaybeUninit;

use super::simd::dispatch;
use super::written::{CHUNK, chunk, written};
use super::{InstructionSet, team};

/// The numbers of [`exp`].
pub(super) struct Exponential {
    /// ln 2 in two parts, the first of which has few bits.
    pub ln2_high: f32,
    pub ln2_low: f32,
    /// From the highest power down to r².
    pub polynomial: [f32; 6],
}

pub(super) const EXP: Exponential = Exponential {
    ln2_high: 0.693_359_4,
    ln2_low: -2.121_944_4e-4,
    polynomial: [1.987_569_1e-4, 1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 5e-1],
};

/// Below, [`exp`] is 0.
pub(super) const LOWEST_EXP: f32 = -87.336_54;

/// e^x in f32, the same bits on every instruction set: range reduction by ln 2 in two parts and the degree-6
/// polynomial of Cephes `expf`. Relative error below 2e-7 where the result is normal; 0 below -87.33, infinity
/// above 88.72.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    const LOG2_E: f32 = std::f32::consts::LOG2_E;
    // Adding 1.5 * 2^23 rounds to the nearest integer and leaves it in the lowest bits; subtracting gives it as f32.
    const ROUND: f32 = 12_582_912.0;
    let clamped = x.clamp(LOWEST_EXP, 88.722_83);
    let rounded = clamped.mul_add(LOG2_E, ROUND);
    let exponent = (rounded.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
    let n = rounded - ROUND;
    let r = n.mul_add(-EXP.ln2_low, n.mul_add(-EXP.ln2_high, clamped));
    let mut p = EXP.polynomial[0];
    for &coefficient in &EXP.polynomial[1..] {
        p = p.mul_add(r, coefficient);
    }
    p = p.mul_add(r * r, r) + 1.0;
    // Two factors, so that 2^128 (which f32 does not hold) never appears.
    let half = exponent >> 1;
    let rest = exponent - half;
    let power = |e: i32| f32::from_bits(((e + 127) << 23) as u32);
    let result = p * power(half) * power(rest);
    if x < LOWEST_EXP {
        0.0
    } else if x > 88.722_83 {
        f32::INFINITY
    } else {
        result
    }
}

/// Sum of `exp(values - shift)` over a row of logits in f64, from f32 exponentials, in 16 interleaved lanes.
pub fn sum_exp(set: InstructionSet, values: &[f32], shift: f32) -> f64 {
    dispatch!(set, body(values: &[f32], shift: f32) -> f64 {
        let mut lanes = [0.0f64; 16];
        let mut chunks = values.chunks_exact(16);
        for chunk in &mut chunks {
            for (lane, &value) in lanes.iter_mut().zip(chunk) {
                *lane += f64::from(exp(value - shift));
            }
        }
        for (lane, &value) in lanes.iter_mut().zip(chunks.remainder()) {
            *lane += f64::from(exp(value - shift));
        }
        lanes.iter().sum()
    })
}

/// Replaces `values` by `exp(values - shift) * scale`.
pub fn exp_times(set: InstructionSet, values: &mut [f32], shift: f32, scale: f32) {
    dispatch!(set, body(values: &mut [f32], shift: f32, scale: f32) {
        values.iter_mut().for_each(|value| *value = exp(*value - shift) * scale);
    });
}

/// Writes `exp((values - shift) * factor)`.
pub fn exp_of_scaled(set: InstructionSet, values: &[f32], shift: f32, factor: f32, out: &mut [f32]) {
    dispatch!(set, body(values: &[f32], shift: f32, factor: f32, out: &mut [f32]) {
        out.iter_mut().zip(values).for_each(|(out, value)| *out = exp((value - shift) * factor));
    });
}

/// Attention's way back through one row of its softmax: `scores` become the probabilities `p = exp(scores * scale -
/// log_sum)`, and `gradients`, those of the probabilities, become those of the scores, `p * (gradient - correction) * scale`.
pub fn softmax_backward(
    set: InstructionSet,
    scores: &mut [f32],
    gradients: &mut [f32],
    scale: f32,
    log_sum: f32,
    correction: f32,
) {
    dispatch!(set, body(scores: &mut [f32], gradients: &mut [f32], scale: f32, log_sum: f32, correction: f32) {
        for (p, gradient) in scores.iter_mut().zip(gradients) {
            *p = exp(*p * scale - log_sum);
            *gradient = *p * (*gradient - correction) * scale;
        }
    });
}

/// The largest value; negative infinity for an empty slice.
pub fn maximum(set: InstructionSet, values: &[f32]) -> f32 {
    dispatch!(set, body(values: &[f32]) -> f32 {
        let mut lanes = [f32::NEG_INFINITY; 16];
        let mut chunks = values.chunks_exact(16);
        for chunk in &mut chunks {
            for (lane, &value) in lanes.iter_mut().zip(chunk) {
                *lane = if value > *lane { value } else { *lane };
            }
        }
        for (lane, &value) in lanes.iter_mut().zip(chunks.remainder()) {
            *lane = if value > *lane { value } else { *lane };
        }
        lanes.iter().copied().fold(f32::NEG_INFINITY, |best, value| if value > best { value } else { best })
    })
}

/// Adds sixteen lanes pairwise, in one fixed tree.
#[inline(always)]
pub(super) fn add_lanes(lanes: &[f32; 16]) -> f32 {
    let mut width = 8;
    let mut sums = *lanes;
    while width > 0 {
        for lane in 0..width {
            sums[lane] += sums[lane + width];
        }
        width /= 2;
    }
    sums[0]
}

/// `silu(gate) * up`, elementwise (SwiGLU, arXiv 2002.05202).
pub fn swiglu(set: InstructionSet, gate: &[f32], up: &[f32]) -> Vec<f32> {
    assert_eq!(gate.len(), up.len(), "gate and up");
    let write = |number: usize, out: &mut [MaybeUninit<f32>]| {
        let (gate, up) = (chunk(gate, number), chunk(up, number));
        dispatch!(set, body(gate: &[f32], up: &[f32], out: &mut [MaybeUninit<f32>]) {
            for ((out, &gate), &up) in out.iter_mut().zip(gate).zip(up) {
                out.write(gate / (1.0 + exp(-gate)) * up);
            }
        });
    };
    // SAFETY: the inputs are as long as the output, and so are their chunks.
    unsafe { written(gate.len(), CHUNK, write) }
}

/// The sum of two tensors of one shape.
pub fn add(x: &[f32], y: &[f32]) -> Vec<f32> {
    assert_eq!(x.len(), y.len(), "terms");
    let write = |number: usize, out: &mut [MaybeUninit<f32>]| {
        for ((out, x), y) in out.iter_mut().zip(chunk(x, number)).zip(chunk(y, number)) {
            out.write(x + y);
        }
    };
    // SAFETY: the inputs are as long as the output, and so are their chunks.
    unsafe { written(x.len(), CHUNK, write) }
}

/// Adds `bias` ([width]) to each row of `x` ([rows, width]).
pub fn add_bias(x: &mut [f32], bias: &[f32]) {
    team::chunks_mut(x, CHUNK.next_multiple_of(bias.len()), |_, rows| {
        for row in rows.chunks_exact_mut(bias.len()) {
            row.iter_mut().zip(bias).for_each(|(x, bias)| *x += bias);
        }
    });
}

/// The sum of the rows of `x` ([rows, width]), each column in f64 in the order of rows, rounded once.
pub fn sum_rows(x: &[f32], width: usize) -> Vec<f32> {
    let mut sums = vec![0.0f64; width];
    // Each task owns some columns.
    team::chunks_mut(&mut sums, 64, |block, sums| {
        for row in x.chunks_exact(width) {
            sums.iter_mut().zip(&row[block * 64..]).for_each(|(sum, &x)| *sum += f64::from(x));
        }
    });
    sums.into_iter().map(|sum| sum as f32).collect()
}

/// Gradients of [`swiglu`] with respect to `gate`, returned, and to `up`, which take the place of `grad`.
pub fn swiglu_backward(set: InstructionSet, gate: &[f32], up: &[f32], grad: &mut [f32]) -> Vec<f32> {
    assert!(gate.len() == grad.len() && up.len() == grad.len(), "gate and up");
    let mut grad_gate = Vec::with_capacity(grad.len());
    let outputs = grad_gate.spare_capacity_mut()[..grad.len()].chunks_mut(CHUNK).zip(grad.chunks_mut(CHUNK));
    team::each(outputs.collect(), |number, (grad_gate, grad)| {
        let (gate, up) = (chunk(gate, number), chunk(up, number));
        dispatch!(set, body(gate: &[f32], up: &[f32], grad_gate: &mut [MaybeUninit<f32>], grad: &mut [f32]) {
            for i in 0..grad.len() {
                let sigmoid = 1.0 / (1.0 + exp(-gate[i]));
                let silu = gate[i] * sigmoid;
                grad_gate[i].write(grad[i] * up[i] * (sigmoid + silu * (1.0 - sigmoid)));
                grad[i] *= silu;
            }
        });
    });
    // SAFETY: every chunk was written whole.
    unsafe { grad_gate.set_len(grad.len()) };
    grad_gate
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_of_every_exponent_scales_exactly() {
        // e^(n ln 2) around every power of two: the scaling by 2^n adds no error of its own.
        for n in -126..=127 {
            for step in -3..=3 {
                let x = (f64::from(n) + f64::from(step) * 0.16) * std::f64::consts::LN_2;
                let (x, exact) = (x as f32, f64::from(x as f32).exp());
                if (f64::from(f32::MIN_POSITIVE)..f64::from(f32::MAX)).contains(&exact) && x > -87.336_54 {
                    let error = (f64::from(exp(x)) - exact).abs() / exact;
                    assert!(error < 2.4e-7, "e^{x}: {error:e}");
                }
            }
        }
    }

    #[test]
    fn exp_is_within_two_ulps_of_f64_over_its_range() {
        // Two units in the last place: one from the polynomial (Cephes' own bound), one from the two roundings.
        let mut worst = 0.0f64;
        let mut x = -87.0f32;
        while x < 88.5 {
            let exact = f64::from(x).exp();
            worst = worst.max((f64::from(exp(x)) - exact).abs() / exact);
            x += 0.003_1;
        }
        assert!(worst < 2.0 * f64::from(f32::EPSILON), "{worst}");
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(f32::INFINITY), f32::INFINITY);
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn instruction_sets_agree_to_the_bit() {
        let values: Vec<f32> = (0..1003).map(|i| ((i * 37 % 211) as f32 - 100.0) * 0.17).collect();
        let up: Vec<f32> = values.iter().rev().copied().collect();
        let run = |set| {
            let mut gated = swiglu(set, &values, &up);
            let mut b = gated.clone();
            let mut a = swiglu_backward(set, &values, &up, &mut b);
            let bits = |v: &[f32]| v.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            let total = sum_exp(set, &values, 20.0).to_bits();
            exp_times(set, &mut gated, 0.5, -1.75);
            softmax_backward(set, &mut a, &mut b, 0.125, 0.75, -0.3);
            let mut scaled = up.clone();
            exp_of_scaled(set, &values, 2.5, 0.6, &mut scaled);
            let all = [gated, a, b, scaled].concat();
            (total, maximum(set, &values).to_bits(), bits(&all))
        };
        let expected = run(InstructionSet::Portable);
        for set in InstructionSet::available() {
            assert!(run(set) == expected, "{set:?}");
        }
    }
}
