//! The forward pass: runs of queries against the keys of their sequences.

use std::cell::RefCell;
use std::mem::MaybeUninit;

use super::key_values::HeadPanel;
use super::softmax::{exponential_pairs, exponentials, largest};
use super::{HeadLayout, KEY_TILE, KeyValues, first_key};
use crate::Numerics;
use crate::kernels::InstructionSet;
use crate::kernels::bf16::round_row;
use crate::kernels::elementwise::exp;
use crate::kernels::matmul::{Dot, PANEL, Single, Step, TILE_ROWS, Tile};
use crate::kernels::simd::dispatch;
use crate::kernels::team;
use crate::kernels::written::clear;
use crate::spec::AttentionSpan;

/// Panels of a tile of keys.
const PANELS: usize = KEY_TILE / PANEL;
/// Most rows of a block: a tile of keys and values is read once for all of them.
const BLOCK_ROWS: usize = 4 * TILE_ROWS;

/// Consecutive tokens of one sequence, whose keys and values are already stored.
#[derive(Clone, Copy)]
pub struct Run<'a> {
    /// Index of the first token among the rows of the batch.
    pub first_row: usize,
    pub tokens: usize,
    /// Position of the first token in its sequence.
    pub position: usize,
    pub key_values: &'a KeyValues,
    /// Per query head: whether its output is multiplied by 0. `None` masks nothing.
    pub masked_heads: Option<&'a [bool]>,
    /// Of how many of the last tokens the arg-max keys are wanted.
    pub probed: usize,
}

/// The strongest key of one head for one query.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Probe {
    /// Position of the key with the highest score; the lowest position on equal scores.
    pub key: u32,
    /// Attention probability of that key minus that of the second strongest (1 when there is one key only).
    pub gap: f32,
}

/// Attention of all runs, which stand in the order of their rows: outputs like `queries`, [rows, query_heads, head_dim], 0
/// in rows of no run, and the probes ([query_heads]) of each probed token, in the order of rows. `log_sums` ([rows,
/// query_heads]) receives the logarithm of each softmax denominator where the backward pass will need it.
pub fn forward(
    set: InstructionSet,
    layout: HeadLayout,
    span: AttentionSpan,
    runs: &[Run],
    queries: &[f32],
    log_sums: Option<&mut [f32]>,
) -> (Vec<f32>, Vec<Vec<Probe>>) {
    let width = layout.query_heads * layout.head_dim;
    let mut out = Vec::with_capacity(queries.len());
    let rest = runs.iter().fold(&mut out.spare_capacity_mut()[..queries.len()], |rest, run| {
        let before = (queries.len() - rest.len()) / width;
        assert!(before <= run.first_row, "runs stand in the order of their rows");
        let (gap, rest) = rest.split_at_mut((run.first_row - before) * width);
        clear(gap);
        rest.split_at_mut(run.tokens * width).1
    });
    clear(rest);
    assert!(log_sums.as_ref().is_none_or(|log_sums| log_sums.len() == queries.len() / layout.head_dim), "log sums");
    let mut probed = 0;
    let blocks: Vec<Block> = runs
        .iter()
        .flat_map(|run| {
            let first_probe = probed;
            probed += run.probed;
            blocks_of(layout, run, first_probe)
        })
        .collect();
    let shared = Shared { out: out.as_mut_ptr(), log_sums: log_sums.map(<[f32]>::as_mut_ptr) };
    let found = team::map(blocks, |block| {
        // SAFETY: blocks name disjoint (row, head) pairs inside `out` and `log_sums`.
        SCRATCH.with_borrow_mut(|scratch| unsafe { attend(set, layout, span, &block, queries, shared, scratch) })
    });
    // SAFETY: rows of no run were filled, and the blocks have written those of runs.
    unsafe { out.set_len(queries.len()) };
    let mut probes = vec![vec![Probe { key: 0, gap: 0.0 }; layout.query_heads]; probed];
    found.into_iter().flatten().for_each(|(token, head, probe)| probes[token][head] = probe);
    (out, probes)
}

/// Up to 48 (token, query head) pairs that share a key-value head.
struct Block<'a> {
    run: &'a Run<'a>,
    /// The place of the run's first probed token among those of all runs.
    first_probe: usize,
    key_value_head: usize,
    pairs: Vec<(usize, usize)>,
}

impl Block<'_> {
    /// The place of a token among the probed ones of all runs.
    fn probe_of(&self, token: usize) -> Option<usize> {
        (token + self.run.probed).checked_sub(self.run.tokens).map(|place| self.first_probe + place)
    }
}

fn blocks_of<'a>(layout: HeadLayout, run: &'a Run<'a>, first_probe: usize) -> impl Iterator<Item = Block<'a>> {
    (0..layout.key_value_heads).flat_map(move |key_value_head| {
        let heads = key_value_head * layout.group()..(key_value_head + 1) * layout.group();
        let pairs: Vec<(usize, usize)> =
            (0..run.tokens).flat_map(|token| heads.clone().map(move |head| (token, head))).collect();
        // Short runs are cut small, so that all threads find work.
        let rows = if pairs.len() >= 8 * BLOCK_ROWS { BLOCK_ROWS } else { TILE_ROWS };
        let block = |pairs: &[(usize, usize)]| Block { run, first_probe, key_value_head, pairs: pairs.to_vec() };
        pairs.chunks(rows).map(block).collect::<Vec<_>>()
    })
}

#[derive(Clone, Copy)]
struct Shared {
    out: *mut f32,
    log_sums: Option<*mut f32>,
}

// SAFETY: tasks write disjoint elements, and the borrows outlive them.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    /// The output of one (row, head) pair, where there is nothing yet.
    ///
    /// # Safety
    /// The pair must be one of the rows' and belong to no other task.
    unsafe fn row<'a>(self, pair: usize, head_dim: usize) -> &'a mut [MaybeUninit<f32>] {
        // SAFETY: passed on to the caller.
        unsafe { std::slice::from_raw_parts_mut(self.out.add(pair * head_dim).cast(), head_dim) }
    }
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

#[derive(Default)]
struct Scratch {
    /// [48, head_dim].
    queries: Vec<f32>,
    /// The same as bf16 pairs where keys are such, [48, pairs].
    query_pairs: Vec<u32>,
    /// [12, 128]: products of queries and keys, then the exponentials of the softmax.
    scores: Vec<f32>,
    /// The exponentials as bf16 pairs, [12, 64].
    score_pairs: Vec<u32>,
    /// [48, padded head_dim].
    sums: Vec<f32>,
}

/// Running state of one row's softmax.
#[derive(Clone, Copy)]
struct Row {
    maximum: f32,
    sum: f32,
    best: (f32, usize),
    second: f32,
}

/// What the sums so far are multiplied by when the maximum rises: e^difference.
fn shrinkage(set: InstructionSet, difference: f32) -> f32 {
    // In most tiles it stays.
    if difference == 0.0 {
        return 1.0;
    }
    dispatch!(set, body(difference: f32) -> f32 { exp(difference) })
}

/// Adds one tile of keys, of which `visible` are in sight of the last row, to up to 12 rows of a block.
#[expect(clippy::too_many_arguments, reason = "the body of one loop, apart for its length")]
fn attend_tile(
    set: InstructionSet,
    layout: HeadLayout,
    span: AttentionSpan,
    block: &Block,
    tile_start: usize,
    visible: usize,
    rows_of_tile: std::ops::Range<usize>,
    rows: &mut [Row; BLOCK_ROWS],
    scratch: &mut Scratch,
) {
    let (run, head_dim, padded) = (block.run, layout.head_dim, layout.padded_dim());
    let (first_row, height) = (rows_of_tile.start, rows_of_tile.len());
    let position = |row: usize| run.position + block.pairs[row].0;
    let (scale, numerics) = (layout.scale(), run.key_values.numerics());
    let width = visible.min(KEY_TILE).next_multiple_of(PANEL);
    for panel in 0..width / PANEL {
        let out = scratch.scores.as_mut_ptr().wrapping_add(panel * PANEL);
        // SAFETY: queries hold 48 x head_dim values or pairs, the panel 32 for each step, the scores 12 x 128 values.
        match run.key_values.key_panel(tile_start / PANEL + panel, block.key_value_head) {
            HeadPanel::F32(keys) => unsafe {
                let a = scratch.queries.as_ptr().wrapping_add(first_row * head_dim);
                product::<Single>(set, height, a, head_dim, &[keys.as_ptr()], PANEL, head_dim, out, KEY_TILE, false);
            },
            HeadPanel::Bf16(keys) => unsafe {
                let pairs = head_dim.div_ceil(2);
                let a = scratch.query_pairs.as_ptr().wrapping_add(first_row * pairs);
                product::<Dot>(set, height, a, pairs, &[keys.as_ptr()], PANEL, pairs, out, KEY_TILE, false);
            },
        }
    }
    for row in rows_of_tile {
        let state = &mut rows[row];
        let scores = &mut scratch.scores[(row - first_row) * KEY_TILE..][..width];
        let pairs = &mut scratch.score_pairs[(row - first_row) * KEY_TILE / 2..][..width / 2];
        let (first, last) = (first_key(span, position(row)), position(row));
        let end = (last + 1).saturating_sub(tile_start).min(width);
        let begin = first.saturating_sub(tile_start).min(end);
        scores[..begin].fill(f32::NEG_INFINITY);
        scores[end..].fill(f32::NEG_INFINITY);
        let largest = largest(set, scores) * scale;
        if block.probe_of(block.pairs[row].0).is_some() {
            for (key, score) in scores.iter().map(|score| score * scale).enumerate() {
                if score > state.best.0 {
                    state.second = state.best.0;
                    state.best = (score, tile_start + key);
                } else if score > state.second {
                    state.second = score;
                }
            }
        }
        let new_maximum = if largest > state.maximum { largest } else { state.maximum };
        if new_maximum == f32::NEG_INFINITY {
            // Nothing visible yet (a window that starts in a later tile).
            scores.fill(0.0);
            pairs.fill(0);
            continue;
        }
        let shrink = shrinkage(set, state.maximum - new_maximum);
        let sum = match numerics {
            Numerics::F32 => exponentials(set, scores, scale, new_maximum),
            Numerics::Bf16 => exponential_pairs(set, scores, scale, new_maximum, pairs),
        };
        state.sum = state.sum * shrink + sum;
        if state.maximum != new_maximum {
            scratch.sums[row * padded..][..padded].iter_mut().for_each(|sum| *sum *= shrink);
            state.maximum = new_maximum;
        }
    }
    // All panels of values in one product, so that its sums stay in registers.
    let (mut singles, mut pairs) = ([std::ptr::null::<f32>(); PANELS], [std::ptr::null::<u32>(); PANELS]);
    let panels = width / PANEL;
    for panel in 0..panels {
        match run.key_values.value_panel(tile_start / PANEL + panel, block.key_value_head) {
            HeadPanel::F32(values) => singles[panel] = values.as_ptr(),
            HeadPanel::Bf16(values) => pairs[panel] = values.as_ptr(),
        }
    }
    for column in (0..padded).step_by(PANEL) {
        let out = scratch.sums.as_mut_ptr().wrapping_add(first_row * padded + column);
        // SAFETY: scores hold 12 x 128 values or 12 x 64 pairs, each panel `padded` for each step, the sums 48 x padded.
        unsafe {
            match numerics {
                Numerics::F32 => {
                    let (a, parts) = (scratch.scores.as_ptr(), singles.map(|values| values.wrapping_add(column)));
                    product::<Single>(set, height, a, KEY_TILE, &parts[..panels], padded, PANEL, out, padded, true);
                }
                Numerics::Bf16 => {
                    let (a, parts) = (scratch.score_pairs.as_ptr(), pairs.map(|values| values.wrapping_add(column)));
                    let steps = PANEL / 2;
                    product::<Dot>(set, height, a, KEY_TILE / 2, &parts[..panels], padded, steps, out, padded, true);
                }
            }
        }
    }
}

/// One tile of 32 whole columns; the rows of the left-hand matrix are contiguous.
///
/// # Safety
/// As of [`Tile::run`].
#[expect(clippy::too_many_arguments, reason = "the two matrices and the output of a product, each with its stride")]
#[inline(always)]
unsafe fn product<S: Step>(
    set: InstructionSet,
    height: usize,
    a: *const S::Left,
    a_row_stride: usize,
    parts: &[*const S::Right],
    b_stride: usize,
    steps: usize,
    out: *mut f32,
    out_stride: usize,
    accumulate: bool,
) {
    let (a_depth_stride, width, ahead) = (1, PANEL, None);
    let tile = Tile::<S> {
        a,
        a_row_stride,
        a_depth_stride,
        parts,
        b_stride,
        steps,
        out,
        out_stride,
        width,
        accumulate,
        ahead,
    };
    // SAFETY: passed on to the caller.
    unsafe { tile.run(set, height) }
}

/// # Safety
/// The block's (row, head) pairs must lie inside `shared` and belong to no other task.
unsafe fn attend(
    set: InstructionSet,
    layout: HeadLayout,
    span: AttentionSpan,
    block: &Block,
    queries: &[f32],
    shared: Shared,
    scratch: &mut Scratch,
) -> Vec<(usize, usize, Probe)> {
    let HeadLayout { query_heads, head_dim, .. } = layout;
    let (run, padded) = (block.run, layout.padded_dim());
    let masked = |head: usize| run.masked_heads.is_some_and(|masked| masked[head]);
    let place = |token: usize, head: usize| (run.first_row + token) * query_heads + head;
    let height = block.pairs.len();
    // A block of masked heads alone costs nothing, unless their attention is being watched.
    if run.probed == 0 && block.pairs.iter().all(|&(_, head)| masked(head)) {
        for &(token, head) in &block.pairs {
            // SAFETY: this pair is this task's alone.
            clear(unsafe { shared.row(place(token, head), head_dim) });
        }
        return Vec::new();
    }
    scratch.queries.resize(BLOCK_ROWS * head_dim, 0.0);
    scratch.scores.resize(TILE_ROWS * KEY_TILE, 0.0);
    scratch.score_pairs.resize(TILE_ROWS * KEY_TILE / 2, 0);
    scratch.sums.clear();
    scratch.sums.resize(BLOCK_ROWS * padded, 0.0);
    for (row, &(token, head)) in block.pairs.iter().enumerate() {
        scratch.queries[row * head_dim..][..head_dim]
            .copy_from_slice(&queries[place(token, head) * head_dim..][..head_dim]);
    }
    if run.key_values.numerics() == Numerics::Bf16 {
        let pairs = head_dim.div_ceil(2);
        scratch.query_pairs.resize(BLOCK_ROWS * pairs, 0);
        let rows = scratch.queries.chunks_exact(head_dim).zip(scratch.query_pairs.chunks_exact_mut(pairs));
        rows.take(height).for_each(|(row, pairs)| round_row(set, row, pairs));
    }
    let start = Row { maximum: f32::NEG_INFINITY, sum: 0.0, best: (f32::NEG_INFINITY, 0), second: f32::NEG_INFINITY };
    let mut rows = [start; BLOCK_ROWS];
    let position = |row: usize| run.position + block.pairs[row].0;
    let last_position = position(height - 1);
    for tile_start in (first_key(span, position(0)) / KEY_TILE * KEY_TILE..=last_position).step_by(KEY_TILE) {
        for first in (0..height).step_by(TILE_ROWS) {
            let rows_of_tile = first..height.min(first + TILE_ROWS);
            // Keys that come after all of these rows add nothing to them.
            let last_seen = position(rows_of_tile.end - 1);
            if tile_start <= last_seen {
                let visible = last_seen + 1 - tile_start;
                attend_tile(set, layout, span, block, tile_start, visible, rows_of_tile, &mut rows, scratch);
            }
        }
    }
    let mut probes = Vec::new();
    for (row, &(token, head)) in block.pairs.iter().enumerate() {
        let state = &rows[row];
        // SAFETY: as above.
        let out = unsafe { shared.row(place(token, head), head_dim) };
        if masked(head) {
            clear(out);
        } else {
            let sums = &scratch.sums[row * padded..][..head_dim];
            out.iter_mut().zip(sums).for_each(|(out, sum)| {
                out.write(sum / state.sum);
            });
        }
        if let Some(log_sums) = shared.log_sums {
            // The logarithm is `libm`'s in f64, rounded once.
            let log_sum = f64::from(state.maximum) + libm::log(f64::from(state.sum));
            // SAFETY: as above.
            unsafe { *log_sums.add(place(token, head)) = log_sum as f32 };
        }
        if let Some(place) = block.probe_of(token) {
            let probability = |score: f32| exp(score - state.maximum) / state.sum;
            let gap = probability(state.best.0) - probability(state.second);
            probes.push((place, head, Probe { key: state.best.1 as u32, gap }));
        }
    }
    probes
}
