//! What a pipeline file can say about an evaluation.

use retmask_model::Numerics;
use retmask_model::spec::Yarn;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::dataset::{self, Records};
use crate::contract::ParameterError;
use crate::remote::{Engine, Server};

/// When the model is asked through its chat template.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ChatTemplate {
    /// Where HELMET does (Cite, LongQA, Summ), if the model has a template.
    #[default]
    ByDataset,
    /// Never: HELMET's way with base models.
    Never,
    /// Always: HELMET's way with models behind an API. Models that think do so only in a chat.
    Always,
}

/// Parameters of `helmet`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Parameters {
    /// Where the model runs. With `openai`, the input `model` gives tokenizer, chat template and window, and its weights
    /// are not read; prompts go to the server as tokens.
    pub engine: Engine,
    /// With `engine: openai`, the model on a server that answers.
    pub server: Option<Server>,
    /// The datasets, by HELMET's names. By default those that are generated and need no data.
    pub datasets: Vec<String>,
    /// Tokens of prompt and answer together, by the model's own tokenizer.
    pub length: u32,
    /// At most so many examples per dataset; by default HELMET's number (500 for the in-context sets, else 100). Of
    /// RAG and Re-rank these are questions, each asked at several depths or in several orders.
    pub samples: Option<u32>,
    /// Seed of all choices.
    pub seed: u64,
    /// Demonstrations of the in-context sets, instead of the number HELMET takes at this length.
    pub shots: Option<u32>,
    /// Where the records of json_kv and the RULER sets come from.
    pub records: Records,
    /// When the model is asked through its chat template.
    pub chat_template: ChatTemplate,
    /// End answers at the first newline. HELMET's released code never does, whatever its settings say.
    pub stop_at_newline: bool,
    /// Whether the model reasons before it answers. With `true`, templates that know it are asked for thoughts, an
    /// answer may be longer by `thinking-tokens`, and what it thought is not scored; with `false`, such templates are
    /// asked for none; left to the template when left out.
    pub thinking: Option<bool>,
    /// With `thinking: true`, how many tokens prompt and answer may have beyond `length`. The default is HELMET's.
    pub thinking_tokens: u32,
    /// Stretches the model's window by YaRN, to `factor` times `original-context` tokens.
    pub yarn: Option<Yarn>,
    /// The class of arithmetic: `f32`, or `bf16`, where linear layers read their inputs and weights in bf16.
    pub numerics: Numerics,
}

impl Default for Parameters {
    fn default() -> Self {
        let generated = ["json_kv", "ruler_niah_mk_2", "ruler_niah_mk_3", "ruler_niah_mv"];
        Self {
            engine: Engine::Local,
            server: None,
            datasets: generated.map(str::to_owned).to_vec(),
            length: 8_192,
            samples: None,
            seed: 42,
            shots: None,
            records: Records::Generated,
            chat_template: ChatTemplate::ByDataset,
            stop_at_newline: false,
            thinking: None,
            thinking_tokens: 32_768,
            yarn: None,
            numerics: Numerics::F32,
        }
    }
}

/// Bounds that keep a slip of the pen from filling memory: four times HELMET's longest length, and more
/// examples and demonstrations than any of its sets has.
const LONGEST: u32 = 1 << 19;
const MOST: u32 = 20_000;

impl Parameters {
    /// Tokens that thoughts may take beyond the length.
    pub(super) fn thought_tokens(&self) -> usize {
        if self.thinking == Some(true) { self.thinking_tokens as usize } else { 0 }
    }

    /// Checks names and ranges.
    ///
    /// # Errors
    /// The first field that is wrong, and what would be right.
    pub(super) fn check(&self) -> Result<(), ParameterError> {
        let refuse = |field: &str, message: String| Err(ParameterError::new(field, message));
        if self.datasets.is_empty() {
            return refuse("datasets", format!("name at least one dataset; there are: {}", dataset::names()));
        }
        for (place, name) in self.datasets.iter().enumerate() {
            if dataset::by_name(name).is_none() {
                return refuse("datasets", format!("there is no dataset `{name}`; there are: {}", dataset::names()));
            }
            if self.datasets[..place].contains(name) {
                return refuse("datasets", format!("`{name}` stands there twice"));
            }
        }
        if !(64..=LONGEST).contains(&self.length) {
            return refuse("length", format!("{} is not between 64 and {LONGEST} tokens", self.length));
        }
        for (field, value) in [("samples", self.samples), ("shots", self.shots)] {
            if let Some(value) = value
                && !(1..=MOST).contains(&value)
            {
                return refuse(field, format!("{value} is not between 1 and {MOST}"));
            }
        }
        if !(1..=LONGEST).contains(&self.thinking_tokens) {
            return refuse("thinking-tokens", format!("{} is not between 1 and {LONGEST}", self.thinking_tokens));
        }
        if self.thinking == Some(true) && self.stop_at_newline {
            let message = "with `thinking: true` the first newline would end most answers in their thoughts";
            return refuse("stop-at-newline", message.into());
        }
        if self.thinking == Some(true) && self.chat_template == ChatTemplate::Never {
            return refuse(
                "thinking",
                "without a chat template (`chat-template: never`) no model is asked to think".into(),
            );
        }
        if self.shots.is_some() && !self.datasets.iter().any(|name| name.starts_with("icl_")) {
            return refuse("shots", "only the in-context sets (icl_...) take it, and none is asked for".into());
        }
        self.check_engine()
    }

    fn check_engine(&self) -> Result<(), ParameterError> {
        Server::check_answering(self.server.as_ref(), self.engine)?;
        match &self.server {
            Some(Server { template: Some(_), .. }) => {
                let message = "prompts go to the server as tokens: no template is applied there";
                Err(ParameterError::new("server.template", message))
            }
            Some(_) if self.stop_at_newline => {
                let message = "a server ends answers at texts, not at the tokens that are newlines";
                Err(ParameterError::new("stop-at-newline", message))
            }
            _ => Ok(()),
        }
    }

    /// Checks what stands under `in`.
    ///
    /// # Errors
    /// A mask is to be applied on a server.
    pub(super) fn check_inputs(&self, roles: &[String]) -> Result<(), ParameterError> {
        if self.engine == Engine::Openai && roles.iter().any(|role| role == "mask") {
            let message = "no mask can be applied on a server: heads are masked inside this program. \
                           `retmask model export --mask` writes a model with heads masked for good, for a server to run";
            return Err(ParameterError::new("engine", message));
        }
        Ok(())
    }

    /// Whether nobody knows exactly which model answers.
    pub(super) fn is_undeclared(&self) -> bool {
        self.server.as_ref().is_some_and(|server| server.revision.is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(change: impl Fn(&mut Parameters)) -> String {
        let mut parameters = Parameters::default();
        change(&mut parameters);
        let error = parameters.check().unwrap_err();
        format!("{}: {}", error.field, error.message)
    }

    #[test]
    fn the_default_needs_no_data_and_slips_are_refused_by_field() {
        assert_eq!(Parameters::default().check(), Ok(()));
        let defaults = Parameters::default();
        assert!(defaults.datasets.iter().all(|name| !dataset::by_name(name).unwrap().needs_data(Records::Generated)));
        assert!(
            refused(|all| all.datasets = vec!["jsonkv".into()]).contains("no dataset `jsonkv`; there are: json_kv")
        );
        assert_eq!(refused(|all| all.datasets.push("json_kv".into())), "datasets: `json_kv` stands there twice");
        assert!(refused(|all| all.datasets.clear()).starts_with("datasets: name at least one"));
        assert!(refused(|all| all.length = 10).starts_with("length: 10 is not between"));
        assert!(refused(|all| all.samples = Some(0)).starts_with("samples: 0 is not between"));
        assert!(refused(|all| all.shots = Some(5)).starts_with("shots: only the in-context sets"));
        assert!(refused(|all| all.thinking_tokens = 0).starts_with("thinking-tokens: 0 is not between"));
        let thinking = |all: &mut Parameters| all.thinking = Some(true);
        let error = refused(|all| (thinking(all), all.stop_at_newline = true).0);
        assert!(error.starts_with("stop-at-newline: with `thinking: true`"), "{error}");
        let error = refused(|all| (thinking(all), all.chat_template = ChatTemplate::Never).0);
        assert!(error.starts_with("thinking: without a chat template"), "{error}");
    }
}
