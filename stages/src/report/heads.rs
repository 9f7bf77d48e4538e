//! Retrieval scores by head, and the mask among them.

use std::collections::BTreeSet;

use retmask_model::heads::Head;

use super::columns::Columns;
use crate::contract::{StageError, StageResult};

/// The most heads a heat map is drawn for; the largest models in use have about 16,000.
const MOST_HEADS: usize = 65_536;

/// The scores of all heads of a model and, where a mask was given, which of them it holds.
pub(super) struct Heads {
    /// Number of layers.
    pub layers: usize,
    /// Number of (query) heads in each layer.
    pub per_layer: usize,
    /// Layer-major, `layers * per_layer` values.
    scores: Vec<f64>,
    masked: BTreeSet<Head>,
}

impl Heads {
    /// Reads head scores: every head of the rectangle layers x heads exactly once.
    ///
    /// # Errors
    /// `Input` when a head is missing, stands twice, or has a negative score.
    pub fn read(table: &Columns) -> StageResult<Self> {
        let (layer_of, head_of) = (table.counts("layer")?, table.counts("head")?);
        let values = table.numbers_within("score", 0.0, f64::MAX)?;
        let count = |column: &[u32]| column.iter().max().map_or(0, |&largest| largest as usize + 1);
        let (layers, per_layer) = (count(&layer_of), count(&head_of));
        if values.is_empty() {
            return Err(table.refuse("the table has no heads"));
        }
        if layers.checked_mul(per_layer) != Some(values.len()) {
            return Err(table.refuse(format!(
                "{} rows do not fill {layers} layers of {per_layer} heads; every head must stand there once",
                values.len()
            )));
        }
        if values.len() > MOST_HEADS {
            return Err(table.refuse(format!("{} heads are too many to draw; the limit is {MOST_HEADS}", values.len())));
        }
        let mut scores = vec![None; values.len()];
        for (row, value) in values.into_iter().enumerate() {
            let place = &mut scores[layer_of[row] as usize * per_layer + head_of[row] as usize];
            if place.replace(value).is_some() {
                return Err(table.wrong(
                    row,
                    "head",
                    format!("head {}-{} stands there twice", layer_of[row], head_of[row]),
                ));
            }
        }
        // As many rows as places and none twice: none is empty.
        let scores = scores.into_iter().collect::<Option<Vec<f64>>>();
        let scores = scores.ok_or_else(|| StageError::internal("a head has no score"))?;
        Ok(Self { layers, per_layer, scores, masked: BTreeSet::new() })
    }

    /// Marks the heads of a mask.
    ///
    /// # Errors
    /// `Input` when the mask names a head the scores do not have.
    pub fn mark(&mut self, mask: &BTreeSet<Head>) -> StageResult<()> {
        match mask.iter().find(|head| head.layer as usize >= self.layers || head.head as usize >= self.per_layer) {
            Some(head) => Err(StageError::input(format!(
                "port `mask`: head {head} is not among the {} layers of {} heads at port `scores`",
                self.layers, self.per_layer
            ))
            .with_hint("scores and mask must be of the same model")),
            None => {
                self.masked.clone_from(mask);
                Ok(())
            }
        }
    }

    /// The number of heads.
    pub fn len(&self) -> usize {
        self.scores.len()
    }

    /// The score of a head inside the rectangle.
    pub fn score(&self, head: Head) -> f64 {
        self.scores[head.layer as usize * self.per_layer + head.head as usize]
    }

    /// Whether the mask holds this head.
    pub fn is_masked(&self, head: Head) -> bool {
        self.masked.contains(&head)
    }

    /// How many heads the mask holds.
    pub fn masked(&self) -> usize {
        self.masked.len()
    }

    /// All heads with their scores, best first, equal ones in order of layer and head.
    pub fn ranked(&self) -> Vec<(Head, f64)> {
        let mut ranked: Vec<(Head, f64)> = (0..self.scores.len())
            .map(|index| {
                let head = Head { layer: (index / self.per_layer) as u32, head: (index % self.per_layer) as u32 };
                (head, self.scores[index])
            })
            .collect();
        ranked.sort_by(|left, right| right.1.total_cmp(&left.1).then(left.0.cmp(&right.0)));
        ranked
    }

    /// The lowest masked score, when the mask holds exactly the heads from that score upwards
    /// (so not for a random or a non-retrieval mask).
    pub fn threshold(&self) -> Option<f64> {
        let ranked = self.ranked();
        let (inside, outside) = ranked.split_at(self.masked.len());
        let lowest = inside.last()?.1;
        let separate = outside.first().is_none_or(|&(_, score)| score < lowest);
        (separate && inside.iter().all(|(head, _)| self.masked.contains(head))).then_some(lowest)
    }
}

/// Reads a mask.
///
/// # Errors
/// `Input` when a head stands twice or there is none.
pub(super) fn read_mask(table: &Columns) -> StageResult<BTreeSet<Head>> {
    let (layers, heads) = (table.counts("layer")?, table.counts("head")?);
    let mut mask = BTreeSet::new();
    for (row, (layer, head)) in layers.into_iter().zip(heads).enumerate() {
        if !mask.insert(Head { layer, head }) {
            return Err(table.wrong(row, "head", format!("head {layer}-{head} stands there twice")));
        }
    }
    if mask.is_empty() { Err(table.refuse("the mask is empty")) } else { Ok(mask) }
}

/// What `score-heads` says of the scores as a whole.
pub(super) struct ScoreSpread {
    pub trials: u32,
    pub counted: u32,
    /// Gini coefficient of the scores, 0 (all equal) to 1 (one head holds all).
    pub gini: f64,
}

impl ScoreSpread {
    /// Reads the one row of a head-score summary.
    ///
    /// # Errors
    /// `Input` when there is not exactly one row or its numbers contradict each other.
    pub fn read(table: &Columns) -> StageResult<Self> {
        if table.rows() != 1 {
            return Err(table.refuse(format!("a head-score summary has one row, this table has {}", table.rows())));
        }
        let spread = Self {
            trials: table.counts("trials")?[0],
            counted: table.counts("counted")?[0],
            gini: table.numbers_within("gini", 0.0, 1.0)?[0],
        };
        if spread.counted > spread.trials {
            let why = format!("{} counted of {} trials", spread.counted, spread.trials);
            return Err(table.wrong(0, "counted", why));
        }
        Ok(spread)
    }
}
