//! The output head: logits a few rows at a time, so that no [tokens, vocabulary] matrix ever exists.

use candle_core::Tensor;

use super::{Decoder, Pass, Weight};
use crate::ModelResult;
use crate::kernels::InstructionSet;
use crate::kernels::elementwise::{exp_times, maximum, sum_exp};
use crate::kernels::matmul::{Left, LeftMatrix, Operand, Product, matmul_packed, multiply, product};
use crate::kernels::team;
use crate::ops::{Accumulators, with_values};

/// Rows whose logits exist at once, where weights are packed beforehand.
const HEAD_ROWS: usize = 96;
/// Bytes of logits that exist at once, where the weights are packed anew for each block of rows.
const LOGIT_BYTES: usize = 1 << 27;

/// Tokens of the vocabulary whose gradients are rounded or transposed at once; even, since bf16 goes by pairs. Changes no
/// bit.
const VOCABULARY_BLOCK: usize = 6_144;

impl Decoder {
    /// Puts the logits of rows of the residual stream ([rows, hidden]), [rows, vocabulary], in the place of what `logits`
    /// held: final norm, then the output projection.
    ///
    /// # Errors
    /// `Internal` when shapes do not fit.
    pub fn logits(&self, hidden: &Tensor, logits: &mut Vec<f32>) -> ModelResult<()> {
        let normed = self.norm(hidden, self.final_norm(), Pass::Forward)?;
        with_values(&normed, |rows| self.project(rows, logits))?
    }

    /// Rows whose logits are computed at once. Changes no bit.
    fn head_rows(&self) -> usize {
        match self.output_projection() {
            Weight::Packed(_) => HEAD_ROWS,
            _ => (LOGIT_BYTES / (self.spec().vocabulary_size * size_of::<f32>())).max(HEAD_ROWS),
        }
    }

    /// Puts the logits of normed rows in the place of what `logits` held.
    fn project(&self, rows: &[f32], logits: &mut Vec<f32>) -> ModelResult<()> {
        let (hidden, vocabulary) = (self.spec().hidden_size, self.spec().vocabulary_size);
        let (set, count, left) = (InstructionSet::best(), rows.len() / hidden, Left::row_major(rows, hidden));
        self.output_projection().with_transposed(|operand| match operand {
            Operand::Packed(matrix) => {
                let length = count * vocabulary;
                logits.clear();
                logits.reserve(length);
                let out = &mut logits.spare_capacity_mut()[..length];
                matmul_packed(set, count, left, &mut [Product { b: matrix, out }]);
                // SAFETY: the product has written all of it.
                unsafe { logits.set_len(length) };
            }
            _ => {
                let left = LeftMatrix::new(set, self.numerics(), left, count, hidden);
                // The old ones go first, so that there are never two.
                drop(std::mem::take(logits));
                *logits = product(set, &left, operand, vocabulary);
            }
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
    Ok(target_logprobs_with_logits(decoder, normed, targets)?.0)
}

/// As [`target_logprobs`], with the logits ([rows, vocabulary]) where those of all rows were there at once.
///
/// # Errors
/// As [`target_logprobs`].
pub(crate) fn target_logprobs_with_logits(
    decoder: &Decoder,
    normed: &Tensor,
    targets: &[u32],
) -> ModelResult<(Vec<f64>, Option<Vec<f32>>)> {
    let (hidden, vocabulary) = (decoder.spec().hidden_size, decoder.spec().vocabulary_size);
    let block = decoder.head_rows();
    let mut found = Vec::with_capacity(targets.len());
    let mut logits = Vec::new();
    with_values(normed, |rows| -> ModelResult<()> {
        for (rows, targets) in rows.chunks(block * hidden).zip(targets.chunks(block)) {
            decoder.project(rows, &mut logits)?;
            let rows = logits.chunks_exact(vocabulary).zip(targets).collect();
            found.extend(team::map(rows, |(row, &target)| row_logprob(row, target as usize)));
        }
        Ok(())
    })??;
    Ok((found, (targets.len() <= block).then_some(logits)))
}

/// Gradients of Σ coefficient · log-probability: with respect to the normed rows ([rows, hidden], returned) and to
/// the output projection ([vocabulary, hidden], added to its sum where it is trained). The gradient of a row's logits is
/// coefficient · (one-hot − softmax). `logits` are those of all rows where they are still there.
pub(crate) fn head_gradients(
    decoder: &Decoder,
    normed: &Tensor,
    targets: &[u32],
    coefficients: &[f64],
    logits: Option<Vec<f32>>,
    parameters: &mut Accumulators,
) -> ModelResult<Vec<f32>> {
    let (hidden, vocabulary) = (decoder.spec().hidden_size, decoder.spec().vocabulary_size);
    let (set, numerics) = (InstructionSet::best(), decoder.numerics());
    let mut grad_rows = vec![0.0; targets.len() * hidden];
    let block = decoder.head_rows();
    let known = logits.is_some();
    let mut logits = logits.unwrap_or_default();
    let projection = decoder.output_projection().row_major()?;
    with_values(normed, |rows| -> ModelResult<()> {
        let chunks = rows.chunks(block * hidden).zip(grad_rows.chunks_mut(block * hidden));
        let of_targets = targets.chunks(block).zip(coefficients.chunks(block));
        for ((rows, grad_rows), (targets, coefficients)) in chunks.zip(of_targets) {
            if !known {
                decoder.project(rows, &mut logits)?;
            }
            let of_rows = logits.chunks_exact_mut(vocabulary).zip(targets).zip(coefficients).collect();
            team::each(of_rows, |_, ((row, &target), &coefficient)| {
                let largest = maximum(set, row);
                let scale = (-coefficient / sum_exp(set, row, largest)) as f32;
                exp_times(set, row, largest, scale);
                row[target as usize] += coefficient as f32;
            });
            let count = targets.len();
            with_values(projection, |weight| {
                for (place, data) in weight.chunks(VOCABULARY_BLOCK * hidden).enumerate() {
                    let of_block = &logits[place * VOCABULARY_BLOCK..];
                    let rows = Left { data: of_block, row_stride: vocabulary, depth_stride: 1 };
                    let left = LeftMatrix::new(set, numerics, rows, count, data.len() / hidden);
                    multiply(set, &left, Operand::RowMajor { data, stride: hidden }, hidden, grad_rows, place > 0);
                }
            })?;
            let Some(sum) = parameters.of(projection.id()) else { continue };
            sum.accumulate(|out, accumulate| {
                for (place, out) in out.chunks_mut(VOCABULARY_BLOCK * hidden).enumerate() {
                    let tokens = Left::transposed(&logits[place * VOCABULARY_BLOCK..], vocabulary);
                    let left = LeftMatrix::new(set, numerics, tokens, out.len() / hidden, count);
                    multiply(set, &left, Operand::RowMajor { data: rows, stride: hidden }, hidden, out, accumulate);
                }
            });
        }
        Ok(())
    })??;
    Ok(grad_rows)
}
