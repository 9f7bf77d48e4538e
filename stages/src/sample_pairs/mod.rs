//! `sample-pairs`: the model answers instructions as it is and with heads masked; each pair of answers prefers
//! the former.

mod answer;
mod pairing;
mod parameters;
mod prompts;
mod run;

pub use parameters::{Parameters, Subset};

use retmask_model::Numerics;
use retmask_model::decoder::Decoder;

use crate::artifact::{Media, mask, pairs};
use crate::contract::{
    Arity, Context, InputPort, Inputs, Kind, OutputPort, Outputs, ParameterError, StageError, StageResult,
};
use crate::instructions;
use crate::models;

/// The stage kind.
pub struct SamplePairs;

impl Kind for SamplePairs {
    type Parameters = Parameters;

    const NAME: &'static str = "sample-pairs";
    const EPOCH: u32 = 2;
    const SUMMARY: &'static str = "Sample preference pairs: answers of the model, and of the model with heads masked";
    const INPUTS: &'static [InputPort] = &[
        InputPort { name: "model", media: &[Media::Model], arity: Arity::One, summary: "The model that answers" },
        InputPort {
            name: "mask",
            media: &[Media::Mask],
            arity: Arity::One,
            summary: "Heads to mask for the rejected answers",
        },
        InputPort {
            name: "instructions",
            media: &[Media::Instructions],
            arity: Arity::One,
            summary: "Instructions to answer: JSONL, JSONL.gz or Parquet",
        },
    ];
    const OUTPUTS: &'static [OutputPort] =
        &[OutputPort { name: "pairs", media: Media::Pairs, summary: "A row per preference pair" }];

    fn numerics(parameters: &Self::Parameters) -> Option<Numerics> {
        Some(parameters.numerics)
    }

    fn validate(parameters: &Parameters) -> Result<(), ParameterError> {
        parameters.check()
    }

    fn run(parameters: &Parameters, inputs: &Inputs, outputs: &Outputs, context: &Context) -> StageResult<()> {
        let checkpoint = models::open(&inputs.one("model")?.path, parameters.yarn)?;
        let codec = checkpoint.text_codec()?;
        if !codec.has_chat_template() {
            return Err(StageError::input("the model has no chat template to put the instructions in")
                .with_hint("take an instruct model"));
        }
        let spec = checkpoint.spec();
        let input = inputs.one("mask")?;
        let mask = mask::read(&input.path)?;
        if mask.is_empty() {
            return Err(StageError::input(format!(
                "{} masks no head: both answers would be alike",
                input.path.display()
            )));
        }
        mask.check(spec.layers.len(), spec.query_heads)?;

        let input = inputs.one("instructions")?;
        let check = || context.check_cancelled();
        let found = instructions::read(&input.path, parameters.format, &parameters.language, check)?;
        context.progress().log(&format!(
            "{} instructions from {} records; skipped: {}",
            found.prompts.len(),
            found.records,
            found.skipped
        ));
        let (prompts, too_long) = prompts::build(parameters, &codec, &found.prompts, spec.context_length, check)?;
        if too_long > 0 {
            context.progress().log(&format!(
                "{too_long} instructions skipped: with {} new tokens they exceed the model's window of {} tokens",
                parameters.max_new_tokens, spec.context_length
            ));
        }
        if prompts.is_empty() {
            return Err(StageError::input(format!(
                "{}: no instruction fits the model's window of {} tokens with {} new ones",
                input.path.display(),
                spec.context_length,
                parameters.max_new_tokens
            ))
            .with_hint("lower `max-new-tokens`"));
        }

        context.progress().phase("load the model", "models", 1);
        let decoder = Decoder::load(&checkpoint, parameters.numerics)?;
        context.progress().advance(1);
        let sides = run::run(parameters, &decoder, &codec, &mask, &prompts, context)?;
        let sampled = sides.len();
        let (pairs, dropped) = pairing::pair(&prompts, parameters.samples, sides);
        context.progress().log(&format!("{} of {sampled} pairs kept; dropped: {dropped}", pairs.len()));
        if pairs.is_empty() {
            return Err(StageError::input(format!("none of {sampled} pairs can be learnt from: {dropped}"))
                .with_hint("mask other heads, raise `max-new-tokens`, or take more instructions"));
        }
        pairs::write(&outputs.path("pairs"), &pairs)
    }
}
