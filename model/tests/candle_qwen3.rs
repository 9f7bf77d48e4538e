//! The decoder against candle-transformers' Qwen3, a reference besides transformers: queries and keys normed per head.

#[path = "support/families.rs"]
mod families;

use candle_core::{DType, Device, Tensor};
use candle_nn::{Activation, VarBuilder};
use candle_transformers::models::qwen3::{Config, ModelForCausalLM};
use families::{Inputs, LOGPROB_TOLERANCE, Model};
use retmask_model::Numerics;
use retmask_model::decoder::Purpose;
use retmask_model::logprobs::token_logprobs;

#[test]
fn log_probabilities_equal_those_of_candle_transformers() {
    let model = Model::named("qwen3");
    let spec = model.spec();
    let config = Config {
        vocab_size: spec.vocabulary_size,
        hidden_size: spec.hidden_size,
        intermediate_size: spec.intermediate_size,
        num_hidden_layers: spec.layers.len(),
        num_attention_heads: spec.query_heads,
        head_dim: spec.head_dim,
        attention_bias: false,
        num_key_value_heads: spec.key_value_heads,
        max_position_embeddings: spec.context_length,
        sliding_window: None,
        max_window_layers: spec.layers.len(),
        tie_word_embeddings: spec.tied_embeddings,
        rope_theta: spec.rotary[0].theta,
        rms_norm_eps: spec.norm_epsilon,
        use_sliding_window: false,
        hidden_act: Activation::Silu,
    };
    let tensors = spec
        .tensors()
        .into_iter()
        .map(|tensor| {
            let values = model.checkpoint.tensor(&tensor.name, &tensor.shape).expect("a tensor");
            (tensor.name, Tensor::from_vec(values, tensor.shape, &Device::Cpu).expect("a tensor"))
        })
        .collect();
    let builder = VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu);
    let mut reference = ModelForCausalLM::new(&config, builder).expect("the reference loads");
    let decoder = model.decoder(Purpose::Inference(Numerics::F32));
    for ids in Inputs::read().sequences() {
        let (last, context) = ids.split_last().expect("tokens");
        reference.clear_kv_cache();
        let logits = Tensor::new(context, &Device::Cpu)
            .and_then(|ids| reference.forward(&ids.unsqueeze(0)?, 0)?.flatten_all()?.to_vec1::<f32>())
            .expect("the reference runs");
        let logits: Vec<f64> = logits.into_iter().map(f64::from).collect();
        let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let expected =
            logits[*last as usize] - largest - logits.iter().map(|logit| (logit - largest).exp()).sum::<f64>().ln();
        let found = token_logprobs(&decoder, None, &[ids], &mut |_| Ok(())).expect("log-probabilities");
        let difference = (found[0].last().expect("a token") - expected).abs();
        assert!(difference < LOGPROB_TOLERANCE, "{} tokens: {difference}", ids.len());
    }
}
