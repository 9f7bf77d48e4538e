//! What a pipeline file can say about an evaluation of general abilities.

use std::collections::BTreeMap;

use retmask_model::Numerics;
use retmask_model::spec::Yarn;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::contract::ParameterError;

/// What a set of examples asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TaskType {
    /// The option whose letter is most likely after the question (MMLU).
    MultipleChoice,
    /// The number that an answer ends in (GSM8K).
    FinalNumber,
    /// Instructions that a program can check (IFEval).
    Instructions,
    /// How likely texts are.
    Perplexity,
    /// Python functions that pass their tests (HumanEval).
    Code,
}

/// A set of examples and how it is asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Task {
    /// What the set asks for.
    #[serde(rename = "type")]
    pub kind: TaskType,
    /// Demonstrations in front of each question of multiple-choice and final-number; from the port `demonstrations`, or
    /// the set's own folder.
    #[serde(default)]
    pub shots: u32,
    /// At most so many examples, drawn by the seed.
    #[serde(default)]
    pub samples: Option<u32>,
    /// The longest answer, in tokens: 512 for final-number and code, 1280 for instructions.
    #[serde(default)]
    pub max_new_tokens: Option<u32>,
    /// For perplexity: tokens of the windows that longer texts are cut into; 2048.
    #[serde(default)]
    pub length: Option<u32>,
    /// For perplexity: tokens between the starts of two windows; half of `length`. A token is scored once, in the first
    /// window that has it.
    #[serde(default)]
    pub stride: Option<u32>,
}

/// When questions are put to the model as a turn of its chat template.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Chat {
    /// Instructions and final-number without demonstrations, if the model has a template.
    #[default]
    ByTask,
    /// Never.
    Never,
    /// Also final-number with demonstrations.
    Always,
}

/// Parameters of `general-eval`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Parameters {
    /// The tasks, each under a name of your own, under which its examples stand at the port `data`:
    /// `{type, shots, samples, max-new-tokens, length, stride}`.
    pub tasks: BTreeMap<String, Task>,
    /// Seed of the draws of examples.
    pub seed: u64,
    /// When the model is asked through its chat template.
    pub chat_template: Chat,
    /// The Python interpreter that runs what tasks of type code wrote, say `/usr/bin/python3`; its content is in the key
    /// in place of its name. Without it no code runs, and such tasks are not scored.
    pub program: Option<String>,
    /// Seconds that one program may run.
    pub seconds: u32,
    /// MiB of memory that one program may have.
    pub memory: u32,
    /// Draws behind every 95 % interval.
    pub resamples: u32,
    /// Stretches the model's window by YaRN, to `factor` times `original-context` tokens.
    pub yarn: Option<Yarn>,
    /// The class of arithmetic: `f32`, or `bf16`, where linear layers read their inputs and weights in bf16.
    pub numerics: Numerics,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            tasks: BTreeMap::new(),
            seed: 42,
            chat_template: Chat::ByTask,
            program: None,
            seconds: 10,
            memory: 1024,
            resamples: crate::metrics::bootstrap::RESAMPLES as u32,
            yarn: None,
            numerics: Numerics::F32,
        }
    }
}

/// Bounds that keep a slip of the pen from filling memory.
const LONGEST: u32 = 1 << 19;
const MOST: u32 = 1 << 20;

impl Task {
    /// The longest answer, in tokens.
    pub(super) fn new_tokens(&self) -> usize {
        let default = if self.kind == TaskType::Instructions { 1_280 } else { 512 };
        self.max_new_tokens.unwrap_or(default) as usize
    }

    /// Tokens of a window and between the starts of two.
    pub(super) fn window(&self) -> (usize, usize) {
        let length = self.length.unwrap_or(2_048);
        (length as usize, self.stride.unwrap_or(length / 2) as usize)
    }

    fn check(&self) -> Result<(), (&'static str, String)> {
        use TaskType::{Code, FinalNumber, Instructions, MultipleChoice, Perplexity};
        let of = |field, given: bool, kinds: &[TaskType]| match given && !kinds.contains(&self.kind) {
            true => Err((field, format!("tasks of type {} do not take it", self.kind.name()))),
            false => Ok(()),
        };
        of("shots", self.shots > 0, &[MultipleChoice, FinalNumber])?;
        of("max-new-tokens", self.max_new_tokens.is_some(), &[FinalNumber, Instructions, Code])?;
        of("length", self.length.is_some(), &[Perplexity])?;
        of("stride", self.stride.is_some(), &[Perplexity])?;
        let within = |field, value: Option<u32>, least: u32, most: u32| match value {
            Some(value) if !(least..=most).contains(&value) => {
                Err((field, format!("{value} is not between {least} and {most}")))
            }
            _ => Ok(()),
        };
        within("shots", Some(self.shots), 0, 1_000)?;
        within("samples", self.samples, 1, MOST)?;
        within("max-new-tokens", self.max_new_tokens, 1, LONGEST)?;
        within("length", self.length, 2, LONGEST)?;
        within("stride", self.stride, 1, self.length.unwrap_or(2_048) - 1)
    }
}

impl TaskType {
    /// The word of pipeline files and tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::MultipleChoice => "multiple-choice",
            Self::FinalNumber => "final-number",
            Self::Instructions => "instructions",
            Self::Perplexity => "perplexity",
            Self::Code => "code",
        }
    }
}

impl Parameters {
    /// Checks names and ranges.
    ///
    /// # Errors
    /// The first field that is wrong, and what would be right.
    pub(super) fn check(&self) -> Result<(), ParameterError> {
        let refuse = |field: &str, message: String| Err(ParameterError::new(field, message));
        if self.tasks.is_empty() {
            return refuse("tasks", "name at least one task: `{mmlu: {type: multiple-choice}}`".into());
        }
        for (name, task) in &self.tasks {
            task.check().map_err(|(field, why)| ParameterError::new(format!("tasks.{name}.{field}"), why))?;
        }
        let code = self.tasks.values().any(|task| task.kind == TaskType::Code);
        if self.program.is_some() && !code {
            return refuse("program", "only tasks of type code take it, and there is none".into());
        }
        if self.program.as_deref().is_some_and(|program| program.is_empty() || program.contains('\0')) {
            return refuse("program", "must name a Python interpreter or its path".into());
        }
        let ranges = [
            ("seconds", self.seconds, 1, 3_600),
            ("memory", self.memory, 64, 1 << 20),
            ("resamples", self.resamples, crate::metrics::bootstrap::RESAMPLES as u32, 100_000),
        ];
        for (field, value, least, most) in ranges {
            if !(least..=most).contains(&value) {
                return refuse(field, format!("{value} is not between {least} and {most}"));
            }
        }
        Ok(())
    }

    /// Checks that every task has its examples, and that nothing else stands there.
    ///
    /// # Errors
    /// The task or the input without the other.
    pub(super) fn check_inputs(&self, roles: &[String]) -> Result<(), ParameterError> {
        let at = |port: &'static str| roles.iter().filter_map(move |role| role.strip_prefix(port)?.strip_prefix('.'));
        let names: Vec<&str> = self.tasks.keys().map(String::as_str).collect();
        if let Some(task) = self.tasks.keys().find(|task| !at("data").any(|label| label == *task)) {
            let message = format!("its examples are missing: `in` needs `data: {{{task}: SOURCE}}`");
            return Err(ParameterError::new(format!("tasks.{task}"), message));
        }
        if let Some(label) = at("data").chain(at("demonstrations")).find(|label| !names.contains(label)) {
            let message =
                format!("there is no task `{label}`, which stands under `in`; there are: {}", names.join(", "));
            return Err(ParameterError::new("tasks", message));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(yaml: serde_json::Value) -> String {
        let parameters: Parameters = serde_json::from_value(yaml).unwrap();
        let error = parameters.check().unwrap_err();
        format!("{}: {}", error.field, error.message)
    }

    #[test]
    fn slips_are_refused_by_field() {
        use serde_json::json;
        assert!(refused(json!({})).starts_with("tasks: name at least one task"));
        assert_eq!(
            refused(json!({"tasks": {"a": {"type": "perplexity", "shots": 3}}})),
            "tasks.a.shots: tasks of type perplexity do not take it"
        );
        assert_eq!(
            refused(json!({"tasks": {"a": {"type": "perplexity", "length": 8, "stride": 8}}})),
            "tasks.a.stride: 8 is not between 1 and 7"
        );
        assert!(refused(json!({"tasks": {"a": {"type": "code", "samples": 0}}})).starts_with("tasks.a.samples: 0 is"));
        let program = json!({"tasks": {"a": {"type": "perplexity"}}, "program": "python3"});
        assert!(refused(program).starts_with("program: only tasks of type code take it"));
        let seconds = json!({"tasks": {"a": {"type": "code"}}, "seconds": 0});
        assert_eq!(refused(seconds), "seconds: 0 is not between 1 and 3600");
        assert!(serde_json::from_value::<Parameters>(json!({"tasks": {"a": {"shots": 1}}})).is_err());
    }

    #[test]
    fn tasks_and_inputs_belong_together() {
        let parameters: Parameters =
            serde_json::from_value(serde_json::json!({"tasks": {"a": {"type": "code"}}})).unwrap();
        let check = |roles: &[&str]| {
            let roles: Vec<String> = roles.iter().map(|&role| role.to_owned()).collect();
            parameters.check_inputs(&roles).map_err(|error| format!("{}: {}", error.field, error.message))
        };
        assert_eq!(check(&["model", "data.a", "demonstrations.a"]), Ok(()));
        assert!(check(&["model"]).unwrap_err().starts_with("tasks.a: its examples are missing"));
        assert!(check(&["data.a", "data.b"]).unwrap_err().starts_with("tasks: there is no task `b`"));
    }
}
