//! Everything a report tells, read from its inputs and checked once.

use super::Parameters;
use super::columns::Columns;
use super::evaluation::Evaluation;
use super::head_changes::HeadChanges;
use super::heads::{Heads, ScoreSpread, read_mask};
use super::needles::{Needles, Series};
use super::pairs::Pairs;
use super::training::{Margins, Training};
use crate::contract::{Inputs, StageError, StageResult};

/// What the inputs say; a part without its input is absent.
pub(super) struct Findings {
    pub heads: Option<Heads>,
    pub spread: Option<ScoreSpread>,
    /// What training made of the scores.
    pub head_changes: Option<HeadChanges>,
    pub trained_spread: Option<ScoreSpread>,
    /// How many heads the mask holds.
    pub masked: Option<usize>,
    pub needles: Option<Needles>,
    pub pairs: Option<Pairs>,
    pub training: Option<Training>,
    pub margins: Option<Margins>,
    pub evaluation: Option<Evaluation>,
}

impl Findings {
    /// Reads all inputs.
    ///
    /// # Errors
    /// `Input` when a table holds something it should not, or two of them contradict each other.
    pub fn gather(parameters: &Parameters, inputs: &Inputs) -> StageResult<Self> {
        let table = |port: &str| inputs.optional(port).map(|input| Columns::read(port, "", input)).transpose();
        let labelled = |port: &str| -> StageResult<Vec<(String, Columns)>> {
            let read = |(label, input): &(String, _)| Ok((label.clone(), Columns::read(port, label, input)?));
            inputs.labelled(port).iter().map(read).collect()
        };

        let mut heads = table("scores")?.as_ref().map(Heads::read).transpose()?;
        let mask = table("mask")?.as_ref().map(read_mask).transpose()?;
        if let (Some(heads), Some(mask)) = (&mut heads, &mask) {
            heads.mark(mask)?;
        }
        let spread = table("head-summary")?.as_ref().map(ScoreSpread::read).transpose()?;
        let trained = table("trained-scores")?.as_ref().map(Heads::read).transpose()?;
        let trained_spread = table("trained-head-summary")?.as_ref().map(ScoreSpread::read).transpose()?;
        for (port, base, lacks) in [
            ("trained-scores", "scores", trained.is_some() && heads.is_none()),
            ("trained-head-summary", "head-summary", trained_spread.is_some() && spread.is_none()),
        ] {
            if lacks {
                return Err(StageError::input(format!(
                    "port `{port}` is given without port `{base}`, which it is compared with"
                )));
            }
        }
        let head_changes =
            heads.as_ref().zip(trained.as_ref()).map(|(before, after)| HeadChanges::new(before, after)).transpose()?;

        let mut series = Vec::new();
        for (port, label) in [("trials", "base"), ("masked-trials", "masked"), ("trained-trials", "trained")] {
            if let Some(table) = table(port)? {
                series.push(Series::read(label, &table)?);
            }
        }
        if let (Some(first), None) = (series.first(), inputs.optional("trials")) {
            return Err(StageError::input(format!(
                "port `{}-trials` is given without port `trials`, which it is compared with",
                first.label
            )));
        }
        let needles = if series.is_empty() { None } else { Some(Needles::new(series, parameters.seed)?) };

        let pairs = table("pairs")?
            .map(|table| Pairs::read(&table, parameters.pairs as usize, parameters.characters as usize))
            .transpose()?;
        let training = table("training")?.as_ref().map(Training::read).transpose()?;
        let margins = table("margins")?.as_ref().map(Margins::read).transpose()?;
        let evaluation = Evaluation::read(
            &labelled("evaluation")?,
            &labelled("examples")?,
            &labelled("notes")?,
            &parameters.baseline,
            parameters.seed,
        )?;
        let masked = mask.map(|mask| mask.len());
        Ok(Self { heads, spread, head_changes, trained_spread, masked, needles, pairs, training, margins, evaluation })
    }
}
