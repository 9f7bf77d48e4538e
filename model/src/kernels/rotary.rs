//! Rotary position embedding (arXiv 2104.09864) in the half-split layout of Hugging Face checkpoints.

use std::mem::MaybeUninit;

use super::simd::dispatch;
use super::written::written;
use super::{InstructionSet, team};
use crate::spec::{RotaryScaling, RotarySpec};

/// Rows one task rotates.
const TASK_ROWS: usize = 32;

/// The inverse wavelengths of one rotary table, scaled, in f32 as the reference implementation holds them.
#[derive(Debug, Clone)]
pub struct RotaryTable {
    inverse_frequencies: Vec<f32>,
    /// What cosines and sines are multiplied by.
    attention_factor: f64,
}

impl RotaryTable {
    /// The table for heads of width `head_dim`.
    pub fn new(spec: &RotarySpec, head_dim: usize) -> Self {
        let base = (0..head_dim / 2)
            .map(|i| 1.0 / libm::pow(spec.theta, (2 * i) as f64 / head_dim as f64))
            .map(|frequency| f64::from(frequency as f32));
        let (scaled, attention_factor): (Vec<f64>, f64) = match &spec.scaling {
            RotaryScaling::None => (base.collect(), 1.0),
            RotaryScaling::Linear { factor } => (base.map(|frequency| frequency / factor).collect(), 1.0),
            RotaryScaling::Llama3 {
                factor,
                low_frequency_factor: low,
                high_frequency_factor: high,
                original_context,
            } => {
                let scale = |frequency: f64| {
                    let turns = *original_context as f64 * frequency / std::f64::consts::TAU;
                    // 0 keeps the interpolated wavelength, 1 the original one.
                    let blend = ((turns - low) / (high - low)).clamp(0.0, 1.0);
                    frequency * (blend + (1.0 - blend) / factor)
                };
                (base.map(scale).collect(), 1.0)
            }
            RotaryScaling::Yarn { factor, beta_fast, beta_slow, attention_factor, original_context, truncate } => {
                // The dimension whose wave makes `turns` turns over the original context.
                let dimension = |turns: f64| {
                    let wavelength = *original_context as f64 / (turns * std::f64::consts::TAU);
                    head_dim as f64 * libm::log(wavelength) / (2.0 * libm::log(spec.theta))
                };
                let (low, high) = (dimension(*beta_fast), dimension(*beta_slow));
                let (low, high) = if *truncate { (low.floor(), high.ceil()) } else { (low, high) };
                let (low, high) = (low.max(0.0), high.min(head_dim as f64 - 1.0));
                // Equal borders would divide by zero; the reference moves them apart by as much.
                let high = if low == high { high + 0.001 } else { high };
                let scale = |(i, frequency): (usize, f64)| {
                    let interpolated = ((i as f64 - low) / (high - low)).clamp(0.0, 1.0);
                    frequency / factor * interpolated + frequency * (1.0 - interpolated)
                };
                (base.enumerate().map(scale).collect(), *attention_factor)
            }
            RotaryScaling::Divisors(divisors) => {
                (base.zip(divisors.iter()).map(|(frequency, &divisor)| frequency / f64::from(divisor)).collect(), 1.0)
            }
        };
        let inverse_frequencies = scaled.into_iter().map(|frequency| frequency as f32).collect();
        Self { inverse_frequencies, attention_factor }
    }

    /// Cosines and sines of the given positions, [positions, head_dim / 2] each: the angle is rounded to f32
    /// (as the reference does), its cosine and sine are computed in f64 by `libm`, multiplied by the attention factor
    /// and rounded once.
    pub fn angles(&self, positions: &[u32]) -> Angles {
        let half = self.inverse_frequencies.len();
        let mut cosines = vec![0.0; positions.len() * half];
        let mut sines = vec![0.0; positions.len() * half];
        let results = cosines.chunks_mut(TASK_ROWS * half).zip(sines.chunks_mut(TASK_ROWS * half));
        team::each(results.zip(positions.chunks(TASK_ROWS)).collect(), |_, ((cosines, sines), positions)| {
            for (row, &position) in positions.iter().enumerate() {
                for (i, &frequency) in self.inverse_frequencies.iter().enumerate() {
                    let (sine, cosine) = libm::sincos(f64::from(position as f32 * frequency));
                    cosines[row * half + i] = (cosine * self.attention_factor) as f32;
                    sines[row * half + i] = (sine * self.attention_factor) as f32;
                }
            }
        });
        Angles { half, cosines, sines }
    }
}

/// Cosines and sines for the rows of one batch.
#[derive(Debug, Clone)]
pub struct Angles {
    half: usize,
    cosines: Vec<f32>,
    sines: Vec<f32>,
}

impl Angles {
    /// Each head of each row of `x` ([rows, heads, head_dim]) rotated.
    pub fn rotated(&self, set: InstructionSet, x: &[f32], heads: usize) -> Vec<f32> {
        let size = TASK_ROWS * self.width(heads);
        assert_eq!(x.len(), self.rows() * self.width(heads), "a row for each position");
        let write = |task: usize, out: &mut [MaybeUninit<f32>]| {
            out.write_copy_of_slice(&x[task * size..][..out.len()]);
            // SAFETY: all of it was written.
            self.turn(set, task, unsafe { out.assume_init_mut() }, heads, 1.0);
        };
        // SAFETY: the output is as long as x.
        unsafe { written(x.len(), size, write) }
    }

    /// Rotates in place the other way, which is the gradient of the rotation (the attention factor multiplies both).
    pub fn rotate_back(&self, set: InstructionSet, x: &mut [f32], heads: usize) {
        team::chunks_mut(x, TASK_ROWS * self.width(heads), |task, x| self.turn(set, task, x, heads, -1.0));
    }

    fn rows(&self) -> usize {
        self.cosines.len() / self.half
    }

    /// Values of a row.
    fn width(&self, heads: usize) -> usize {
        heads * 2 * self.half
    }

    /// Rotates the rows of one task; `sign` is that of the angles.
    fn turn(&self, set: InstructionSet, task: usize, x: &mut [f32], heads: usize, sign: f32) {
        let half = self.half;
        for (row, x) in x.chunks_exact_mut(self.width(heads)).enumerate() {
            let at = (task * TASK_ROWS + row) * half;
            let (cosines, sines) = (&self.cosines[at..at + half], &self.sines[at..at + half]);
            dispatch!(set, body(x: &mut [f32], cosines: &[f32], sines: &[f32], sign: f32) {
                for head in x.chunks_exact_mut(2 * cosines.len()) {
                    let (first, second) = head.split_at_mut(cosines.len());
                    for (((a, b), &cosine), &sine) in first.iter_mut().zip(second).zip(cosines).zip(sines) {
                        let (x, y, sine) = (*a, *b, sine * sign);
                        *a = x * cosine - y * sine;
                        *b = y * cosine + x * sine;
                    }
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotation_keeps_length_and_is_undone_backwards() {
        let spec = RotarySpec { theta: 10_000.0, scaling: RotaryScaling::None };
        let table = RotaryTable::new(&spec, 8);
        let angles = table.angles(&[0, 3, 5_000]);
        let original: Vec<f32> = (0..3 * 2 * 8).map(|i| (i as f32 * 0.37).sin()).collect();
        let set = InstructionSet::best();
        let mut x = angles.rotated(set, &original, 2);
        assert_eq!(x[..16], original[..16], "position 0 turns nothing");
        assert!(x[16..] != original[16..]);
        angles.rotate_back(set, &mut x, 2);
        for (back, original) in x.iter().zip(&original) {
            // Two rotations of f32 numbers of size 1.
            assert!((back - original).abs() < 5e-7);
        }
    }

    #[test]
    fn relative_position_alone_decides_products() {
        let spec = RotarySpec { theta: 500.0, scaling: RotaryScaling::None };
        let table = RotaryTable::new(&spec, 16);
        let (q, k): (Vec<f32>, Vec<f32>) = (0..16).map(|i| ((i as f32).cos(), (i as f32 * 1.7).sin())).unzip();
        let product = |at_q: u32, at_k: u32| {
            let set = InstructionSet::best();
            let (q, k) = (table.angles(&[at_q]).rotated(set, &q, 1), table.angles(&[at_k]).rotated(set, &k, 1));
            q.iter().zip(&k).map(|(q, k)| q * k).sum::<f32>()
        };
        // The angle of position 900 is rounded to f32: 900 * 6e-8 in the angle.
        assert!((product(907, 900) - product(7, 0)).abs() < 5e-4);
    }

    #[test]
    fn llama3_scaling_keeps_short_waves_and_stretches_long_ones() {
        let plain = RotarySpec { theta: 500_000.0, scaling: RotaryScaling::None };
        let scaling = RotaryScaling::Llama3 {
            factor: 8.0,
            low_frequency_factor: 1.0,
            high_frequency_factor: 4.0,
            original_context: 8_192,
        };
        let plain_table = RotaryTable::new(&plain, 128);
        let scaled = RotaryTable::new(&RotarySpec { scaling, ..plain.clone() }, 128);
        assert_eq!(scaled.inverse_frequencies[0], plain_table.inverse_frequencies[0]);
        let last = scaled.inverse_frequencies[63] / plain_table.inverse_frequencies[63];
        assert!((last - 0.125).abs() < 1e-6, "{last}");
    }

    #[test]
    fn yarn_keeps_short_waves_stretches_long_ones_and_ramps_between() {
        // Olmo-3's numbers: borders at dimensions 18.08 and 34.99 of 64, rounded outwards to 18 and 35.
        let scaling = RotaryScaling::Yarn {
            factor: 8.0,
            beta_fast: 32.0,
            beta_slow: 1.0,
            attention_factor: 1.25,
            original_context: 8_192,
            truncate: true,
        };
        let plain = RotarySpec { theta: 500_000.0, scaling: RotaryScaling::None };
        let plain_table = RotaryTable::new(&plain, 128);
        let table = RotaryTable::new(&RotarySpec { scaling, ..plain }, 128);
        let ratio = |i: usize| table.inverse_frequencies[i] / plain_table.inverse_frequencies[i];
        assert_eq!((ratio(0), ratio(18), ratio(35), ratio(63)), (1.0, 1.0, 0.125, 0.125));
        // 8 of the ramp's 17 steps from 1 to 1/8.
        assert!((ratio(26) - (1.0 - 0.875 * 8.0 / 17.0)).abs() < 1e-6, "{}", ratio(26));
        let angles = table.angles(&[0]);
        assert_eq!((angles.cosines[0], angles.sines[0]), (1.25, 0.0));
    }

    #[test]
    fn divisors_divide_frequencies() {
        let plain = RotarySpec { theta: 100.0, scaling: RotaryScaling::None };
        let scaling = RotaryScaling::Divisors([1.0, 4.0].into());
        let (table, plain) =
            (RotaryTable::new(&RotarySpec { scaling, ..plain.clone() }, 4), RotaryTable::new(&plain, 4));
        assert_eq!(table.inverse_frequencies, [1.0, plain.inverse_frequencies[1] / 4.0]);
    }
}
