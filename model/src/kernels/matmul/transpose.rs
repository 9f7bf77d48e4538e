//! Rows of a weight turned into the columns of a panel.

use super::{InstructionSet, PANEL};

/// Values of one block in both directions: a 512-bit register of 32-bit values.
const BLOCK: usize = 16;

/// Writes rows of `source` (`rows` of them, 32 at most, `stride` apart, `depth` values each) as columns of `panel`
/// ([depth, 32]); columns without a row are left as they are. Values of 32 bits, whatever they mean.
///
/// # Panics
/// When a slice is too short: shapes are this crate's own.
pub(super) fn transpose<T: Copy>(
    #[cfg_attr(not(target_arch = "x86_64"), expect(unused_variables, reason = "the loop below is all there is"))]
    set: InstructionSet,
    source: &[T],
    stride: usize,
    rows: usize,
    depth: usize,
    panel: &mut [T],
) {
    if rows == 0 || depth == 0 {
        return;
    }
    assert!(rows <= PANEL && source.len() >= (rows - 1) * stride + depth && panel.len() >= depth * PANEL, "a panel");
    for first in (0..rows).step_by(BLOCK) {
        for k in (0..depth).step_by(BLOCK) {
            let (height, width) = ((rows - first).min(BLOCK), (depth - k).min(BLOCK));
            let (from, to) = (first * stride + k, k * PANEL + first);
            #[cfg(target_arch = "x86_64")]
            if set == InstructionSet::Avx512 && (height, width) == (BLOCK, BLOCK) && size_of::<T>() == 4 {
                // SAFETY: the processor has the set, and the assertion above bounds the block of both slices.
                unsafe { avx512(source.as_ptr().add(from).cast(), stride, panel.as_mut_ptr().add(to).cast()) };
                continue;
            }
            for row in 0..height {
                for (place, &value) in source[from + row * stride..][..width].iter().enumerate() {
                    panel[to + place * PANEL + row] = value;
                }
            }
        }
    }
}

/// Transposes 16 x 16 values.
///
/// # Safety
/// 16 values must be readable at each of 16 places `stride` apart, and writable at each of 16 places 32 apart.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn avx512(source: *const i32, stride: usize, panel: *mut i32) {
    use std::arch::x86_64::*;

    // SAFETY: passed on to the caller.
    let rows: [__m512i; BLOCK] =
        std::array::from_fn(|row| unsafe { _mm512_loadu_si512(source.add(row * stride).cast()) });
    // Of rows 4i to 4i + 3: in each 128-bit lane l of the j-th, the four values of column 4l + j.
    let mut fours = rows;
    for i in (0..BLOCK).step_by(4) {
        let (low, high) = (_mm512_unpacklo_epi32(rows[i], rows[i + 1]), _mm512_unpackhi_epi32(rows[i], rows[i + 1]));
        let (low_next, high_next) =
            (_mm512_unpacklo_epi32(rows[i + 2], rows[i + 3]), _mm512_unpackhi_epi32(rows[i + 2], rows[i + 3]));
        fours[i] = _mm512_unpacklo_epi64(low, low_next);
        fours[i + 1] = _mm512_unpackhi_epi64(low, low_next);
        fours[i + 2] = _mm512_unpacklo_epi64(high, high_next);
        fours[i + 3] = _mm512_unpackhi_epi64(high, high_next);
    }
    // Lanes 0 and 2, and lanes 1 and 3, of two registers.
    const EVEN: i32 = 0b10_00_10_00;
    const ODD: i32 = 0b11_01_11_01;
    for j in 0..4 {
        let even = [0, 8].map(|i| _mm512_shuffle_i32x4::<EVEN>(fours[i + j], fours[i + 4 + j]));
        let odd = [0, 8].map(|i| _mm512_shuffle_i32x4::<ODD>(fours[i + j], fours[i + 4 + j]));
        let columns = [
            (j, _mm512_shuffle_i32x4::<EVEN>(even[0], even[1])),
            (4 + j, _mm512_shuffle_i32x4::<EVEN>(odd[0], odd[1])),
            (8 + j, _mm512_shuffle_i32x4::<ODD>(even[0], even[1])),
            (12 + j, _mm512_shuffle_i32x4::<ODD>(odd[0], odd[1])),
        ];
        for (column, values) in columns {
            // SAFETY: passed on to the caller.
            unsafe { _mm512_storeu_si512(panel.add(column * PANEL).cast(), values) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_comes_to_its_place_and_no_other_is_touched() {
        for set in InstructionSet::available() {
            for (rows, depth, stride) in [(32, 48, 48), (32, 33, 40), (17, 16, 16), (5, 100, 101), (1, 1, 1)] {
                let source: Vec<u32> = (0..rows * stride).map(|value| value as u32).collect();
                let mut panel = vec![u32::MAX; depth * PANEL];
                transpose(set, &source, stride, rows, depth, &mut panel);
                for (place, &found) in panel.iter().enumerate() {
                    let (k, row) = (place / PANEL, place % PANEL);
                    let expected = if row < rows { (row * stride + k) as u32 } else { u32::MAX };
                    assert_eq!(found, expected, "{set:?} {rows} {depth}: {row} {k}");
                }
            }
        }
    }
}
