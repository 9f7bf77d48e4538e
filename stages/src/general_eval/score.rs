//! From answers to scores: per example, and means with intervals.

use std::path::Path;

use rayon::prelude::*;
use serde_json::{Map, Value, json};

use super::code::{Interpreter, Outcome};
use super::final_number;
use super::instructions;
use super::multiple_choice::letter;
use super::parameters::TaskType;
use super::questions::{Asked, Gold, Question};
use super::run::Asking;
use crate::contract::{Context, StageError, StageResult};
use crate::metrics::bootstrap::{Bootstrap, Interval, Observation};
use crate::metrics::punkt::Punkt;
use crate::written::Written;

/// What the model said to an example.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// The log-probability of each ending.
    Choice(Vec<f64>),
    Text(Written),
    /// The log-probability of a whole text.
    Likelihood(f64),
}

/// What answers are scored with.
pub struct Scoring<'a> {
    pub punkt: Option<&'a Punkt>,
    /// What runs code, and a private folder for it.
    pub interpreter: Option<(&'a Interpreter, &'a Path)>,
    /// Whether the prompts have the project's words.
    pub own_wording: bool,
    pub resamples: usize,
    pub seed: u64,
    pub context: &'a Context,
}

/// One example as answered.
pub struct AnswerRow {
    pub task: String,
    pub example: u32,
    pub prompt_tokens: u32,
    pub generated_tokens: u32,
    pub stop: &'static str,
    pub output: String,
    pub expected: String,
    /// What the scores are made of, besides.
    pub facts: Map<String, Value>,
}

/// One value of one example.
#[derive(Debug, Clone, PartialEq)]
pub struct ScoreRow {
    pub task: String,
    /// The example's number; of metrics of single instructions, that of the instruction in the set.
    pub example: u32,
    pub cluster: String,
    pub metric: &'static str,
    pub value: f64,
}

/// A mean, or why there is none.
pub struct SummaryRow {
    pub task: String,
    pub kind: TaskType,
    pub metric: &'static str,
    pub value: Option<f64>,
    pub interval: Option<[f64; 2]>,
    pub examples: u32,
    pub note: String,
}

/// What the stage writes.
#[derive(Default)]
pub struct Results {
    pub answers: Vec<AnswerRow>,
    pub scores: Vec<ScoreRow>,
    pub summary: Vec<SummaryRow>,
}

/// How many points a score of 1 is: shares are given in points, likelihoods and perplexity as they are.
pub fn scale(metric: &str) -> f64 {
    if metric.starts_with("nll") || metric == "perplexity" { 1.0 } else { 100.0 }
}

/// The metrics of a type, in the order of tables.
const fn metrics(kind: TaskType) -> &'static [&'static str] {
    match kind {
        TaskType::MultipleChoice => &["accuracy"],
        TaskType::FinalNumber => &["exact_match", "exact_match_marked"],
        TaskType::Instructions => &["prompt_strict", "prompt_loose", "instruction_strict", "instruction_loose"],
        TaskType::Perplexity => &["nll", "nll_per_token", "nll_per_byte", "perplexity"],
        TaskType::Code => &["pass@1"],
    }
}

/// Scores everything.
///
/// # Errors
/// `Environment` when code cannot be run in isolation; `Interrupted` when the user asks to stop.
pub fn score(tasks: &[Asking<'_>], answers: &[Vec<Answer>], scoring: &Scoring<'_>) -> StageResult<Results> {
    let total = answers.iter().map(Vec::len).sum::<usize>();
    scoring.context.progress().phase("score", "examples", total as u64);
    let mut results = Results::default();
    for (task, answers) in tasks.iter().zip(answers) {
        let mut of_task = TaskScores::new(task);
        let outcomes = of_task.outcomes(answers, scoring)?;
        for (place, (question, answer)) in task.questions.iter().zip(answers).enumerate() {
            scoring.context.check_cancelled()?;
            of_task.add(question, answer, outcomes.get(place).copied().flatten(), scoring)?;
            scoring.context.progress().advance(1);
        }
        of_task.summarise(scoring, &mut results.summary);
        results.answers.append(&mut of_task.answers);
        results.scores.append(&mut of_task.scores);
    }
    Ok(results)
}

/// The scores of one task while they are made.
struct TaskScores<'a> {
    task: &'a Asking<'a>,
    answers: Vec<AnswerRow>,
    scores: Vec<ScoreRow>,
    /// Single instructions so far.
    instructions: u32,
    /// Instructions that no program here can check.
    unchecked: Vec<String>,
    /// Tokens that were scored, and their log-probabilities.
    likelihood: (u64, f64),
}

impl<'a> TaskScores<'a> {
    fn new(task: &'a Asking<'a>) -> Self {
        Self {
            task,
            answers: Vec::new(),
            scores: Vec::new(),
            instructions: 0,
            unchecked: Vec::new(),
            likelihood: (0, 0.0),
        }
    }

    /// How the programs of a code task ended; nothing without an interpreter.
    fn outcomes(&self, answers: &[Answer], scoring: &Scoring<'_>) -> StageResult<Vec<Option<Outcome>>> {
        let Some((interpreter, folder)) = scoring.interpreter.filter(|_| self.task.kind == TaskType::Code) else {
            return Ok(Vec::new());
        };
        let one = |(place, (question, answer)): (usize, (&Question, &Answer))| {
            scoring.context.check_cancelled()?;
            let (Asked::Text { gold: Gold::Code(problem), .. }, Answer::Text(written)) = (&question.asked, answer)
            else {
                return Ok(None);
            };
            let own = folder.join(place.to_string());
            std::fs::create_dir_all(&own).map_err(|error| StageError::io("make the folder", &own, &error))?;
            interpreter.check(problem, &written.text, &own).map(Some)
        };
        self.task.questions.par_iter().zip(answers).enumerate().map(one).collect()
    }

    fn value(&mut self, example: u32, cluster: &str, metric: &'static str, value: f64) {
        let (task, cluster) = (self.task.name.to_owned(), cluster.to_owned());
        self.scores.push(ScoreRow { task, example, cluster, metric, value });
    }

    fn add(
        &mut self,
        question: &Question,
        answer: &Answer,
        outcome: Option<Outcome>,
        scoring: &Scoring<'_>,
    ) -> StageResult<()> {
        let example = question.example;
        let cluster = example.to_string();
        let mut row = AnswerRow {
            task: self.task.name.to_owned(),
            example,
            prompt_tokens: 0,
            generated_tokens: 0,
            stop: "",
            output: String::new(),
            expected: String::new(),
            facts: Map::new(),
        };
        if question.left_out > 0 {
            row.facts.insert("demonstrations_left_out".into(), question.left_out.into());
        }
        match (&question.asked, answer) {
            (Asked::Endings { beginning, choice, .. }, Answer::Choice(logprobs)) => {
                // The first of equally likely ones.
                let best = (1..logprobs.len())
                    .fold(0, |best, place| if logprobs[place] > logprobs[best] { place } else { best });
                row.prompt_tokens = beginning.len() as u32;
                row.output = letter(best).into();
                row.expected = letter(choice.answer).into();
                row.facts.insert("logprobs".into(), json!(logprobs));
                if !choice.subject.is_empty() {
                    row.facts.insert("subject".into(), choice.subject.clone().into());
                }
                self.value(example, &cluster, "accuracy", share(best == choice.answer));
            }
            (Asked::Document { windows, bytes }, Answer::Likelihood(logprob)) => {
                let tokens: u64 = windows.iter().map(|window| (window.tokens.len() - window.first) as u64).sum();
                row.prompt_tokens = tokens as u32 + 1;
                row.facts.insert("tokens".into(), tokens.into());
                row.facts.insert("bytes".into(), (*bytes).into());
                row.facts.insert("windows".into(), windows.len().into());
                let nll = -logprob;
                self.likelihood.0 += tokens;
                self.likelihood.1 += nll;
                self.value(example, &cluster, "nll", nll);
                self.value(example, &cluster, "nll_per_token", nll / tokens as f64);
                self.value(example, &cluster, "nll_per_byte", nll / *bytes as f64);
            }
            (Asked::Text { prompt, gold, .. }, Answer::Text(written)) => {
                row.prompt_tokens = prompt.len() as u32;
                row.generated_tokens = written.tokens;
                row.stop = written.stop;
                row.output = written.text.clone();
                self.add_text(&mut row, &cluster, gold, written, outcome, scoring);
            }
            _ => return Err(StageError::internal("an answer does not fit its question")),
        }
        self.answers.push(row);
        Ok(())
    }

    fn add_text(
        &mut self,
        row: &mut AnswerRow,
        cluster: &str,
        gold: &Gold,
        written: &Written,
        outcome: Option<Outcome>,
        scoring: &Scoring<'_>,
    ) {
        let example = row.example;
        match gold {
            Gold::Number(number) => {
                let found = final_number::found(&written.text);
                row.expected = number.clone();
                row.facts.insert("number".into(), json!(found.last));
                self.value(example, cluster, "exact_match", share(found.last.as_ref() == Some(number)));
                self.value(example, cluster, "exact_match_marked", share(found.marked.as_ref() == Some(number)));
            }
            Gold::Code(_) => {
                if let Some(outcome) = outcome {
                    row.facts.insert("outcome".into(), outcome.name().into());
                    self.value(example, cluster, "pass@1", share(outcome == Outcome::Passed));
                }
            }
            Gold::Instructions(prompt) => {
                let punkt = scoring.punkt.cloned().unwrap_or_default();
                let mut followed = Some([true, true]);
                let mut facts = Map::new();
                for (name, instruction) in &prompt.instructions {
                    let verdict = instructions::verdict(instruction, &written.text, &punkt);
                    facts.insert(
                        name.clone(),
                        verdict.map_or(Value::Null, |[strict, loose]| json!({"strict": strict, "loose": loose})),
                    );
                    let number = self.instructions;
                    self.instructions += 1;
                    match verdict {
                        Some([strict, loose]) => {
                            self.value(number, cluster, "instruction_strict", share(strict));
                            self.value(number, cluster, "instruction_loose", share(loose));
                            followed = followed.map(|[all, most]| [all && strict, most && loose]);
                        }
                        None => {
                            self.unchecked.push(name.clone());
                            followed = None;
                        }
                    }
                }
                row.facts.insert("followed".into(), facts.into());
                if let Some([strict, loose]) = followed {
                    self.value(example, cluster, "prompt_strict", share(strict));
                    self.value(example, cluster, "prompt_loose", share(loose));
                }
            }
        }
    }

    /// A row per metric.
    fn summarise(&self, scoring: &Scoring<'_>, summary: &mut Vec<SummaryRow>) {
        let note = self.note(scoring);
        for &metric in metrics(self.task.kind) {
            let scale = scale(metric);
            let rows: Vec<Observation<'_>> = self
                .scores
                .iter()
                .filter(|score| score.metric == metric)
                .map(|score| Observation { cluster: &score.cluster, value: scale * score.value })
                .collect();
            // One stream per task: its metrics are resampled by the same draws.
            let bootstrap = Bootstrap { resamples: scoring.resamples, seed: scoring.seed, name: self.task.name };
            let mean = bootstrap.mean(&rows);
            let mut row = SummaryRow {
                task: self.task.name.to_owned(),
                kind: self.task.kind,
                metric,
                value: mean.map(|mean| mean.value),
                interval: mean.map(|Interval { low, high, .. }| [low, high]),
                examples: rows.len() as u32,
                note: note.clone(),
            };
            if metric == "perplexity" {
                // Of all tokens together.
                let (tokens, nll) = self.likelihood;
                row.value = (tokens > 0).then(|| libm::exp(nll / tokens as f64));
                row.examples = self.task.questions.len() as u32;
            }
            summary.push(row);
        }
    }

    /// What has to be known of the scores.
    fn note(&self, scoring: &Scoring<'_>) -> String {
        let mut notes = Vec::new();
        let kind = self.task.kind;
        if kind == TaskType::Code && scoring.interpreter.is_none() {
            notes.push("not scored: code runs only with `program`".to_owned());
        }
        if scoring.own_wording && matches!(kind, TaskType::MultipleChoice | TaskType::FinalNumber) {
            notes.push("own wording".into());
        }
        let splits = |question: &Question| match &question.asked {
            Asked::Text { gold: Gold::Instructions(prompt), .. } => {
                prompt.instructions.iter().any(|(_, instruction)| instruction.splits_sentences())
            }
            _ => false,
        };
        if scoring.punkt.is_none() && self.task.questions.iter().any(splits) {
            notes.push("sentences split without Punkt's parameters".into());
        }
        let short = self.task.questions.iter().filter(|question| question.left_out > 0).count();
        if short > 0 {
            notes.push(format!("{short} prompts with fewer demonstrations, for want of room"));
        }
        if !self.unchecked.is_empty() {
            let mut names: Vec<&str> = self.unchecked.iter().map(String::as_str).collect();
            names.sort_unstable();
            names.dedup();
            notes.push(format!(
                "{} instructions not scored, which cannot be checked here: {}",
                self.unchecked.len(),
                names.join(", ")
            ));
        }
        notes.join("; ")
    }
}

fn share(right: bool) -> f64 {
    f64::from(u8::from(right))
}
