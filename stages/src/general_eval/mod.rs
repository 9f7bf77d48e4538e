//! `general-eval`: abilities beside long contexts, so that a training for these can be seen not to cost them: knowledge
//! (multiple choice), arithmetic, instructions that a program can check, perplexity, code.
//!
//! Sets come in the files that their authors publish. Answers, choices and likelihoods are kept row by row.

mod code;
mod final_number;
pub mod instructions;
mod multiple_choice;
mod parameters;
mod perplexity;
mod questions;
mod records;
mod run;
mod score;
mod tables;

use retmask_model::Numerics;

use crate::artifact::Media;
use crate::contract::{Arity, Context, InputPort, Inputs, Kind, OutputPort, Outputs, ParameterError, StageResult};

pub use parameters::{Chat, Parameters, Task, TaskType};
pub use records::Record;
pub use score::scale;

/// The project's own wording.
const TEMPLATES: &str = include_str!("templates.json");

/// The stage kind.
pub struct GeneralEval;

impl Kind for GeneralEval {
    type Parameters = Parameters;

    const NAME: &'static str = "general-eval";
    const EPOCH: u32 = 1;
    const SUMMARY: &'static str = "Evaluate general abilities: knowledge, arithmetic, instructions, perplexity, code";
    const INPUTS: &'static [InputPort] = &[
        InputPort { name: "model", media: &[Media::Model], arity: Arity::One, summary: "The model to evaluate" },
        InputPort {
            name: "data",
            media: &[Media::EvaluationSet],
            arity: Arity::Labelled,
            summary: "The examples of each task, under its name",
        },
        InputPort {
            name: "demonstrations",
            media: &[Media::EvaluationSet],
            arity: Arity::Labelled,
            summary: "Examples with their answers, for tasks with `shots`, under their names",
        },
        InputPort {
            name: "mask",
            media: &[Media::Mask],
            arity: Arity::Optional,
            summary: "Heads to mask while answering",
        },
        InputPort {
            name: "templates",
            media: &[Media::PromptTemplates],
            arity: Arity::Optional,
            summary: "The wording of the prompts, instead of the project's own",
        },
        InputPort {
            name: "punkt",
            media: &[Media::PunktParameters],
            arity: Arity::Optional,
            summary: "What Punkt knows of English, for instructions about sentences and words in capitals",
        },
    ];
    const OUTPUTS: &'static [OutputPort] = &[
        OutputPort {
            name: "summary",
            media: Media::GeneralSummary,
            summary: "A row per task and metric: mean and 95 % interval, or why there is none",
        },
        OutputPort { name: "scores", media: Media::GeneralScores, summary: "A row per example and metric" },
        OutputPort { name: "answers", media: Media::GeneralAnswers, summary: "A row per example: what the model said" },
    ];

    fn numerics(parameters: &Self::Parameters) -> Option<Numerics> {
        Some(parameters.numerics)
    }

    fn program(parameters: &Self::Parameters) -> Option<&str> {
        parameters.program.as_deref()
    }

    fn validate(parameters: &Parameters) -> Result<(), ParameterError> {
        parameters.check()
    }

    fn validate_inputs(parameters: &Parameters, roles: &[String]) -> Result<(), ParameterError> {
        parameters.check_inputs(roles)
    }

    fn run(parameters: &Parameters, inputs: &Inputs, outputs: &Outputs, context: &Context) -> StageResult<()> {
        run::run(parameters, inputs, outputs, context)
    }
}
