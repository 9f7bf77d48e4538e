//! The settings of a preference training run. Defaults are the paper's.

use retmask_model::Numerics;
use retmask_model::checkpoint::StoredType;
use retmask_model::decoder::{LowRank, Targets};
use retmask_model::train::{AdamWSettings, Decayed, LearningRate, TrainingSettings, Warmup};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::loss::{Loss, PreferenceLoss};
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
    /// The peak after the warm-up.
    ConstantWithWarmup,
}

/// Which weights decay.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WeightDecayOn {
    /// Every weight.
    #[default]
    All,
    /// Matrices: not the weights of norms, nor biases. Hugging Face's trainer does this.
    Matrices,
    /// Matrices of the layers: not the embedding and the output projection either.
    LayerMatrices,
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

/// A linear layer of every block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Module {
    QProj,
    KProj,
    VProj,
    OProj,
    GateProj,
    UpProj,
    DownProj,
}

impl Module {
    /// In the order of [`Targets`].
    const ALL: [Self; 7] =
        [Self::QProj, Self::KProj, Self::VProj, Self::OProj, Self::GateProj, Self::UpProj, Self::DownProj];
}

/// Low-rank adaptation: the model's weights are frozen, and the product of two thin matrices, times alpha / rank, is
/// trained beside each target. It is merged into the checkpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Adapter {
    /// Width of the thin matrices.
    pub rank: usize,
    /// Together with `rank`, how much the product counts.
    pub alpha: f64,
    /// The layers that are adapted.
    pub targets: Vec<Module>,
}

impl Default for Adapter {
    fn default() -> Self {
        Self { rank: 16, alpha: 32.0, targets: Module::ALL.to_vec() }
    }
}

/// Parameters of `dpo`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Parameters {
    /// What is minimised. `m` is beta times the difference of both sides' log-ratios of policy and reference.
    pub loss: Loss,
    /// How strongly the policy is held to the reference.
    pub beta: f64,
    /// The probability that a pair is the wrong way round, for the sigmoid loss (cDPO).
    pub label_smoothing: f64,
    /// What the `simpo` loss wants the margin to be above; its paper's gamma.
    pub target_margin: f64,
    /// Weight of the chosen side's mean negative log-probability per token, added to any loss.
    pub nll_weight: f64,
    /// Trains corrections of low rank in place of the weights: `{rank, alpha, targets}`, of which `rank` is 16, `alpha`
    /// 32 and `targets` every linear layer when left out. Needs a higher learning rate.
    pub lora: Option<Adapter>,
    /// The highest learning rate.
    pub learning_rate: f64,
    /// Where the cosine ends.
    pub learning_rate_floor: f64,
    /// How the learning rate runs.
    pub schedule: Schedule,
    /// Share of all steps in which the rate climbs from 0.
    pub warmup_ratio: f64,
    /// Steps in which the rate climbs from 0, in place of `warmup-ratio`.
    pub warmup_steps: Option<usize>,
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
    /// Also measure the held-out pairs after every so many steps.
    pub evaluate_every: Option<usize>,
    /// Decay of the mean of gradients.
    pub adam_beta1: f64,
    /// Decay of the mean of squared gradients.
    pub adam_beta2: f64,
    /// Added to the root of the mean of squared gradients.
    pub adam_epsilon: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Which weights decay.
    pub weight_decay_on: WeightDecayOn,
    /// Largest gradient norm; 0 clips nothing.
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
    /// The class of arithmetic: `f32`, or `bf16`, where linear layers read their inputs and weights in bf16, on the way back
    /// too. Weights, gradients and the optimiser's state are f32 in both.
    pub numerics: Numerics,
}

impl Default for Parameters {
    fn default() -> Self {
        let truncation = TruncationParameters::default();
        Self {
            loss: Loss::Sigmoid,
            beta: 0.1,
            label_smoothing: 0.0,
            target_margin: 0.0,
            nll_weight: 0.0,
            lora: None,
            learning_rate: 5e-7,
            learning_rate_floor: 5e-8,
            schedule: Schedule::Cosine,
            warmup_ratio: 0.1,
            warmup_steps: None,
            epochs: 2,
            batch_pairs: 512,
            micro_batch_pairs: 2,
            shuffle: true,
            seed: 42,
            training_pairs: None,
            held_out: 0,
            evaluate_every: None,
            adam_beta1: 0.9,
            adam_beta2: 0.95,
            adam_epsilon: 1e-8,
            weight_decay: 0.1,
            weight_decay_on: WeightDecayOn::All,
            clip_norm: 1.0,
            max_prompt_length: truncation.max_prompt_length,
            max_length: truncation.max_length,
            keep: truncation.keep,
            compat: truncation.compat,
            checkpoint: CheckpointType::Bf16,
            numerics: Numerics::F32,
        }
    }
}

impl Parameters {
    /// Ranges no type states.
    pub fn check(&self) -> Result<(), ParameterError> {
        let positive =
            [("beta", self.beta), ("learning-rate", self.learning_rate), ("adam-epsilon", self.adam_epsilon)];
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
        let not_negative = [
            ("weight-decay", self.weight_decay),
            ("clip-norm", self.clip_norm),
            ("target-margin", self.target_margin),
            ("nll-weight", self.nll_weight),
        ];
        for (field, value) in not_negative {
            if !(value >= 0.0 && value.is_finite()) {
                return Err(ParameterError::new(field, format!("is {value}; it must be 0 or more")));
            }
        }
        if !(0.0..0.5).contains(&self.label_smoothing) {
            let message = format!("is {}; it must be at least 0 and below 0.5", self.label_smoothing);
            return Err(ParameterError::new("label-smoothing", message));
        }
        if self.label_smoothing != 0.0 && self.loss != Loss::Sigmoid {
            return Err(ParameterError::new("label-smoothing", "only the `sigmoid` loss is smoothed"));
        }
        if self.target_margin != 0.0 && self.loss != Loss::Simpo {
            return Err(ParameterError::new("target-margin", "only the `simpo` loss has a target margin"));
        }
        if let Some(adapter) = &self.lora {
            if adapter.rank == 0 {
                return Err(ParameterError::new("lora.rank", "must be at least 1"));
            }
            if !(adapter.alpha > 0.0 && adapter.alpha.is_finite()) {
                return Err(ParameterError::new("lora.alpha", format!("is {}; it must be above 0", adapter.alpha)));
            }
            if adapter.targets.is_empty() {
                return Err(ParameterError::new("lora.targets", "names no layer to adapt"));
            }
        }
        if self.evaluate_every == Some(0) {
            return Err(ParameterError::new("evaluate-every", "must be at least 1 step"));
        }
        if self.evaluate_every.is_some() && self.held_out == 0 {
            return Err(ParameterError::new("evaluate-every", "there is nothing to measure while `held-out` is 0"));
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

    /// The loss over pairs with these reference sums, of a step of `step_pairs`.
    pub fn objective(&self, reference: Vec<[f64; 2]>, step_pairs: usize) -> PreferenceLoss {
        PreferenceLoss {
            loss: self.loss,
            beta: self.beta,
            label_smoothing: self.label_smoothing,
            target_margin: self.target_margin,
            nll_weight: self.nll_weight,
            reference,
            step_pairs,
        }
    }

    /// How the model is adapted; `None` trains its weights.
    pub fn low_rank(&self) -> Option<LowRank> {
        let Adapter { rank, alpha, targets } = self.lora.as_ref()?;
        let targets = Targets(Module::ALL.map(|module| targets.contains(&module)));
        Some(LowRank { rank: *rank, alpha: *alpha, targets, seed: self.seed })
    }

    /// The learning rate over the run, and the optimiser's constants.
    pub fn training(&self) -> TrainingSettings {
        TrainingSettings { schedule: self.learning_rate(), optimiser: self.optimiser() }
    }

    fn learning_rate(&self) -> LearningRate {
        let (peak, floor) = (self.learning_rate, self.learning_rate_floor);
        let warmup = self.warmup_steps.map_or(Warmup::Ratio(self.warmup_ratio), Warmup::Steps);
        match self.schedule {
            Schedule::Cosine => LearningRate::Cosine { peak, floor, warmup },
            Schedule::Linear => LearningRate::Linear { peak, warmup },
            Schedule::Constant => LearningRate::Constant { peak, warmup: Warmup::Steps(0) },
            Schedule::ConstantWithWarmup => LearningRate::Constant { peak, warmup },
        }
    }

    fn optimiser(&self) -> AdamWSettings {
        AdamWSettings {
            beta1: self.adam_beta1,
            beta2: self.adam_beta2,
            epsilon: self.adam_epsilon,
            weight_decay: self.weight_decay,
            decayed: match self.weight_decay_on {
                WeightDecayOn::All => Decayed::All,
                WeightDecayOn::Matrices => Decayed::Matrices,
                WeightDecayOn::LayerMatrices => Decayed::LayerMatrices,
            },
            clip_norm: if self.clip_norm == 0.0 { f64::INFINITY } else { self.clip_norm },
        }
    }
}
