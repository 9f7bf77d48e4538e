//! `retmask model speed`: how fast a model runs on this machine, and how near that is to the machine's limit.

use std::time::Instant;

use retmask_model::decoder::Decoder;
use retmask_model::flops::{Work, forward_flops, measured_peak};
use retmask_model::generate::{Completion, Limits, Next, Request, Sampling, SamplingRules, Sink, generate};
use retmask_model::heads::{Head, HeadMask};
use retmask_model::random::Stream;
use retmask_model::spec::ModelSpec;
use retmask_model::{ModelResult, Numerics};
use serde_json::json;

use super::argument::ModelArgument;
use crate::cli::Settings;
use crate::error::{Error, Result};
use crate::output::{Align, Table};

/// One of so many heads is masked in every second stream of `--paired`.
const MASKED_EACH: u32 = 20;

/// What `retmask model speed` takes.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    model: ModelArgument,
    /// The class of arithmetic: f32, or bf16, where products read their inputs in bf16
    #[arg(long, value_name = "CLASS", default_value_t)]
    numerics: Numerics,
    /// Lengths of prompts that are read, up to the logits of the last token
    #[arg(long, value_name = "TOKENS", value_delimiter = ',', num_args = 0.., default_values_t = [1024, 4096])]
    prompts: Vec<usize>,
    /// How many sequences are continued at once
    #[arg(long, value_name = "COUNT", value_delimiter = ',', num_args = 0.., default_values_t = [1, 32])]
    streams: Vec<usize>,
    /// The length of the prompts that are continued
    #[arg(long, value_name = "TOKENS", default_value_t = 32)]
    prompt_tokens: usize,
    /// Tokens that each sequence is continued by, sampled at temperature 0.6 without an end
    #[arg(long, value_name = "TOKENS", default_value_t = 128)]
    new_tokens: usize,
    /// Sequences continued in all, `--streams` of them at once [default: as many as at once]
    #[arg(long, value_name = "COUNT")]
    sequences: Option<usize>,
    /// Mask a twentieth of the heads in every second sequence, as sampling pairs does
    #[arg(long)]
    paired: bool,
    /// Continue token by token, without checking several drafted tokens in one pass
    #[arg(long)]
    no_drafts: bool,
    /// Times that each is measured; the median counts
    #[arg(long, value_name = "N", default_value_t = 3)]
    rounds: usize,
}

/// One line of the result.
struct Line {
    what: String,
    /// Tokens that the rate counts.
    tokens: usize,
    seconds: f64,
    flops: f64,
    /// Drafted tokens that passes checked, and how many of them were kept.
    drafted: usize,
    kept: usize,
}

/// Executes `retmask model speed`.
///
/// # Errors
/// `Input` when the model is wrong or a length exceeds its context.
pub fn execute(arguments: &Arguments, settings: &Settings) -> Result<()> {
    if arguments.rounds == 0 || arguments.streams.contains(&0) || arguments.prompts.contains(&0) {
        return Err(Error::input("lengths, streams and rounds are at least 1"));
    }
    if arguments.prompt_tokens == 0 || arguments.new_tokens < 2 {
        return Err(Error::input("a sequence is continued from at least 1 token by at least 2"));
    }
    let model = arguments.model.open(settings)?;
    let decoder = Decoder::load(&model.checkpoint, arguments.numerics)?;
    let peak = measured_peak(arguments.numerics);
    let mut lines = Vec::new();
    for &tokens in &arguments.prompts {
        lines.push(median(arguments.rounds, || prompt(&decoder, tokens))?);
    }
    for &streams in &arguments.streams {
        lines.push(median(arguments.rounds, || continued(&decoder, arguments, streams))?);
    }
    if settings.printer.json() {
        return settings.printer.data(&format!("{}\n", as_json(arguments.numerics, peak, &lines)));
    }
    let mut table = Table::new([
        ("", Align::Left),
        ("seconds", Align::Right),
        ("tokens/s", Align::Right),
        ("GFLOP/s", Align::Right),
        ("share of products", Align::Right),
        ("drafted", Align::Right),
        ("kept", Align::Right),
    ]);
    for line in &lines {
        table.row([
            line.what.clone(),
            format!("{:.2}", line.seconds),
            format!("{:.1}", line.tokens as f64 / line.seconds),
            format!("{:.0}", line.flops / line.seconds / 1e9),
            format!("{:.0} %", 100.0 * line.flops / line.seconds / peak),
            line.drafted.to_string(),
            line.kept.to_string(),
        ]);
    }
    let threads = rayon::current_num_threads();
    let note = format!(
        "{} on {threads} threads; products alone reach {:.0} GFLOP/s; medians of {}\n",
        arguments.numerics,
        peak / 1e9,
        arguments.rounds
    );
    settings.printer.data(&(table.render(settings.printer) + &note))
}

fn as_json(numerics: Numerics, peak: f64, lines: &[Line]) -> serde_json::Value {
    let measured = lines.iter().map(|line| {
        json!({ "what": line.what, "tokens": line.tokens, "seconds": line.seconds,
            "tokens_per_second": line.tokens as f64 / line.seconds, "flops_per_second": line.flops / line.seconds,
            "drafted": line.drafted, "kept": line.kept })
    });
    json!({ "numerics": numerics.name(), "threads": rayon::current_num_threads(), "product_flops_per_second": peak,
        "measured": measured.collect::<Vec<_>>() })
}

/// The round of median time.
fn median(rounds: usize, mut round: impl FnMut() -> Result<Line>) -> Result<Line> {
    let mut lines = (0..rounds).map(|_| round()).collect::<Result<Vec<Line>>>()?;
    lines.sort_by(|left, right| left.seconds.total_cmp(&right.seconds));
    let middle = lines.len() / 2;
    Ok(lines.swap_remove(middle))
}

/// Reads one prompt.
fn prompt(decoder: &Decoder, tokens: usize) -> Result<Line> {
    let request = request(decoder.spec(), 0, tokens, 1, Sampling::Greedy);
    let clock = run(decoder, &[], &[request], &Limits::default())?;
    let work = Work { position: 0, tokens, logits: 1 };
    Ok(Line {
        what: format!("prompt of {tokens}"),
        tokens,
        seconds: clock.seconds(),
        flops: forward_flops(decoder.spec(), [work]),
        drafted: 0,
        kept: 0,
    })
}

/// Continues sequences: from the first prompt token to the last new one, or, of one stream, from its first new token on.
fn continued(decoder: &Decoder, arguments: &Arguments, streams: usize) -> Result<Line> {
    let (spec, prompt, new) = (decoder.spec(), arguments.prompt_tokens, arguments.new_tokens);
    let sequences = arguments.sequences.unwrap_or(streams);
    let requests: Vec<Request> = (0..sequences)
        .map(|index| {
            let rules = SamplingRules { temperature: 0.6, ..SamplingRules::default() };
            let stream = Stream::derive(index as u64, &[b"model speed"]);
            // The two of a pair have one prompt.
            let text = if arguments.paired { index / 2 } else { index };
            let mut request = request(spec, text, prompt, new, Sampling::Random { rules, stream });
            request.mask = (arguments.paired && index % 2 == 1).then_some(0);
            request
        })
        .collect();
    let masks = if arguments.paired { vec![masked(spec)] } else { Vec::new() };
    let limits = Limits { slots: streams, drafts: !arguments.no_drafts, ..Limits::default() };
    let clock = run(decoder, &masks, &requests, &limits)?;
    let alone = sequences == 1;
    // The last token is never fed back.
    let decoded = Work { position: prompt, tokens: new - 1, logits: new - 1 };
    let whole = Work { position: 0, tokens: prompt + new - 1, logits: new };
    let work = if alone { decoded } else { whole };
    let seconds = if alone { clock.seconds() - clock.first } else { clock.seconds() };
    let counted = if alone { new - 1 } else { new * sequences };
    let what = match (alone, sequences == streams) {
        (true, _) => "one stream".to_owned(),
        (false, true) => format!("{streams} streams"),
        (false, false) => format!("{sequences} sequences, {streams} streams"),
    };
    let flops = forward_flops(spec, (0..sequences).map(|_| work));
    Ok(Line { what, tokens: counted, seconds, flops, drafted: clock.drafted, kept: clock.kept })
}

/// A request of arbitrary tokens that nothing ends.
fn request(spec: &ModelSpec, text: usize, tokens: usize, new_tokens: usize, sampling: Sampling) -> Request {
    let mut stream = Stream::derive(text as u64, &[b"model speed prompt"]);
    Request {
        prompt: (0..tokens).map(|_| stream.below(spec.vocabulary_size) as u32).collect(),
        mask: None,
        max_new_tokens: new_tokens,
        stop_tokens: Vec::new(),
        sampling,
        probe: false,
        logit_gaps: false,
    }
}

fn masked(spec: &ModelSpec) -> HeadMask {
    let heads = spec.query_heads as u32;
    let all = (0..spec.layers.len() as u32).flat_map(|layer| (0..heads).map(move |head| Head { layer, head }));
    all.filter(|place| (place.layer * heads + place.head) % MASKED_EACH == MASKED_EACH - 1).collect()
}

fn run(decoder: &Decoder, masks: &[HeadMask], requests: &[Request], limits: &Limits) -> Result<Clock> {
    let mut clock = Clock { began: Instant::now(), first: 0.0, last: 0.0, drafted: 0, kept: 0 };
    generate(decoder, masks, requests, limits, &mut clock)?;
    Ok(clock)
}

/// When the first and the last token came, in seconds, and what became of drafts.
struct Clock {
    began: Instant,
    first: f64,
    last: f64,
    drafted: usize,
    kept: usize,
}

impl Clock {
    fn seconds(&self) -> f64 {
        self.last
    }
}

impl Sink for Clock {
    fn generated(&mut self, _request: usize, _token: u32) -> ModelResult<Next> {
        self.last = self.began.elapsed().as_secs_f64();
        if self.first == 0.0 {
            self.first = self.last;
        }
        Ok(Next::GoOn)
    }

    fn completed(&mut self, _request: usize, _completion: Completion) -> ModelResult<()> {
        Ok(())
    }

    fn processed(&mut self, _count: usize) -> ModelResult<()> {
        Ok(())
    }

    fn drafted(&mut self, tried: usize, kept: usize) {
        self.drafted += tried;
        self.kept += kept;
    }
}
