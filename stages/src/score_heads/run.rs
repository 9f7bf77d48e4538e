//! Running all trials through the model, and judging each response as it arrives.

use retmask_model::decoder::Decoder;
use retmask_model::generate::{Completion, Limits, Request, Sampling, Sink, generate};
use retmask_model::heads::HeadMask;
use retmask_model::text::TextCodec;
use retmask_model::{ModelError, ModelResult};

use super::needles::Needle;
use super::tables::Outcome;
use super::trials::{Trial, decode};
use super::{Parameters, Stop, score};
use crate::contract::{Context, StageError, StageResult};
use crate::metrics::rouge1_recall;

/// The token whose spelling ends a trial in the authors' script: a byte-fallback line feed.
const SCRIPT_STOP_TOKEN: &str = "<0x0A>";
/// The id that ends a trial in the authors' script, whatever it means to the model.
const SCRIPT_STOP_ID: u32 = 144;

/// Refuses trials that do not fit the model.
///
/// # Errors
/// `Input` naming the first trial whose prompt and answer are longer than the model's window, and the window.
pub fn check_window(trials: &[Trial], parameters: &Parameters, window: usize) -> StageResult<()> {
    let new = parameters.max_new_tokens as usize;
    match trials.iter().find(|trial| trial.prompt.len() + new > window) {
        None => Ok(()),
        Some(trial) => Err(StageError::input(format!(
            "{trial} has {} prompt tokens, which with {new} new tokens exceed the model's window of {window} tokens",
            trial.prompt.len()
        ))
        .with_hint("lower `context-lengths`, or take a model with a longer window")),
    }
}

/// Runs the trials; their outcomes in trial order.
///
/// # Errors
/// `Interrupted` when asked to stop; what the model says.
pub fn run(
    parameters: &Parameters,
    decoder: &Decoder,
    codec: &TextCodec,
    masks: &[HeadMask],
    trials: &[Trial],
    needles: &[Needle],
    context: &Context,
) -> StageResult<Vec<Outcome>> {
    let stop_tokens = stop_tokens(parameters.stop, codec, decoder.spec().vocabulary_size)?;
    let requests: Vec<Request> = trials
        .iter()
        .map(|trial| Request {
            prompt: trial.prompt.clone(),
            mask: (!masks.is_empty()).then_some(0),
            max_new_tokens: parameters.max_new_tokens as usize,
            stop_tokens: stop_tokens.clone(),
            sampling: Sampling::Greedy,
            probe: true,
            logit_gaps: false,
        })
        .collect();
    context.progress().phase("trials", "trials", trials.len() as u64);
    let spec = decoder.spec();
    let heads = spec.layers.len() * spec.query_heads;
    let mut judge = Judge { parameters, codec, trials, needles, heads, context, outcomes: vec![None; trials.len()] };
    generate(decoder, masks, &requests, &Limits::default(), &mut judge)?;
    let outcomes: Option<Vec<Outcome>> = judge.outcomes.into_iter().collect();
    outcomes.ok_or_else(|| StageError::internal("the model did not complete every trial"))
}

fn stop_tokens(stop: Stop, codec: &TextCodec, vocabulary_size: usize) -> StageResult<Vec<u32>> {
    match stop {
        Stop::Script => {
            let mut tokens: Vec<u32> = codec.token_id(SCRIPT_STOP_TOKEN).into_iter().collect();
            if (SCRIPT_STOP_ID as usize) < vocabulary_size && !tokens.contains(&SCRIPT_STOP_ID) {
                tokens.push(SCRIPT_STOP_ID);
            }
            Ok(tokens)
        }
        Stop::EndToken if codec.end_tokens().is_empty() => {
            Err(StageError::input("`stop: end-token`, but the model names no end token")
                .with_hint("set `stop: script`, or give the model an `eos_token_id`"))
        }
        Stop::EndToken => Ok(codec.end_tokens().to_vec()),
    }
}

/// Judges each completion when it arrives, so that no probe is kept longer than its trial.
struct Judge<'a> {
    parameters: &'a Parameters,
    codec: &'a TextCodec,
    trials: &'a [Trial],
    needles: &'a [Needle],
    heads: usize,
    context: &'a Context,
    outcomes: Vec<Option<Outcome>>,
}

impl Sink for Judge<'_> {
    fn completed(&mut self, request: usize, completion: Completion) -> ModelResult<()> {
        let trial = &self.trials[request];
        let response = decode(self.parameters, self.codec, &completion.tokens)?.trim().to_owned();
        let recall = rouge1_recall(&response, &self.needles[trial.needle as usize].real_needle);
        let scores = (recall > self.parameters.rouge_threshold).then(|| {
            score::score(
                self.parameters.score_form,
                self.heads,
                &trial.prompt,
                trial.span.as_ref(),
                &completion.tokens,
                &completion.probes,
            )
        });
        self.outcomes[request] =
            Some(Outcome { response, output_ids: completion.tokens, rouge1_recall: recall, scores });
        self.context.progress().advance(1);
        Ok(())
    }

    fn processed(&mut self, count: usize) -> ModelResult<()> {
        self.context.progress().tokens(count as u64);
        if self.context.cancel().is_cancelled() { Err(ModelError::interrupted()) } else { Ok(()) }
    }
}
