//! The settings of a preference training run. Defaults are the paper's.

use retmask_model::checkpoint::StoredType;
use retmask_model::train::{AdamWSettings, LearningRate, Warmup};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::contract::ParameterError;
use crate::preference::{Compatibility, Truncation, TruncationParameters};

/// The shape of the learning rate over the run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Schedule {
    /// Half a cosine from the peak to `learning-rate-floor`.
    #[default]
    Cosine,
    /// A straight line from the peak to 0.
    Linear,
    /// The peak throughout, without warm-up.
    Constant,
}

/// How the trained weights are stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CheckpointType {
    #[default]
    Bf16,
    F32,
}

impl From<CheckpointType> for StoredType {
    fn from(stored: CheckpointType) -> Self {
        match stored {
            CheckpointType::Bf16 => Self::Bf16,
            CheckpointType::F32 => Self::F32,
        }
    }
}

/// Parameters of `dpo`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Parameters {
    /// How strongly the policy is held to the reference.
    pub beta: f64,
    /// The highest learning rate.
    pub learning_rate: f64,
    /// Where the cosine ends.
    pub learning_rate_floor: f64,
    /// How the learning rate runs.
    pub schedule: Schedule,
    /// Share of all steps in which the rate climbs from 0.
    pub warmup_ratio: f64,
    /// Times the training pairs are gone through.
    pub epochs: usize,
    /// Pairs of one optimiser step.
    pub batch_pairs: usize,
    /// Pairs that go through the model together; decides the order of sums, so it is part of the result's key.
    pub micro_batch_pairs: usize,
    /// Whether each epoch draws its own order of pairs from the seed; otherwise the table's order stands.
    pub shuffle: bool,
    /// Seed of the order of pairs.
    pub seed: u64,
    /// The most pairs trained on, the first of the table; all that are not held out when left out.
    pub training_pairs: Option<usize>,
    /// The last pairs of the table, kept out of training and measured before and after.
    pub held_out: usize,
    /// Decay of the mean of gradients.
    pub adam_beta1: f64,
    /// Decay of the mean of squared gradients.
    pub adam_beta2: f64,
    /// Added to the root of the mean of squared gradients.
    pub adam_epsilon: f64,
    /// Decoupled weight decay, on every parameter.
    pub weight_decay: f64,
    /// Largest gradient norm.
    pub clip_norm: f64,
    /// Prompt tokens kept, the last ones; 0 keeps all.
    pub max_prompt_length: usize,
    /// Tokens of prompt and response together; 0 keeps all.
    pub max_length: usize,
    /// Which end of a longer sequence stays.
    pub keep: Truncation,
    /// Whose details of pair building are followed.
    pub compat: Compatibility,
    /// How the trained weights are stored.
    pub checkpoint: CheckpointType,
}

impl Default for Parameters {
    fn default() -> Self {
        let truncation = TruncationParameters::default();
        Self {
            beta: 0.1,
            learning_rate: 5e-7,
            learning_rate_floor: 5e-8,
            schedule: Schedule::Cosine,
            warmup_ratio: 0.1,
            epochs: 2,
            batch_pairs: 512,
            micro_batch_pairs: 2,
            shuffle: true,
            seed: 42,
            training_pairs: None,
            held_out: 0,
            adam_beta1: 0.9,
            adam_beta2: 0.95,
            adam_epsilon: 1e-8,
            weight_decay: 0.1,
            clip_norm: 1.0,
            max_prompt_length: truncation.max_prompt_length,
            max_length: truncation.max_length,
            keep: truncation.keep,
            compat: truncation.compat,
            checkpoint: CheckpointType::Bf16,
        }
    }
}

impl Parameters {
    /// Ranges no type states.
    pub fn check(&self) -> Result<(), ParameterError> {
        let positive = [
            ("beta", self.beta),
            ("learning-rate", self.learning_rate),
            ("adam-epsilon", self.adam_epsilon),
            ("clip-norm", self.clip_norm),
        ];
        for (field, value) in positive {
            if !(value > 0.0 && value.is_finite()) {
                return Err(ParameterError::new(field, format!("is {value}; it must be above 0")));
            }
        }
        for (field, value) in [("adam-beta1", self.adam_beta1), ("adam-beta2", self.adam_beta2)] {
            if !(0.0..1.0).contains(&value) {
                return Err(ParameterError::new(field, format!("is {value}; it must be at least 0 and below 1")));
            }
        }
        if !(0.0..=1.0).contains(&self.warmup_ratio) {
            return Err(ParameterError::new("warmup-ratio", "must be between 0 and 1"));
        }
        if !(0.0..=self.learning_rate).contains(&self.learning_rate_floor) {
            return Err(ParameterError::new("learning-rate-floor", "must be between 0 and learning-rate"));
        }
        if !(self.weight_decay >= 0.0 && self.weight_decay.is_finite()) {
            return Err(ParameterError::new("weight-decay", "must be 0 or more"));
        }
        for (field, value) in
            [("epochs", self.epochs), ("batch-pairs", self.batch_pairs), ("micro-batch-pairs", self.micro_batch_pairs)]
        {
            if value == 0 {
                return Err(ParameterError::new(field, "must be at least 1"));
            }
        }
        if self.training_pairs == Some(0) {
            return Err(ParameterError::new("training-pairs", "must be at least 1; leave it out to train on all"));
        }
        self.truncation().check()
    }

    /// The part that decides the tokens; `reference-logprobs` must have run with the same.
    pub fn truncation(&self) -> TruncationParameters {
        TruncationParameters {
            max_prompt_length: self.max_prompt_length,
            max_length: self.max_length,
            keep: self.keep,
            compat: self.compat,
        }
    }

    /// The learning rate over the run.
    pub fn learning_rate(&self) -> LearningRate {
        let (peak, floor, warmup) = (self.learning_rate, self.learning_rate_floor, Warmup::Ratio(self.warmup_ratio));
        match self.schedule {
            Schedule::Cosine => LearningRate::Cosine { peak, floor, warmup },
            Schedule::Linear => LearningRate::Linear { peak, warmup },
            Schedule::Constant => LearningRate::Constant { peak },
        }
    }

    /// The optimiser's constants.
    pub fn optimiser(&self) -> AdamWSettings {
        AdamWSettings {
            beta1: self.adam_beta1,
            beta2: self.adam_beta2,
            epsilon: self.adam_epsilon,
            weight_decay: self.weight_decay,
            clip_norm: self.clip_norm,
        }
    }
}
