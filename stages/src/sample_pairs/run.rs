//! Sampling both sides: rows that are not kept share one batch and one copy of each model's weights.

use rayon::prelude::*;
use retmask_model::decoder::Decoder;
use retmask_model::generate::{Completion, Limits, Next, Request, Sampling, Sink, generate};
use retmask_model::{ModelError, ModelResult};

use super::Parameters;
use super::answer::answer;
use super::prompts::{self, Prompt, Templated};
use super::side::{Answer, Answerer, Answerers, SIDES, Side, row_key};
use super::stop::{StopWatch, up_to_a_stop};
use crate::artifact::pairs::Response;
use crate::contract::{Context, Rows, StageResult};
use crate::rows::{Made, Row, kept, work_through};

/// The row maps of both sides.
///
/// # Errors
/// `Environment`: what is kept cannot be read.
pub fn open_rows(parameters: &Parameters, answerers: &Answerers, context: &Context) -> StageResult<Vec<Box<dyn Rows>>> {
    SIDES.iter().map(|side| context.rows(&side.scope(parameters, answerers.other.is_some())?)).collect()
}

/// Whether a prompt leaves every model room for a response: from a kept answer where there is one.
///
/// # Errors
/// `Environment`: what is kept cannot be read; what the chat template or the tokenizer says.
pub fn fits(
    parameters: &Parameters,
    answerers: &Answerers,
    maps: &mut [Box<dyn Rows>],
    prompt: &Prompt,
) -> StageResult<bool> {
    let sides = if answerers.other.is_some() { &SIDES[..] } else { &SIDES[..1] };
    for (map, &side) in sides.iter().enumerate() {
        let fits = match kept::<Answer>(maps, &Row { map, key: row_key(prompt, 0) })? {
            Some(answer) => matches!(answer, Answer::Given { .. }),
            None => {
                let answerer = answerers.of(side);
                let templated = prompts::template(parameters, &answerer.codec, prompt)?;
                answerer.has_room(parameters, templated.tokens.len())
            }
        };
        if !fits {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Samples (chosen, rejected) for every prompt and, within it, every sample.
///
/// # Errors
/// `Interrupted` when asked to stop; what the model says.
pub fn run(
    parameters: &Parameters,
    answerers: &Answerers,
    prompts: &[Prompt],
    maps: Vec<Box<dyn Rows>>,
    context: &Context,
) -> StageResult<Vec<(Answer, Answer)>> {
    let samples = parameters.samples as usize;
    let of_sample = |place: usize| {
        let key = row_key(&prompts[place / samples], (place % samples) as u32);
        (0..SIDES.len()).map(move |map| Row { map, key })
    };
    let rows: Vec<Row> = (0..prompts.len() * samples).into_par_iter().flat_map_iter(of_sample).collect();
    let sampler = Sampler { parameters, answerers, prompts, context };
    let answers = work_through(context, maps, &rows, &mut |missing, made| sampler.make(missing, made))?;
    let mut answers = answers.into_iter();
    let mut sides = Vec::with_capacity(rows.len() / SIDES.len());
    while let (Some(chosen), Some(rejected)) = (answers.next(), answers.next()) {
        sides.push((chosen, rejected));
    }
    Ok(sides)
}

struct Sampler<'a> {
    parameters: &'a Parameters,
    answerers: &'a Answerers,
    prompts: &'a [Prompt],
    context: &'a Context,
}

/// A response to be sampled.
struct Wanted {
    row: usize,
    side: Side,
    templated: Templated,
}

impl Sampler<'_> {
    fn make(&self, missing: &[usize], made: &mut Made<'_, Answer>) -> StageResult<()> {
        let Self { answerers, context, .. } = self;
        let mut wanted = Vec::with_capacity(missing.len());
        for &row in missing {
            let side = SIDES[row % SIDES.len()];
            let answerer = answerers.of(side);
            let templated = prompts::template(self.parameters, &answerer.codec, self.prompt(row))?;
            if answerer.has_room(self.parameters, templated.tokens.len()) {
                wanted.push(Wanted { row, side, templated });
            } else {
                made.done(row, Answer::TooLong { prompt_tokens: templated.tokens.len() as u32 })?;
            }
            context.check_cancelled()?;
        }
        let models: [(&Answerer, Vec<Wanted>); 2] = match &answerers.other {
            None => [(&answerers.model, wanted), (&answerers.model, Vec::new())],
            Some(other) => {
                let (chosen, rejected) = wanted.into_iter().partition(|wanted| wanted.side == Side::Chosen);
                [(&answerers.model, chosen), (other, rejected)]
            }
        };
        models.into_iter().filter(|(_, wanted)| !wanted.is_empty()).try_for_each(|(answerer, wanted)| {
            context.progress().phase("load the model", "models", 1);
            let decoder = Decoder::load(&answerer.checkpoint, self.parameters.numerics)?;
            context.progress().advance(1);
            let requests: Vec<Request> = wanted.iter().map(|wanted| self.request(wanted)).collect();
            context.progress().phase("responses", "responses", requests.len() as u64);
            let stop = &self.parameters.stop;
            let watches = wanted.iter().map(|_| StopWatch::new(&answerer.codec, stop)).collect();
            let mut gather = Gather { answerer, context, wanted: &wanted, stop, watches, made };
            Ok(generate(&decoder, answerers.mask.as_slice(), &requests, &Limits::default(), &mut gather)?)
        })
    }

    /// The prompt of a row: rows stand by prompt, sample and side.
    fn prompt(&self, row: usize) -> &Prompt {
        &self.prompts[row / (self.parameters.samples as usize * SIDES.len())]
    }

    fn request(&self, wanted: &Wanted) -> Request {
        let Wanted { row, side, templated } = wanted;
        let parameters = self.parameters;
        let sample = (row / SIDES.len()) as u32 % parameters.samples;
        Request {
            prompt: templated.tokens.clone(),
            mask: (*side == Side::Rejected && self.answerers.mask.is_some()).then_some(0),
            max_new_tokens: parameters.max_new_tokens as usize,
            stop_tokens: self.answerers.of(*side).codec.end_tokens().to_vec(),
            sampling: Sampling::Random {
                rules: parameters.rules(),
                stream: side.stream(parameters, self.prompt(*row), sample),
            },
            probe: false,
            logit_gaps: false,
        }
    }
}

/// Keeps each response's text as it arrives.
struct Gather<'a, 'm> {
    answerer: &'a Answerer,
    context: &'a Context,
    wanted: &'a [Wanted],
    stop: &'a [String],
    watches: Vec<StopWatch<'a>>,
    made: &'a mut Made<'m, Answer>,
}

impl Sink for Gather<'_, '_> {
    fn generated(&mut self, request: usize, token: u32) -> ModelResult<Next> {
        Ok(if self.watches[request].sees_a_stop(token)? { Next::Stop } else { Next::GoOn })
    }

    fn completed(&mut self, request: usize, completion: Completion) -> ModelResult<()> {
        let Wanted { row, templated, .. } = &self.wanted[request];
        let text = self.answerer.codec.decode(&completion.tokens, true)?;
        let response = Response {
            text: answer(up_to_a_stop(&text, self.stop), templated.opens_thoughts).to_owned(),
            tokens: completion.tokens.len() as u32,
            stop: completion.stop.name(),
        };
        let prompt_tokens = templated.tokens.len() as u32;
        self.made.done(*row, Answer::Given { prompt_tokens, response })?;
        self.context.progress().advance(1);
        Ok(())
    }

    fn processed(&mut self, count: usize) -> ModelResult<()> {
        self.context.progress().tokens(count as u64);
        if self.context.cancel().is_cancelled() { Err(ModelError::interrupted()) } else { Ok(()) }
    }
}
