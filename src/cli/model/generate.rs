//! `retmask model generate`: continues one prompt.

use std::io::Read;
use std::path::PathBuf;

use retmask_model::decoder::Decoder;
use retmask_model::generate::{self, Completion, Limits, Next, Request, Sampling, SamplingRules, Sink};
use retmask_model::random::Stream;
use retmask_model::text::{ChatMessage, TextCodec, TextStream};
use retmask_model::{ModelResult, Numerics};
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
    #[arg(long, value_name = "T", value_parser = temperature)]
    temperature: Option<f64>,
    /// Sample from the smallest set of tokens whose probability reaches this
    #[arg(long, value_name = "P", default_value_t = 1.0, value_parser = probability, requires = "temperature")]
    top_p: f64,
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

fn temperature(text: &str) -> std::result::Result<f64, String> {
    text.parse()
        .ok()
        .filter(|value: &f64| *value > 0.0 && value.is_finite())
        .ok_or_else(|| "expected a number above 0".into())
}

fn probability(text: &str) -> std::result::Result<f64, String> {
    text.parse()
        .ok()
        .filter(|value: &f64| *value > 0.0 && *value <= 1.0)
        .ok_or_else(|| "expected a number above 0 and at most 1".into())
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
    let request = Request {
        mask: arguments.mask.as_ref().map(|_| 0),
        max_new_tokens: arguments.max_new_tokens,
        stop_tokens: codec.end_tokens().to_vec(),
        sampling: sampling(arguments, &prompt),
        probe: false,
        logit_gaps: false,
        prompt,
    };
    let mut answer = Answer { codec: &codec, stream: codec.stream(), printer: settings.printer, failure: None };
    let outcome = generate::generate(&decoder, &masks, &[request], &Limits::default(), &mut answer);
    // A failed write has stopped the generation; what failed is the write.
    match answer.failure {
        Some(failure) => Err(failure),
        None => Ok(outcome?),
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

/// One user turn by the chat template, which has its own special tokens; or the text itself.
fn encode(codec: &TextCodec, text: &str, raw: bool) -> Result<Vec<u32>> {
    if raw {
        return Ok(codec.encode(text, true)?);
    }
    if !codec.has_chat_template() {
        return Err(Error::input("the model has no chat template").with_hint("--raw continues the prompt as it is"));
    }
    let turn = ChatMessage { role: "user".into(), content: text.to_owned() };
    Ok(codec.encode_chat(&codec.render_chat(&[turn], true, None)?)?)
}

/// Random draws depend on the seed and the prompt.
fn sampling(arguments: &Arguments, prompt: &[u32]) -> Sampling {
    let Some(temperature) = arguments.temperature else { return Sampling::Greedy };
    let prompt: Vec<u8> = prompt.iter().flat_map(|id| id.to_le_bytes()).collect();
    let stream = Stream::derive(arguments.seed, &[b"model generate", &prompt]);
    let rules = SamplingRules { temperature, top_p: arguments.top_p, ..SamplingRules::default() };
    Sampling::Random { rules, stream }
}

/// Writes the answer as it comes; with `--json`, once it is whole.
struct Answer<'run> {
    codec: &'run TextCodec,
    stream: TextStream<'run>,
    printer: Printer,
    failure: Option<Error>,
}

impl Answer<'_> {
    fn write(&mut self, text: &str) -> ModelResult<()> {
        self.printer.data(text).map_err(|error| {
            self.failure = Some(error);
            retmask_model::ModelError::interrupted()
        })
    }
}

impl Sink for Answer<'_> {
    fn generated(&mut self, _request: usize, token: u32) -> ModelResult<Next> {
        let text = self.stream.push(token)?;
        if !self.printer.json() && !text.is_empty() {
            self.write(&text)?;
        }
        Ok(Next::GoOn)
    }

    fn completed(&mut self, _request: usize, completion: Completion) -> ModelResult<()> {
        if self.printer.json() {
            let text = self.codec.decode(&completion.tokens, true)?;
            let answer = json!({ "text": text, "tokens": completion.tokens, "stop": completion.stop.name() });
            return self.write(&format!("{answer}\n"));
        }
        let rest = self.stream.finish()?;
        self.write(&format!("{rest}\n"))
    }

    fn processed(&mut self, _count: usize) -> ModelResult<()> {
        Ok(())
    }
}
