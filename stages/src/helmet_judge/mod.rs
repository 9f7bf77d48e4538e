//! `helmet-judge`: a language model judges answers to questions about books, and summaries, as HELMET has them judged.
//!
//! The judge is asked through an OpenAI-compatible service (`RETMASK_JUDGE_URL`, `RETMASK_JUDGE_TOKEN`). Every verdict
//! is kept by what was asked, so that none is asked for twice; an answer without a verdict has no score.

mod calls;
mod prompts;
mod run;
mod verdict;

use retmask_model::Numerics;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::artifact::Media;
use crate::contract::{Arity, Context, InputPort, Inputs, Kind, OutputPort, Outputs, ParameterError, StageResult};

/// Parameters of `helmet-judge`; the defaults are the settings of HELMET's judge.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Parameters {
    /// The judge's name at the service.
    pub model: String,
    /// Temperature of its replies.
    pub temperature: f64,
    /// Share of the probability that they are drawn from.
    pub top_p: f64,
    /// Seed of its replies, where the service has one; each further attempt takes the next.
    pub seed: u64,
}

impl Default for Parameters {
    fn default() -> Self {
        Self { model: "gpt-4o-2024-05-13".into(), temperature: 0.1, top_p: 0.9, seed: 42 }
    }
}

/// The stage kind.
pub struct HelmetJudge;

impl Kind for HelmetJudge {
    type Parameters = Parameters;

    const NAME: &'static str = "helmet-judge";
    const EPOCH: u32 = 2;
    const SUMMARY: &'static str = "Have answers and summaries judged by a language model, for helmet-score";
    const INPUTS: &'static [InputPort] = &[
        InputPort {
            name: "predictions",
            media: &[Media::Predictions],
            arity: Arity::One,
            summary: "The answers; those of other datasets are passed over",
        },
        InputPort {
            name: "prompts",
            media: &[Media::JudgePrompts],
            arity: Arity::Optional,
            summary: "What the judge is told, a file per question, instead of the project's own words",
        },
    ];
    const OUTPUTS: &'static [OutputPort] = &[
        OutputPort { name: "scores", media: Media::ExampleScores, summary: "A row per judged answer" },
        OutputPort { name: "notes", media: Media::ScoreNotes, summary: "How many answers have no verdict, and why" },
    ];

    fn numerics(_parameters: &Self::Parameters) -> Option<Numerics> {
        None
    }

    fn validate(parameters: &Parameters) -> Result<(), ParameterError> {
        let refuse = |field: &str, message: String| Err(ParameterError::new(field, message));
        if parameters.model.trim().is_empty() {
            return refuse("model", "name the judge".into());
        }
        if !(0.0..=2.0).contains(&parameters.temperature) {
            return refuse("temperature", format!("{} is not between 0 and 2", parameters.temperature));
        }
        if !(parameters.top_p > 0.0 && parameters.top_p <= 1.0) {
            return refuse("top-p", format!("{} is not above 0 and at most 1", parameters.top_p));
        }
        Ok(())
    }

    fn run(parameters: &Parameters, inputs: &Inputs, outputs: &Outputs, context: &Context) -> StageResult<()> {
        run::run(parameters, inputs, outputs, context)
    }
}
