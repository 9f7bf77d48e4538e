//! Pairs of bf16 in twelve bits a value, every bit kept.
//!
//! The upper byte of a bf16 is its sign and all of its exponent but the last bit. Neighbouring weights of a trained
//! matrix have few different ones, so a block of 32 columns by 32 k lists those that occur in it, 16 at most, and holds
//! the lower byte of each value as it is and four bits that say which upper byte goes with it. A block with more of them
//! stays as it was.
//!
//! Two steps (a step is a pair of k in each of 32 columns, two registers of 32 halves) share three lines of 64 bytes:
//!
//! | line | holds |
//! |---|---|
//! | 0, 1 | The lower bytes of a step: of each 16, eight of its first register and eight of its second |
//! | 2 | Places of upper bytes in the list, in the same order: the lower four bits for the first step |
//!
//! That is the order in which two byte shuffles and four interleavings, all within 128-bit lanes, give the steps back.

use rayon::prelude::*;

use super::{InstructionSet, PANEL};

/// Steps of a block.
pub(super) const BLOCK: usize = 16;
/// Upper bytes a block can list.
const LISTED: usize = 16;
/// Halves of a register.
const HALVES: usize = 32;
/// Lines of two steps.
const TWO_STEPS: usize = 3;
/// Lines of one step that stays as it was.
const RAW_STEP: usize = 2;

/// A cache line, at its place in memory.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Line([u8; 64]);

/// How a block is held.
#[derive(Clone, Copy)]
pub(super) struct Head {
    /// The upper bytes that occur, ascending.
    pub upper: [u8; LISTED],
    /// Whether the pairs lie there as they are.
    pub raw: bool,
}

impl Head {
    /// Of a block's pairs.
    fn of(pairs: &[u32]) -> Self {
        let mut occurs = [false; 256];
        for &pair in pairs {
            occurs[(pair >> 8) as usize & 0xff] = true;
            occurs[(pair >> 24) as usize] = true;
        }
        let mut head = Self { upper: [0; LISTED], raw: stays_raw(pairs.len() / PANEL) };
        for (place, byte) in (0..=255u8).filter(|&byte| occurs[usize::from(byte)]).enumerate() {
            match head.upper.get_mut(place) {
                Some(listed) => *listed = byte,
                None => head.raw = true,
            }
        }
        head
    }

    /// Lines of a block of `steps`.
    fn lines(&self, steps: usize) -> usize {
        if self.raw { steps * RAW_STEP } else { steps / 2 * TWO_STEPS }
    }
}

/// Whether so many steps cannot share lines.
fn stays_raw(steps: usize) -> bool {
    !steps.is_multiple_of(2)
}

/// Panels of pairs, one after another.
pub(super) struct Compact {
    /// Steps of a panel.
    pairs: usize,
    lines: Vec<Line>,
    /// Of each panel's blocks.
    heads: Vec<Head>,
    /// Where each panel's lines start, and where the last one's end.
    starts: Vec<usize>,
}

impl Compact {
    /// `panels` panels of `pairs` steps each; `fill` writes the pairs of one of them, always the same. It is called twice
    /// for each, so that only one panel for each thread is held besides.
    pub fn pack(panels: usize, pairs: usize, fill: impl Fn(usize, &mut [u32]) + Sync) -> Self {
        let blocks = pairs.div_ceil(BLOCK);
        let buffer = || vec![0; pairs * PANEL];
        let mut heads = vec![Head { upper: [0; LISTED], raw: false }; panels * blocks];
        heads.par_chunks_mut(blocks.max(1)).enumerate().for_each_init(buffer, |panel, (index, heads)| {
            fill(index, panel);
            heads.iter_mut().zip(panel.chunks(BLOCK * PANEL)).for_each(|(head, block)| *head = Head::of(block));
        });
        let mut starts = Vec::with_capacity(panels + 1);
        let mut end = 0;
        starts.push(end);
        for panel in 0..panels {
            let heads = &heads[panel * blocks..][..blocks];
            end += heads.iter().zip(steps(pairs)).map(|(head, steps)| head.lines(steps)).sum::<usize>();
            starts.push(end);
        }
        let mut lines = vec![Line([0; 64]); end];
        let mut rest = lines.as_mut_slice();
        let parts = starts.windows(2).map(|ends| {
            let (part, behind) = std::mem::take(&mut rest).split_at_mut(ends[1] - ends[0]);
            rest = behind;
            part
        });
        let parts: Vec<&mut [Line]> = parts.collect();
        parts.into_par_iter().enumerate().for_each_init(buffer, |panel, (index, mut lines)| {
            fill(index, panel);
            for (head, block) in heads[index * blocks..].iter().zip(panel.chunks(BLOCK * PANEL)) {
                let (own, behind) = lines.split_at_mut(head.lines(block.len() / PANEL));
                encode(head, block, own);
                lines = behind;
            }
        });
        Self { pairs, lines, heads, starts }
    }

    /// Bytes it takes.
    pub fn bytes(&self) -> usize {
        size_of_val(self.lines.as_slice()) + size_of_val(self.heads.as_slice()) + size_of_val(self.starts.as_slice())
    }

    /// Bytes that `panels` panels of `pairs` steps take when all blocks have few upper bytes, or when none has.
    pub fn bytes_of(panels: usize, pairs: usize, raw: bool) -> usize {
        let head = |steps| Head { upper: [0; LISTED], raw: raw || stays_raw(steps) };
        let lines: usize = steps(pairs).map(|steps| head(steps).lines(steps)).sum();
        panels * (lines * size_of::<Line>() + pairs.div_ceil(BLOCK) * size_of::<Head>())
            + (panels + 1) * size_of::<usize>()
    }

    /// One panel.
    pub fn panel(&self, index: usize) -> Panel<'_> {
        let blocks = self.pairs.div_ceil(BLOCK);
        Panel {
            pairs: self.pairs,
            heads: &self.heads[index * blocks..][..blocks],
            lines: &self.lines[self.starts[index]..self.starts[index + 1]],
        }
    }
}

/// The steps of each block of a panel.
fn steps(pairs: usize) -> impl Iterator<Item = usize> {
    (0..pairs).step_by(BLOCK).map(move |first| BLOCK.min(pairs - first))
}

/// Some blocks of a panel, from one on to its end.
#[derive(Clone, Copy)]
pub(super) struct Panel<'a> {
    /// Steps of the blocks.
    pub pairs: usize,
    pub heads: &'a [Head],
    pub lines: &'a [Line],
}

impl<'a> Panel<'a> {
    /// The first block (how it is held, its lines, its steps), which it leaves behind.
    fn next_block(&mut self) -> Option<(&'a Head, &'a [Line], usize)> {
        let (head, heads) = self.heads.split_first()?;
        let steps = BLOCK.min(self.pairs);
        let (own, lines) = self.lines.split_at(head.lines(steps));
        *self = Self { pairs: self.pairs - steps, heads, lines };
        Some((head, own, steps))
    }

    /// Writes the pairs of the first blocks, as many as `out` has room for, and leaves them behind: of a panel
    /// that holds them. Says how many steps these are.
    pub fn expand(&mut self, set: InstructionSet, mut out: &mut [u32]) -> usize {
        let mut written = 0;
        while out.len() >= BLOCK.min(self.pairs) * PANEL
            && let Some((head, lines, steps)) = self.next_block()
        {
            let (own, behind) = std::mem::take(&mut out).split_at_mut(steps * PANEL);
            decode(set, head, lines, own);
            out = behind;
            written += steps;
        }
        written
    }

    /// Calls `take` with the pairs of one column, k ascending.
    pub fn for_each_of_column(mut self, column: usize, mut take: impl FnMut(u32)) {
        while let Some((head, lines, steps)) = self.next_block() {
            for step in 0..steps {
                take(pair(head, lines, step, column));
            }
        }
    }
}

/// Where a half stands in its line of lower bytes: `half` of register `register`.
const fn place(register: usize, half: usize) -> usize {
    half / 8 * 16 + register * 8 + half % 8
}

/// The pair of a step in a column.
fn pair(head: &Head, lines: &[Line], step: usize, column: usize) -> u32 {
    if head.raw {
        let Line(line) = &lines[step * RAW_STEP + column / 16];
        let bytes = &line[column % 16 * 4..][..4];
        return u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    }
    let [Line(first), Line(second), Line(places)] = &lines[step / 2 * TWO_STEPS..][..TWO_STEPS] else {
        unreachable!("three lines for two steps")
    };
    let (lower, shift) = if step.is_multiple_of(2) { (first, 0) } else { (second, 4) };
    let at = place(column / 16, column % 16 * 2);
    let upper = |at: usize| head.upper[usize::from(places[at] >> shift & 0xf)];
    u32::from_le_bytes([lower[at], upper(at), lower[at + 1], upper(at + 1)])
}

/// Writes a block's pairs into its lines.
fn encode(head: &Head, pairs: &[u32], lines: &mut [Line]) {
    if head.raw {
        for (Line(line), pairs) in lines.iter_mut().zip(pairs.chunks_exact(HALVES / 2)) {
            line.as_chunks_mut().0.iter_mut().zip(pairs).for_each(|(out, pair)| *out = pair.to_le_bytes());
        }
        return;
    }
    let mut places = [0; 256];
    // What is behind the last byte of the list repeats 0, which the list may hold first.
    for (place, &byte) in head.upper.iter().enumerate().rev() {
        places[usize::from(byte)] = place as u8;
    }
    for (lines, two) in lines.chunks_exact_mut(TWO_STEPS).zip(pairs.chunks_exact(2 * PANEL)) {
        for (step, pairs) in two.chunks_exact(PANEL).enumerate() {
            for (column, pair) in pairs.iter().enumerate() {
                let at = place(column / 16, column % 16 * 2);
                let [lower, upper, next_lower, next_upper] = pair.to_le_bytes();
                lines[step].0[at] = lower;
                lines[step].0[at + 1] = next_lower;
                lines[2].0[at] |= places[usize::from(upper)] << (4 * step);
                lines[2].0[at + 1] |= places[usize::from(next_upper)] << (4 * step);
            }
        }
    }
}

/// Writes a block's pairs.
fn decode(set: InstructionSet, head: &Head, lines: &[Line], out: &mut [u32]) {
    if head.raw {
        for (Line(line), out) in lines.iter().zip(out.chunks_exact_mut(HALVES / 2)) {
            out.iter_mut().zip(line.as_chunks().0).for_each(|(out, &bytes)| *out = u32::from_le_bytes(bytes));
        }
        return;
    }
    match set {
        // SAFETY: a set is only ever chosen from `InstructionSet::available`.
        #[cfg(target_arch = "x86_64")]
        InstructionSet::Avx512 => unsafe { decode_avx512(head, lines, out) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        InstructionSet::Avx2 => unsafe { decode_avx2(head, lines, out) },
        _ => {
            for (step, out) in out.chunks_exact_mut(PANEL).enumerate() {
                for (column, out) in out.iter_mut().enumerate() {
                    *out = pair(head, lines, step, column);
                }
            }
        }
    }
}

/// The list of a block in each 128-bit lane.
///
/// # Safety
/// The processor must have AVX-512.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(super) unsafe fn listed_avx512(head: &Head) -> std::arch::x86_64::__m512i {
    use std::arch::x86_64::*;
    // SAFETY: passed on to the caller; the list has 16 bytes.
    unsafe { _mm512_broadcast_i32x4(_mm_loadu_si128(head.upper.as_ptr().cast())) }
}

/// The two registers of each of two steps.
///
/// # Safety
/// There must be three lines at `lines`, and the processor must have AVX-512 with its instructions on bytes.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(super) unsafe fn two_steps_avx512(
    listed: std::arch::x86_64::__m512i,
    lines: *const Line,
) -> [[std::arch::x86_64::__m512i; 2]; 2] {
    use std::arch::x86_64::*;
    // SAFETY: passed on to the caller.
    unsafe {
        let line = |index: usize| _mm512_load_si512(lines.add(index).cast());
        let (places, four) = (line(2), _mm512_set1_epi8(0xf));
        let first = _mm512_shuffle_epi8(listed, _mm512_and_si512(places, four));
        let second = _mm512_shuffle_epi8(listed, _mm512_and_si512(_mm512_srli_epi16::<4>(places), four));
        [(line(0), first), (line(1), second)]
            .map(|(lower, upper)| [_mm512_unpacklo_epi8(lower, upper), _mm512_unpackhi_epi8(lower, upper)])
    }
}

/// # Safety
/// The processor must have the instructions.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn decode_avx512(head: &Head, lines: &[Line], out: &mut [u32]) {
    use std::arch::x86_64::*;
    for (lines, out) in lines.chunks_exact(TWO_STEPS).zip(out.as_chunks_mut::<{ 2 * PANEL }>().0) {
        // SAFETY: three lines are read, and 64 pairs written.
        unsafe {
            let registers = two_steps_avx512(listed_avx512(head), lines.as_ptr());
            for (index, register) in registers.as_flattened().iter().enumerate() {
                _mm512_storeu_si512(out.as_mut_ptr().add(index * 16).cast(), *register);
            }
        }
    }
}

/// # Safety
/// The processor must have the instructions.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn decode_avx2(head: &Head, lines: &[Line], out: &mut [u32]) {
    use std::arch::x86_64::*;
    for (lines, out) in lines.chunks_exact(TWO_STEPS).zip(out.as_chunks_mut::<{ 2 * PANEL }>().0) {
        // SAFETY: halves of three lines are read; a step's registers lie 16 pairs apart, and eight are written at once.
        unsafe {
            let listed = _mm256_broadcastsi128_si256(_mm_loadu_si128(head.upper.as_ptr().cast()));
            let four = _mm256_set1_epi8(0xf);
            for half in 0..2 {
                let load = |index: usize| _mm256_loadu_si256(lines[index].0.as_ptr().add(half * 32).cast());
                let places = [load(2), _mm256_srli_epi16::<4>(load(2))];
                for (step, places) in places.into_iter().enumerate() {
                    let upper = _mm256_shuffle_epi8(listed, _mm256_and_si256(places, four));
                    let lower = load(step);
                    let out = out.as_mut_ptr().add(step * PANEL + half * 8);
                    _mm256_storeu_si256(out.cast(), _mm256_unpacklo_epi8(lower, upper));
                    _mm256_storeu_si256(out.add(16).cast(), _mm256_unpackhi_epi8(lower, upper));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Pairs that are kept whatever they are, drawn so that blocks of few and of many upper bytes occur.
    fn pairs() -> impl Strategy<Value = (usize, usize, Vec<u32>)> {
        let any_bits = any::<u32>().boxed();
        let few = prop::sample::select(vec![0x3f00u32, 0xbf00, 0x3e00, 0, 0x8000, 0x7f00, 0xff00]);
        let few_exponents =
            (few.clone(), few, any::<[u8; 2]>()).prop_map(|(a, b, [c, d])| a | u32::from(c) | (b | u32::from(d)) << 16);
        (1usize..4, 0usize..70).prop_flat_map(move |(panels, pairs)| {
            let count = panels * pairs * PANEL;
            let rare = prop_oneof![500 => few_exponents.clone(), 1 => any_bits.clone()];
            let values = prop_oneof![
                prop::collection::vec(any_bits.clone(), count),
                prop::collection::vec(few_exponents.clone(), count),
                prop::collection::vec(rare, count),
            ];
            (Just(panels), Just(pairs), values)
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]
        #[test]
        fn every_bit_comes_back((panels, pairs, values) in pairs()) {
            let size = pairs * PANEL;
            let compact = Compact::pack(panels, pairs, |panel, out| out.copy_from_slice(&values[panel * size..][..size]));
            let mut bytes = (panels + 1) * 8;
            for panel in 0..panels {
                let values = &values[panel * size..][..size];
                for block in values.chunks(BLOCK * PANEL) {
                    let upper: std::collections::BTreeSet<u8> =
                        block.iter().flat_map(|pair| [pair.to_le_bytes()[1], pair.to_le_bytes()[3]]).collect();
                    let steps = block.len() / PANEL;
                    let short = upper.len() <= 16 && steps.is_multiple_of(2);
                    // 64 values a step, in 12 bits or 16.
                    bytes += 17 + steps * if short { 96 } else { 128 };
                }
                for set in InstructionSet::available() {
                    let mut rest = compact.panel(panel);
                    let mut found = Vec::new();
                    loop {
                        let mut out = [0; 3 * BLOCK * PANEL];
                        let steps = rest.expand(set, &mut out);
                        found.extend_from_slice(&out[..steps * PANEL]);
                        if steps == 0 {
                            break;
                        }
                    }
                    prop_assert!(found == values, "{set:?}");
                }
                for column in 0..PANEL {
                    let mut found = Vec::new();
                    compact.panel(panel).for_each_of_column(column, |pair| found.push(pair));
                    let expected: Vec<u32> = values.chunks(PANEL).map(|step| step[column]).collect();
                    prop_assert_eq!(found, expected);
                }
            }
            prop_assert_eq!(compact.bytes(), bytes);
            prop_assert!((Compact::bytes_of(panels, pairs, false)..=Compact::bytes_of(panels, pairs, true)).contains(&bytes));
        }
    }
}
