//! From datasets to prompts, and what readers of the answers have to know of them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use rayon::prelude::*;
use retmask_model::checkpoint::Checkpoint;
use retmask_model::text::TextCodec;

use super::data::DataFolder;
use super::dataset::{self, Dataset, Example, Records, Request};
use super::parameters::{ChatTemplate, Parameters};
use super::prompt::{Form, Room, prepare};
use super::template::Templates;
use super::tokens::{Tokens, tokenizer};
use crate::artifact::predictions::Prediction;
use crate::contract::{Context, Inputs, RowContent, RowKey, StageError, StageResult};
use crate::models;
use crate::written::Written;

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

/// A prompt and the row it becomes.
pub struct Question {
    pub prompt: Vec<u32>,
    pub max_new_tokens: usize,
    /// `output` holds the assistant prefix until the answer is there.
    pub row: Prediction,
}

impl Question {
    /// A row is a prompt and the room for its answer.
    pub fn key(&self) -> RowKey {
        RowContent::default().tokens("prompt", &self.prompt).number("new tokens", self.max_new_tokens as u64).key()
    }

    /// The row, answered.
    pub fn answered(self, answer: Written) -> Prediction {
        let mut row = self.row;
        // The prefix is put back with no space added: what is scored is "Answer:" + " Paris".
        row.output.push_str(&answer.text);
        Prediction { generated_tokens: answer.tokens, stop: answer.stop.into(), ..row }
    }
}

/// What prompts are made of.
pub struct Material {
    /// The datasets asked for; their files are there.
    pub datasets: Vec<&'static dyn Dataset>,
    pub checkpoint: Checkpoint,
    pub codec: TextCodec,
    templates: Templates,
    data: Option<DataFolder>,
    length_tokens: Option<TextCodec>,
    /// The longest sequence of the model, thoughts left out.
    window: usize,
}

impl Material {
    /// Opens the model and reads the inputs.
    ///
    /// # Errors
    /// `Input` when one of them is malformed, files of the datasets are missing, or examples of the length that is asked for do not fit the model's window.
    pub fn open(parameters: &Parameters, inputs: &Inputs) -> StageResult<Self> {
        let data = data_of(inputs)?;
        // What is quickly seen to be missing is said before a model is opened.
        let datasets = datasets(parameters, data.as_ref())?;
        let checkpoint = models::open(&inputs.one("model")?.path, parameters.yarn)?;
        let window = window(parameters, checkpoint.spec().context_length)?;
        let codec = checkpoint.text_codec()?;
        let templates = match inputs.optional("templates") {
            None => Templates::own()?,
            Some(input) => Templates::read(&input.path)?,
        };
        let length_tokens = inputs.optional("length-tokenizer").map(|input| tokenizer(&input.path)).transpose()?;
        Ok(Self { datasets, checkpoint, codec, templates, data, length_tokens, window })
    }

    /// The questions of the examples that are wanted, by dataset and number.
    ///
    /// # Errors
    /// `Input` with the dataset and the example at fault; `Interrupted` when the user asks to stop.
    pub fn questions(
        &self,
        parameters: &Parameters,
        context: &Context,
        datasets: &[&'static dyn Dataset],
        wanted: &dyn Fn(&str, usize) -> bool,
    ) -> StageResult<Vec<Question>> {
        context.progress().phase("make prompts", "datasets", datasets.len() as u64);
        let mut questions = Vec::new();
        for dataset in datasets {
            let named =
                |error: StageError| StageError { message: format!("{}: {}", dataset.name(), error.message), ..error };
            questions.extend(self.questions_of(parameters, context, *dataset, wanted).map_err(named)?);
            context.progress().advance(1);
        }
        log_prompts(&questions, context);
        Ok(questions)
    }

    fn questions_of(
        &self,
        parameters: &Parameters,
        context: &Context,
        dataset: &'static dyn Dataset,
        wanted: &dyn Fn(&str, usize) -> bool,
    ) -> StageResult<Vec<Question>> {
        let template = self.templates.of(dataset.name())?;
        let length = parameters.length as usize;
        let room = Room { length, new_tokens: dataset.max_new_tokens(), window: self.window };
        let check = || context.check_cancelled();
        let request = Request {
            room,
            samples: parameters.samples.map_or(dataset.samples(), |samples| samples as usize),
            seed: parameters.seed,
            shots: parameters.shots.map(|shots| shots as usize),
            records: parameters.records,
            template: &template,
            tokens: &self.codec,
            length_tokens: self.length_tokens.as_ref().unwrap_or(&self.codec) as &dyn Tokens,
            data: self.data.as_ref(),
            check: &check,
        };
        let form = self.form(parameters, dataset)?;
        let examples = dataset.examples(&request)?;
        if examples.is_empty() {
            return Err(StageError::input("the data hold no example"));
        }
        let one = |(number, mut example): (usize, Example)| {
            context.check_cancelled()?;
            let prompt = prepare(&template, &example, room, form, &self.codec)
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
    fn form(&self, parameters: &Parameters, dataset: &dyn Dataset) -> StageResult<Form> {
        let chat = match parameters.chat_template {
            ChatTemplate::ByDataset => dataset.chat() && self.codec.has_chat_template(),
            ChatTemplate::Never => false,
            ChatTemplate::Always if self.codec.has_chat_template() => true,
            ChatTemplate::Always => {
                return Err(StageError::input("`chat-template: always`, but the model has no chat template")
                    .with_hint("leave `chat-template` out, or take an instruct model"));
            }
        };
        Ok(if chat { Form::Chat { thinking: parameters.thinking } } else { Form::Completion })
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

/// The datasets asked for, their files there.
///
/// # Errors
/// `Input` with the files that are missing.
fn datasets(parameters: &Parameters, data: Option<&DataFolder>) -> StageResult<Vec<&'static dyn Dataset>> {
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

/// What thoughts leave of the model's window; prompts and answers must fit it.
fn window(parameters: &Parameters, window: usize) -> StageResult<usize> {
    let (length, thoughts) = (parameters.length as usize, parameters.thought_tokens());
    if length + thoughts <= window {
        return Ok(window - thoughts);
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
