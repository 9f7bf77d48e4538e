//! Arithmetic: how much a pass over the model takes, and how fast this machine multiplies.

use std::time::Instant;

use crate::Numerics;
use crate::kernels::InstructionSet;
use crate::kernels::matmul::{Left, Operand, PackedMatrix, Shape, matmul};
use crate::spec::{AttentionSpan, ModelSpec};

/// Consecutive tokens of a sequence that pass through the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Work {
    /// Position of the first of them; keys and values of those before are kept.
    pub position: usize,
    pub tokens: usize,
    /// Of how many the logits are computed.
    pub logits: usize,
}

/// Floating-point operations of a forward pass: two per multiply-add of a matrix product.
pub fn forward_flops(spec: &ModelSpec, work: impl IntoIterator<Item = Work>) -> f64 {
    let layer = |name: &str| name.starts_with("model.layers.");
    let matrices = spec.tensors().into_iter().filter(|tensor| tensor.shape.len() == 2 && layer(&tensor.name));
    let linear: f64 = matrices.map(|tensor| tensor.values() as f64).sum();
    let head = (spec.hidden_size * spec.vocabulary_size) as f64;
    let mut flops = 0.0;
    for Work { position, tokens, logits } in work {
        flops += 2.0 * (linear * tokens as f64 + head * logits as f64);
        for layer in &spec.layers {
            let window = match layer.span {
                AttentionSpan::Full => usize::MAX,
                AttentionSpan::Window(window) => window,
            };
            let seen = seen_keys(position + tokens, window) - seen_keys(position, window);
            // Scores, and the sum of values.
            flops += 4.0 * spec.query_width() as f64 * seen;
        }
    }
    flops
}

/// Keys that all queries of a sequence see together, each at most `window` of them.
fn seen_keys(tokens: usize, window: usize) -> f64 {
    let (full, rest) = (tokens.min(window) as f64, tokens.saturating_sub(window) as f64);
    full * (full + 1.0) / 2.0 + if rest > 0.0 { rest * window as f64 } else { 0.0 }
}

/// What this program's matrix product reaches on this thread pool, in FLOP/s: the best of a few products of
/// 512 x 1,536 x 576.
pub fn measured_peak(numerics: Numerics) -> f64 {
    const PRODUCTS: usize = 12;
    let shape = Shape { rows: 512, columns: 1_536, depth: 576 };
    let left: Vec<f32> = (0..shape.rows * shape.depth).map(|index| (index % 7) as f32).collect();
    let right: Vec<f32> = (0..shape.columns * shape.depth).map(|index| (index % 5) as f32).collect();
    let right = PackedMatrix::from_weight(&right, shape.columns, shape.depth, numerics);
    let mut out = vec![0.0; shape.rows * shape.columns];
    let mut best = f64::INFINITY;
    for _ in 0..PRODUCTS {
        let began = Instant::now();
        let operand = Operand::Packed(&right);
        matmul(InstructionSet::best(), shape, Left::row_major(&left, shape.depth), operand, &mut out, false);
        best = best.min(began.elapsed().as_secs_f64());
    }
    2.0 * (shape.rows * shape.columns * shape.depth) as f64 / best.max(1e-9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_query_sees_itself_and_what_comes_before_it_within_its_window() {
        for (tokens, window) in [(1, 1), (7, 7), (7, 3), (7, 9), (0, 4)] {
            let counted: usize = (0..tokens).map(|position: usize| (position + 1).min(window)).sum();
            assert_eq!(seen_keys(tokens, window), counted as f64, "{tokens} {window}");
        }
    }
}
