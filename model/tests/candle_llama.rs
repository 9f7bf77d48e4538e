//! The decoder against candle-transformers' Llama on random weights: another implementation of the same architecture.

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::llama::{Cache, Config, Llama, Llama3RopeConfig, Llama3RopeType};
use retmask_model::Numerics;
use retmask_model::decoder::{Decoder, Purpose};
use retmask_model::heads::{Head, HeadMask};
use retmask_model::logprobs::token_logprobs;
use retmask_model::random::Stream;
use retmask_model::spec::{
    AttentionBias, AttentionSpan, Family, LayerSpec, ModelSpec, NormPlacement, QueryKeyNorm, RotaryScaling, RotarySpec,
};

const TOKENS: [usize; 4] = [2, 7, 65, 150];

/// Scaling that matters within the tested lengths: waves of 16 to 64 tokens are blended, longer ones stretched.
const SCALING: RotaryScaling =
    RotaryScaling::Llama3 { factor: 8.0, low_frequency_factor: 1.0, high_frequency_factor: 4.0, original_context: 64 };

fn spec(tied_embeddings: bool, scaling: RotaryScaling) -> ModelSpec {
    ModelSpec {
        family: Family::Llama,
        vocabulary_size: 101,
        hidden_size: 48,
        intermediate_size: 80,
        query_heads: 6,
        key_value_heads: 2,
        head_dim: 8,
        context_length: 256,
        norm_epsilon: 1e-5,
        norm_placement: NormPlacement::Pre,
        query_key_norm: QueryKeyNorm::None,
        attention_bias: AttentionBias::None,
        mlp_bias: false,
        tied_embeddings,
        rotary: vec![RotarySpec { theta: 10_000.0, scaling }],
        layers: vec![LayerSpec { span: AttentionSpan::Full, rotary: 0 }; 3],
    }
}

/// Random weights large enough that every part of the model shapes the result.
fn weights(spec: &ModelSpec) -> HashMap<String, (Vec<f32>, Vec<usize>)> {
    spec.tensors()
        .into_iter()
        .map(|tensor| {
            let mut stream = Stream::derive(5, &[tensor.name.as_bytes()]);
            let (scale, centre) = if tensor.shape.len() == 1 { (0.3, 1.0) } else { (0.25, 0.0) };
            let values = (0..tensor.values()).map(|_| (centre + scale * stream.normal()) as f32).collect();
            (tensor.name, (values, tensor.shape))
        })
        .collect()
}

/// Log-probability of the last token of `ids` given those before it, by candle-transformers.
fn reference(spec: &ModelSpec, weights: &HashMap<String, (Vec<f32>, Vec<usize>)>, ids: &[u32]) -> f64 {
    let tensor = |(values, shape): &(Vec<f32>, Vec<usize>)| {
        Tensor::from_vec(values.clone(), shape.as_slice(), &Device::Cpu).expect("a tensor")
    };
    let tensors = weights.iter().map(|(name, weight)| (name.clone(), tensor(weight))).collect();
    let config = Config {
        hidden_size: spec.hidden_size,
        intermediate_size: spec.intermediate_size,
        vocab_size: spec.vocabulary_size,
        num_hidden_layers: spec.layers.len(),
        num_attention_heads: spec.query_heads,
        num_key_value_heads: spec.key_value_heads,
        use_flash_attn: false,
        rms_norm_eps: spec.norm_epsilon,
        rope_theta: spec.rotary[0].theta as f32,
        bos_token_id: None,
        eos_token_id: None,
        rope_scaling: rope_scaling(&spec.rotary[0].scaling),
        max_position_embeddings: spec.context_length,
        tie_word_embeddings: spec.tied_embeddings,
    };
    let builder = VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu);
    let model = Llama::load(builder, &config).expect("the reference loads");
    let mut cache = Cache::new(false, DType::F32, &config, &Device::Cpu).expect("a cache");
    let (last, context) = ids.split_last().expect("tokens");
    let input = Tensor::new(context, &Device::Cpu).and_then(|ids| ids.unsqueeze(0)).expect("input");
    let logits = model.forward(&input, 0, &mut cache).expect("the reference runs").flatten_all().expect("one row");
    let logits: Vec<f64> = logits.to_vec1::<f32>().expect("numbers").into_iter().map(f64::from).collect();
    let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    logits[*last as usize] - largest - logits.iter().map(|logit| (logit - largest).exp()).sum::<f64>().ln()
}

fn rope_scaling(scaling: &RotaryScaling) -> Option<Llama3RopeConfig> {
    match *scaling {
        RotaryScaling::Llama3 { factor, low_frequency_factor, high_frequency_factor, original_context } => {
            Some(Llama3RopeConfig {
                factor: factor as f32,
                low_freq_factor: low_frequency_factor as f32,
                high_freq_factor: high_frequency_factor as f32,
                original_max_position_embeddings: original_context,
                rope_type: Llama3RopeType::Llama3,
            })
        }
        _ => None,
    }
}

fn ids(length: usize) -> Vec<u32> {
    let mut stream = Stream::derive(length as u64, &[b"ids"]);
    (0..length).map(|_| stream.below(101) as u32).collect()
}

fn decoder(spec: &ModelSpec, weights: &HashMap<String, (Vec<f32>, Vec<usize>)>, purpose: Purpose) -> Decoder {
    Decoder::build(spec.clone(), purpose, &mut |name, _| Ok(weights[name].0.clone())).expect("the decoder builds")
}

fn last_logprob(decoder: &Decoder, mask: Option<&HeadMask>, ids: &[u32]) -> f64 {
    let found = token_logprobs(decoder, mask, &[ids], &mut |_| Ok(())).expect("log-probabilities");
    *found[0].last().expect("a token")
}

#[test]
fn log_probabilities_equal_those_of_candle_transformers() {
    for (tied, scaling) in [(false, RotaryScaling::None), (true, RotaryScaling::None), (true, SCALING)] {
        let spec = spec(tied, scaling);
        let weights = weights(&spec);
        let (packed, trainable) = (
            decoder(&spec, &weights, Purpose::Inference(Numerics::F32)),
            decoder(&spec, &weights, Purpose::Training(Numerics::F32)),
        );
        for length in TOKENS {
            let ids = ids(length);
            let (found, expected) = (last_logprob(&packed, None, &ids), reference(&spec, &weights, &ids));
            // Both compute in f32; logits are of size 10.
            assert!((found - expected).abs() < 2e-4, "{length} tokens, tied {tied}: {found} {expected}");
            assert_eq!(found, last_logprob(&trainable, None, &ids), "loaded for training the bits are the same");
        }
    }
}

#[test]
fn a_masked_head_equals_zeroed_columns_of_the_output_projection() {
    let spec = spec(true, RotaryScaling::None);
    let plain = weights(&spec);
    let masked: HeadMask =
        [Head { layer: 0, head: 5 }, Head { layer: 2, head: 0 }, Head { layer: 2, head: 3 }].into_iter().collect();
    let mut zeroed = plain.clone();
    for head in masked.heads() {
        let (values, _) =
            zeroed.get_mut(&format!("model.layers.{}.self_attn.o_proj.weight", head.layer)).expect("a weight");
        let first = head.head as usize * spec.head_dim;
        for row in values.chunks_exact_mut(spec.query_width()) {
            row[first..first + spec.head_dim].fill(0.0);
        }
    }
    let decoder_of = |weights| decoder(&spec, weights, Purpose::Inference(Numerics::F32));
    for length in TOKENS {
        let ids = ids(length);
        let found = last_logprob(&decoder_of(&plain), Some(&masked), &ids);
        assert_eq!(found, last_logprob(&decoder_of(&zeroed), None, &ids), "exactly");
        assert!((found - reference(&spec, &zeroed, &ids)).abs() < 2e-4);
        if length > 2 {
            assert!((found - last_logprob(&decoder_of(&plain), None, &ids)).abs() > 1e-3, "the mask does something");
        }
    }
}
