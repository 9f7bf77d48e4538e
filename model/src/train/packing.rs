//! Sequences as one batch, what they begin with alike computed once.

use std::sync::Arc;

use super::TrainingSequence;
use crate::ops::PackedSequence;

/// Tokens that sequences must have in common for their beginning to be computed by itself.
const LEAST_SHARED: usize = 16;

/// The rows of a batch: of sequences, one after another, whose common beginnings stand once.
pub(super) struct PackedBatch {
    pub tokens: Vec<u32>,
    pub positions: Vec<u32>,
    pub sequences: Arc<[PackedSequence]>,
    /// For each scored token, sequence by sequence, the row that predicts it. A row predicts several where sequences part.
    pub rows: Arc<[usize]>,
    /// Those tokens.
    pub targets: Vec<u32>,
}

/// Neighbouring sequences that begin alike.
pub(super) struct Group<'a> {
    pub sequences: &'a [TrainingSequence],
    /// Tokens of the beginning that is computed once; 0 where none is.
    pub shared: usize,
}

impl Group<'_> {
    /// Rows that it takes.
    pub fn rows(&self) -> usize {
        let all: usize = self.sequences.iter().map(|sequence| sequence.ids.len()).sum();
        all - self.shared * (self.sequences.len() - 1)
    }
}

/// Sequences in their order, neighbours that begin alike together: what the first two have in common is shared by all
/// further ones that begin with it.
pub(super) fn groups(sequences: &[TrainingSequence]) -> Vec<Group<'_>> {
    let mut groups = Vec::new();
    let mut rest = sequences;
    while let Some((first, others)) = rest.split_first() {
        let shared = others.first().map_or(0, |second| common_beginning(first, second));
        let alike = |other: &&TrainingSequence| common_beginning(first, other) >= shared;
        let joined = if shared == 0 { 0 } else { others.iter().take_while(alike).count() };
        let (group, behind) = rest.split_at(1 + joined);
        groups.push(Group { sequences: group, shared });
        rest = behind;
    }
    groups
}

/// Tokens that both begin with, of which each has more; 0 where they are too few or heads are masked differently.
fn common_beginning(left: &TrainingSequence, right: &TrainingSequence) -> usize {
    if left.masked_heads != right.masked_heads {
        return 0;
    }
    let most = left.ids.len().min(right.ids.len()).saturating_sub(1);
    let common = left.ids[..most].iter().zip(&right.ids).take_while(|(left, right)| left == right).count();
    if common < LEAST_SHARED { 0 } else { common }
}

impl PackedBatch {
    /// All groups in one batch.
    pub fn new(groups: &[Group<'_>]) -> Self {
        let (mut tokens, mut positions, mut packed) = (Vec::new(), Vec::new(), Vec::new());
        let (mut rows, mut targets) = (Vec::new(), Vec::new());
        let mut put = |ids: &[u32], position: usize, beginning, sequence: &TrainingSequence| {
            let first_row = tokens.len();
            tokens.extend_from_slice(ids);
            positions.extend((position..position + ids.len()).map(|position| position as u32));
            let masked_heads = sequence.masked_heads.clone();
            packed.push(PackedSequence { first_row, tokens: ids.len(), beginning, masked_heads });
            (packed.len() - 1, first_row)
        };
        for Group { sequences, shared } in groups {
            let beginning = (*shared > 0).then(|| put(&sequences[0].ids[..*shared], 0, None, &sequences[0]));
            for sequence in *sequences {
                let (_, first_row) =
                    put(&sequence.ids[*shared..], *shared, beginning.map(|(place, _)| place), sequence);
                for position in sequence.scored_positions() {
                    let before = position - 1;
                    rows.push(match beginning {
                        Some((_, first_row)) if before < *shared => first_row + before,
                        _ => first_row + before - shared,
                    });
                    targets.push(sequence.ids[position]);
                }
            }
        }
        Self { tokens, positions, sequences: packed.into(), rows: rows.into(), targets }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sequence(ids: impl IntoIterator<Item = u32>, scored_from: usize) -> TrainingSequence {
        let ids: Vec<u32> = ids.into_iter().collect();
        let scored = (0..ids.len()).map(|position| position >= scored_from).collect();
        TrainingSequence { ids, scored, masked_heads: None }
    }

    #[test]
    fn every_scored_token_is_predicted_by_the_row_in_front_of_it() {
        let ending = |end: &[u32]| (0..20).chain(end.iter().copied()).collect::<Vec<u32>>();
        let masked = TrainingSequence { masked_heads: Some([true].into()), ..sequence(ending(&[7, 8]), 20) };
        let sequences = [
            sequence(ending(&[100, 101, 102]), 20),
            sequence(ending(&[100, 201]), 20),
            // Shares more than all do; its response begins inside what is shared.
            sequence(ending(&[100, 101]), 5),
            // Too short a beginning in common.
            sequence([0, 1, 2, 3, 300, 301, 302, 303, 304, 305], 1),
            // The whole of it is how the next one begins.
            sequence(400..420, 1),
            sequence(400..430, 10),
            masked.clone(),
            sequence(ending(&[7, 8]), 20),
        ];
        let groups = groups(&sequences);
        let of_groups: Vec<(usize, usize)> = groups.iter().map(|group| (group.sequences.len(), group.shared)).collect();
        assert_eq!(of_groups, [(3, 21), (1, 0), (2, 19), (1, 0), (1, 0)]);
        let batch = PackedBatch::new(&groups);
        assert_eq!(batch.tokens.len(), groups.iter().map(Group::rows).sum::<usize>());
        assert_eq!(batch.tokens.len(), batch.positions.len());
        let mut scored = batch.rows.iter().zip(&batch.targets);
        for sequence in &sequences {
            for position in sequence.scored_positions() {
                let (&row, &target) = scored.next().expect("a scored token");
                assert_eq!(target, sequence.ids[position]);
                assert_eq!(
                    (batch.tokens[row], batch.positions[row] as usize),
                    (sequence.ids[position - 1], position - 1)
                );
                let packed = batch.sequences.iter().rfind(|packed| packed.first_row <= row).expect("its sequence");
                assert_eq!(packed.masked_heads, sequence.masked_heads);
            }
        }
        assert!(scored.next().is_none());
        let mut next_row = 0;
        for (place, packed) in batch.sequences.iter().enumerate() {
            assert_eq!(packed.first_row, next_row);
            next_row += packed.tokens;
            let position = batch.positions[packed.first_row] as usize;
            let before = packed.beginning.map_or(0, |beginning| {
                assert!(beginning < place && batch.sequences[beginning].beginning.is_none());
                batch.sequences[beginning].tokens
            });
            assert_eq!(position, before);
        }
    }
}
