//! Parameters of `score-heads`.

use retmask_model::Numerics;
use retmask_model::spec::Yarn;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::grid::{Axis, Even};
use crate::contract::ParameterError;

/// The longest context that may be asked for, in tokens.
const MAX_CONTEXT: u32 = 1 << 20;

/// Which tokens the needle may follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SentenceBreak {
    /// The full stop of the model's own tokenizer.
    #[default]
    Tokenizer,
    /// Ids 29889 and 869, Llama-2's full stops, whatever the model: how the published scores of Llama-3.1,
    /// Qwen3 and Olmo-3 were made. With those tokenizers the needle lands at the start for most depths.
    Llama2,
}

/// What a head gains for copying.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ScoreForm {
    /// 1 / (needle length) at every step that copies, so that a token copied twice counts twice (the authors'
    /// script).
    #[default]
    Script,
    /// The share of the needle's distinct tokens that were copied (the paper's formula).
    Set,
}

/// When a trial's generation ends, besides `max-new-tokens`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Stop {
    /// At the token `<0x0A>` or id 144, never at an end token (the authors' script).
    #[default]
    Script,
    /// At the model's end tokens.
    EndToken,
}

/// How the question is put.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Prompt {
    /// One user turn in the model's chat template, thinking off where the template knows it.
    #[default]
    Chat,
    /// Context and question as plain text, for base models.
    Completion,
}

/// Parameters of `score-heads`. The defaults are the paper's grid: 20 lengths x 10 depths per needle.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Parameters {
    /// Context lengths in tokens of the model's tokenizer.
    pub context_lengths: Axis,
    /// Depths of the needle in percent of the haystack.
    pub depths: Axis,
    /// Needles to use, by their line in `needles.jsonl` counted from 0; all when empty.
    pub needles: Vec<u32>,
    /// Tokens of the context length kept free for the question and the answer.
    pub buffer: u32,
    /// Which tokens the needle may follow.
    pub sentence_break: SentenceBreak,
    /// What a head gains for copying.
    pub score_form: ScoreForm,
    /// Whether contexts and answers lose the spaces before punctuation that transformers 4 took out of decoded text
    /// where tokenizer_config.json says `clean_up_tokenization_spaces: true`, as Llama-3.1's does. The published
    /// scores of Llama-3.1 were made that way; transformers 5 leaves the text as it is.
    pub clean_up_spaces: bool,
    /// How the question is put.
    pub prompt: Prompt,
    /// When a generation ends, besides `max-new-tokens`.
    pub stop: Stop,
    /// The most tokens generated in a trial.
    pub max_new_tokens: u32,
    /// A trial counts when the ROUGE-1 recall (0 to 1) of the response is above this.
    pub rouge_threshold: f64,
    /// Stretches the model's window by YaRN, to `factor` times `original-context` tokens.
    pub yarn: Option<Yarn>,
    /// The class of arithmetic: `f32`, or `bf16`, where linear layers read their inputs and weights in bf16.
    pub numerics: Numerics,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            context_lengths: Axis::Even(Even { min: 0, max: 5000, count: 20 }),
            depths: Axis::Even(Even { min: 0, max: 100, count: 10 }),
            needles: Vec::new(),
            buffer: 200,
            sentence_break: SentenceBreak::Tokenizer,
            score_form: ScoreForm::Script,
            clean_up_spaces: false,
            prompt: Prompt::Chat,
            stop: Stop::Script,
            max_new_tokens: 50,
            rouge_threshold: 0.5,
            yarn: None,
            numerics: Numerics::F32,
        }
    }
}

impl Parameters {
    /// Checks ranges.
    ///
    /// # Errors
    /// A refusal of the first field whose value is not allowed.
    pub fn check(&self) -> Result<(), ParameterError> {
        self.context_lengths.check("context-lengths", MAX_CONTEXT)?;
        self.depths.check("depths", 100)?;
        if let Some(pair) = self.needles.windows(2).find(|pair| pair[0] >= pair[1]) {
            return Err(ParameterError::new(
                "needles",
                format!("{} is followed by {}; expected rising line numbers from 0, each once", pair[0], pair[1]),
            ));
        }
        if self.max_new_tokens == 0 {
            return Err(ParameterError::new("max-new-tokens", "0 tokens cannot answer; expected at least 1"));
        }
        if !(0.0..1.0).contains(&self.rouge_threshold) {
            return Err(ParameterError::new(
                "rouge-threshold",
                format!("{} is not a recall that can be passed; expected 0 or more and below 1", self.rouge_threshold),
            ));
        }
        Ok(())
    }
}
