//! Rotary position embedding (arXiv 2104.09864) in the half-split layout of Hugging Face checkpoints.

use rayon::prelude::*;

use crate::spec::{RotaryScaling, RotarySpec};

/// Rows one task rotates.
const TASK_ROWS: usize = 32;

/// The inverse wavelengths of one rotary table, scaled, in f32 as the reference implementation holds them.
#[derive(Debug, Clone)]
pub struct RotaryTable {
    inverse_frequencies: Vec<f32>,
}

impl RotaryTable {
    /// The table for heads of width `head_dim`; `None` for a scaling this program does not compute.
    pub fn new(spec: &RotarySpec, head_dim: usize) -> Option<Self> {
        let base: Vec<f64> = (0..head_dim / 2)
            .map(|i| 1.0 / libm::pow(spec.theta, (2 * i) as f64 / head_dim as f64))
            .map(|frequency| f64::from(frequency as f32))
            .collect();
        let scaled = match spec.scaling {
            RotaryScaling::None => base,
            RotaryScaling::Llama3 { factor, low_frequency_factor, high_frequency_factor, original_context } => base
                .into_iter()
                .map(|frequency| {
                    let turns = original_context as f64 * frequency / std::f64::consts::TAU;
                    // 0 keeps the interpolated wavelength, 1 the original one.
                    let blend = ((turns - low_frequency_factor) / (high_frequency_factor - low_frequency_factor))
                        .clamp(0.0, 1.0);
                    frequency * (blend + (1.0 - blend) / factor)
                })
                .collect(),
            RotaryScaling::Yarn { .. } => return None,
        };
        Some(Self { inverse_frequencies: scaled.into_iter().map(|frequency| frequency as f32).collect() })
    }

    /// Cosines and sines of the given positions, [positions, head_dim / 2] each: the angle is rounded to f32
    /// (as the reference does), its cosine and sine are computed in f64 by `libm` and rounded once.
    pub fn angles(&self, positions: &[u32]) -> Angles {
        let half = self.inverse_frequencies.len();
        let mut cosines = vec![0.0; positions.len() * half];
        let mut sines = vec![0.0; positions.len() * half];
        cosines
            .par_chunks_mut(TASK_ROWS * half)
            .zip(sines.par_chunks_mut(TASK_ROWS * half))
            .zip(positions.par_chunks(TASK_ROWS))
            .for_each(|((cosines, sines), positions)| {
                for (row, &position) in positions.iter().enumerate() {
                    for (i, &frequency) in self.inverse_frequencies.iter().enumerate() {
                        let (sine, cosine) = libm::sincos(f64::from(position as f32 * frequency));
                        cosines[row * half + i] = cosine as f32;
                        sines[row * half + i] = sine as f32;
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
    /// Rotates each head of each row of `x` ([rows, heads, head_dim]) in place; `backward` turns the other way,
    /// which is the gradient of the rotation.
    pub fn rotate(&self, x: &mut [f32], heads: usize, backward: bool) {
        let half = self.half;
        let width = heads * 2 * half;
        x.par_chunks_mut(TASK_ROWS * width).enumerate().for_each(|(task, rows)| {
            for (row, x) in rows.chunks_exact_mut(width).enumerate() {
                let at = (task * TASK_ROWS + row) * half;
                let (cosines, sines) = (&self.cosines[at..at + half], &self.sines[at..at + half]);
                for head in x.chunks_exact_mut(2 * half) {
                    let (first, second) = head.split_at_mut(half);
                    for i in 0..half {
                        let sine = if backward { -sines[i] } else { sines[i] };
                        let (a, b) = (first[i], second[i]);
                        first[i] = a * cosines[i] - b * sine;
                        second[i] = b * cosines[i] + a * sine;
                    }
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotation_keeps_length_and_is_undone_backwards() {
        let spec = RotarySpec { theta: 10_000.0, scaling: RotaryScaling::None };
        let table = RotaryTable::new(&spec, 8).expect("plain tables are always computed");
        let angles = table.angles(&[0, 3, 5_000]);
        let original: Vec<f32> = (0..3 * 2 * 8).map(|i| (i as f32 * 0.37).sin()).collect();
        let mut x = original.clone();
        angles.rotate(&mut x, 2, false);
        assert_eq!(x[..16], original[..16], "position 0 turns nothing");
        assert!(x[16..] != original[16..]);
        angles.rotate(&mut x, 2, true);
        for (back, original) in x.iter().zip(&original) {
            // Two rotations of f32 numbers of size 1.
            assert!((back - original).abs() < 5e-7);
        }
    }

    #[test]
    fn relative_position_alone_decides_products() {
        let spec = RotarySpec { theta: 500.0, scaling: RotaryScaling::None };
        let table = RotaryTable::new(&spec, 16).expect("plain tables are always computed");
        let (q, k): (Vec<f32>, Vec<f32>) = (0..16).map(|i| ((i as f32).cos(), (i as f32 * 1.7).sin())).unzip();
        let product = |at_q: u32, at_k: u32| {
            let (mut q, mut k) = (q.clone(), k.clone());
            table.angles(&[at_q]).rotate(&mut q, 1, false);
            table.angles(&[at_k]).rotate(&mut k, 1, false);
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
        let plain_table = RotaryTable::new(&plain, 128).expect("plain tables are always computed");
        let scaled = RotaryTable::new(&RotarySpec { scaling, ..plain }, 128).expect("llama3 tables are computed");
        assert_eq!(scaled.inverse_frequencies[0], plain_table.inverse_frequencies[0]);
        let last = scaled.inverse_frequencies[63] / plain_table.inverse_frequencies[63];
        assert!((last - 0.125).abs() < 1e-6, "{last}");
    }
}
