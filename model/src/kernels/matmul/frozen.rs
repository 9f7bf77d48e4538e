//! Products of one left-hand matrix with weights packed beforehand, several at once: what a layer computes from one
//! input is shared out among the threads as one list of tasks, and the input is rounded once.

use std::mem::MaybeUninit;

use super::left::round_rows;
use super::packed::Panels;
use super::run_tasks;
use super::step::Widened;
use super::{Block, Dot, InstructionSet, Left, LeftTiles, PANEL, PackedMatrix, SharedOutput, Single, TASK_ROWS};
use crate::Numerics;

/// A packed right-hand matrix and where its product goes ([rows, columns]).
pub struct Product<'a> {
    pub b: &'a PackedMatrix,
    pub out: &'a mut [MaybeUninit<f32>],
}

/// out = A · B for each product; all of every output is written.
///
/// # Panics
/// When matrices differ in depth or class, or a slice is not as long as they say: shapes are this crate's own.
pub fn matmul_packed(set: InstructionSet, rows: usize, a: Left, products: &mut [Product]) {
    let outputs = products.iter_mut().map(|product| {
        assert_eq!(product.out.len(), rows * product.b.columns(), "product output");
        (product.b, SharedOutput(product.out.as_mut_ptr().cast()))
    });
    let outputs: Vec<(&PackedMatrix, SharedOutput)> = outputs.collect();
    // SAFETY: the outputs are as long as the products, and nothing is read from them.
    unsafe { multiply_all(set, rows, a, &outputs, false) }
}

/// out = A · B, or out += A · B with `accumulate`.
pub(super) fn matmul_one(
    set: InstructionSet,
    rows: usize,
    a: Left,
    b: &PackedMatrix,
    out: &mut [f32],
    accumulate: bool,
) {
    assert_eq!(out.len(), rows * b.columns(), "product output");
    // SAFETY: the output is as long as the product and holds values.
    unsafe { multiply_all(set, rows, a, &[(b, SharedOutput(out.as_mut_ptr()))], accumulate) }
}

/// # Safety
/// Each output must reach `rows` rows of its product's columns, with values in it where they are added to.
unsafe fn multiply_all(
    set: InstructionSet,
    rows: usize,
    a: Left,
    outputs: &[(&PackedMatrix, SharedOutput)],
    accumulate: bool,
) {
    let Some((first, _)) = outputs.first() else { return };
    let (depth, numerics) = (first.depth(), first.numerics());
    if rows == 0 {
        return;
    }
    a.check(rows, depth);
    for (b, _) in outputs {
        assert!(b.depth() == depth && b.numerics() == numerics, "products of one input");
    }
    let rounded = if numerics == Numerics::Bf16 { round_rows(set, a, rows, depth) } else { Vec::new() };
    let pairs = depth.div_ceil(2);
    let row_tasks = rows.div_ceil(TASK_ROWS);
    // The place of each product's first panel among those of all.
    let mut panels = 0;
    let starts: Vec<usize> = outputs
        .iter()
        .map(|(b, _)| {
            let start = panels;
            panels += b.columns().div_ceil(PANEL);
            start
        })
        .collect();
    let task = |index: usize| {
        let (panel, row_task) = (index / row_tasks, index % row_tasks);
        let product = starts.partition_point(|&start| start <= panel) - 1;
        let ((b, output), panel) = (outputs[product], panel - starts[product]);
        let row_range = row_task * TASK_ROWS..((row_task + 1) * TASK_ROWS).min(rows);
        let block = Block { set, row_range, columns: b.columns(), first_column: panel * PANEL, output, accumulate };
        // SAFETY: the asserts above bound every read of A; a panel holds 32 values for each step; this task alone
        // writes the block's elements of the output.
        unsafe {
            match b.panels() {
                Panels::F32(data) => block.multiply::<Single>(LeftTiles::of(a), &data[panel * depth * PANEL..], depth),
                Panels::Exact(pairs) => block.multiply_compact::<Widened>(LeftTiles::of(a), pairs.panel(panel)),
                Panels::Rounded(all) => {
                    block.multiply_compact::<Dot>(LeftTiles::packed(&rounded, pairs), all.panel(panel));
                }
            }
        }
    };
    let columns: usize = outputs.iter().map(|(b, _)| b.columns()).sum();
    run_tasks(panels * row_tasks, rows * columns * depth, task);
}
