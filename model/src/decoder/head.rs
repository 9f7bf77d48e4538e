//! The output head: logits a few rows at a time, so that no [tokens, vocabulary] matrix ever exists.

use candle_core::Tensor;

use super::{Decoder, Pass, Weight};
use crate::kernels::InstructionSet;
use crate::kernels::bf16::round_row;
use crate::kernels::elementwise::{exp_times, maximum, sum_exp};
use crate::kernels::matmul::{
    Left, LeftMatrix, Operand, PairedRows, Product, matmul_packed, multiply, product_apart, row_stride,
};
use crate::kernels::team;
use crate::ops::{Accumulators, with_values};
use crate::{ModelResult, Numerics};

/// Rows whose logits exist at once, where weights are packed beforehand.
const HEAD_ROWS: usize = 96;
/// Bytes of logits that exist at once, where the weights are packed anew for each block of rows.
const LOGIT_BYTES: usize = 1 << 27;

/// Tokens of the vocabulary whose gradients are transposed at once; even, since bf16 goes by pairs. Changes no bit.
const VOCABULARY_BLOCK: usize = 1_536;

impl Decoder {
    /// Puts the logits of rows of the residual stream ([rows, hidden]), [rows, vocabulary], in the place of what `logits`
    /// held: final norm, then the output projection.
    ///
    /// # Errors
    /// `Internal` when shapes do not fit.
    pub fn logits(&self, hidden: &Tensor, logits: &mut Vec<f32>) -> ModelResult<()> {
        let normed = self.norm(hidden, self.final_norm(), Pass::Forward)?;
        with_values(&normed, |rows| self.project(rows, logits))??;
        let (vocabulary, stride) = (self.spec().vocabulary_size, self.logit_stride());
        if stride > vocabulary {
            *logits = logits.chunks_exact(stride).flat_map(|row| &row[..vocabulary]).copied().collect();
        }
        Ok(())
    }

    /// Rows whose logits are computed at once. Changes no bit.
    fn head_rows(&self) -> usize {
        match self.output_projection() {
            Weight::Packed(_) => HEAD_ROWS,
            _ => (LOGIT_BYTES / (self.logit_stride() * size_of::<f32>())).max(HEAD_ROWS),
        }
    }

    /// Values from one row of logits to the next.
    fn logit_stride(&self) -> usize {
        match self.output_projection() {
            Weight::Packed(_) => self.spec().vocabulary_size,
            _ => row_stride(self.spec().vocabulary_size),
        }
    }

    /// Puts the logits of normed rows, [rows, `logit_stride`], in the place of what `logits` held.
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
                *logits = product_apart(set, &left, operand, vocabulary, self.logit_stride());
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

/// As [`target_logprobs`], with the logits ([rows, `logit_stride`]) where those of all rows were there at once.
///
/// # Errors
/// As [`target_logprobs`].
pub(crate) fn target_logprobs_with_logits(
    decoder: &Decoder,
    normed: &Tensor,
    targets: &[u32],
) -> ModelResult<(Vec<f64>, Option<Vec<f32>>)> {
    let (hidden, vocabulary) = (decoder.spec().hidden_size, decoder.spec().vocabulary_size);
    let (block, stride) = (decoder.head_rows(), decoder.logit_stride());
    let mut found = Vec::with_capacity(targets.len());
    let mut logits = Vec::new();
    with_values(normed, |rows| -> ModelResult<()> {
        for (rows, targets) in rows.chunks(block * hidden).zip(targets.chunks(block)) {
            decoder.project(rows, &mut logits)?;
            found.extend(row_logprobs(&logits, [stride, vocabulary], targets));
        }
        Ok(())
    })??;
    Ok((found, (targets.len() <= block).then_some(logits)))
}

/// Of rows of logits that lie `stride` values apart.
fn row_logprobs(logits: &[f32], [stride, vocabulary]: [usize; 2], targets: &[u32]) -> Vec<f64> {
    let rows = logits.chunks_exact(stride).zip(targets).collect();
    team::map(rows, |(row, &target)| row_logprob(&row[..vocabulary], target as usize))
}

/// Gradients of rows of logits, as the products of the way back read them.
enum LogitGradients {
    Whole(Vec<f32>),
    /// Rounded to bf16: pairs in the first half of each row.
    Rounded(Vec<u32>),
}

impl LogitGradients {
    /// In place of the logits: coefficient · (one-hot − softmax).
    fn new(decoder: &Decoder, mut logits: Vec<f32>, targets: &[u32], coefficients: &[f64]) -> Self {
        let (set, stride) = (InstructionSet::best(), decoder.logit_stride());
        let vocabulary = decoder.spec().vocabulary_size;
        let differentiate = |row: &mut [f32], target: u32, coefficient: f64| {
            let largest = maximum(set, row);
            let scale = (-coefficient / sum_exp(set, row, largest)) as f32;
            exp_times(set, row, largest, scale);
            row[target as usize] += coefficient as f32;
        };
        if decoder.numerics() == Numerics::F32 {
            let rows = logits.chunks_exact_mut(stride).zip(targets).zip(coefficients).collect();
            team::each(rows, |_, ((row, &target), &coefficient)| {
                differentiate(&mut row[..vocabulary], target, coefficient);
            });
            return Self::Whole(logits);
        }
        // Takes the same memory.
        let mut pairs: Vec<u32> = logits.into_iter().map(f32::to_bits).collect();
        let rows = pairs.chunks_exact_mut(stride).zip(targets).zip(coefficients).collect();
        team::each(rows, |_, ((pairs, &target), &coefficient)| {
            let mut row: Vec<f32> = pairs[..vocabulary].iter().map(|&bits| f32::from_bits(bits)).collect();
            differentiate(&mut row, target, coefficient);
            round_row(set, &row, &mut pairs[..vocabulary.div_ceil(2)]);
        });
        Self::Rounded(pairs)
    }

    /// The values of `width` tokens from `first`, which is even, as a left-hand matrix of `count` rows.
    fn rows(&self, set: InstructionSet, stride: usize, first: usize, [count, width]: [usize; 2]) -> LeftMatrix<'_> {
        match self {
            Self::Whole(rows) => {
                let left = Left { data: &rows[first..], row_stride: stride, depth_stride: 1 };
                LeftMatrix::new(set, Numerics::F32, left, count, width)
            }
            Self::Rounded(pairs) => LeftMatrix::paired(paired(pairs, stride, first), count, width),
        }
    }

    /// Its transpose.
    fn columns(&self, set: InstructionSet, stride: usize, first: usize, [count, width]: [usize; 2]) -> LeftMatrix<'_> {
        match self {
            Self::Whole(rows) => {
                LeftMatrix::new(set, Numerics::F32, Left::transposed(&rows[first..], stride), width, count)
            }
            Self::Rounded(pairs) => LeftMatrix::paired_transposed(set, paired(pairs, stride, first), width, count),
        }
    }
}

fn paired(pairs: &[u32], stride: usize, first: usize) -> PairedRows<'_> {
    PairedRows { pairs: &pairs[first / 2..], stride }
}

/// Gradients of Σ coefficient · log-probability: with respect to the normed rows ([rows, hidden], returned) and to
/// the output projection ([vocabulary, hidden], added to its sum where it is trained). The gradient of a row's logits is
/// coefficient · (one-hot − softmax). `logits` are those of all rows where they are still there.
pub(crate) fn head_gradients(
    decoder: &Decoder,
    normed: &Tensor,
    targets: &[u32],
    coefficients: &[f64],
    mut logits: Option<Vec<f32>>,
    parameters: &mut Accumulators,
) -> ModelResult<Vec<f32>> {
    let hidden = decoder.spec().hidden_size;
    let (set, stride) = (InstructionSet::best(), decoder.logit_stride());
    let mut grad_rows = vec![0.0; targets.len() * hidden];
    let block = decoder.head_rows();
    let projection = decoder.output_projection().row_major()?;
    with_values(normed, |rows| -> ModelResult<()> {
        let chunks = rows.chunks(block * hidden).zip(grad_rows.chunks_mut(block * hidden));
        let of_targets = targets.chunks(block).zip(coefficients.chunks(block));
        for ((rows, grad_rows), (targets, coefficients)) in chunks.zip(of_targets) {
            let mut of_block = logits.take().unwrap_or_default();
            if of_block.is_empty() {
                decoder.project(rows, &mut of_block)?;
            }
            let gradients = LogitGradients::new(decoder, of_block, targets, coefficients);
            let count = targets.len();
            with_values(projection, |weight| {
                for (place, data) in weight.chunks(VOCABULARY_BLOCK * hidden).enumerate() {
                    let left = gradients.rows(set, stride, place * VOCABULARY_BLOCK, [count, data.len() / hidden]);
                    multiply(set, &left, Operand::RowMajor { data, stride: hidden }, hidden, grad_rows, place > 0);
                }
            })?;
            let Some(sum) = parameters.of(projection.id()) else { continue };
            sum.accumulate(|out, accumulate| {
                for (place, out) in out.chunks_mut(VOCABULARY_BLOCK * hidden).enumerate() {
                    let left = gradients.columns(set, stride, place * VOCABULARY_BLOCK, [count, out.len() / hidden]);
                    multiply(set, &left, Operand::RowMajor { data: rows, stride: hidden }, hidden, out, accumulate);
                }
            });
        }
        Ok(())
    })??;
    Ok(grad_rows)
}
