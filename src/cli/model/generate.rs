//! `retmask model generate`: continues one prompt.

use std::io::Read;
use std::path::PathBuf;

use retmask_model::decoder::Decoder;
use retmask_model::generate::{self, Completion, Limits, Next, Request, Sampling, SamplingRules, Sink, StopReason};
use retmask_model::random::Stream;
use retmask_model::text::{ChatMessage, TextCodec, TextStream};
use retmask_model::{ModelResult, Numerics};
use retmask_stages::sample_pairs::{ends_in_a_loop, opens_thoughts, split};
use retmask_stages::stop_texts::{StopWatch, up_to_a_stop};
use serde_json::json;

use super::argument::ModelArgument;
use super::read_mask;
use crate::cli::Settings;
use crate::error::{Error, Result};
use crate::output::Printer;

/// What `retmask model generate` takes.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    model: ModelArgument,
    /// What the user says; `-` reads it from standard input
    #[arg(long, value_name = "TEXT")]
    prompt: String,
    /// Heads to mask: a mask artifact, or JSON [[layer, head], ...]
    #[arg(long, value_name = "FILE")]
    mask: Option<PathBuf>,
    /// Sample at this temperature [default: take the most probable token]
    #[arg(long, value_name = "T", value_parser = above_0)]
    temperature: Option<f64>,
    /// Sample from the smallest set of tokens whose probability reaches this
    #[arg(long, value_name = "P", default_value_t = 1.0, value_parser = share, requires = "temperature")]
    top_p: f64,
    /// Sample from so many of the most probable tokens; 0 keeps all
    #[arg(long, value_name = "N", default_value_t = 0, requires = "temperature")]
    top_k: usize,
    /// Sample from tokens at least this times as probable as the best
    #[arg(long, value_name = "P", default_value_t = 0.0, value_parser = from_0_to_1, requires = "temperature")]
    min_p: f64,
    /// Divide positive logits of tokens that were there by this, and multiply others
    #[arg(long, value_name = "X", default_value_t = 1.0, value_parser = above_0)]
    repetition_penalty: f64,
    /// Take this from a token's logit for every time it stands in the answer
    #[arg(long, value_name = "X", default_value_t = 0.0, value_parser = finite, allow_negative_numbers = true)]
    frequency_penalty: f64,
    /// End the answer before this text; may be given more than once
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    stop: Vec<String>,
    /// Answers to sample, each with random numbers of its own
    #[arg(short, long = "samples", value_name = "N", default_value_t = 1, requires = "temperature",
          value_parser = clap::value_parser!(u32).range(1..))]
    n: u32,
    /// Seed of the samples
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Tokens to generate at most
    #[arg(long, value_name = "N", default_value_t = 256)]
    max_new_tokens: usize,
    /// Continue the prompt as it is, without the chat template
    #[arg(long)]
    raw: bool,
    /// The class of arithmetic: f32, or bf16, where linear layers read inputs and weights in bf16
    #[arg(long, value_name = "CLASS", default_value_t)]
    numerics: Numerics,
}

/// A number of which `allowed` says that it is one of `expected`.
fn number(text: &str, expected: &str, allowed: impl Fn(f64) -> bool) -> std::result::Result<f64, String> {
    let value = text.parse().ok().filter(|value: &f64| value.is_finite() && allowed(*value));
    value.ok_or_else(|| format!("expected {expected}"))
}

fn above_0(text: &str) -> std::result::Result<f64, String> {
    number(text, "a number above 0", |value| value > 0.0)
}

fn share(text: &str) -> std::result::Result<f64, String> {
    number(text, "a number above 0 and at most 1", |value| value > 0.0 && value <= 1.0)
}

fn from_0_to_1(text: &str) -> std::result::Result<f64, String> {
    number(text, "a number from 0 to 1", |value| (0.0..=1.0).contains(&value))
}

fn finite(text: &str) -> std::result::Result<f64, String> {
    number(text, "a number", |_| true)
}

/// Executes `retmask model generate`.
///
/// # Errors
/// `Input` when the model, the prompt or the mask are wrong.
pub fn execute(arguments: &Arguments, settings: &Settings) -> Result<()> {
    let model = arguments.model.open(settings)?;
    let checkpoint = &model.checkpoint;
    let codec = checkpoint.text_codec()?;
    let masks: Vec<_> = arguments.mask.as_deref().map(read_mask).transpose()?.into_iter().collect();
    let prompt = encode(&codec, &prompt_text(&arguments.prompt)?, arguments.raw)?;
    let decoder = Decoder::load(checkpoint, arguments.numerics)?;
    let request = |sample| Request {
        mask: arguments.mask.as_ref().map(|_| 0),
        max_new_tokens: arguments.max_new_tokens,
        stop_tokens: codec.end_tokens().to_vec(),
        sampling: sampling(arguments, &prompt.tokens, sample),
        probe: false,
        logit_gaps: false,
        prompt: prompt.tokens.clone(),
    };
    let requests: Vec<Request> = (0..arguments.n).map(request).collect();
    let mut answers = Answers {
        codec: &codec,
        printer: settings.printer,
        stop: &arguments.stop,
        opens_thoughts: prompt.opens_thoughts,
        stream: codec.stream(),
        watches: requests.iter().map(|_| StopWatch::new(&codec, &arguments.stop)).collect(),
        whole: vec![None; requests.len()],
        failure: None,
    };
    let outcome = generate::generate(&decoder, &masks, &requests, &Limits::default(), &mut answers);
    // A failed write has stopped the generation; what failed is the write.
    match answers.failure.take() {
        Some(failure) => Err(failure),
        None => {
            outcome?;
            answers.tell()
        }
    }
}

/// The prompt itself, or standard input.
fn prompt_text(typed: &str) -> Result<String> {
    if typed != "-" {
        return Ok(typed.to_owned());
    }
    let mut text = String::new();
    std::io::stdin()
        .read_to_string(&mut text)
        .map_err(|error| Error::input(format!("the prompt on standard input cannot be read: {error}")))?;
    Ok(text)
}

/// A prompt as the model reads it.
struct Encoded {
    tokens: Vec<u32>,
    /// Whether the template itself opens the model's thoughts.
    opens_thoughts: bool,
}

/// One user turn by the chat template, which has its own special tokens; or the text itself.
fn encode(codec: &TextCodec, text: &str, raw: bool) -> Result<Encoded> {
    if raw {
        return Ok(Encoded { tokens: codec.encode(text, true)?, opens_thoughts: false });
    }
    if !codec.has_chat_template() {
        return Err(Error::input("the model has no chat template").with_hint("--raw continues the prompt as it is"));
    }
    let turn = ChatMessage { role: "user".into(), content: text.to_owned() };
    let chat = codec.render_chat(&[turn], true, None)?;
    Ok(Encoded { opens_thoughts: opens_thoughts(&chat), tokens: codec.encode_chat(&chat)? })
}

/// Random draws depend on the seed, the prompt and the sample's number.
fn sampling(arguments: &Arguments, prompt: &[u32], sample: u32) -> Sampling {
    let rules = SamplingRules {
        repetition_penalty: arguments.repetition_penalty,
        frequency_penalty: arguments.frequency_penalty,
        temperature: arguments.temperature.unwrap_or(0.0),
        top_k: arguments.top_k,
        top_p: arguments.top_p,
        min_p: arguments.min_p,
    };
    let prompt: Vec<u8> = prompt.iter().flat_map(|id| id.to_le_bytes()).collect();
    let stream = Stream::derive(arguments.seed, &[b"model generate", &prompt, &sample.to_le_bytes()]);
    Sampling::Random { rules, stream }
}

/// Writes a lone answer as it comes; several, one that a text may end, and those for machines, once they are whole.
struct Answers<'run> {
    codec: &'run TextCodec,
    printer: Printer,
    stop: &'run [String],
    opens_thoughts: bool,
    stream: TextStream<'run>,
    watches: Vec<StopWatch<'run>>,
    whole: Vec<Option<Completion>>,
    failure: Option<Error>,
}

impl Answers<'_> {
    fn as_it_comes(&self) -> bool {
        !self.printer.json() && self.whole.len() == 1 && self.stop.is_empty()
    }

    fn write(&mut self, text: &str) -> ModelResult<()> {
        self.printer.data(text).map_err(|error| {
            self.failure = Some(error);
            retmask_model::ModelError::interrupted()
        })
    }

    /// What was not written as it came, in the order of samples.
    fn tell(&self) -> Result<()> {
        if self.as_it_comes() {
            return Ok(());
        }
        for (sample, completion) in self.whole.iter().enumerate() {
            let completion = completion.as_ref().ok_or_else(|| Error::internal("an answer did not end"))?;
            let text = self.codec.decode(&completion.tokens, true)?;
            let text = up_to_a_stop(&text, self.stop);
            let said = match (self.printer.json(), self.whole.len()) {
                (true, _) => self.json(sample, text, completion),
                (false, 1) => text.to_owned(),
                (false, _) => format!("--- {}\n{text}", sample + 1),
            };
            self.printer.data(&format!("{said}\n"))?;
        }
        Ok(())
    }

    fn json(&self, sample: usize, text: &str, completion: &Completion) -> String {
        let (reasoning, answer) = split(text, self.opens_thoughts);
        let answer = json!({
            "sample": sample, "text": text, "reasoning": reasoning, "answer": answer,
            "tokens": completion.tokens, "stop": completion.stop.name(),
            "truncated": completion.stop == StopReason::Length, "loop": ends_in_a_loop(answer),
        });
        answer.to_string()
    }
}

impl Sink for Answers<'_> {
    fn generated(&mut self, request: usize, token: u32) -> ModelResult<Next> {
        if self.as_it_comes() {
            let text = self.stream.push(token)?;
            if !text.is_empty() {
                self.write(&text)?;
            }
        }
        Ok(if self.watches[request].sees_a_stop(token)? { Next::Stop } else { Next::GoOn })
    }

    fn completed(&mut self, request: usize, completion: Completion) -> ModelResult<()> {
        if self.as_it_comes() {
            let rest = self.stream.finish()?;
            self.write(&format!("{rest}\n"))?;
        }
        self.whole[request] = Some(completion);
        Ok(())
    }

    fn processed(&mut self, _count: usize) -> ModelResult<()> {
        Ok(())
    }
}
