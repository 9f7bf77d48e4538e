//! Sampling: rows that are not kept share one batch and one copy of each model's weights, or are asked of a server.

use rayon::prelude::*;
use retmask_model::decoder::Decoder;
use retmask_model::generate::{Completion, Limits, Next, Request, Sampling, Sink, generate};
use retmask_model::{ModelError, ModelResult};

use super::Parameters;
use super::answer::split;
use super::prompts::{self, Prompt, Templated};
use super::server::{self, Ask};
use super::side::{Answer, Answerer, Answerers, Rejected, Side, Who, row_key};
use crate::artifact::pairs::Response;
use crate::contract::{Context, Rows, StageResult};
use crate::rows::{Made, Row, kept, work_through};
use crate::stop_texts::{StopWatch, up_to_a_stop};

/// Which response a row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Draw {
    /// The prompt's place.
    pub prompt: usize,
    pub side: Side,
    /// Which of the samples of this prompt.
    pub sample: u32,
}

/// How responses stand in a row: by prompt, by pair, and within a pair chosen before rejected; or the candidates that a
/// judge chooses from, all of which are responses that could be chosen.
#[derive(Debug, Clone, Copy)]
pub struct Layout {
    pairs: usize,
    of_a_pair: usize,
    judged: bool,
}

impl Layout {
    pub fn new(parameters: &Parameters) -> Self {
        let judged = parameters.judge.is_some();
        Self { pairs: parameters.samples as usize, of_a_pair: parameters.responses_of_a_pair(), judged }
    }

    pub const fn responses_of_a_pair(&self) -> usize {
        self.of_a_pair
    }

    /// The response at this place.
    pub fn draw(&self, place: usize) -> Draw {
        let (pair, within) = (place / self.of_a_pair, place % self.of_a_pair);
        let (prompt, sample) = (pair / self.pairs, pair % self.pairs);
        match (self.judged, within) {
            (true, _) => Draw { prompt, side: Side::Chosen, sample: (sample * self.of_a_pair + within) as u32 },
            (false, 0) => Draw { prompt, side: Side::Chosen, sample: sample as u32 },
            (false, _) => Draw { prompt, side: Side::Rejected, sample: sample as u32 },
        }
    }
}

/// The row maps of the sides, in their order.
///
/// # Errors
/// `Environment`: what is kept cannot be read.
pub fn open_rows(parameters: &Parameters, answerers: &Answerers, context: &Context) -> StageResult<Vec<Box<dyn Rows>>> {
    answerers.sides().iter().map(|side| context.rows(&side.scope(parameters, answerers)?)).collect()
}

/// Whether a prompt leaves every model in this program room for a response: from a kept answer where there is one.
///
/// # Errors
/// `Environment`: what is kept cannot be read; what the chat template or the tokenizer says.
pub fn fits(
    parameters: &Parameters,
    answerers: &Answerers,
    maps: &mut [Box<dyn Rows>],
    prompt: &Prompt,
) -> StageResult<bool> {
    // With a mask both sides have the same window.
    let sides = answerers.sides();
    let sides = if answerers.mask().is_some() { &sides[..1] } else { sides };
    for (map, &side) in sides.iter().enumerate() {
        let Who::Model(answerer) = answerers.of(side) else { continue };
        let fits = match kept::<Answer>(maps, &Row { map, key: row_key(prompt, 0) })? {
            Some(answer) => !matches!(answer, Answer::TooLong { .. }),
            None => {
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

/// Samples the responses to all prompts, in their layout.
///
/// # Errors
/// `Interrupted` when asked to stop; what a model or a server says.
pub fn run(
    parameters: &Parameters,
    answerers: &Answerers,
    prompts: &[Prompt],
    maps: Vec<Box<dyn Rows>>,
    context: &Context,
) -> StageResult<Vec<Answer>> {
    let layout = Layout::new(parameters);
    let row = |place: usize| {
        let Draw { prompt, side, sample } = layout.draw(place);
        Row { map: side as usize, key: row_key(&prompts[prompt], sample) }
    };
    // Into one list of the right length: lists of parts would leave as much memory behind.
    let count = prompts.len() * layout.pairs * layout.of_a_pair;
    let rows: Vec<Row> = (0..count).into_par_iter().map(row).collect();
    let sampler = Sampler { parameters, answerers, prompts, layout, context };
    work_through(context, maps, &rows, &mut |missing, made| sampler.make(missing, made))
}

struct Sampler<'a> {
    parameters: &'a Parameters,
    answerers: &'a Answerers,
    prompts: &'a [Prompt],
    layout: Layout,
    context: &'a Context,
}

/// A response to be sampled here.
struct Wanted {
    row: usize,
    draw: Draw,
    templated: Templated,
}

impl Sampler<'_> {
    fn make(&self, missing: &[usize], made: &mut Made<'_, Answer>) -> StageResult<()> {
        let Self { answerers, .. } = self;
        // A masked model shares the batch with itself.
        let together = !matches!(answerers.rejected, Rejected::Other(_));
        let with = |row: &usize, side| together || self.layout.draw(*row).side == side;
        for &side in if together { &answerers.sides()[..1] } else { answerers.sides() } {
            let rows: Vec<usize> = missing.iter().copied().filter(|row| with(row, side)).collect();
            if rows.is_empty() {
                continue;
            }
            match answerers.of(side) {
                Who::Model(answerer) => self.sample(answerer, &rows, made)?,
                Who::Server(server) => {
                    let ask = |row: usize| {
                        let Draw { prompt, sample, .. } = self.layout.draw(row);
                        Ask { row, prompt: &self.prompts[prompt], sample }
                    };
                    let asks: Vec<Ask> = rows.into_iter().map(ask).collect();
                    server::ask(self.parameters, server, side, &asks, made, self.context)?;
                }
            }
        }
        Ok(())
    }

    /// Samples these rows with a model in this program.
    fn sample(&self, answerer: &Answerer, rows: &[usize], made: &mut Made<'_, Answer>) -> StageResult<()> {
        let Self { parameters, context, .. } = self;
        let mut wanted = Vec::with_capacity(rows.len());
        for &row in rows {
            let draw = self.layout.draw(row);
            let templated = prompts::template(parameters, &answerer.codec, &self.prompts[draw.prompt])?;
            if answerer.has_room(parameters, templated.tokens.len()) {
                wanted.push(Wanted { row, draw, templated });
            } else {
                made.done(row, Answer::TooLong { prompt_tokens: templated.tokens.len() as u32 })?;
            }
            context.check_cancelled()?;
        }
        if wanted.is_empty() {
            return Ok(());
        }
        context.progress().phase("load the model", "models", 1);
        let decoder = Decoder::load(&answerer.checkpoint, parameters.numerics)?;
        context.progress().advance(1);
        let requests: Vec<Request> = wanted.iter().map(|wanted| self.request(answerer, wanted)).collect();
        context.progress().phase("responses", "responses", requests.len() as u64);
        let stop = &parameters.stop;
        let watches = wanted.iter().map(|_| StopWatch::new(&answerer.codec, stop)).collect();
        let mut gather = Gather { answerer, context, wanted: &wanted, stop, watches, made };
        let masks: Vec<_> = self.answerers.mask().into_iter().cloned().collect();
        Ok(generate(&decoder, &masks, &requests, &Limits::default(), &mut gather)?)
    }

    fn request(&self, answerer: &Answerer, wanted: &Wanted) -> Request {
        let Wanted { draw, templated, .. } = wanted;
        let parameters = self.parameters;
        Request {
            prompt: templated.tokens.clone(),
            mask: (draw.side == Side::Rejected && self.answerers.mask().is_some()).then_some(0),
            max_new_tokens: parameters.max_new_tokens as usize,
            stop_tokens: answerer.codec.end_tokens().to_vec(),
            sampling: Sampling::Random {
                rules: parameters.rules(),
                stream: draw.side.stream(parameters, &self.prompts[draw.prompt], draw.sample),
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
        let (thoughts, answer) = split(up_to_a_stop(&text, self.stop), templated.opens_thoughts);
        let response =
            Response { text: answer.to_owned(), tokens: completion.tokens.len() as u32, stop: completion.stop.name() };
        let reasoning = thoughts.filter(|thoughts| !thoughts.is_empty()).map(str::to_owned);
        let prompt_tokens = templated.tokens.len() as u32;
        self.made.done(*row, Answer::Given { prompt_tokens, response, reasoning })?;
        self.context.progress().advance(1);
        Ok(())
    }

    fn processed(&mut self, count: usize) -> ModelResult<()> {
        self.context.progress().tokens(count as u64);
        if self.context.cancel().is_cancelled() { Err(ModelError::interrupted()) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Judge;
    use super::*;

    #[test]
    fn candidates_of_a_judge_are_samples_that_could_be_chosen() {
        let spelt = |parameters: &Parameters, responses: usize| -> Vec<(usize, Side, u32)> {
            let layout = Layout::new(parameters);
            let draws = (0..responses).map(|place| layout.draw(place));
            draws.map(|draw| (draw.prompt, draw.side, draw.sample)).collect()
        };
        let plain = Parameters { samples: 2, ..Parameters::default() };
        let (chosen, rejected) = (Side::Chosen, Side::Rejected);
        let pairs = |prompt| [(prompt, chosen, 0), (prompt, rejected, 0), (prompt, chosen, 1), (prompt, rejected, 1)];
        assert_eq!(spelt(&plain, 8), [pairs(0), pairs(1)].concat());
        let judged = Parameters { judge: Some(Judge { responses: 3, ..Judge::default() }), ..plain };
        assert_eq!(spelt(&judged, 6), (0..6).map(|sample| (0, chosen, sample)).collect::<Vec<_>>());
    }
}
