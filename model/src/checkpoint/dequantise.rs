//! Stored numbers to f32. Block layouts are ggml's (`block_q4_0` … `block_q6_K`); each value is computed with
//! the same operations in the same order as ggml's reference code, so the bits agree with it.

use half::{bf16, f16};
use rayon::prelude::*;

use super::element_type::ElementType;

/// Values converted by one task: large enough to hide the scheduling, small enough to share the work.
const VALUES_PER_TASK: usize = 1 << 16;

/// Converts `rows` rows of `row_length` values to f32, row-major; row `r` of the result is row
/// `source_row(r)` of `bytes`. The caller has checked that `bytes` holds them all.
///
/// # Errors
/// The index (in the result) of the first value that is NaN or infinite.
pub(crate) fn rows_to_f32(
    kind: ElementType,
    bytes: &[u8],
    rows: usize,
    row_length: usize,
    source_row: impl Fn(usize) -> usize + Sync,
) -> Result<Vec<f32>, usize> {
    let mut values = vec![0.0; rows * row_length];
    if values.is_empty() {
        return Ok(values);
    }
    let row_bytes = row_length / kind.block_length() * kind.block_bytes();
    let rows_per_task = (VALUES_PER_TASK / row_length).max(1);
    let convert = |task: usize, chunk: &mut [f32]| {
        for (row, output) in chunk.chunks_exact_mut(row_length).enumerate() {
            let source = source_row(task * rows_per_task + row) * row_bytes;
            row_to_f32(kind, &bytes[source..source + row_bytes], output);
        }
        let first = chunk.iter().position(|value| !value.is_finite())?;
        Some(task * rows_per_task * row_length + first)
    };
    // The pool is not woken for a single task.
    let not_finite = if rows <= rows_per_task {
        convert(0, &mut values)
    } else {
        let tasks = values.par_chunks_mut(rows_per_task * row_length).enumerate();
        tasks.filter_map(|(task, chunk)| convert(task, chunk)).min()
    };
    match not_finite {
        Some(index) => Err(index),
        None => Ok(values),
    }
}

/// Converts the whole blocks of one row.
fn row_to_f32(kind: ElementType, bytes: &[u8], output: &mut [f32]) {
    match kind {
        ElementType::F32 => each_value(bytes, output, f32::from_le_bytes),
        ElementType::F16 => each_value(bytes, output, |bytes| f16::from_le_bytes(bytes).to_f32()),
        ElementType::BF16 => each_value(bytes, output, |bytes| bf16::from_le_bytes(bytes).to_f32()),
        ElementType::Q4_0 => each_block(kind, bytes, output, q4_0),
        ElementType::Q4_1 => each_block(kind, bytes, output, q4_1),
        ElementType::Q8_0 => each_block(kind, bytes, output, q8_0),
        ElementType::Q4K => each_block(kind, bytes, output, q4_k),
        ElementType::Q6K => each_block(kind, bytes, output, q6_k),
    }
}

fn each_value<const N: usize>(bytes: &[u8], output: &mut [f32], convert: impl Fn([u8; N]) -> f32) {
    let (values, _) = bytes.as_chunks::<N>();
    for (output, value) in output.iter_mut().zip(values) {
        *output = convert(*value);
    }
}

fn each_block(kind: ElementType, bytes: &[u8], output: &mut [f32], convert: impl Fn(&[u8], &mut [f32])) {
    for (output, block) in output.chunks_exact_mut(kind.block_length()).zip(bytes.chunks_exact(kind.block_bytes())) {
        convert(block, output);
    }
}

fn scale(block: &[u8], offset: usize) -> f32 {
    f16::from_le_bytes([block[offset], block[offset + 1]]).to_f32()
}

/// 32 values: scale, then 16 bytes whose low nibbles are the first half. `value = scale * (nibble - 8)`.
fn q4_0(block: &[u8], output: &mut [f32]) {
    let scale = scale(block, 0);
    let (low, high) = output.split_at_mut(16);
    for (index, &pair) in block[2..18].iter().enumerate() {
        low[index] = scale * f32::from(i16::from(pair & 15) - 8);
        high[index] = scale * f32::from(i16::from(pair >> 4) - 8);
    }
}

/// 32 values: scale, minimum, then 16 bytes as in Q4_0. `value = scale * nibble + minimum`.
fn q4_1(block: &[u8], output: &mut [f32]) {
    let (scale, minimum) = (scale(block, 0), scale(block, 2));
    let (low, high) = output.split_at_mut(16);
    for (index, &pair) in block[4..20].iter().enumerate() {
        low[index] = scale * f32::from(pair & 15) + minimum;
        high[index] = scale * f32::from(pair >> 4) + minimum;
    }
}

/// 32 values: scale, then signed bytes.
fn q8_0(block: &[u8], output: &mut [f32]) {
    let scale = scale(block, 0);
    for (output, &byte) in output.iter_mut().zip(&block[2..34]) {
        *output = scale * f32::from(byte.cast_signed());
    }
}

/// 256 values in 8 groups of 32: scale of scales, scale of minimums, 12 bytes of packed 6-bit scales and
/// minimums, 128 bytes of nibbles (two groups share 32 bytes). `value = scale * nibble - minimum`.
fn q4_k(block: &[u8], output: &mut [f32]) {
    let (scale_of_scales, scale_of_minimums) = (scale(block, 0), scale(block, 2));
    let packed = &block[4..16];
    let nibbles = &block[16..144];
    for (group, output) in output.chunks_exact_mut(32).enumerate() {
        let (scale, minimum) = if group < 4 {
            (packed[group] & 63, packed[group + 4] & 63)
        } else {
            (
                (packed[group + 4] & 15) | ((packed[group - 4] >> 6) << 4),
                (packed[group + 4] >> 4) | ((packed[group] >> 6) << 4),
            )
        };
        let scale = scale_of_scales * f32::from(scale);
        let minimum = scale_of_minimums * f32::from(minimum);
        let shift = 4 * (group % 2);
        for (output, &pair) in output.iter_mut().zip(&nibbles[group / 2 * 32..]) {
            *output = scale * f32::from((pair >> shift) & 15) - minimum;
        }
    }
}

/// 256 values in 16 groups of 16: 128 bytes of low nibbles, 64 bytes of high bit pairs, 16 signed scales,
/// scale of scales. `value = (scale of scales * scale) * (6 bits - 32)`.
fn q6_k(block: &[u8], output: &mut [f32]) {
    let scale_of_scales = scale(block, 208);
    for (half, output) in output.chunks_exact_mut(128).enumerate() {
        let nibbles = &block[half * 64..][..64];
        let pairs = &block[128 + half * 32..][..32];
        let scales = &block[192 + half * 8..][..8];
        for (index, output) in output.iter_mut().enumerate() {
            // Quarters of 32: low nibbles of the first and second 32 bytes, then their high nibbles.
            let (quarter, column) = (index / 32, index % 32);
            let nibble = (nibbles[quarter % 2 * 32 + column] >> (4 * (quarter / 2))) & 15;
            let high = (pairs[column] >> (2 * quarter)) & 3;
            let quantum = i16::from(nibble | (high << 4)) - 32;
            let scale = scale_of_scales * f32::from(scales[index / 16].cast_signed());
            *output = scale * f32::from(quantum);
        }
    }
}
