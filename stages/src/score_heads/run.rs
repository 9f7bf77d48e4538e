//! Running all trials through the model, and judging each response as it arrives.

use retmask_model::checkpoint::Checkpoint;
use retmask_model::decoder::Decoder;
use retmask_model::generate::{Completion, Limits, Request, Sampling, Sink, generate};
use retmask_model::heads::HeadMask;
use retmask_model::text::TextCodec;
use retmask_model::{ModelError, ModelResult};

use super::needles::Needle;
use super::tables::Outcome;
use super::trials::{Trial, decode};
use super::{Parameters, Stop, score};
use crate::contract::{Context, RowContent, RowKey, RowScope, StageError, StageResult};
use crate::metrics::rouge1_recall;
use crate::rows::{Made, Row, work_through};

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

/// Trials and what they are put to.
pub struct Grid<'a> {
    pub parameters: &'a Parameters,
    pub checkpoint: &'a Checkpoint,
    pub codec: &'a TextCodec,
    pub mask: Option<&'a HeadMask>,
    pub trials: &'a [Trial],
    pub needles: &'a [Needle],
}

/// What only shapes the prompts.
const OF_PROMPTS: [&str; 6] = ["needles", "context-lengths", "depths", "buffer", "sentence-break", "prompt"];

/// The outcomes of all trials, in trial order. A row is a trial: its prompt, where the needle stands in it, and the
/// answer that is looked for.
///
/// # Errors
/// `Interrupted` when asked to stop; what the model says.
pub fn run(grid: &Grid<'_>, context: &Context) -> StageResult<Vec<Outcome>> {
    let Grid { parameters, checkpoint, trials, .. } = grid;
    let stop_tokens = stop_tokens(parameters.stop, grid.codec, checkpoint.spec().vocabulary_size)?;
    let scope = RowScope::new("trials", &["model", "mask"], *parameters, &OF_PROMPTS)?;
    let rows: Vec<Row> = trials.iter().map(|trial| Row { map: 0, key: grid.key(trial) }).collect();
    work_through(context, vec![context.rows(&scope)?], &rows, &mut |missing, made| {
        context.progress().phase("load the model", "models", 1);
        let decoder = Decoder::load(checkpoint, parameters.numerics)?;
        context.progress().advance(1);
        let request = |trial: &usize| Request {
            prompt: trials[*trial].prompt.clone(),
            mask: grid.mask.map(|_| 0),
            max_new_tokens: parameters.max_new_tokens as usize,
            stop_tokens: stop_tokens.clone(),
            sampling: Sampling::Greedy,
            probe: true,
            logit_gaps: false,
        };
        let requests: Vec<Request> = missing.iter().map(request).collect();
        context.progress().phase("trials", "trials", requests.len() as u64);
        let spec = decoder.spec();
        let heads = spec.layers.len() * spec.query_heads;
        let mut judge = Judge { grid, heads, context, missing, made };
        let masks = grid.mask.map_or(&[][..], std::slice::from_ref);
        Ok(generate(&decoder, masks, &requests, &Limits::default(), &mut judge)?)
    })
}

impl Grid<'_> {
    fn key(&self, trial: &Trial) -> RowKey {
        let content = RowContent::default()
            .tokens("prompt", &trial.prompt)
            .text("answer", &self.needles[trial.needle as usize].real_needle);
        match &trial.span {
            Some(span) => content.number("start", span.start as u64).number("end", span.end as u64),
            None => content,
        }
        .key()
    }
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
struct Judge<'a, 'm> {
    grid: &'a Grid<'a>,
    heads: usize,
    context: &'a Context,
    /// The trials that are run.
    missing: &'a [usize],
    made: &'a mut Made<'m, Outcome>,
}

impl Sink for Judge<'_, '_> {
    fn completed(&mut self, request: usize, completion: Completion) -> ModelResult<()> {
        let Grid { parameters, codec, trials, needles, .. } = self.grid;
        let trial = &trials[self.missing[request]];
        let response = decode(parameters, codec, &completion.tokens)?.trim().to_owned();
        let recall = rouge1_recall(&response, &needles[trial.needle as usize].real_needle);
        let scores = (recall > parameters.rouge_threshold).then(|| {
            score::score(
                parameters.score_form,
                self.heads,
                &trial.prompt,
                trial.span.as_ref(),
                &completion.tokens,
                &completion.probes,
            )
        });
        let outcome = Outcome { response, output_ids: completion.tokens, rouge1_recall: recall, scores };
        self.made.done(self.missing[request], outcome)?;
        self.context.progress().advance(1);
        Ok(())
    }

    fn processed(&mut self, count: usize) -> ModelResult<()> {
        self.context.progress().tokens(count as u64);
        if self.context.cancel().is_cancelled() { Err(ModelError::interrupted()) } else { Ok(()) }
    }
}
