//! Parameters of `sample-pairs`.

use retmask_model::Numerics;
use retmask_model::generate::SamplingRules;
use retmask_model::spec::Yarn;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::contract::ParameterError;
use crate::instructions::{Format, History, Selection};

/// Which instructions are taken when there are more than `limit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Subset {
    /// The first ones in the file.
    #[default]
    First,
    /// A seeded draw, kept in file order.
    Random,
}

/// Parameters of `sample-pairs`. The defaults are the paper's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Parameters {
    /// Logits are divided by this; at 0 the best token is taken.
    pub temperature: f64,
    /// Tokens are drawn from the smallest set whose probability reaches this.
    pub top_p: f64,
    /// Tokens are drawn from so many best ones, before `top-p` cuts; 0 keeps all.
    pub top_k: usize,
    /// Tokens are drawn from those at least this times as probable as the best.
    pub min_p: f64,
    /// Logits of tokens that stand in the prompt or the response are divided by this when positive, else multiplied.
    pub repetition_penalty: f64,
    /// Taken from a token's logit for every time it stands in the response.
    pub frequency_penalty: f64,
    /// Texts that end a response; it is kept up to the first of them.
    pub stop: Vec<String>,
    /// Drop pairs of which a response was cut off at `max-new-tokens`.
    pub drop_truncated: bool,
    /// Drop pairs of which a response ends in a loop.
    pub drop_repeated: bool,
    /// The most tokens of a response.
    pub max_new_tokens: u32,
    /// Pairs drawn for each instruction.
    pub samples: u32,
    /// The most instructions used; all when left out.
    pub limit: Option<u32>,
    /// Which instructions are taken when there are more than `limit`.
    pub subset: Subset,
    /// Names the random streams of all draws.
    pub seed: u64,
    /// Draw both sides of a pair with the same random numbers.
    pub coupled: bool,
    /// A system turn before the instruction.
    pub system: Option<String>,
    /// Whether templates that know it are asked for thinking; left to the template when left out. Thoughts are
    /// not part of a response.
    pub thinking: Option<bool>,
    /// The style of the instruction records.
    pub format: Format,
    /// Records of another `language` are skipped; empty keeps all.
    pub language: String,
    /// How much of a conversation comes before the response.
    pub history: History,
    /// Instructions with fewer characters are skipped.
    pub min_characters: usize,
    /// Instructions with more characters are skipped.
    pub max_characters: Option<usize>,
    /// Rows that may be malformed; they are told in the log and skipped.
    pub max_bad_rows: usize,
    /// Stretches the model's window by YaRN, to `factor` times `original-context` tokens.
    pub yarn: Option<Yarn>,
    /// The class of arithmetic: `f32`, or `bf16`, where linear layers read their inputs and weights in bf16.
    pub numerics: Numerics,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            temperature: 0.6,
            top_p: 1.0,
            top_k: 0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            frequency_penalty: 0.0,
            stop: Vec::new(),
            drop_truncated: false,
            drop_repeated: false,
            max_new_tokens: 2048,
            samples: 1,
            limit: None,
            subset: Subset::First,
            seed: 42,
            coupled: false,
            system: None,
            thinking: None,
            format: Format::Auto,
            language: "English".into(),
            history: History::FirstTurn,
            min_characters: 0,
            max_characters: None,
            max_bad_rows: 0,
            yarn: None,
            numerics: Numerics::F32,
        }
    }
}

impl Parameters {
    /// How tokens are drawn.
    pub fn rules(&self) -> SamplingRules {
        SamplingRules {
            repetition_penalty: self.repetition_penalty,
            frequency_penalty: self.frequency_penalty,
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
        }
    }

    /// What is read of the instructions.
    pub fn selection(&self) -> Selection<'_> {
        Selection {
            format: self.format,
            history: self.history,
            language: &self.language,
            min_characters: self.min_characters,
            max_characters: self.max_characters,
            max_bad_rows: self.max_bad_rows,
        }
    }

    /// Checks ranges.
    ///
    /// # Errors
    /// A refusal of the first field whose value is not allowed.
    pub fn check(&self) -> Result<(), ParameterError> {
        let refuse = |field: &str, message: String| Err(ParameterError::new(field, message));
        if !self.temperature.is_finite() || self.temperature < 0.0 {
            return refuse("temperature", format!("{} is not a finite number of at least 0", self.temperature));
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            return refuse("top-p", format!("{} is not above 0 and at most 1", self.top_p));
        }
        if !(0.0..=1.0).contains(&self.min_p) {
            return refuse("min-p", format!("{} is not between 0 and 1", self.min_p));
        }
        if !(self.repetition_penalty > 0.0 && self.repetition_penalty.is_finite()) {
            return refuse("repetition-penalty", format!("is {}; it must be above 0", self.repetition_penalty));
        }
        if !self.frequency_penalty.is_finite() {
            return refuse("frequency-penalty", format!("{} is not a finite number", self.frequency_penalty));
        }
        if self.stop.iter().any(String::is_empty) {
            return refuse("stop", "an empty text would end every response at once".into());
        }
        if self.temperature == 0.0 && self.samples > 1 {
            return refuse("samples", "at temperature 0 all samples of an instruction are the same".into());
        }
        if self.max_new_tokens == 0 {
            return refuse("max-new-tokens", "0 tokens make no response; expected at least 1".into());
        }
        if self.samples == 0 {
            return refuse("samples", "0 samples make no pair; expected at least 1".into());
        }
        if self.max_characters.is_some_and(|most| most < self.min_characters.max(1)) {
            return refuse("max-characters", "must be at least 1, and at least min-characters".into());
        }
        if self.limit == Some(0) {
            return refuse("limit", "0 instructions make no pair; expected at least 1".into());
        }
        Ok(())
    }
}
