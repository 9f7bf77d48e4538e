//! The stage: all questions first, then those without a kept result go through the model, then everything is scored.

use std::cell::OnceCell;

use retmask_model::checkpoint::Checkpoint;
use retmask_model::continuations::{Endings, ending_logprobs};
use retmask_model::decoder::Decoder;
use retmask_model::generate::{Completion, Limits, Next, Request, Sampling, Sink, generate};
use retmask_model::heads::HeadMask;
use retmask_model::logprobs::token_logprobs;
use retmask_model::text::TextCodec;
use retmask_model::{ModelError, ModelResult};

use super::code::Interpreter;
use super::parameters::{Parameters, TaskType};
use super::perplexity::Window;
use super::questions::{Asked, Making, Question};
use super::score::{self, Answer, Scoring};
use super::{TEMPLATES, tables};
use crate::artifact::{mask, punkt_parameters};
use crate::contract::{Context, Inputs, Outputs, RowContent, RowScope, StageError, StageResult};
use crate::helmet::template::Templates;
use crate::models;
use crate::rows::{Made, Reader, Row, RowResult, Writer, work_through};
use crate::stop_texts::{StopWatch, up_to_a_stop};
use crate::written::Written;

/// A task with its questions.
pub struct Asking<'a> {
    pub name: &'a str,
    pub kind: TaskType,
    pub questions: Vec<Question>,
}

/// What the model gave to one row.
#[derive(Debug, Clone, PartialEq)]
enum Given {
    /// The log-probability of each ending, in nats.
    Endings(Vec<f64>),
    Written(Written),
    /// The log-probability of a window, in nats.
    Window(f64),
}

impl RowResult for Given {
    fn write(&self, bytes: &mut Writer) {
        match self {
            Self::Endings(logprobs) => {
                bytes.byte(0);
                bytes.reals(logprobs);
            }
            Self::Written(written) => {
                bytes.byte(1);
                written.write(bytes);
            }
            Self::Window(logprob) => {
                bytes.byte(2);
                bytes.real(*logprob);
            }
        }
    }

    fn read(bytes: &mut Reader<'_>) -> Option<Self> {
        Some(match bytes.byte()? {
            0 => Self::Endings(bytes.reals()?),
            1 => Self::Written(Written::read(bytes)?),
            2 => Self::Window(bytes.real()?),
            _ => return None,
        })
    }
}

/// What one row asks of the model. The rows of each kind are a map of their own.
enum Ask<'a> {
    Endings(Endings<'a>),
    Text { prompt: &'a [u32], max_new_tokens: usize, stop: &'a [String] },
    Window(&'a Window),
}

impl Ask<'_> {
    fn row(&self) -> Row {
        let (map, content) = match self {
            Self::Endings(text) => {
                let content = RowContent::default().tokens("beginning", text.beginning);
                (0, text.endings.iter().fold(content, |content, ending| content.tokens("ending", ending)))
            }
            Self::Text { prompt, max_new_tokens, stop } => {
                let content = RowContent::default().tokens("prompt", prompt);
                let content = content.number("new tokens", *max_new_tokens as u64);
                (1, stop.iter().fold(content, |content, stop| content.text("stop", stop)))
            }
            Self::Window(window) => {
                let content = RowContent::default().tokens("tokens", &window.tokens);
                (2, content.number("first", window.first as u64))
            }
        };
        Row { map, key: content.key() }
    }
}

/// The rows of a question: one, or one per window.
fn asks(asked: &Asked) -> Vec<Ask<'_>> {
    match asked {
        Asked::Endings { beginning, endings, .. } => vec![Ask::Endings(Endings { beginning, endings })],
        Asked::Text { prompt, max_new_tokens, stop, .. } => {
            vec![Ask::Text { prompt, max_new_tokens: *max_new_tokens, stop }]
        }
        Asked::Document { windows, .. } => windows.iter().map(Ask::Window).collect(),
    }
}

/// Does the stage's work.
pub fn run(parameters: &Parameters, inputs: &Inputs, outputs: &Outputs, context: &Context) -> StageResult<()> {
    // Before hours of answers: whether their code can run.
    let interpreter = match &parameters.program {
        None => None,
        Some(program) => {
            let folder = context.scratch().join("isolated");
            std::fs::create_dir_all(&folder).map_err(|error| StageError::io("make the folder", &folder, &error))?;
            Some((Interpreter::prepare(program, parameters.seconds, parameters.memory, &folder)?, folder))
        }
    };
    let punkt = match inputs.optional("punkt") {
        None => None,
        Some(input) => Some(punkt_parameters::read(&input.path)?),
    };
    let checkpoint = models::open(&inputs.one("model")?.path, parameters.yarn)?;
    let spec = checkpoint.spec();
    let mask = inputs.optional("mask").map(|input| mask::read(&input.path)).transpose()?;
    if let Some(mask) = &mask {
        mask.check(spec.layers.len(), spec.query_heads)?;
    }
    let codec = checkpoint.text_codec()?;
    let templates = match inputs.optional("templates") {
        None => Templates::from_json(TEMPLATES, "the built-in templates")
            .map_err(|error| StageError::internal(error.message))?,
        Some(input) => Templates::read(&input.path)?,
    };
    let making =
        Making { parameters, inputs, codec: &codec, templates: &templates, window: spec.context_length, context };
    context.progress().phase("make prompts", "tasks", parameters.tasks.len() as u64);
    let mut tasks = Vec::new();
    for (name, task) in &parameters.tasks {
        let questions = making
            .questions(name, task)
            .map_err(|error| StageError { message: format!("{name}: {}", error.message), ..error })?;
        context.progress().log(&format!("{name}: {} examples", questions.len()));
        context.progress().advance(1);
        tasks.push(Asking { name, kind: task.kind, questions });
    }
    let model = Model {
        checkpoint: &checkpoint,
        parameters,
        mask: mask.as_ref(),
        codec: &codec,
        context,
        decoder: OnceCell::new(),
    };
    let answers = model.answers(&tasks)?;
    let scoring = Scoring {
        punkt: punkt.as_ref(),
        interpreter: interpreter.as_ref().map(|(interpreter, folder)| (interpreter, folder.as_path())),
        own_wording: inputs.optional("templates").is_none(),
        resamples: parameters.resamples as usize,
        seed: parameters.seed,
        context,
    };
    let results = score::score(&tasks, &answers, &scoring)?;
    tables::write(outputs, &results)
}

/// The model, loaded when it is first needed.
struct Model<'a> {
    checkpoint: &'a Checkpoint,
    parameters: &'a Parameters,
    mask: Option<&'a HeadMask>,
    codec: &'a TextCodec,
    context: &'a Context,
    decoder: OnceCell<Decoder>,
}

impl Model<'_> {
    fn decoder(&self) -> StageResult<&Decoder> {
        if let Some(decoder) = self.decoder.get() {
            return Ok(decoder);
        }
        self.context.progress().phase("load the model", "models", 1);
        let decoder = Decoder::load(self.checkpoint, self.parameters.numerics)?;
        self.context.progress().advance(1);
        Ok(self.decoder.get_or_init(|| decoder))
    }

    /// What all parameters but these have to do with prompts and scores alone.
    fn scope(&self, rows: &'static str) -> StageResult<RowScope> {
        let without = ["tasks", "seed", "chat-template", "program", "seconds", "memory", "resamples"];
        RowScope::new(rows, &["model", "mask"], self.parameters, &without)
    }

    fn processed(&self, tokens: usize) -> ModelResult<()> {
        self.context.progress().tokens(tokens as u64);
        if self.context.cancel().is_cancelled() { Err(ModelError::interrupted()) } else { Ok(()) }
    }

    /// The answers of all tasks, in the order of their questions.
    fn answers(&self, tasks: &[Asking<'_>]) -> StageResult<Vec<Vec<Answer>>> {
        let asks: Vec<Ask<'_>> =
            tasks.iter().flat_map(|task| &task.questions).flat_map(|question| asks(&question.asked)).collect();
        let rows: Vec<Row> = asks.iter().map(Ask::row).collect();
        let maps = ["choices", "answers", "windows"].map(|rows| self.context.rows(&self.scope(rows)?));
        let maps = maps.into_iter().collect::<StageResult<Vec<_>>>()?;
        let given = work_through(self.context, maps, &rows, &mut |missing, made| {
            let of = |map: usize| -> Vec<usize> {
                missing.iter().copied().filter(|&place| rows[place].map == map).collect()
            };
            self.choices(&asks, &of(0), made)?;
            self.texts(&asks, &of(1), made)?;
            self.windows(&asks, &of(2), made)
        })?;
        let mut given = given.into_iter();
        let unfit = || StageError::internal("an example has no result of its kind");
        let mut one = |question: &Question| {
            let mut next = || given.next().ok_or_else(unfit);
            Ok(match &question.asked {
                Asked::Endings { .. } => match next()? {
                    Given::Endings(logprobs) => Answer::Choice(logprobs),
                    _ => return Err(unfit()),
                },
                Asked::Text { .. } => match next()? {
                    Given::Written(written) => Answer::Text(written),
                    _ => return Err(unfit()),
                },
                Asked::Document { windows, .. } => {
                    let mut sum = 0.0;
                    for _ in windows {
                        match next()? {
                            Given::Window(logprob) => sum += logprob,
                            _ => return Err(unfit()),
                        }
                    }
                    Answer::Likelihood(sum)
                }
            })
        };
        tasks.iter().map(|task| task.questions.iter().map(&mut one).collect::<StageResult<Vec<_>>>()).collect()
    }

    fn choices(&self, asks: &[Ask<'_>], missing: &[usize], made: &mut Made<'_, Given>) -> StageResult<()> {
        if missing.is_empty() {
            return Ok(());
        }
        let decoder = self.decoder()?;
        let of = |place: &usize| match &asks[*place] {
            Ask::Endings(text) => Some(*text),
            _ => None,
        };
        let texts: Vec<Endings<'_>> = missing.iter().filter_map(of).collect();
        self.context.progress().phase("choose", "examples", texts.len() as u64);
        let mut found = |place: usize, sums: Vec<f64>| -> ModelResult<()> {
            made.done(missing[place], Given::Endings(sums))?;
            self.context.progress().advance(1);
            Ok(())
        };
        Ok(ending_logprobs(decoder, self.mask, &texts, &mut |tokens| self.processed(tokens), &mut found)?)
    }

    fn texts(&self, asks: &[Ask<'_>], missing: &[usize], made: &mut Made<'_, Given>) -> StageResult<()> {
        if missing.is_empty() {
            return Ok(());
        }
        let decoder = self.decoder()?;
        let (mut requests, mut stops) = (Vec::new(), Vec::new());
        for &place in missing {
            let Ask::Text { prompt, max_new_tokens, stop } = &asks[place] else { continue };
            stops.push(*stop);
            requests.push(Request {
                prompt: prompt.to_vec(),
                mask: self.mask.map(|_| 0),
                max_new_tokens: *max_new_tokens,
                stop_tokens: self.codec.end_tokens().to_vec(),
                sampling: Sampling::Greedy,
                probe: false,
                logit_gaps: false,
            });
        }
        self.context.progress().phase("answer", "examples", requests.len() as u64);
        let watches = stops.iter().map(|stop| StopWatch::new(self.codec, stop)).collect();
        let mut answers = Answers { model: self, missing, stops: &stops, watches, made };
        let masks: Vec<HeadMask> = self.mask.cloned().into_iter().collect();
        Ok(generate(decoder, &masks, &requests, &Limits::default(), &mut answers)?)
    }

    fn windows(&self, asks: &[Ask<'_>], missing: &[usize], made: &mut Made<'_, Given>) -> StageResult<()> {
        if missing.is_empty() {
            return Ok(());
        }
        let decoder = self.decoder()?;
        self.context.progress().phase("log-probabilities", "windows", missing.len() as u64);
        for &place in missing {
            let Ask::Window(window) = &asks[place] else { continue };
            let found = token_logprobs(decoder, self.mask, &[&window.tokens], &mut |tokens| self.processed(tokens))?;
            // The log-probability of token i stands at place i - 1.
            made.done(place, Given::Window(found[0][window.first - 1..].iter().sum()))?;
            self.context.progress().advance(1);
        }
        Ok(())
    }
}

/// Keeps each answer when it arrives.
struct Answers<'a, 'm> {
    model: &'a Model<'a>,
    missing: &'a [usize],
    stops: &'a [&'a [String]],
    watches: Vec<StopWatch<'a>>,
    made: &'a mut Made<'m, Given>,
}

impl Sink for Answers<'_, '_> {
    fn generated(&mut self, request: usize, token: u32) -> ModelResult<Next> {
        Ok(if self.watches[request].sees_a_stop(token)? { Next::Stop } else { Next::GoOn })
    }

    fn completed(&mut self, request: usize, completion: Completion) -> ModelResult<()> {
        let text = self.model.codec.decode(&completion.tokens, true)?;
        let written = Written {
            text: up_to_a_stop(&text, self.stops[request]).to_owned(),
            tokens: completion.tokens.len() as u32,
            stop: completion.stop.name(),
        };
        self.made.done(self.missing[request], Given::Written(written))?;
        self.model.context.progress().advance(1);
        Ok(())
    }

    fn processed(&mut self, count: usize) -> ModelResult<()> {
        self.model.processed(count)
    }
}
