//! Products of a few rows with weights held in twelve bits: each weight is read from memory once and made whole in
//! registers, for all rows at once.

use std::arch::x86_64::*;

use super::compact::{BLOCK, Line, Panel, listed_avx512, two_steps_avx512};
use super::step::Step;
use super::tile::Sums;
use super::{InstructionSet, LeftTiles, TILE_ROWS};

/// Most rows.
pub(super) const FEW_ROWS: usize = TILE_ROWS;

/// Whether there are instructions for it.
pub(super) fn supports<S: Step>(set: InstructionSet) -> bool {
    set == InstructionSet::Avx512 && (!S::BF16_DOT || is_x86_feature_detected!("avx512bf16"))
}

/// `rows` rows of A, 1 to 12, times one panel.
///
/// # Safety
/// The pointers must reach what the strides, the panel's steps, the number of rows and the width say; no other thread may
/// touch the output elements meanwhile; the processor must be one that [`supports`] it.
pub(super) unsafe fn multiply<S: Step>(a: LeftTiles<S::Left>, rows: usize, panel: Panel, sums: &Sums) {
    macro_rules! heights {
        ($($n:literal)*) => {
            match (rows, S::BF16_DOT) {
                // SAFETY: passed on to the caller.
                $(($n, true) => unsafe { avx512_bf16::<$n, S>(a, panel, sums) },
                // SAFETY: as above.
                ($n, false) => unsafe { avx512::<$n, S>(a, panel, sums) },)*
                _ => unreachable!("1 to 12 rows"),
            }
        };
    }
    heights!(1 2 3 4 5 6 7 8 9 10 11 12)
}

#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn avx512_bf16<const ROWS: usize, S: Step>(a: LeftTiles<S::Left>, panel: Panel, sums: &Sums) {
    // SAFETY: passed on to the caller.
    unsafe { body::<ROWS, S>(a, panel, sums) }
}

#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn avx512<const ROWS: usize, S: Step>(a: LeftTiles<S::Left>, panel: Panel, sums: &Sums) {
    // SAFETY: passed on to the caller.
    unsafe { body::<ROWS, S>(a, panel, sums) }
}

/// Bytes from what is read to what is asked for meanwhile, the best of 0 to 8 KiB where it was measured: the processor does
/// not look behind the end of a page by itself.
const AHEAD: usize = 2048;

#[inline(always)]
unsafe fn body<const ROWS: usize, S: Step>(a: LeftTiles<S::Left>, panel: Panel, place: &Sums) {
    let (mut lines, mut steps) = (panel.lines.as_ptr(), panel.pairs);
    let LeftTiles { data: mut a, row_stride, depth_stride, .. } = a;
    // SAFETY: the caller vouches for A and the output; a panel has the lines that its heads and its steps tell of.
    unsafe {
        let mut sums = place.start_avx512::<ROWS>();
        // A hint: it reads nothing, wherever it points.
        let ahead = |line: *const Line| {
            _mm_prefetch::<_MM_HINT_T0>(line.cast::<i8>().wrapping_add(AHEAD));
        };
        let next = S::LEFT_VALUES * depth_stride;
        for head in panel.heads {
            let block = BLOCK.min(steps);
            steps -= block;
            if head.raw {
                for _ in 0..block {
                    let registers = [_mm512_load_si512(lines.cast()), _mm512_load_si512(lines.add(1).cast())];
                    (0..2).for_each(|line| ahead(lines.add(line)));
                    S::avx512(a, row_stride, depth_stride, registers, &mut sums);
                    a = a.wrapping_add(next);
                    lines = lines.add(2);
                }
                continue;
            }
            let listed = listed_avx512(head);
            for _ in 0..block / 2 {
                (0..3).for_each(|line| ahead(lines.add(line)));
                let [first, second] = two_steps_avx512(listed, lines);
                S::avx512(a, row_stride, depth_stride, first, &mut sums);
                a = a.wrapping_add(next);
                S::avx512(a, row_stride, depth_stride, second, &mut sums);
                a = a.wrapping_add(next);
                lines = lines.add(3);
            }
        }
        place.end_avx512(&sums);
    }
}
