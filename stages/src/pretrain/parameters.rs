//! Parameters of `pretrain`: the model's shape, the phases of training and the optimiser.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::contract::ParameterError;

/// Bounds that keep a typing error from filling memory.
const MOST_LAYERS: u32 = 64;
const MOST_HEADS: u32 = 64;
const MOST_WIDTH: u32 = 4_096;
const MOST_TOKENS: u32 = 1 << 20;

/// What a phase's texts are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Mixture {
    /// Repeated phrases only: the densest signal for copying.
    Repeats,
    /// Needles, look-ups, instructions and repeated phrases.
    #[default]
    All,
}

/// Optimiser steps on texts of one length.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Phase {
    /// Optimiser steps.
    pub steps: u32,
    /// The longest texts, in tokens (about: texts are made of whole sentences). From half of this on, all
    /// lengths are equally likely.
    pub sequence_tokens: u32,
    /// Tokens in a step, at least.
    pub batch_tokens: u32,
    /// What the texts are.
    pub mixture: Mixture,
    /// Probability that a head is dropped from a sequence which is neither in the first layer nor one of the
    /// `matching-heads`: what those learn early, the others need not learn.
    pub other_head_dropout: f64,
}

impl Default for Phase {
    fn default() -> Self {
        Self { steps: 100, sequence_tokens: 128, batch_tokens: 4_096, mixture: Mixture::All, other_head_dropout: 0.3 }
    }
}

/// Parameters of `pretrain`. The defaults are the embedded model's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Parameters {
    /// Seed of the initial weights, the texts and the dropped heads.
    pub seed: u64,
    /// Decoder blocks.
    pub layers: u32,
    /// Width of the residual stream.
    pub hidden_size: u32,
    /// Width inside the MLP.
    pub intermediate_size: u32,
    /// Attention heads, as many for queries as for keys and values.
    pub heads: u32,
    /// Width of one head.
    pub head_dim: u32,
    /// Base of the rotary wavelengths.
    pub rotary_theta: f64,
    /// Longest sequence the model says it takes.
    pub context_length: u32,
    /// In layers after the first, how many heads start with equal content attracting each other, so that the
    /// retrieval heads are few.
    pub matching_heads: u32,
    /// Probability that a head of the first layer is dropped from a sequence, so that the model does without
    /// any single one of them.
    pub head_dropout: f64,
    /// What is trained on, one phase after another.
    pub phases: Vec<Phase>,
    /// Highest learning rate; it rises over the warm-up and falls along a cosine.
    pub learning_rate: f64,
    /// Share of the highest learning rate left at the end.
    pub final_learning_rate_share: f64,
    /// Optimiser steps in which the learning rate rises from 0.
    pub warmup_steps: u32,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Largest gradient norm.
    pub gradient_clip: f64,
}

impl Default for Parameters {
    fn default() -> Self {
        let phase =
            |steps, sequence_tokens, batch_tokens| Phase { steps, sequence_tokens, batch_tokens, ..Phase::default() };
        Self {
            seed: 1,
            layers: 3,
            hidden_size: 128,
            intermediate_size: 192,
            heads: 8,
            head_dim: 32,
            rotary_theta: 1_000_000.0,
            context_length: 1_024,
            matching_heads: 3,
            head_dropout: 0.15,
            phases: vec![
                Phase { mixture: Mixture::Repeats, other_head_dropout: 0.9, ..phase(200, 64, 2_048) },
                Phase { other_head_dropout: 0.5, ..phase(120, 200, 4_096) },
                phase(560, 560, 4_096),
            ],
            learning_rate: 3e-3,
            final_learning_rate_share: 0.03,
            warmup_steps: 50,
            weight_decay: 0.05,
            gradient_clip: 1.0,
        }
    }
}

impl Parameters {
    /// All optimiser steps.
    pub fn steps(&self) -> u32 {
        self.phases.iter().map(|phase| phase.steps).sum()
    }

    /// Checks ranges.
    ///
    /// # Errors
    /// A refusal of the first field whose value is not allowed.
    pub fn check(&self) -> Result<(), ParameterError> {
        integer("layers", self.layers, 1, MOST_LAYERS)?;
        integer("hidden-size", self.hidden_size, 8, MOST_WIDTH)?;
        integer("intermediate-size", self.intermediate_size, 8, MOST_WIDTH)?;
        integer("heads", self.heads, 1, MOST_HEADS)?;
        integer("head-dim", self.head_dim, 2, 256)?;
        if !self.head_dim.is_multiple_of(2) {
            return Err(ParameterError::new(
                "head-dim",
                format!("{} is odd; rotary positions need an even number", self.head_dim),
            ));
        }
        integer("context-length", self.context_length, 64, MOST_TOKENS)?;
        integer("matching-heads", self.matching_heads, 0, self.heads)?;
        number("rotary-theta", self.rotary_theta, 1.0, 1e9)?;
        number("head-dropout", self.head_dropout, 0.0, 0.9)?;
        number("learning-rate", self.learning_rate, 1e-9, 1.0)?;
        number("final-learning-rate-share", self.final_learning_rate_share, 0.0, 1.0)?;
        number("weight-decay", self.weight_decay, 0.0, 1.0)?;
        number("gradient-clip", self.gradient_clip, 1e-6, 1e6)?;
        if self.phases.is_empty() {
            return Err(ParameterError::new("phases", "there are none; expected at least one phase"));
        }
        for (index, phase) in self.phases.iter().enumerate() {
            let field = |name: &str| format!("phases.{index}.{name}");
            integer(&field("steps"), phase.steps, 1, 1_000_000)?;
            integer(&field("sequence-tokens"), phase.sequence_tokens, 32, self.context_length / 4 * 3)?;
            integer(&field("batch-tokens"), phase.batch_tokens, 1, MOST_TOKENS)?;
            number(&field("other-head-dropout"), phase.other_head_dropout, 0.0, 1.0)?;
        }
        integer("warmup-steps", self.warmup_steps, 0, self.steps())
    }
}

fn integer(field: &str, value: u32, low: u32, high: u32) -> Result<(), ParameterError> {
    if (low..=high).contains(&value) {
        return Ok(());
    }
    Err(ParameterError::new(field, format!("{value} is out of range; expected {low} to {high}")))
}

fn number(field: &str, value: f64, low: f64, high: f64) -> Result<(), ParameterError> {
    if (low..=high).contains(&value) {
        return Ok(());
    }
    Err(ParameterError::new(field, format!("{value} is out of range; expected {low} to {high}")))
}
