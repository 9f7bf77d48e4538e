//! RMS normalisation (arXiv 1910.07467): x / sqrt(mean(x²) + ε) · weight, in f32 throughout.

use std::mem::MaybeUninit;

use super::elementwise::add_lanes;
use super::simd::dispatch;
use super::written::written;
use super::{InstructionSet, team};

/// Rows one task normalises.
const TASK_ROWS: usize = 16;
/// Columns of the weight's gradient that one task adds up.
const COLUMNS: usize = 32;

/// Normalises each row of `x` ([rows, width]) and multiplies by `weight` ([width]).
pub fn rms_norm(set: InstructionSet, x: &[f32], weight: &[f32], epsilon: f32) -> Vec<f32> {
    let (width, size) = (weight.len(), TASK_ROWS * weight.len());
    assert!(x.len().is_multiple_of(width), "rows of the weight's width");
    let write = |task: usize, out: &mut [MaybeUninit<f32>]| {
        for (out, x) in out.chunks_exact_mut(width).zip(x[task * size..].chunks_exact(width)) {
            row(set, x, weight, epsilon, out);
        }
    };
    // SAFETY: the output has the rows of x.
    unsafe { written(x.len(), size, write) }
}

fn row(set: InstructionSet, x: &[f32], weight: &[f32], epsilon: f32, out: &mut [MaybeUninit<f32>]) {
    dispatch!(set, body(x: &[f32], weight: &[f32], epsilon: f32, out: &mut [MaybeUninit<f32>]) {
        let scale = inverse_root_mean_square(x, epsilon);
        for ((out, &x), &weight) in out.iter_mut().zip(x).zip(weight) {
            out.write(x * scale * weight);
        }
    });
}

/// 1 / sqrt(mean(x²) + ε), squares added in 16 interleaved lanes.
#[inline(always)]
fn inverse_root_mean_square(x: &[f32], epsilon: f32) -> f32 {
    1.0 / (dot(x, x) / x.len() as f32 + epsilon).sqrt()
}

#[inline(always)]
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0f32; 16];
    let (mut a_chunks, mut b_chunks) = (a.chunks_exact(16), b.chunks_exact(16));
    for (a, b) in (&mut a_chunks).zip(&mut b_chunks) {
        for lane in 0..16 {
            lanes[lane] = a[lane].mul_add(b[lane], lanes[lane]);
        }
    }
    for ((lane, &a), &b) in lanes.iter_mut().zip(a_chunks.remainder()).zip(b_chunks.remainder()) {
        *lane = a.mul_add(b, *lane);
    }
    add_lanes(&lanes)
}

/// Gradients of [`rms_norm`]: with y = x·s·w and s the inverse root mean square,
/// dx = s·(g·w − x·s²·mean(g·w·x)) per row, dw = Σ over rows of g·x·s (rows ascending).
pub fn rms_norm_backward(
    set: InstructionSet,
    x: &[f32],
    weight: &[f32],
    epsilon: f32,
    grad: &[f32],
    grad_x: &mut [f32],
    grad_weight: &mut [f32],
) {
    let width = weight.len();
    let scale_of =
        |x: &[f32]| dispatch!(set, body(x: &[f32], epsilon: f32) -> f32 { inverse_root_mean_square(x, epsilon) });
    let mut scales = vec![0.0; x.len() / width];
    let inputs = x.chunks(TASK_ROWS * width).zip(grad.chunks(TASK_ROWS * width));
    let outputs = grad_x.chunks_mut(TASK_ROWS * width).zip(scales.chunks_mut(TASK_ROWS));
    team::each(inputs.zip(outputs).collect(), |_, ((x, grad), (grad_x, scales))| {
        let rows = x.chunks_exact(width).zip(grad.chunks_exact(width)).zip(grad_x.chunks_exact_mut(width));
        for (((x, grad), grad_x), scale_place) in rows.zip(scales) {
            let scale = scale_of(x);
            *scale_place = scale;
            dispatch!(set, body(x: &[f32], weight: &[f32], scale: f32, grad: &[f32], grad_x: &mut [f32]) {
                for i in 0..x.len() {
                    grad_x[i] = grad[i] * weight[i];
                }
                let along = dot(grad_x, x) / x.len() as f32 * scale * scale;
                for i in 0..x.len() {
                    grad_x[i] = scale * (grad_x[i] - x[i] * along);
                }
            });
        }
    });
    // Each task owns some columns and adds its rows in ascending order.
    team::chunks_mut(grad_weight, COLUMNS, |block, sums| {
        sums.fill(0.0);
        let first = block * COLUMNS;
        let rows = x.chunks_exact(width).zip(grad.chunks_exact(width)).zip(&scales);
        for ((x, grad), &scale) in rows {
            let (x, grad) = (&x[first..], &grad[first..]);
            dispatch!(set, body(x: &[f32], grad: &[f32], scale: f32, sums: &mut [f32]) {
                for ((sum, x), grad) in sums.iter_mut().zip(x).zip(grad) {
                    *sum = (grad * x).mul_add(scale, *sum);
                }
            });
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(count: usize, seed: usize) -> Vec<f32> {
        (0..count).map(|i| ((i * 7_919 + seed * 104_729) % 997) as f32 / 500.0 - 1.0).collect()
    }

    fn loss(x: &[f64], weight: &[f64], grad: &[f64], epsilon: f64) -> f64 {
        let width = weight.len();
        x.chunks(width)
            .zip(grad.chunks(width))
            .map(|(x, grad)| {
                let scale = 1.0 / (x.iter().map(|x| x * x).sum::<f64>() / width as f64 + epsilon).sqrt();
                (0..width).map(|i| grad[i] * x[i] * scale * weight[i]).sum::<f64>()
            })
            .sum()
    }

    #[test]
    fn gradients_match_finite_differences_in_f64() {
        let (rows, width, epsilon) = (3, 21, 1e-5f32);
        let (x, weight, grad) = (values(rows * width, 1), values(width, 2), values(rows * width, 3));
        let (mut grad_x, mut grad_weight) = (vec![0.0; rows * width], vec![0.0; width]);
        rms_norm_backward(InstructionSet::best(), &x, &weight, epsilon, &grad, &mut grad_x, &mut grad_weight);
        let wide = |values: &[f32]| values.iter().map(|&value| f64::from(value)).collect::<Vec<_>>();
        let (x, weight, grad) = (wide(&x), wide(&weight), wide(&grad));
        let step = 1e-6;
        let check = |at: &dyn Fn(f64) -> f64, found: f32| {
            let expected = (at(step) - at(-step)) / (2.0 * step);
            // f32 sums of about 20 terms of size 1.
            assert!((expected - f64::from(found)).abs() < 5e-6, "{expected} {found}");
        };
        for i in 0..x.len() {
            let at = |d: f64| {
                let mut x = x.clone();
                x[i] += d;
                loss(&x, &weight, &grad, f64::from(epsilon))
            };
            check(&at, grad_x[i]);
        }
        for i in 0..width {
            let at = |d: f64| {
                let mut weight = weight.clone();
                weight[i] += d;
                loss(&x, &weight, &grad, f64::from(epsilon))
            };
            check(&at, grad_weight[i]);
        }
    }

    #[test]
    fn instruction_sets_agree_to_the_bit() {
        let (x, weight) = (values(5 * 77, 1), values(77, 2));
        let run = |set| {
            let out = rms_norm(set, &x, &weight, 1e-5);
            let (mut dx, mut dw) = (vec![0.0; x.len()], vec![0.0; 77]);
            rms_norm_backward(set, &x, &weight, 1e-5, &out, &mut dx, &mut dw);
            [out, dx, dw].concat().iter().map(|value| value.to_bits()).collect::<Vec<_>>()
        };
        let expected = run(InstructionSet::Portable);
        for set in InstructionSet::available() {
            assert!(run(set) == expected, "{set:?}");
        }
    }
}
