//! `pretrain`: trains a small Llama-architecture model on generated text until it can look things up.
//!
//! This is how the embedded model is made. The loss counts only what can be copied from further up, so that
//! what forms is the machinery of copying: position heads in the first layer, retrieval heads above them.

mod batch;
mod byte_pairs;
mod initial;
mod parameters;
mod tasks;
pub(crate) mod tokenizer;

use retmask_model::checkpoint::{self, StoredType};
use retmask_model::decoder::{Decoder, Purpose};
use retmask_model::spec::{
    AttentionBias, AttentionSpan, Family, LayerSpec, ModelSpec, NormPlacement, QueryKeyNorm, RotaryScaling, RotarySpec,
    TensorShape,
};
use retmask_model::text::TextCodec;
use retmask_model::train::{
    AdamWSettings, BatchSource, Decayed, LearningRate, StepReport, TrainingSettings, Warmup, train,
};
use retmask_model::{ModelError, Numerics};

pub use parameters::{Mixture, Parameters, Phase};

use self::batch::Texts;
use crate::artifact::Media;
use crate::artifact::training_metrics::{self, StepRow};
use crate::contract::{Context, InputPort, Inputs, Kind, OutputPort, Outputs, ParameterError, StageError, StageResult};
use crate::training::TrainingLog;

/// The stage kind.
pub struct Pretrain;

impl Kind for Pretrain {
    type Parameters = Parameters;

    const NAME: &'static str = "pretrain";
    const EPOCH: u32 = 1;
    const SUMMARY: &'static str = "Train a small model on generated text until retrieval heads form";
    const INPUTS: &'static [InputPort] = &[];
    const OUTPUTS: &'static [OutputPort] = &[
        OutputPort { name: "model", media: Media::Model, summary: "The trained model, in bf16" },
        OutputPort { name: "metrics", media: Media::TrainingMetrics, summary: "A row per optimiser step" },
    ];

    fn numerics(_parameters: &Self::Parameters) -> Option<Numerics> {
        Some(Numerics::F32)
    }

    fn validate(parameters: &Parameters) -> Result<(), ParameterError> {
        parameters.check()
    }

    fn run(parameters: &Parameters, _inputs: &Inputs, outputs: &Outputs, context: &Context) -> StageResult<()> {
        let spec = spec(parameters);
        let text = tokenizer::text_assets(spec.context_length)?;
        let codec = TextCodec::new(&text)?;
        let decoder = start(parameters, &spec)?;
        let steps = run_training(&decoder, &mut Texts::new(parameters, &codec), parameters, context)?;
        training_metrics::write(&outputs.path("metrics"), &steps)?;
        let folder = outputs.path("model");
        std::fs::create_dir_all(&folder).map_err(|error| StageError::io("create the folder", &folder, &error))?;
        let mut values = |tensor: &TensorShape| decoder.values(&tensor.name);
        checkpoint::write(&folder, &spec, StoredType::Bf16, &mut values, Some(&text))?;
        Ok(())
    }
}

/// The untrained model.
fn start(parameters: &Parameters, spec: &ModelSpec) -> StageResult<Decoder> {
    let mut tensors = initial::tensors(spec, parameters.matching_heads as usize, parameters.seed).into_iter();
    let decoder =
        Decoder::build(spec.clone(), Purpose::Training(Numerics::F32), &mut |name, _| match tensors.next() {
            Some((shape, values)) if shape.name == name => Ok(values),
            _ => Err(ModelError::internal(format!("the tensor {name} was asked for out of order"))),
        })?;
    Ok(decoder)
}

fn run_training(
    decoder: &Decoder,
    texts: &mut Texts<'_>,
    parameters: &Parameters,
    context: &Context,
) -> StageResult<Vec<StepRow>> {
    let schedule = LearningRate::Cosine {
        peak: parameters.learning_rate,
        floor: parameters.learning_rate * parameters.final_learning_rate_share,
        warmup: Warmup::Steps(parameters.warmup_steps as usize),
    };
    let optimiser = AdamWSettings {
        beta1: 0.9,
        beta2: 0.95,
        epsilon: 1e-8,
        weight_decay: parameters.weight_decay,
        decayed: Decayed::All,
        clip_norm: parameters.gradient_clip,
    };
    let total = texts.steps();
    let mut log = TrainingLog::new(context, vec![1.0; total], Numerics::F32, &|_| String::new());
    let mut checkpoints = log.checkpoints();
    let settings = TrainingSettings { schedule, optimiser };
    let reports = train(decoder, texts, settings, checkpoints.as_mut(), &mut log)?;
    Ok(reports.into_iter().map(|report| row(&report, total)).collect())
}

fn row(report: &StepReport, total: usize) -> StepRow {
    StepRow {
        step: report.step as u32,
        // Every text is new: all of training is one epoch.
        epoch: report.step as f64 / total as f64,
        loss: report.loss,
        grad_norm: report.grad_norm,
        learning_rate: report.learning_rate,
        tokens: report.tokens,
        preference: None,
    }
}

/// The shape of the model.
fn spec(parameters: &Parameters) -> ModelSpec {
    ModelSpec {
        family: Family::Llama,
        vocabulary_size: tokenizer::vocabulary_size(),
        hidden_size: parameters.hidden_size as usize,
        intermediate_size: parameters.intermediate_size as usize,
        query_heads: parameters.heads as usize,
        key_value_heads: parameters.heads as usize,
        head_dim: parameters.head_dim as usize,
        context_length: parameters.context_length as usize,
        norm_epsilon: 1e-5,
        norm_placement: NormPlacement::Pre,
        query_key_norm: QueryKeyNorm::None,
        attention_bias: AttentionBias::None,
        mlp_bias: false,
        tied_embeddings: true,
        rotary: vec![RotarySpec { theta: parameters.rotary_theta, scaling: RotaryScaling::None }],
        layers: vec![LayerSpec { span: AttentionSpan::Full, rotary: 0 }; parameters.layers as usize],
    }
}
