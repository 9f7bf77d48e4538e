//! The backward pass: scores are computed again tile by tile, no [tokens, tokens] matrix is kept.

use super::{HeadLayout, KEY_TILE, first_key};
use crate::kernels::InstructionSet;
use crate::kernels::elementwise::softmax_backward;
use crate::kernels::matmul::{Operand, PANEL, Single, TILE_ROWS, Tile};
use crate::kernels::simd::dispatch;
use crate::kernels::team;
use crate::spec::AttentionSpan;

/// (token, head) pairs handled together: four register tiles.
const QUERY_TILE: usize = 4 * TILE_ROWS;

/// Gradients with respect to queries ([tokens, query_heads, head_dim]), keys and values ([tokens before and own tokens,
/// key_value_heads, head_dim]) of one sequence.
pub struct Gradients {
    pub queries: Vec<f32>,
    pub keys: Vec<f32>,
    pub values: Vec<f32>,
}

/// One sequence's forward results, all [tokens, heads, head_dim] but `log_sums` ([tokens, query_heads]).
#[derive(Clone, Copy)]
pub struct Sequence<'a> {
    pub tokens: usize,
    /// Keys and values of the tokens in front of these, where it goes on from a beginning.
    pub before: Option<[&'a [f32]; 2]>,
    pub queries: &'a [f32],
    pub keys: &'a [f32],
    pub values: &'a [f32],
    pub out: &'a [f32],
    pub log_sums: &'a [f32],
    pub grad_out: &'a [f32],
    pub masked_heads: Option<&'a [bool]>,
}

/// Gradients of attention for each sequence. With P the probabilities, dV = Pᵀ·dO, dP = dO·Vᵀ,
/// dS = P ∘ (dP − rowsum(dO ∘ O)) · scale, dQ = dS·K, dK = dSᵀ·Q; sums run over rows, then keys, ascending.
pub fn backward(
    set: InstructionSet,
    layout: HeadLayout,
    span: AttentionSpan,
    sequences: &[Sequence],
) -> Vec<Gradients> {
    let HeadLayout { query_heads, key_value_heads, head_dim } = layout;
    let tasks: Vec<(usize, usize)> =
        (0..sequences.len()).flat_map(|sequence| (0..key_value_heads).map(move |head| (sequence, head))).collect();
    let parts = team::map(tasks, |(sequence, head)| head_gradients(set, layout, span, &sequences[sequence], head));
    let mut parts = parts.into_iter();
    sequences
        .iter()
        .map(|sequence| {
            let seen = (sequence.position(layout) + sequence.tokens) * key_value_heads * head_dim;
            let mut gradients = Gradients {
                queries: vec![0.0; sequence.tokens * query_heads * head_dim],
                keys: vec![0.0; seen],
                values: vec![0.0; seen],
            };
            for (head, part) in (0..key_value_heads).zip(&mut parts) {
                part.scatter(layout, head, &mut gradients);
            }
            gradients
        })
        .collect()
}

impl Sequence<'_> {
    /// Of its first token.
    fn position(&self, layout: HeadLayout) -> usize {
        self.before.map_or(0, |[keys, _]| keys.len() / (layout.key_value_heads * layout.head_dim))
    }
}

/// What one key-value head contributes; rows padded to whole panels.
struct HeadGradients {
    padded: usize,
    /// [tokens * group, padded], rows (token, head of the group).
    queries: Vec<f32>,
    /// [tokens before and own tokens, padded] each.
    keys: Vec<f32>,
    values: Vec<f32>,
}

impl HeadGradients {
    fn scatter(&self, layout: HeadLayout, head: usize, gradients: &mut Gradients) {
        let HeadLayout { query_heads, key_value_heads, head_dim } = layout;
        let group = layout.group();
        for (row, from) in self.queries.chunks_exact(self.padded).enumerate() {
            let place = (row / group) * query_heads + head * group + row % group;
            gradients.queries[place * head_dim..][..head_dim].copy_from_slice(&from[..head_dim]);
        }
        for (into, from) in [(&mut gradients.keys, &self.keys), (&mut gradients.values, &self.values)] {
            let tokens = into.len() / (key_value_heads * head_dim);
            for (token, from) in from.chunks_exact(self.padded).take(tokens).enumerate() {
                into[(token * key_value_heads + head) * head_dim..][..head_dim].copy_from_slice(&from[..head_dim]);
            }
        }
    }
}

/// Copies one head's rows of two parts ([tokens, heads, head_dim] -> [tokens, padded]).
fn gather(parts: [&[f32]; 2], heads: usize, head: usize, head_dim: usize, padded: usize) -> Vec<f32> {
    let rows = (parts[0].len() + parts[1].len()) / (heads * head_dim);
    let mut out = vec![0.0; rows.next_multiple_of(PANEL) * padded];
    let tokens = parts.into_iter().flat_map(|part| part.chunks_exact(heads * head_dim));
    for (out, token) in out.chunks_exact_mut(padded).zip(tokens) {
        out[..head_dim].copy_from_slice(&token[head * head_dim..][..head_dim]);
    }
    out
}

/// Rows of [rows, padded] transposed into panels of 32: for each panel, [head_dim, 32].
fn transposed_panels(set: InstructionSet, rows: &[f32], head_dim: usize, padded: usize) -> Vec<f32> {
    let count = rows.len() / padded;
    let mut panels = vec![0.0; count * head_dim];
    for (panel, out) in panels.chunks_exact_mut(head_dim * PANEL).enumerate() {
        Operand::Transposed { data: rows, stride: padded }.pack(set, panel * PANEL, count, head_dim, out);
    }
    panels
}

/// The dot product, terms added from the first to the last.
fn in_order_dot(set: InstructionSet, a: &[f32], b: &[f32]) -> f32 {
    dispatch!(set, body(a: &[f32], b: &[f32]) -> f32 {
        a.iter().zip(b).fold(0.0, |sum, (&a, &b)| a.mul_add(b, sum))
    })
}

fn head_gradients(
    set: InstructionSet,
    layout: HeadLayout,
    span: AttentionSpan,
    sequence: &Sequence,
    key_value_head: usize,
) -> HeadGradients {
    let HeadLayout { query_heads, key_value_heads, head_dim } = layout;
    let (padded, group, tokens) = (layout.padded_dim(), layout.group(), sequence.tokens);
    let before = sequence.before.unwrap_or([&[], &[]]);
    let own = [sequence.keys, sequence.values];
    let [keys, values] =
        [0, 1].map(|which| gather([before[which], own[which]], key_value_heads, key_value_head, head_dim, padded));
    let (key_panels, value_panels) =
        (transposed_panels(set, &keys, head_dim, padded), transposed_panels(set, &values, head_dim, padded));
    let first_token = sequence.position(layout);
    let position = |row: usize| first_token + row / group;

    let mut found = HeadGradients {
        padded,
        queries: vec![0.0; tokens * group * padded],
        keys: vec![0.0; keys.len()],
        values: vec![0.0; values.len()],
    };
    let rows: Vec<usize> = (0..tokens * group)
        .filter(|row| !sequence.masked_heads.is_some_and(|masked| masked[key_value_head * group + row % group]))
        .collect();
    let mut q = vec![0.0; QUERY_TILE * padded];
    let mut grad = vec![0.0; QUERY_TILE * padded];
    let mut grad_q = vec![0.0; QUERY_TILE * padded];
    let mut p = vec![0.0; QUERY_TILE * KEY_TILE];
    let mut ds = vec![0.0; QUERY_TILE * KEY_TILE];
    let scale = layout.scale();
    for rows in rows.chunks(QUERY_TILE) {
        let height = rows.len();
        let mut corrections = [0.0f32; QUERY_TILE];
        let mut log_sums = [0.0f32; QUERY_TILE];
        for (i, &row) in rows.iter().enumerate() {
            let place = (row / group) * query_heads + key_value_head * group + row % group;
            q[i * padded..][..head_dim].copy_from_slice(&sequence.queries[place * head_dim..][..head_dim]);
            let grad_row = &sequence.grad_out[place * head_dim..][..head_dim];
            grad[i * padded..][..head_dim].copy_from_slice(grad_row);
            let out_row = &sequence.out[place * head_dim..][..head_dim];
            corrections[i] = in_order_dot(set, grad_row, out_row);
            log_sums[i] = sequence.log_sums[place];
        }
        grad_q.fill(0.0);
        let (first_position, last_position) = (position(rows[0]), position(rows[height - 1]));
        for tile_start in (first_key(span, first_position) / KEY_TILE * KEY_TILE..=last_position).step_by(KEY_TILE) {
            let width = (last_position + 1 - tile_start).min(KEY_TILE).next_multiple_of(PANEL);
            let product = |a: &[f32], panels: &[f32], out: &mut [f32]| {
                for panel in 0..width / PANEL {
                    let b = &panels[(tile_start / PANEL + panel) * head_dim * PANEL..][..head_dim * PANEL];
                    for row in (0..height).step_by(TILE_ROWS) {
                        let tile = Tile::<Single> {
                            a: a.as_ptr().wrapping_add(row * padded),
                            a_row_stride: padded,
                            a_depth_stride: 1,
                            parts: &[b.as_ptr()],
                            b_stride: PANEL,
                            steps: head_dim,
                            out: out.as_mut_ptr().wrapping_add(row * KEY_TILE + panel * PANEL),
                            out_stride: KEY_TILE,
                            width: PANEL,
                            accumulate: false,
                            ahead: None,
                        };
                        // SAFETY: `a` is 48 x padded, the panel head_dim x 32, `out` 48 x 128.
                        unsafe { tile.run(set, TILE_ROWS.min(height - row)) };
                    }
                }
            };
            product(&q, &key_panels, &mut p);
            product(&grad, &value_panels, &mut ds);
            for (i, &row) in rows.iter().enumerate() {
                let position = position(row);
                // Where in the tile the keys in sight begin and end.
                let end = (position + 1).saturating_sub(tile_start).min(width);
                let start = first_key(span, position).saturating_sub(tile_start).min(end);
                let (p, ds) = (&mut p[i * KEY_TILE..][..width], &mut ds[i * KEY_TILE..][..width]);
                for hidden in [0..start, end..width] {
                    p[hidden.clone()].fill(0.0);
                    ds[hidden].fill(0.0);
                }
                let (p, ds) = (&mut p[start..end], &mut ds[start..end]);
                softmax_backward(set, p, ds, scale, log_sums[i], corrections[i]);
            }
            // dQ: sums over the keys of this tile.
            for row in (0..height).step_by(TILE_ROWS) {
                for column in (0..padded).step_by(PANEL) {
                    let tile = Tile::<Single> {
                        a: ds.as_ptr().wrapping_add(row * KEY_TILE),
                        a_row_stride: KEY_TILE,
                        a_depth_stride: 1,
                        parts: &[keys.as_ptr().wrapping_add(tile_start * padded + column)],
                        b_stride: padded,
                        steps: width,
                        out: grad_q.as_mut_ptr().wrapping_add(row * padded + column),
                        out_stride: padded,
                        width: PANEL,
                        accumulate: true,
                        ahead: None,
                    };
                    // SAFETY: keys are padded to whole panels of rows, as `width` is.
                    unsafe { tile.run(set, TILE_ROWS.min(height - row)) };
                }
            }
            // dV and dK: sums over the queries of this block.
            for (a, b, out) in [(&p, &grad, &mut found.values), (&ds, &q, &mut found.keys)] {
                for key in (0..width).step_by(TILE_ROWS) {
                    for column in (0..padded).step_by(PANEL) {
                        let tile = Tile::<Single> {
                            a: a.as_ptr().wrapping_add(key),
                            a_row_stride: 1,
                            a_depth_stride: KEY_TILE,
                            parts: &[b.as_ptr().wrapping_add(column)],
                            b_stride: padded,
                            steps: height,
                            out: out.as_mut_ptr().wrapping_add((tile_start + key) * padded + column),
                            out_stride: padded,
                            width: PANEL,
                            accumulate: true,
                            ahead: None,
                        };
                        // SAFETY: outputs are padded to whole panels of rows, as `width` is.
                        unsafe { tile.run(set, TILE_ROWS.min(width - key)) };
                    }
                }
            }
        }
        for (i, &row) in rows.iter().enumerate() {
            found.queries[row * padded..][..padded].copy_from_slice(&grad_q[i * padded..][..padded]);
        }
    }
    found
}
