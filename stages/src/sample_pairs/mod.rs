//! `sample-pairs`: the model answers instructions, and so does what is worse: the model with heads masked, or a smaller
//! one; each pair of answers prefers the former.

mod answer;
mod pairing;
mod parameters;
mod prompts;
mod repetition;
mod run;
mod side;
mod stop;

pub use parameters::{Parameters, Subset};

use retmask_model::Numerics;

use crate::artifact::{Media, pairs};
use crate::contract::{
    Arity, Context, InputPort, Inputs, Kind, OutputPort, Outputs, ParameterError, StageError, StageResult,
};
use crate::instructions;
use prompts::Prompt;
use side::Answerers;

/// The stage kind.
pub struct SamplePairs;

impl Kind for SamplePairs {
    type Parameters = Parameters;

    const NAME: &'static str = "sample-pairs";
    const EPOCH: u32 = 2;
    const SUMMARY: &'static str =
        "Sample preference pairs: answers of the model, and of the model with heads masked or of another one";
    const INPUTS: &'static [InputPort] = &[
        InputPort { name: "model", media: &[Media::Model], arity: Arity::One, summary: "The model that answers" },
        InputPort {
            name: "mask",
            media: &[Media::Mask],
            arity: Arity::Optional,
            summary: "Heads to mask for the rejected answers",
        },
        InputPort {
            name: "rejected-model",
            media: &[Media::Model],
            arity: Arity::Optional,
            summary: "Another, smaller model that gives the rejected answers, in place of a mask",
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
        let answerers = Answerers::read(parameters, inputs)?;
        let input = inputs.one("instructions")?;
        let check = || context.check_cancelled();
        let found = instructions::read(&input.path, &parameters.selection(), check)?;
        context.progress().log(&format!(
            "{} instructions from {} records; skipped: {}, {} malformed",
            found.prompts.len(),
            found.records,
            found.skipped,
            found.bad.count
        ));
        for fault in &found.bad.told {
            context.progress().log(&format!("malformed: {fault}"));
        }
        let mut maps = run::open_rows(parameters, &answerers, context)?;
        let fits = |prompt: &Prompt| run::fits(parameters, &answerers, &mut maps, prompt);
        let (prompts, left_out) = prompts::build(parameters, found.prompts, fits, check)?;
        let answers = run::run(parameters, &answerers, &prompts, maps, context)?;
        let (pairs, dropped, flags) = pairing::pair(&prompts, parameters, answers);
        let too_long = left_out + dropped.too_long / parameters.samples as usize;
        let window = answerers.window();
        let new_tokens = parameters.max_new_tokens;
        if too_long > 0 {
            context.progress().log(&format!(
                "{too_long} instructions skipped: with {new_tokens} new tokens they exceed the model's window of {window} tokens",
            ));
        }
        if dropped.too_long == prompts.len() * parameters.samples as usize {
            return Err(StageError::input(format!(
                "{}: no instruction fits the model's window of {window} tokens with {new_tokens} new ones",
                input.path.display(),
            ))
            .with_hint("lower `max-new-tokens`"));
        }
        let sampled = prompts.len() * parameters.samples as usize - dropped.too_long;
        context.progress().log(&format!("of the sampled responses, {flags}"));
        context.progress().log(&format!("{} of {sampled} pairs kept; dropped: {dropped}", pairs.len()));
        if pairs.is_empty() {
            return Err(StageError::input(format!("none of {sampled} pairs can be learnt from: {dropped}"))
                .with_hint("mask other heads, raise `max-new-tokens`, or take more instructions"));
        }
        pairs::write(&outputs.path("pairs"), &pairs)
    }
}
