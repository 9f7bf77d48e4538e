//! The output head: logits a few rows at a time, so that no [tokens, vocabulary] matrix ever exists.

use candle_core::Tensor;
use rayon::prelude::*;

use super::{Decoder, Pass};
use crate::ModelResult;
use crate::kernels::InstructionSet;
use crate::kernels::elementwise::{exp_times, maximum, sum_exp};
use crate::kernels::matmul::{Left, Operand, Shape, matmul};
use crate::ops::with_values;

/// Rows whose logits exist at once.
const HEAD_ROWS: usize = 96;

impl Decoder {
    /// Logits of rows of the residual stream ([rows, hidden]), [rows, vocabulary]: final norm, then the output
    /// projection.
    ///
    /// # Errors
    /// `Internal` when shapes do not fit.
    pub fn logits(&self, hidden: &Tensor) -> ModelResult<Vec<f32>> {
        let normed = self.norm(hidden, self.final_norm(), Pass::Forward)?;
        let mut logits = vec![0.0; normed.dim(0)? * self.spec().vocabulary_size];
        with_values(&normed, |rows| self.project(rows, &mut logits))??;
        Ok(logits)
    }

    fn project(&self, rows: &[f32], logits: &mut [f32]) -> ModelResult<()> {
        let (hidden, vocabulary) = (self.spec().hidden_size, self.spec().vocabulary_size);
        let shape = Shape { rows: rows.len() / hidden, columns: vocabulary, depth: hidden };
        self.output_projection().with_transposed(|operand| {
            matmul(InstructionSet::best(), shape, Left::row_major(rows, hidden), operand, logits, false);
        })
    }
}

/// The natural logarithm of softmax at `target`: exponentials in f32, their sum and the logarithm in f64.
pub fn row_logprob(logits: &[f32], target: usize) -> f64 {
    let set = InstructionSet::best();
    let largest = maximum(set, logits);
    f64::from(logits[target]) - f64::from(largest) - libm::log(sum_exp(set, logits, largest))
}

/// Log-probabilities of `targets` under rows that the final norm has already been applied to ([rows, hidden]).
///
/// # Errors
/// `Internal` when shapes do not fit.
pub fn target_logprobs(decoder: &Decoder, normed: &Tensor, targets: &[u32]) -> ModelResult<Vec<f64>> {
    let (hidden, vocabulary) = (decoder.spec().hidden_size, decoder.spec().vocabulary_size);
    let mut found = Vec::with_capacity(targets.len());
    let mut logits = vec![0.0; HEAD_ROWS.min(targets.len()) * vocabulary];
    with_values(normed, |rows| -> ModelResult<()> {
        for (rows, targets) in rows.chunks(HEAD_ROWS * hidden).zip(targets.chunks(HEAD_ROWS)) {
            let logits = &mut logits[..targets.len() * vocabulary];
            decoder.project(rows, logits)?;
            found.par_extend(
                logits
                    .par_chunks_exact(vocabulary)
                    .zip(targets)
                    .map(|(row, &target)| row_logprob(row, target as usize)),
            );
        }
        Ok(())
    })??;
    Ok(found)
}

/// Gradients of Σ coefficient · log-probability: with respect to the normed rows ([rows, hidden], returned) and to
/// the output projection ([vocabulary, hidden], added to `grad_projection` where it is trained). The gradient of a row's logits is
/// coefficient · (one-hot − softmax).
pub(crate) fn head_gradients(
    decoder: &Decoder,
    normed: &Tensor,
    targets: &[u32],
    coefficients: &[f64],
    mut grad_projection: Option<&mut [f32]>,
) -> ModelResult<Vec<f32>> {
    let (hidden, vocabulary) = (decoder.spec().hidden_size, decoder.spec().vocabulary_size);
    let set = InstructionSet::best();
    let mut grad_rows = vec![0.0; targets.len() * hidden];
    let mut logits = vec![0.0; HEAD_ROWS.min(targets.len()) * vocabulary];
    let projection = decoder.output_projection().row_major()?;
    with_values(normed, |rows| -> ModelResult<()> {
        let chunks = rows.chunks(HEAD_ROWS * hidden).zip(grad_rows.chunks_mut(HEAD_ROWS * hidden));
        let of_targets = targets.chunks(HEAD_ROWS).zip(coefficients.chunks(HEAD_ROWS));
        for ((rows, grad_rows), (targets, coefficients)) in chunks.zip(of_targets) {
            let logits = &mut logits[..targets.len() * vocabulary];
            decoder.project(rows, logits)?;
            logits.par_chunks_exact_mut(vocabulary).zip(targets).zip(coefficients).for_each(
                |((row, &target), &coefficient)| {
                    let largest = maximum(set, row);
                    let scale = (-coefficient / sum_exp(set, row, largest)) as f32;
                    exp_times(set, row, largest, scale);
                    row[target as usize] += coefficient as f32;
                },
            );
            with_values(projection, |weight| {
                let shape = Shape { rows: targets.len(), columns: hidden, depth: vocabulary };
                let operand = Operand::RowMajor { data: weight, stride: hidden };
                matmul(set, shape, Left::row_major(logits, vocabulary), operand, grad_rows, false);
            })?;
            let Some(grad_projection) = grad_projection.as_deref_mut() else { continue };
            let shape = Shape { rows: vocabulary, columns: hidden, depth: targets.len() };
            let operand = Operand::RowMajor { data: rows, stride: hidden };
            matmul(set, shape, Left::transposed(logits, vocabulary), operand, grad_projection, true);
        }
        Ok(())
    })??;
    Ok(grad_rows)
}
