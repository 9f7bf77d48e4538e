//! `build-mask`: head scores -> a mask of retrieval heads, or of as many others to compare with.

mod select;

use retmask_model::Numerics;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::artifact::{Media, head_scores, mask};
use crate::contract::{
    Arity, Context, InputPort, Inputs, Kind, OutputPort, Outputs, ParameterError, StageError, StageResult,
};

/// How retrieval heads are told from the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Select {
    /// Every head whose score is at least `tau`.
    #[default]
    Threshold,
    /// The `count` heads of highest score; of equal scores, the lower layer and head first.
    TopK,
}

/// Which heads the mask holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Variant {
    /// The retrieval heads.
    #[default]
    Retrieval,
    /// As many heads, drawn from all heads (the paper's Random-Mask).
    Random,
    /// As many heads, drawn from those that are not retrieval heads (the paper's Non-Retrieval-Mask).
    NonRetrieval,
}

/// Parameters of `build-mask`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Parameters {
    /// How retrieval heads are told from the rest.
    pub select: Select,
    /// With `select: threshold`, the lowest score of a retrieval head (inclusive). The paper takes 0.1 for
    /// Llama-3.1 and 0.05 for Qwen3 and Olmo-3.
    pub tau: f64,
    /// With `select: top-k`, how many heads.
    pub count: Option<u32>,
    /// Which heads the mask holds.
    pub variant: Variant,
    /// Seed of the draw of the variants `random` and `non-retrieval`.
    pub seed: u64,
}

impl Default for Parameters {
    fn default() -> Self {
        Self { select: Select::Threshold, tau: DEFAULT_TAU, count: None, variant: Variant::Retrieval, seed: 42 }
    }
}

/// The paper's threshold for Llama-3.1.
const DEFAULT_TAU: f64 = 0.1;

/// The stage kind.
pub struct BuildMask;

impl Kind for BuildMask {
    type Parameters = Parameters;

    const NAME: &'static str = "build-mask";
    const EPOCH: u32 = 1;
    const SUMMARY: &'static str = "Choose the heads to mask from their retrieval scores";
    const INPUTS: &'static [InputPort] = &[InputPort {
        name: "scores",
        media: &[Media::HeadScores, Media::PublishedScores],
        arity: Arity::One,
        summary: "Scores of all heads: made by score-heads, or a published JSON file",
    }];
    const OUTPUTS: &'static [OutputPort] =
        &[OutputPort { name: "mask", media: Media::Mask, summary: "The heads to mask, a row each" }];

    fn numerics(_parameters: &Self::Parameters) -> Option<Numerics> {
        None
    }

    fn validate(parameters: &Parameters) -> Result<(), ParameterError> {
        if !parameters.tau.is_finite() || parameters.tau <= 0.0 {
            return Err(ParameterError::new(
                "tau",
                format!("{} is not a score a retrieval head can have; expected a number above 0", parameters.tau),
            ));
        }
        match (parameters.select, parameters.count) {
            (Select::TopK, None) => {
                Err(ParameterError::new("count", "`select: top-k` needs `count`, the number of heads"))
            }
            (Select::TopK, Some(0)) => {
                Err(ParameterError::new("count", "0 heads make an empty mask; expected at least 1"))
            }
            (Select::TopK, Some(_)) if parameters.tau != DEFAULT_TAU => {
                Err(ParameterError::new("tau", "`select: top-k` takes no threshold; leave `tau` out"))
            }
            (Select::Threshold, Some(_)) => Err(ParameterError::new(
                "count",
                "`select: threshold` takes no count; leave it out, or use `select: top-k`",
            )),
            _ => Ok(()),
        }
    }

    fn run(parameters: &Parameters, inputs: &Inputs, outputs: &Outputs, context: &Context) -> StageResult<()> {
        let input = inputs.one("scores")?;
        let scores = head_scores::read(input)?;
        let chosen = select::choose(&scores, parameters).map_err(|refusal| {
            let error = StageError::input(format!("{}: {}", input.path.display(), refusal.problem));
            if refusal.hint.is_empty() { error } else { error.with_hint(refusal.hint) }
        })?;
        context.progress().log(&format!(
            "{} of {} heads masked, from scores over {} counted trials",
            chosen.len(),
            scores.iter().len(),
            scores.counted()
        ));
        mask::write(&outputs.path("mask"), &chosen)
    }
}
