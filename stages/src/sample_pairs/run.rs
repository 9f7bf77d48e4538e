//! Sampling both sides: original and masked rows share one batch and one copy of the weights.

use retmask_model::decoder::Decoder;
use retmask_model::generate::{Completion, Limits, Request, Sampling, Sink, generate};
use retmask_model::heads::HeadMask;
use retmask_model::random::Stream;
use retmask_model::text::TextCodec;
use retmask_model::{ModelError, ModelResult};

use super::Parameters;
use super::answer::answer;
use super::prompts::Prompt;
use crate::artifact::pairs::Response;
use crate::contract::{Context, StageError, StageResult};

/// Which side of a pair a request writes. The name of its random stream holds the side and not the mask, so
/// that runs with other masks have the same chosen side.
#[derive(Debug, Clone, Copy)]
enum Side {
    Chosen,
    Rejected,
}

const SIDES: [Side; 2] = [Side::Chosen, Side::Rejected];

/// Samples (chosen, rejected) for every prompt and, within it, every sample.
///
/// # Errors
/// `Input` when the model names no end token; `Interrupted` when asked to stop; what the model says.
pub fn run(
    parameters: &Parameters,
    decoder: &Decoder,
    codec: &TextCodec,
    mask: &HeadMask,
    prompts: &[Prompt],
    context: &Context,
) -> StageResult<Vec<(Response, Response)>> {
    if codec.end_tokens().is_empty() {
        return Err(StageError::input("the model names no end token, so no response would ever end")
            .with_hint("give the model an `eos_token_id`"));
    }
    let samples = parameters.samples as usize;
    let mut requests = Vec::with_capacity(prompts.len() * samples * SIDES.len());
    for prompt in prompts {
        for sample in 0..parameters.samples {
            requests.extend(SIDES.map(|side| request(parameters, codec, prompt, sample, side)));
        }
    }
    context.progress().phase("responses", "responses", requests.len() as u64);
    let mut gather = Gather { codec, prompts, samples, context, responses: vec![None; requests.len()] };
    generate(decoder, std::slice::from_ref(mask), &requests, &Limits::default(), &mut gather)?;
    let responses: Option<Vec<Response>> = gather.responses.into_iter().collect();
    let mut responses =
        responses.ok_or_else(|| StageError::internal("the model did not complete every response"))?.into_iter();
    let mut sides = Vec::with_capacity(prompts.len() * samples);
    while let (Some(chosen), Some(rejected)) = (responses.next(), responses.next()) {
        sides.push((chosen, rejected));
    }
    Ok(sides)
}

fn request(parameters: &Parameters, codec: &TextCodec, prompt: &Prompt, sample: u32, side: Side) -> Request {
    Request {
        prompt: prompt.tokens.clone(),
        mask: match side {
            Side::Chosen => None,
            Side::Rejected => Some(0),
        },
        max_new_tokens: parameters.max_new_tokens as usize,
        stop_tokens: codec.end_tokens().to_vec(),
        sampling: if parameters.temperature == 0.0 {
            Sampling::Greedy
        } else {
            Sampling::Random {
                temperature: parameters.temperature,
                top_p: parameters.top_p,
                stream: stream(parameters, prompt, sample, side),
            }
        },
        probe: false,
        logit_gaps: false,
    }
}

/// The random numbers of one response: named by what it is, never by its place. Both sides draw independently
/// unless they are coupled.
fn stream(parameters: &Parameters, prompt: &Prompt, sample: u32, side: Side) -> Stream {
    let role: &[u8] = match side {
        Side::Rejected if !parameters.coupled => b"rejected",
        Side::Chosen | Side::Rejected => b"chosen",
    };
    Stream::derive(parameters.seed, &[&prompt.digest, role, &sample.to_le_bytes()])
}

/// Keeps each response's text as it arrives.
struct Gather<'a> {
    codec: &'a TextCodec,
    prompts: &'a [Prompt],
    samples: usize,
    context: &'a Context,
    responses: Vec<Option<Response>>,
}

impl Sink for Gather<'_> {
    fn completed(&mut self, request: usize, completion: Completion) -> ModelResult<()> {
        let prompt = &self.prompts[request / (self.samples * SIDES.len())];
        let text = self.codec.decode(&completion.tokens, true)?;
        self.responses[request] = Some(Response {
            text: answer(&text, prompt.opens_thoughts).to_owned(),
            tokens: completion.tokens.len() as u32,
            stop: completion.stop.name(),
        });
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
    use super::*;

    #[test]
    fn sides_draw_independently_unless_coupled_and_share_the_chosen_side() {
        let prompt = Prompt { messages: vec![], tokens: vec![1], opens_thoughts: false, digest: [7; 32] };
        let draw = |coupled, sample, side| {
            stream(&Parameters { coupled, ..Parameters::default() }, &prompt, sample, side).next_u64()
        };
        assert_ne!(draw(false, 0, Side::Chosen), draw(false, 0, Side::Rejected));
        assert_eq!(draw(true, 0, Side::Chosen), draw(true, 0, Side::Rejected));
        assert_eq!(draw(true, 0, Side::Chosen), draw(false, 0, Side::Chosen));
        assert_ne!(draw(false, 0, Side::Chosen), draw(false, 1, Side::Chosen));
    }
}
