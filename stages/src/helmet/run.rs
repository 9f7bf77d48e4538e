//! The stage: all prompts first, then one pass of generation over those without a kept answer.

use std::collections::BTreeMap;
use std::path::PathBuf;

use rayon::prelude::*;
use retmask_model::decoder::Decoder;
use retmask_model::generate::{self, Completion, Limits, Sampling, Sink, StopReason, generate};
use retmask_model::text::TextCodec;
use retmask_model::{ModelError, ModelResult, Numerics};

use super::data::DataFolder;
use super::dataset::{self, Dataset, Example, Records, Request};
use super::parameters::{ChatTemplate, Parameters};
use super::prompt::{Form, Room, prepare};
use super::template::Templates;
use super::tokens::{Tokens, tokenizer};
use crate::artifact::predictions::{self, Prediction};
use crate::artifact::{Media, mask};
use crate::contract::{
    Arity, Context, InputPort, Inputs, Kind, OutputPort, Outputs, ParameterError, RowContent, RowKey, RowScope,
    StageError, StageResult,
};
use crate::models;
use crate::rows::{Made, Reader, Row, RowResult, Writer, work_through};

/// The stage kind.
pub struct Helmet;

impl Kind for Helmet {
    type Parameters = Parameters;

    const NAME: &'static str = "helmet";
    const EPOCH: u32 = 2;
    const SUMMARY: &'static str = "Let a model answer the examples of the HELMET benchmark";
    const INPUTS: &'static [InputPort] = &[
        InputPort { name: "model", media: &[Media::Model], arity: Arity::One, summary: "The model to evaluate" },
        InputPort {
            name: "data",
            media: &[Media::HelmetData],
            arity: Arity::Optional,
            summary: "HELMET's data files; needed by the datasets that are not generated",
        },
        InputPort {
            name: "sets",
            media: &[Media::HelmetData],
            arity: Arity::Labelled,
            summary: "Data sets as the hub has them, in place of folders in `data`: narrativeqa, infinitebench, multi_lexsum, by these names",
        },
        InputPort {
            name: "mask",
            media: &[Media::Mask],
            arity: Arity::Optional,
            summary: "Heads to mask while answering",
        },
        InputPort {
            name: "templates",
            media: &[Media::PromptTemplates],
            arity: Arity::Optional,
            summary: "The wording of the prompts, instead of the project's own",
        },
        InputPort {
            name: "length-tokenizer",
            media: &[Media::Tokenizer],
            arity: Arity::Optional,
            summary: "The tokenizer that decides the first cut of long documents (HELMET: Llama-2's), instead of the model's",
        },
    ];
    const OUTPUTS: &'static [OutputPort] = &[OutputPort {
        name: "predictions",
        media: Media::Predictions,
        summary: "A row per example: the answer as generated, before any post-processing",
    }];

    fn numerics(parameters: &Self::Parameters) -> Option<Numerics> {
        Some(parameters.numerics)
    }

    fn validate(parameters: &Parameters) -> Result<(), ParameterError> {
        parameters.check()
    }

    const TELLS_ORIGINS: bool = true;

    /// The prompts of examples, which are named `DATASET/LENGTH/EXAMPLE`, as their tokens read.
    fn origins(
        parameters: &Parameters,
        inputs: &Inputs,
        context: &Context,
        rows: &[&str],
    ) -> StageResult<Vec<(String, String)>> {
        let data = data_of(inputs)?;
        let name = |dataset: &str, number: usize| format!("{dataset}/{}/{number}", parameters.length);
        let named =
            |dataset: &&&'static dyn Dataset| rows.iter().any(|row| row.split('/').next() == Some(dataset.name()));
        let all = wanted(parameters, data.as_ref())?;
        let datasets: Vec<&'static dyn Dataset> = all.iter().filter(named).copied().collect();
        let checkpoint = models::open(&inputs.one("model")?.path, parameters.yarn)?;
        let codec = checkpoint.text_codec()?;
        let templates = match inputs.optional("templates") {
            None => Templates::own()?,
            Some(input) => Templates::read(&input.path)?,
        };
        let length_tokens = inputs.optional("length-tokenizer").map(|input| tokenizer(&input.path)).transpose()?;
        let making = Making {
            parameters,
            templates: &templates,
            data: data.as_ref(),
            codec: &codec,
            length_tokens: length_tokens.as_ref(),
            window: checkpoint.spec().context_length - parameters.thought_tokens(),
            context,
        };
        let wanted = |dataset: &str, number: usize| rows.contains(&name(dataset, number).as_str());
        let questions = making.questions(&datasets, &wanted)?.into_iter();
        let told = questions.map(|question| {
            let row = &question.row;
            Ok((name(&row.dataset, row.example as usize), codec.decode(&question.prompt, false)?))
        });
        told.collect()
    }

    fn run(parameters: &Parameters, inputs: &Inputs, outputs: &Outputs, context: &Context) -> StageResult<()> {
        let data = data_of(inputs)?;
        let datasets = wanted(parameters, data.as_ref())?;
        let checkpoint = models::open(&inputs.one("model")?.path, parameters.yarn)?;
        let spec = checkpoint.spec();
        check_window(parameters, spec.context_length)?;
        let mask = inputs.optional("mask").map(|input| mask::read(&input.path)).transpose()?;
        if let Some(mask) = &mask {
            mask.check(spec.layers.len(), spec.query_heads)?;
        }
        let codec = checkpoint.text_codec()?;
        let stop_tokens = stop_tokens(&codec, parameters.stop_at_newline)?;
        let templates = match inputs.optional("templates") {
            None => Templates::own()?,
            Some(input) => Templates::read(&input.path)?,
        };
        let length_tokens = inputs.optional("length-tokenizer").map(|input| tokenizer(&input.path)).transpose()?;
        let making = Making {
            parameters,
            templates: &templates,
            data: data.as_ref(),
            codec: &codec,
            length_tokens: length_tokens.as_ref(),
            window: spec.context_length - parameters.thought_tokens(),
            context,
        };
        let questions = making.questions(&datasets, &|_, _| true)?;

        let rows: Vec<Row> = questions.iter().map(|question| Row { map: 0, key: question.key() }).collect();
        let scope = RowScope::new("examples", &["model", "mask"], parameters, &OF_PROMPTS)?;
        let answers = work_through(context, vec![context.rows(&scope)?], &rows, &mut |missing, made| {
            context.progress().phase("load the model", "models", 1);
            let decoder = Decoder::load(&checkpoint, parameters.numerics)?;
            context.progress().advance(1);
            let request = |question: &usize| generate::Request {
                prompt: questions[*question].prompt.clone(),
                mask: mask.as_ref().map(|_| 0),
                max_new_tokens: questions[*question].max_new_tokens,
                stop_tokens: stop_tokens.clone(),
                sampling: Sampling::Greedy,
                probe: false,
                logit_gaps: false,
            };
            let requests: Vec<generate::Request> = missing.iter().map(request).collect();
            context.progress().phase("answer", "examples", requests.len() as u64);
            let mut answers = Answers { codec: &codec, context, missing, made };
            Ok(generate(&decoder, mask.as_slice(), &requests, &Limits::default(), &mut answers)?)
        })?;
        let rows: Vec<Prediction> =
            questions.into_iter().zip(answers).map(|(question, answer)| question.answered(answer)).collect();
        predictions::write(&outputs.path("predictions"), &rows)
    }
}

/// Folders of the layout that are data sets of the hub.
const SETS: [&str; 3] = ["narrativeqa", "infinitebench", "multi_lexsum"];

/// HELMET's files and the data sets beside them; `None` where neither was given.
fn data_of(inputs: &Inputs) -> StageResult<Option<DataFolder>> {
    let sets = inputs.labelled("sets");
    if let Some((label, _)) = sets.iter().find(|(label, _)| !SETS.contains(&label.as_str())) {
        let message = format!("port `sets`: there is no set `{label}`; there are: {}", SETS.join(", "));
        return Err(StageError::input(message));
    }
    let root = inputs.optional("data").map(|input| input.path.as_path());
    let sets: Vec<(String, PathBuf)> = sets.iter().map(|(label, input)| (label.clone(), input.path.clone())).collect();
    Ok((root.is_some() || !sets.is_empty()).then(|| DataFolder::with_sets(root, sets)))
}

/// Prompts, answers and thoughts must fit the model's window.
fn check_window(parameters: &Parameters, window: usize) -> StageResult<()> {
    let (length, thoughts) = (parameters.length as usize, parameters.thought_tokens());
    if length + thoughts <= window {
        return Ok(());
    }
    let asked = match thoughts {
        0 => format!("`length: {length}` exceeds"),
        _ => format!("`length: {length}` and `thinking-tokens: {thoughts}` together exceed"),
    };
    let hint = match window.checked_sub(thoughts).filter(|&most| most > 0) {
        Some(most) => format!("lower `length` to at most {most}, or stretch the window with `yarn`"),
        None => "lower `thinking-tokens`, or stretch the window with `yarn`".into(),
    };
    Err(StageError::input(format!("{asked} the model's window of {window} tokens")).with_hint(hint))
}

/// The datasets asked for, their files there.
fn wanted(parameters: &Parameters, data: Option<&DataFolder>) -> StageResult<Vec<&'static dyn Dataset>> {
    let datasets: Option<Vec<&dyn Dataset>> = parameters.datasets.iter().map(|name| dataset::by_name(name)).collect();
    let datasets = datasets.ok_or_else(|| StageError::internal("the datasets were not checked"))?;
    let needing: Vec<&&dyn Dataset> =
        datasets.iter().filter(|dataset| dataset.needs_data(parameters.records)).collect();
    match data {
        None => {
            if let Some(first) = needing.first() {
                let names: Vec<&str> = needing.iter().map(|dataset| dataset.name()).collect();
                let message = format!("{} need HELMET's data, but the port `data` is not connected", names.join(", "));
                return Err(StageError::input(message).with_hint(first.hint()));
            }
        }
        Some(folder) => {
            for dataset in needing {
                let files = dataset.files(parameters.length as usize, parameters.records)?;
                folder.require(&files, dataset.hint()).map_err(|error| StageError {
                    message: format!("{}: {}", dataset.name(), error.message),
                    ..error
                })?;
            }
        }
    }
    Ok(datasets)
}

/// Ids that end an answer: the model's end tokens and, where asked for, the tokens that are newlines.
fn stop_tokens(codec: &TextCodec, at_newline: bool) -> StageResult<Vec<u32>> {
    let mut stop_tokens = codec.end_tokens().to_vec();
    if at_newline {
        // One or two newlines: plain, as byte-level BPE spells them, and as a byte-fallback token.
        let spellings = ["\n", "\n\n", "Ċ", "ĊĊ", "<0x0A>"];
        let newlines: Vec<u32> = spellings.iter().filter_map(|spelling| codec.token_id(spelling)).collect();
        if newlines.is_empty() {
            return Err(StageError::input("`stop-at-newline: true`, but the model's vocabulary has no newline token")
                .with_hint("leave `stop-at-newline` out"));
        }
        stop_tokens.extend(newlines);
    }
    Ok(stop_tokens)
}

/// What only shapes the prompts.
const OF_PROMPTS: [&str; 7] = ["datasets", "length", "samples", "seed", "shots", "records", "chat-template"];

/// A prompt and the row it becomes.
struct Question {
    prompt: Vec<u32>,
    max_new_tokens: usize,
    /// `output` holds the assistant prefix until the answer is there.
    row: Prediction,
}

impl Question {
    /// A row is a prompt and the room for its answer.
    fn key(&self) -> RowKey {
        RowContent::default().tokens("prompt", &self.prompt).number("new tokens", self.max_new_tokens as u64).key()
    }

    fn answered(self, answer: Answer) -> Prediction {
        let mut row = self.row;
        // The prefix is put back with no space added: what is scored is "Answer:" + " Paris".
        row.output.push_str(&answer.text);
        Prediction { generated_tokens: answer.tokens, stop: answer.stop.into(), ..row }
    }
}

/// What the model wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Answer {
    text: String,
    tokens: u32,
    stop: &'static str,
}

impl RowResult for Answer {
    fn write(&self, bytes: &mut Writer) {
        bytes.text(&self.text);
        bytes.number(self.tokens);
        bytes.text(self.stop);
    }

    fn read(bytes: &mut Reader<'_>) -> Option<Self> {
        Some(Self { text: bytes.text()?, tokens: bytes.number()?, stop: StopReason::from_name(&bytes.text()?)?.name() })
    }
}

/// What prompts are made of.
struct Making<'a> {
    parameters: &'a Parameters,
    templates: &'a Templates,
    data: Option<&'a DataFolder>,
    codec: &'a TextCodec,
    length_tokens: Option<&'a TextCodec>,
    /// The longest sequence of the model, thoughts left out.
    window: usize,
    context: &'a Context,
}

impl Making<'_> {
    /// The questions of the examples that are wanted, by dataset and number.
    fn questions(
        &self,
        datasets: &[&'static dyn Dataset],
        wanted: &dyn Fn(&str, usize) -> bool,
    ) -> StageResult<Vec<Question>> {
        self.context.progress().phase("make prompts", "datasets", datasets.len() as u64);
        let mut questions = Vec::new();
        for dataset in datasets {
            let named =
                |error: StageError| StageError { message: format!("{}: {}", dataset.name(), error.message), ..error };
            questions.extend(self.questions_of(*dataset, wanted).map_err(named)?);
            self.context.progress().advance(1);
        }
        log_prompts(&questions, self.context);
        Ok(questions)
    }

    fn questions_of(
        &self,
        dataset: &'static dyn Dataset,
        wanted: &dyn Fn(&str, usize) -> bool,
    ) -> StageResult<Vec<Question>> {
        let parameters = self.parameters;
        let template = self.templates.of(dataset.name())?;
        let length = parameters.length as usize;
        let room = Room { length, new_tokens: dataset.max_new_tokens(), window: self.window };
        let check = || self.context.check_cancelled();
        let request = Request {
            room,
            samples: parameters.samples.map_or(dataset.samples(), |samples| samples as usize),
            seed: parameters.seed,
            shots: parameters.shots.map(|shots| shots as usize),
            records: parameters.records,
            template: &template,
            tokens: self.codec,
            length_tokens: self.length_tokens.unwrap_or(self.codec) as &dyn Tokens,
            data: self.data,
            check: &check,
        };
        let form = self.form(dataset)?;
        let examples = dataset.examples(&request)?;
        if examples.is_empty() {
            return Err(StageError::input("the data hold no example"));
        }
        let one = |(number, mut example): (usize, Example)| {
            self.context.check_cancelled()?;
            let prompt = prepare(&template, &example, room, form, self.codec)
                .map_err(|error| StageError { message: format!("example {number}: {}", error.message), ..error })?;
            // What a reader of the scores has to know of the prompts goes with them.
            if template.is_benchmarks() {
                example.facts.insert(WORDING.into(), BENCHMARKS.into());
            }
            if parameters.records == Records::Generated && !dataset.needs_data(Records::Generated) {
                example.facts.insert(RECORDS.into(), GENERATED.into());
            }
            if parameters.thinking == Some(true) {
                example.facts.insert(THOUGHTS.into(), true.into());
            }
            if dataset.cuts_documents() && self.length_tokens.is_none() {
                example.facts.insert(CUT_BY.into(), MODELS.into());
            }
            let row = Prediction {
                dataset: dataset.name().into(),
                length: parameters.length,
                example: number as u32,
                cluster: example.cluster,
                prompt_tokens: prompt.ids.len() as u32,
                output: prompt.prefix,
                answers: example.answers,
                facts: serde_json::Value::Object(example.facts).to_string(),
                ..Prediction::default()
            };
            let max_new_tokens = room.new_tokens + parameters.thought_tokens();
            Ok(Question { prompt: prompt.ids, max_new_tokens, row })
        };
        let wanted = examples.into_iter().enumerate().filter(|(number, _)| wanted(dataset.name(), *number));
        wanted.collect::<Vec<_>>().into_par_iter().map(one).collect()
    }

    /// How a dataset's examples are put to the model.
    fn form(&self, dataset: &dyn Dataset) -> StageResult<Form> {
        let chat = match self.parameters.chat_template {
            ChatTemplate::ByDataset => dataset.chat() && self.codec.has_chat_template(),
            ChatTemplate::Never => false,
            ChatTemplate::Always if self.codec.has_chat_template() => true,
            ChatTemplate::Always => {
                return Err(StageError::input("`chat-template: always`, but the model has no chat template")
                    .with_hint("leave `chat-template` out, or take an instruct model"));
            }
        };
        Ok(if chat { Form::Chat { thinking: self.parameters.thinking } } else { Form::Completion })
    }
}

/// The fact that says whose wording a prompt has; without it, the project's or another one's.
pub const WORDING: &str = "wording";
/// HELMET's own.
pub const BENCHMARKS: &str = "benchmark";
/// The fact that says that a record was made here, and is none of HELMET's.
pub const RECORDS: &str = "records";
/// Made here.
pub const GENERATED: &str = "generated";
/// The fact that says that an answer begins with thoughts, which are not scored.
pub const THOUGHTS: &str = "thoughts";
/// The fact that says which tokenizer cut the document first; without it, the one given for that.
pub const CUT_BY: &str = "document_cut_by";
/// The evaluated model's.
pub const MODELS: &str = "model";

/// Writes the prompts' sizes to the log, a line per dataset.
fn log_prompts(questions: &[Question], context: &Context) {
    let mut sizes: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
    for question in questions {
        sizes.entry(&question.row.dataset).or_default().push(question.row.prompt_tokens);
    }
    for (dataset, sizes) in sizes {
        let (least, most) = (sizes.iter().min().unwrap_or(&0), sizes.iter().max().unwrap_or(&0));
        context.progress().log(&format!("{dataset}: {} prompts of {least} to {most} tokens", sizes.len()));
    }
}

/// Keeps each answer when it arrives.
struct Answers<'a, 'm> {
    codec: &'a TextCodec,
    context: &'a Context,
    /// The questions that are asked.
    missing: &'a [usize],
    made: &'a mut Made<'m, Answer>,
}

impl Sink for Answers<'_, '_> {
    fn completed(&mut self, request: usize, completion: Completion) -> ModelResult<()> {
        let answer = Answer {
            text: self.codec.decode(&completion.tokens, true)?,
            tokens: completion.tokens.len() as u32,
            stop: completion.stop.name(),
        };
        self.made.done(self.missing[request], answer)?;
        self.context.progress().advance(1);
        Ok(())
    }

    fn processed(&mut self, count: usize) -> ModelResult<()> {
        self.context.progress().tokens(count as u64);
        if self.context.cancel().is_cancelled() { Err(ModelError::interrupted()) } else { Ok(()) }
    }
}
