//! `sample-pairs`: a model answers instructions, and so does what is worse: the model with heads masked, a smaller one, or
//! the model itself on a bad draw, as a judge finds; each pair of answers prefers the better one.

mod answer;
mod judge;
mod pairing;
mod parameters;
mod prompts;
mod repetition;
mod run;
mod server;
mod side;
mod tables;

pub use answer::{opens_thoughts, split};
pub use judge::Judge;
pub use parameters::{Parameters, Subset};
pub use repetition::ends_in_a_loop;

use retmask_model::Numerics;

use crate::artifact::{Media, pairs, responses, sampling_counts};
use crate::contract::{
    Arity, Context, InputPort, Inputs, Kind, OutputPort, Outputs, ParameterError, StageError, StageResult,
};
use crate::instructions;
use crate::remote::verdict::Verdict;
use pairing::{Dropped, Flags, Reason};
use prompts::Prompt;
use side::{Answer, Answerers};
use tables::{Found, Sampled};

/// The stage kind.
pub struct SamplePairs;

impl Kind for SamplePairs {
    type Parameters = Parameters;

    const NAME: &'static str = "sample-pairs";
    const EPOCH: u32 = 3;
    const SUMMARY: &'static str = "Sample preference pairs: answers of the model, and worse ones: with heads masked, of another model, \
                                   or the worst of several by a judge";
    const INPUTS: &'static [InputPort] = &[
        InputPort {
            name: "model",
            media: &[Media::Model],
            arity: Arity::Optional,
            summary: "The model that answers, unless one on a server does",
        },
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
    const OUTPUTS: &'static [OutputPort] = &[
        OutputPort { name: "pairs", media: Media::Pairs, summary: "A row per preference pair" },
        OutputPort {
            name: "responses",
            media: Media::Responses,
            summary: "A row per response: thoughts, flaws, score, and why there is no pair",
        },
        OutputPort {
            name: "counts",
            media: Media::SamplingCounts,
            summary: "How many records, responses and pairs there were, and what became of them",
        },
    ];

    fn numerics(parameters: &Self::Parameters) -> Option<Numerics> {
        Some(parameters.numerics)
    }

    fn is_private(parameters: &Parameters) -> bool {
        parameters.is_undeclared()
    }

    fn validate(parameters: &Parameters) -> Result<(), ParameterError> {
        parameters.check()
    }

    fn validate_inputs(parameters: &Parameters, roles: &[String]) -> Result<(), ParameterError> {
        parameters.rejects(|port| roles.iter().any(|role| role == port)).map(drop)
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
        let found_counts = Found::of(&found);
        let mut maps = run::open_rows(parameters, &answerers, context)?;
        let fits = |prompt: &Prompt| run::fits(parameters, &answerers, &mut maps, prompt);
        let (prompts, left_out) = prompts::build(parameters, found.prompts, fits, check)?;
        let answers = run::run(parameters, &answerers, &prompts, maps, context)?;
        let flags = pairing::flags(&answers);
        let verdicts = judged(parameters, &prompts, &answers, &flags, context)?;
        let fates = pairing::fates(parameters, &answers, &flags, verdicts.as_deref());
        let dropped = Dropped(&fates);
        let sampled = Sampled {
            parameters,
            prompts: &prompts,
            answers: &answers,
            flags: &flags,
            verdicts: verdicts.as_deref(),
            fates: &fates,
        };
        if let (true, Some(window)) = (left_out > 0, answerers.window()) {
            context.progress().log(&format!(
                "{left_out} instructions skipped: with {} new tokens they exceed the window of {window} tokens",
                parameters.max_new_tokens
            ));
        }
        let counts = sampled.counts(&found_counts, left_out);
        for count in counts.iter().filter(|count| count.of == "responses" && count.count > 0) {
            context.progress().log(&format!("responses, {}: {}", count.what, count.count));
        }
        let kept = fates.len() - Reason::ALL.into_iter().map(|reason| dropped.count(reason)).sum::<usize>();
        context.progress().log(&format!("{kept} of {} pairs kept; dropped: {dropped}", fates.len()));
        if let (true, Some(window)) = (dropped.count(Reason::TooLong) == fates.len(), answerers.window()) {
            return Err(StageError::input(format!(
                "{}: no instruction fits the model's window of {window} tokens with {} new ones",
                input.path.display(),
                parameters.max_new_tokens
            ))
            .with_hint("lower `max-new-tokens`"));
        }
        if kept == 0 {
            return Err(StageError::input(format!("none of {} pairs can be learnt from: {dropped}", fates.len()))
                .with_hint(match parameters.judge {
                    Some(_) => {
                        "sample more `responses`, or have another judge: its replies must end in {\"score\": NUMBER}"
                    }
                    None => "mask other heads, raise `max-new-tokens`, or take more instructions",
                }));
        }
        responses::write(&outputs.path("responses"), &sampled.rows())?;
        sampling_counts::write(&outputs.path("counts"), &counts)?;
        let pairs = pairing::pairs(&prompts, parameters, answers, &fates);
        pairs::write(&outputs.path("pairs"), &pairs)
    }
}

/// The verdicts on the responses that are worth one, by their places; `None` where nobody judges.
fn judged(
    parameters: &Parameters,
    prompts: &[Prompt],
    answers: &[Answer],
    flags: &[Flags],
    context: &Context,
) -> StageResult<Option<Vec<Option<Verdict<f64>>>>> {
    let Some(judge) = &parameters.judge else { return Ok(None) };
    let places = pairing::to_judge(parameters, answers, flags);
    let layout = run::Layout::new(parameters);
    let asked: Vec<(&Prompt, &str)> =
        places.iter().map(|&place| (&prompts[layout.draw(place).prompt], pairing::text(&answers[place]))).collect();
    let mut verdicts = vec![None; answers.len()];
    for (place, verdict) in places.into_iter().zip(judge::verdicts(judge, &asked, context)?) {
        if let Err(why) = &verdict.0 {
            context.progress().log(&format!("no verdict: {why}"));
        }
        verdicts[place] = Some(verdict);
    }
    Ok(Some(verdicts))
}
