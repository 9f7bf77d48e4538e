//! `score-heads`: how much every attention head copies a needle out of a haystack.
//!
//! The method of "Retrieval Head Mechanistically Explains Long-Context Factuality" (arXiv 2404.15574), as
//! "From Interpretability to Performance" (arXiv 2601.11020) uses it.

mod context;
mod gini;
mod grid;
mod needles;
mod parameters;
mod run;
mod score;
mod span;
mod tables;
mod trials;

pub use gini::gini;
pub use grid::{Axis, Even};
pub use needles::Needle;
pub use parameters::{Parameters, Prompt, ScoreForm, SentenceBreak, Stop};
pub use trials::{Trial, build as build_trials};

use retmask_model::Numerics;

use crate::artifact::head_scores::{self, HeadScores};
use crate::artifact::{Media, mask, published_scores};
use crate::contract::{
    Arity, Context, InputPort, Inputs, Kind, OutputPort, Outputs, ParameterError, StageError, StageResult,
};
use crate::models;
use retmask_model::heads::Head;

/// The stage kind.
pub struct ScoreHeads;

impl Kind for ScoreHeads {
    type Parameters = Parameters;

    const NAME: &'static str = "score-heads";
    const EPOCH: u32 = 2;
    const SUMMARY: &'static str = "Score every attention head by how it copies needles out of haystacks";
    const INPUTS: &'static [InputPort] = &[
        InputPort { name: "model", media: &[Media::Model], arity: Arity::One, summary: "The model to score" },
        InputPort {
            name: "needles",
            media: &[Media::Needles],
            arity: Arity::One,
            summary: "needles.jsonl, and part1/, part2/, ... with the haystacks' text files",
        },
        InputPort {
            name: "mask",
            media: &[Media::Mask],
            arity: Arity::Optional,
            summary: "Heads to mask while scoring, to see what a masked model still copies",
        },
    ];
    const OUTPUTS: &'static [OutputPort] = &[
        OutputPort { name: "scores", media: Media::HeadScores, summary: "A row per head: score and per-trial scores" },
        OutputPort { name: "trials", media: Media::Trials, summary: "A row per trial: prompt, needle and response" },
        OutputPort {
            name: "summary",
            media: Media::HeadScoreSummary,
            summary: "One row: trials, counted trials, best score, Gini coefficient",
        },
        OutputPort {
            name: "published",
            media: Media::PublishedScores,
            summary: "The scores in the authors' JSON format",
        },
    ];

    fn numerics(parameters: &Self::Parameters) -> Option<Numerics> {
        Some(parameters.numerics)
    }

    fn validate(parameters: &Parameters) -> Result<(), ParameterError> {
        parameters.check()
    }

    fn run(parameters: &Parameters, inputs: &Inputs, outputs: &Outputs, context: &Context) -> StageResult<()> {
        let checkpoint = models::open(&inputs.one("model")?.path, parameters.yarn)?;
        let codec = checkpoint.text_codec()?;
        let spec = checkpoint.spec();
        let (layers, heads) = (spec.layers.len(), spec.query_heads);
        let mask = inputs.optional("mask").map(|input| mask::read(&input.path)).transpose()?;
        if let Some(mask) = &mask {
            mask.check(layers, heads)?;
        }
        let (trials, needles) =
            trials::build(parameters, &codec, &inputs.one("needles")?.path, || context.check_cancelled())?;
        run::check_window(&trials, parameters, spec.context_length)?;

        let grid = run::Grid {
            parameters,
            checkpoint: &checkpoint,
            codec: &codec,
            mask: mask.as_ref(),
            trials: &trials,
            needles: &needles,
        };
        let outcomes = run::run(&grid, context)?;

        let scores = collect(layers, heads, &outcomes)?;
        context.progress().log(&format!("{} of {} trials counted", scores.counted(), trials.len()));
        head_scores::write(&outputs.path("scores"), &scores)?;
        tables::write_trials(&outputs.path("trials"), &trials, &outcomes)?;
        tables::write_summary(&outputs.path("summary"), trials.len(), &scores)?;
        published_scores::write(&outputs.path("published"), &scores)
    }
}

/// Turns scores per counted trial into scores per head.
fn collect(layers: usize, heads: usize, outcomes: &[tables::Outcome]) -> StageResult<HeadScores> {
    let counted: Vec<&Vec<f64>> = outcomes.iter().filter_map(|outcome| outcome.scores.as_ref()).collect();
    let rows = (0..layers * heads).map(|index| {
        let head = Head { layer: (index / heads) as u32, head: (index % heads) as u32 };
        (head, counted.iter().map(|scores| scores[index]).collect())
    });
    HeadScores::from_rows(rows.collect()).map_err(StageError::internal)
}
