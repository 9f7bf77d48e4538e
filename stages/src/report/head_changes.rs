//! How training moved the scores of heads.

use retmask_model::heads::Head;

use super::heads::Heads;
use crate::contract::{StageError, StageResult};

/// One head's score before and after training.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Change {
    pub head: Head,
    pub before: f64,
    pub after: f64,
    pub masked: bool,
}

/// The scores of the trained model beside those it started from.
pub(super) struct HeadChanges {
    /// Every head, the largest change first, equal ones in order of layer and head.
    pub changes: Vec<Change>,
}

impl HeadChanges {
    /// Compares two models head by head.
    ///
    /// # Errors
    /// `Input` when they have not the same heads.
    pub fn new(before: &Heads, after: &Heads) -> StageResult<Self> {
        if (before.layers, before.per_layer) != (after.layers, after.per_layer) {
            return Err(StageError::input(format!(
                "port `trained-scores` has {} layers of {} heads, port `scores` {} of {}",
                after.layers, after.per_layer, before.layers, before.per_layer
            ))
            .with_hint("both must be scores of one model, before and after training"));
        }
        let mut changes: Vec<Change> = before
            .ranked()
            .into_iter()
            .map(|(head, score)| Change {
                head,
                before: score,
                after: after.score(head),
                masked: before.is_masked(head),
            })
            .collect();
        let size = |change: &Change| (change.after - change.before).abs();
        changes.sort_by(|left, right| size(right).total_cmp(&size(left)).then(left.head.cmp(&right.head)));
        Ok(Self { changes })
    }

    /// The mean scores before and after of the heads that are masked, or of those that are not; `None` of none.
    pub fn means(&self, masked: bool) -> Option<[f64; 2]> {
        let of: Vec<&Change> = self.changes.iter().filter(|change| change.masked == masked).collect();
        let mean = |score: fn(&Change) -> f64| of.iter().map(|change| score(change)).sum::<f64>() / of.len() as f64;
        (!of.is_empty()).then(|| [mean(|change| change.before), mean(|change| change.after)])
    }

    /// How many heads have another score than before.
    pub fn changed(&self) -> usize {
        self.changes.iter().filter(|change| change.before != change.after).count()
    }
}
