//! From records to what is put to the model.

use std::path::Path;

use rayon::prelude::*;
use retmask_model::text::TextCodec;

use super::code::{self, Problem as CodeProblem};
use super::final_number::Problem as NumberProblem;
use super::instructions::{self, Prompt};
use super::multiple_choice::{COLUMNS, Choice};
use super::parameters::{Chat, Parameters, Task, TaskType};
use super::perplexity::{self, Window};
use super::records::{self, Record};
use crate::contract::{Context, Inputs, StageError, StageResult};
use crate::helmet::random::permutation;
use crate::helmet::template::{Fields, Template, Templates};
use crate::helmet::tokens::Tokens;

/// One example as it is put to the model.
#[derive(Debug, Clone, PartialEq)]
pub enum Asked {
    /// Which of these endings is most likely.
    Endings { beginning: Vec<u32>, endings: Vec<Vec<u32>>, choice: Choice },
    /// What comes behind this.
    Text { prompt: Vec<u32>, max_new_tokens: usize, stop: Vec<String>, gold: Gold },
    /// How likely this is.
    Document { windows: Vec<Window>, bytes: usize },
}

/// What an answer is scored by.
#[derive(Debug, Clone, PartialEq)]
pub enum Gold {
    Number(String),
    Instructions(Prompt),
    Code(CodeProblem),
}

/// An example of a task.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// Its place in the file, from 0.
    pub example: u32,
    pub asked: Asked,
    /// Demonstrations that had no room.
    pub left_out: u32,
}

/// What questions are made with.
pub struct Making<'a> {
    pub parameters: &'a Parameters,
    pub inputs: &'a Inputs,
    pub codec: &'a TextCodec,
    pub templates: &'a Templates,
    /// The longest sequence of the model.
    pub window: usize,
    pub context: &'a Context,
}

impl Making<'_> {
    /// The questions of a task, in the order of its records.
    ///
    /// # Errors
    /// `Input` with the record that cannot be asked.
    pub fn questions(&self, name: &str, task: &Task) -> StageResult<Vec<Question>> {
        let labelled = |port: &str| self.inputs.labelled(port).iter().find(|(label, _)| label == name);
        let (_, input) = labelled("data").ok_or_else(|| StageError::internal("a task has no data"))?;
        let header: &[&str] = if task.kind == TaskType::MultipleChoice { &COLUMNS } else { &[] };
        let all = read(&input.path, "test", header)?;
        let mut shown = Vec::new();
        if task.shots > 0 {
            shown = match labelled("demonstrations") {
                Some((_, input)) => read(&input.path, "dev", header)?,
                None if input.path.is_dir() => read(&input.path, "dev", header)?,
                None => {
                    let message = format!("`shots: {}`, but there are no demonstrations", task.shots);
                    return Err(StageError::input(message)
                        .with_hint(format!("connect them: `in: {{demonstrations: {{{name}: SOURCE}}}}`")));
                }
            };
        }
        let maker = TaskMaker { making: self, task, shown: Shown::read(task.kind, &shown)? };
        let mut places: Vec<usize> = (0..all.len()).collect();
        if let Some(samples) = task.samples.map(|samples| samples as usize).filter(|samples| *samples < all.len()) {
            places = permutation(self.parameters.seed, all.len()).into_iter().take(samples).collect();
            places.sort_unstable();
        }
        let one = |place: usize| {
            self.context.check_cancelled()?;
            let (asked, left_out) = maker.asked(&all[place])?;
            Ok(Question { example: place as u32, asked, left_out })
        };
        places.into_par_iter().map(one).collect()
    }
}

/// The records of a file, or of a folder's split.
fn read(path: &Path, split: &str, header: &[&str]) -> StageResult<Vec<Record>> {
    if !path.is_dir() {
        return records::read(path, header);
    }
    let files = records::split(path, split)?;
    if files.is_empty() {
        let message = format!("{} has neither {split}/*.csv nor {split}-*.parquet", path.display());
        return Err(StageError::input(message));
    }
    let mut all = Vec::new();
    for file in files {
        all.extend(records::read(&file, header)?);
    }
    Ok(all)
}

/// Makes the questions of one task.
struct TaskMaker<'a> {
    making: &'a Making<'a>,
    task: &'a Task,
    shown: Shown,
}

/// What may be demonstrations.
#[derive(Default)]
struct Shown {
    choices: Vec<Choice>,
    problems: Vec<NumberProblem>,
}

impl Shown {
    fn read(kind: TaskType, records: &[Record]) -> StageResult<Self> {
        let mut shown = Self::default();
        match kind {
            TaskType::MultipleChoice => shown.choices = records.iter().map(Choice::read).collect::<StageResult<_>>()?,
            TaskType::FinalNumber => {
                shown.problems = records.iter().map(NumberProblem::read).collect::<StageResult<_>>()?;
            }
            TaskType::Instructions | TaskType::Perplexity | TaskType::Code => {}
        }
        Ok(shown)
    }
}

impl TaskMaker<'_> {
    fn asked(&self, record: &Record) -> StageResult<(Asked, u32)> {
        let named = |error: StageError| match error.message.starts_with(&record.place) {
            true => error,
            false => StageError { message: format!("{}: {}", record.place, error.message), ..error },
        };
        match self.task.kind {
            TaskType::MultipleChoice => self.choice(record),
            TaskType::FinalNumber => self.number(record),
            TaskType::Instructions => {
                let prompt = instructions::prompt(record)?;
                let tokens = self.tokens(&prompt.text, self.making.parameters.chat_template != Chat::Never);
                tokens
                    .and_then(|tokens| self.text(tokens, Vec::new(), Gold::Instructions(prompt)))
                    .map(|asked| (asked, 0))
            }
            TaskType::Code => {
                let problem = CodeProblem::read(record)?;
                let tokens = self.tokens(&problem.prompt, false);
                let stop = code::STOP.map(str::to_owned).to_vec();
                tokens.and_then(|tokens| self.text(tokens, stop, Gold::Code(problem))).map(|asked| (asked, 0))
            }
            TaskType::Perplexity => self.document(record).map(|asked| (asked, 0)),
        }
        .map_err(named)
    }

    /// A text as the model reads it: as it is, or as a user's turn where the model has a chat template.
    fn tokens(&self, text: &str, chat: bool) -> StageResult<Vec<u32>> {
        let codec: &dyn Tokens = self.making.codec;
        if chat && self.making.codec.has_chat_template() { codec.chat(text, None) } else { codec.encode(text) }
    }

    fn text(&self, prompt: Vec<u32>, stop: Vec<String>, gold: Gold) -> StageResult<Asked> {
        let max_new_tokens = self.task.new_tokens();
        let (length, window) = (prompt.len(), self.making.window);
        if length + max_new_tokens > window {
            return Err(StageError::input(format!(
                "the prompt of {length} tokens and {max_new_tokens} new ones exceed the model's window of {window}"
            ))
            .with_hint("lower `max-new-tokens`"));
        }
        if length == 0 {
            return Err(StageError::input("the prompt has no token"));
        }
        Ok(Asked::Text { prompt, max_new_tokens, stop, gold })
    }

    fn choice(&self, record: &Record) -> StageResult<(Asked, u32)> {
        let template = self.making.templates.of(self.task.kind.name())?;
        let choice = Choice::read(record)?;
        let of_subject = |shown: &&Choice| choice.subject.is_empty() || shown.subject == choice.subject;
        let shown: Vec<&Choice> = self.shown.choices.iter().filter(of_subject).take(self.task.shots as usize).collect();
        if self.task.shots > 0 && shown.is_empty() {
            return Err(record.wrong("subject", format!("there is no demonstration about `{}`", choice.subject)));
        }
        let demo = |shown: &&Choice| -> StageResult<String> {
            Ok(shown.asked(&template)? + &shown.ending(&template, shown.answer)? + template.part("separator")?)
        };
        let demos = shown.iter().map(demo).collect::<StageResult<Vec<_>>>()?;
        let (introduction, question) = (choice.introduction(&template)?, choice.asked(&template)?);
        let endings =
            (0..choice.options()).map(|place| choice.ending(&template, place)).collect::<StageResult<Vec<_>>>()?;
        for left_out in 0..=demos.len() {
            let text = format!("{introduction}{}{question}", demos[left_out..].concat());
            let (beginning, endings) = self.split(&text, &endings)?;
            let longest = beginning.len() + endings.iter().map(Vec::len).max().unwrap_or(0);
            if longest <= self.making.window {
                return Ok((Asked::Endings { beginning, endings, choice }, left_out as u32));
            }
        }
        Err(record.wrong("question", format!("is longer than the model's window of {} tokens", self.making.window)))
    }

    /// The tokens that a text has in common with all endings behind it, and the rest of each.
    fn split(&self, text: &str, endings: &[String]) -> StageResult<(Vec<u32>, Vec<Vec<u32>>)> {
        let codec: &dyn Tokens = self.making.codec;
        let mut beginning = codec.encode(text)?;
        let whole =
            endings.iter().map(|ending| codec.encode(&format!("{text}{ending}"))).collect::<StageResult<Vec<_>>>()?;
        let common = |tokens: &Vec<u32>| beginning.iter().zip(tokens).take_while(|(left, right)| left == right).count();
        let shared = whole.iter().map(common).min().unwrap_or(0);
        beginning.truncate(shared);
        let rest: Vec<Vec<u32>> = whole.into_iter().map(|tokens| tokens[shared..].to_vec()).collect();
        if shared == 0 || rest.iter().any(Vec::is_empty) {
            return Err(StageError::input("an option adds no token to the question"));
        }
        Ok((beginning, rest))
    }

    fn number(&self, record: &Record) -> StageResult<(Asked, u32)> {
        let template = self.making.templates.of(self.task.kind.name())?;
        let problem = NumberProblem::read(record)?;
        let shown = self.shown.problems.iter().take(self.task.shots as usize);
        let demo = |shown: &NumberProblem| -> StageResult<String> {
            let fields = Fields::from([("question", shown.question.clone()), ("answer", shown.answer.clone())]);
            Ok(template.render("demo", &fields)? + template.part("separator")?)
        };
        let demos = shown.map(demo).collect::<StageResult<Vec<_>>>()?;
        let question = template.render("question", &Fields::from([("question", problem.question.clone())]))?;
        let introduction = template.part("introduction")?;
        let chat = match self.making.parameters.chat_template {
            Chat::ByTask => demos.is_empty(),
            Chat::Never => false,
            Chat::Always => true,
        };
        let stop = vec![stop(&template)?];
        let mut fault = None;
        for left_out in 0..=demos.len() {
            let text = format!("{introduction}{}{question}", demos[left_out..].concat());
            match self.text(self.tokens(&text, chat)?, stop.clone(), Gold::Number(problem.number.clone())) {
                Ok(asked) => return Ok((asked, left_out as u32)),
                Err(error) => fault = Some(error),
            }
        }
        Err(fault.unwrap_or_else(|| StageError::internal("no prompt was tried")))
    }

    fn document(&self, record: &Record) -> StageResult<Asked> {
        let text = perplexity::text(record)?;
        let (length, stride) = self.task.window();
        if length > self.making.window {
            let (window, why) = (self.making.window, "exceeds the model's window");
            return Err(StageError::input(format!("`length: {length}` {why} of {window} tokens"))
                .with_hint("lower `length`, or stretch the window with `yarn`"));
        }
        let tokens = self.making.codec.encode(text, true)?;
        if tokens.len() < 2 {
            return Err(StageError::input("the text has no second token to score"));
        }
        Ok(Asked::Document { windows: perplexity::windows(&tokens, length, stride), bytes: text.len() })
    }
}

/// The text that ends an answer.
fn stop(template: &Template<'_>) -> StageResult<String> {
    Ok(template.part("stop")?.to_owned())
}
