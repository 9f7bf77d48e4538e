//! Low-rank adaptation: gradients, and what is merged.

#[path = "support/tiny_model.rs"]
mod tiny_model;

use std::collections::HashMap;

use retmask_model::Numerics;
use retmask_model::decoder::{Decoder, LowRank, Purpose, Targets};
use retmask_model::logprobs::token_logprobs;
use retmask_model::random::Stream;
use retmask_model::spec::{AttentionBias, ModelSpec, QueryKeyNorm};
use retmask_model::train::{
    AdamWSettings, BatchSource, CrossEntropy, Decayed, Gradients, LearningRate, MicroBatch, TrainingSequence,
    TrainingSettings, Warmup, train,
};
use retmask_model::{ModelError, ModelResult};

const RANK: usize = 3;
const SCALE: f64 = 5.0 / RANK as f64;

/// With biases, norms of queries and keys, and an output projection of its own: frozen, they let gradients pass.
fn spec() -> ModelSpec {
    ModelSpec {
        attention_bias: AttentionBias::QueryKeyValue,
        query_key_norm: QueryKeyNorm::PerHead,
        tied_embeddings: false,
        ..tiny_model::spec()
    }
}

fn start(name: &str, shape: &[usize]) -> Vec<f32> {
    let mut stream = Stream::derive(5, &[name.as_bytes()]);
    let centre = if name.contains("norm") { 1.0 } else { 0.0 };
    (0..shape.iter().product()).map(|_| 0.3 * stream.normal() as f32 + centre).collect()
}

fn adapted(targets: Targets) -> Decoder {
    let low_rank = LowRank { rank: RANK, alpha: 5.0, targets, seed: 1 };
    Decoder::build(spec(), Purpose::Adapting(low_rank, Numerics::F32), &mut |name, shape| Ok(start(name, shape)))
        .expect("a model")
}

fn sequences() -> Vec<TrainingSequence> {
    let sequence = |name: u8| {
        let mut stream = Stream::derive(9, &[&[name]]);
        let ids = (0..14).map(|_| stream.below(258) as u32).collect();
        TrainingSequence { ids, scored: vec![true; 14], masked_heads: None }
    };
    vec![sequence(0), sequence(1)]
}

struct Data(usize);

impl BatchSource for Data {
    fn steps(&self) -> usize {
        self.0
    }

    fn micro_batches(&mut self, _: usize) -> ModelResult<Vec<MicroBatch>> {
        let objective = Box::new(CrossEntropy { step_tokens: 26 });
        Ok(vec![MicroBatch { sequences: sequences(), objective, name: String::new() }])
    }
}

fn trained(targets: Targets, steps: usize) -> (Decoder, Vec<f64>) {
    let decoder = adapted(targets);
    let settings = TrainingSettings {
        schedule: LearningRate::Constant { peak: 2e-2, warmup: Warmup::Steps(0) },
        optimiser: AdamWSettings {
            beta1: 0.9,
            beta2: 0.95,
            epsilon: 1e-8,
            weight_decay: 0.0,
            decayed: Decayed::All,
            clip_norm: 1.0,
        },
    };
    let reports = train(&decoder, &mut Data(steps), settings, None, &mut |_: &_| Ok(())).expect("training");
    (decoder, reports.into_iter().map(|report| report.loss).collect())
}

/// The same model with its corrections merged.
fn merged(decoder: &Decoder, purpose: Purpose) -> Decoder {
    Decoder::build(spec(), purpose, &mut |name, _| decoder.values(name)).expect("a model")
}

fn gradients(decoder: &Decoder) -> HashMap<String, Vec<f32>> {
    let mut gradients = Gradients::new(decoder).expect("a decoder for training");
    gradients.accumulate(decoder, &sequences(), &CrossEntropy { step_tokens: 26 }).expect("gradients");
    gradients.named().map(|(name, values)| (name.to_owned(), values.to_vec())).collect()
}

fn norm(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|value| value * value).sum::<f64>().sqrt()
}

/// Of every trained matrix, against the gradient of the merged weight W = base + s·B·A: dA = s·Bᵀ·dW and dB = s·dW·Aᵀ.
#[test]
fn gradients_are_those_of_the_merged_weights() {
    let (decoder, losses) = trained(Targets([true; 7]), 4);
    assert!(losses.last() < losses.first(), "{losses:?}");
    let values: HashMap<String, Vec<f32>> = parameter_values(&decoder);
    let (found, full) = (gradients(&decoder), gradients(&merged(&decoder, Purpose::Training(Numerics::F32))));
    assert_eq!(found.len(), 2 * 7 * tiny_model::SHAPE.0, "{:?}", found.keys());
    let mut checked = 0;
    for tensor in spec().tensors() {
        let Some(module) = tensor.name.strip_suffix("_proj.weight") else { continue };
        let (name_a, name_b) = (format!("{module}_proj.lora_A.weight"), format!("{module}_proj.lora_B.weight"));
        let (outputs, inputs) = (tensor.shape[0], tensor.shape[1]);
        let (inner, outer, whole) = (&values[&name_a], &values[&name_b], &full[&tensor.name]);
        let of = |index: usize, values: &[f32]| f64::from(values[index]);
        let expected_a = (0..RANK * inputs).map(|place| {
            let (r, i) = (place / inputs, place % inputs);
            SCALE * (0..outputs).map(|o| of(o * RANK + r, outer) * of(o * inputs + i, whole)).sum::<f64>()
        });
        let expected_b = (0..outputs * RANK).map(|place| {
            let (o, r) = (place / RANK, place % RANK);
            SCALE * (0..inputs).map(|i| of(r * inputs + i, inner) * of(o * inputs + i, whole)).sum::<f64>()
        });
        for (name, expected) in [(name_a, expected_a.collect::<Vec<f64>>()), (name_b, expected_b.collect::<Vec<f64>>())]
        {
            let difference = norm(found[&name].iter().zip(&expected).map(|(&f, e)| f64::from(f) - e));
            let size = norm(expected.into_iter());
            // f32 sums of 28 rows, once through the merged weight and once beside it.
            assert!(size > 0.0 && difference / size < 1e-4, "{name}: {difference} of {size}");
            checked += 1;
        }
    }
    assert_eq!(checked, found.len());
}

/// Names and values of what is trained, read back from the merged weights' difference.
fn parameter_values(decoder: &Decoder) -> HashMap<String, Vec<f32>> {
    let parameters = decoder.parameters().expect("a decoder for training");
    parameters.into_iter().map(|parameter| (parameter.name.clone(), parameter.values().expect("values"))).collect()
}

#[test]
fn what_is_merged_speaks_as_the_adapted_model_does_and_only_targets_change() {
    let targets = Targets([true, false, true, false, false, false, true]);
    let (decoder, _) = trained(targets, 5);
    let ids: Vec<Vec<u32>> = sequences().into_iter().map(|sequence| sequence.ids).collect();
    let ids: Vec<&[u32]> = ids.iter().map(Vec::as_slice).collect();
    let logprobs = |decoder: &Decoder| token_logprobs(decoder, None, &ids, &mut |_| Ok(())).expect("log-probabilities");
    let merged = merged(&decoder, Purpose::Inference(Numerics::F32));
    let before = logprobs(&adapted(targets));
    let mut moved = 0.0f64;
    for ((found, expected), before) in logprobs(&merged).iter().zip(&logprobs(&decoder)).zip(&before) {
        for ((found, expected), before) in found.iter().zip(expected).zip(before) {
            // Two layers of f32 sums over at most 24 terms, in another order.
            assert!((found - expected).abs() < 2e-5, "{found} {expected}");
            moved = moved.max((found - before).abs());
        }
    }
    assert!(moved > 0.05, "training moved nothing: {moved}");
    for tensor in spec().tensors() {
        let changed = decoder.values(&tensor.name).expect("values") != start(&tensor.name, &tensor.shape);
        let target =
            ["q_proj.weight", "v_proj.weight", "down_proj.weight"].iter().any(|end| tensor.name.ends_with(end));
        assert_eq!(changed, target, "{}", tensor.name);
    }
}

#[test]
fn the_start_is_the_model_itself_and_inference_models_have_no_parameters() {
    let decoder = adapted(Targets([true; 7]));
    for tensor in spec().tensors() {
        assert_eq!(decoder.values(&tensor.name).expect("values"), start(&tensor.name, &tensor.shape));
    }
    let error: ModelError = merged(&decoder, Purpose::Inference(Numerics::F32)).parameters().err().expect("a refusal");
    assert!(error.message.contains("not loaded for training"), "{error}");
}
