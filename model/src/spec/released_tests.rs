//! Configurations as released: every field that matters, the number of weights, and the rules that follow.

use serde_json::{Value, json};

use super::*;

/// The spec of a configuration, after checking the number of weights.
fn read(config: Value, weights: u64) -> ModelSpec {
    let spec = read_config(&config.to_string(), 1_000).unwrap_or_else(|reason| panic!("{reason}: {config}"));
    assert_eq!(spec.parameters(), weights, "{config}");
    assert_eq!(spec.context_length as u64, config["max_position_embeddings"].as_u64().expect("a number"));
    let written = write_config(&spec, "bfloat16", None, &[], None).expect("written");
    assert_eq!(read_config(&written, 1_000), Ok(spec.clone()), "{written}");
    spec
}

#[test]
fn llama() {
    let scaling = |factor: f64| {
        json!({"factor": factor, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
               "original_max_position_embeddings": 8192, "rope_type": "llama3"})
    };
    let spec = read(
        json!({"model_type": "llama", "hidden_act": "silu", "hidden_size": 4096, "intermediate_size": 14336,
               "max_position_embeddings": 131072, "num_attention_heads": 32, "num_hidden_layers": 32,
               "num_key_value_heads": 8, "rms_norm_eps": 1e-5, "rope_theta": 500000.0, "rope_scaling": scaling(8.0),
               "attention_bias": false, "mlp_bias": false, "tie_word_embeddings": false, "vocab_size": 128256}),
        8_030_261_248,
    );
    assert_eq!((spec.head_dim, spec.rotary.len()), (128, 1));
    assert_eq!(spec.key_value_bytes_per_token(Numerics::Bf16), 32 * 2 * 1024 * 2);
    read(
        json!({"model_type": "llama", "hidden_size": 2048, "intermediate_size": 8192, "head_dim": 64,
               "max_position_embeddings": 131072, "num_attention_heads": 32, "num_hidden_layers": 16,
               "num_key_value_heads": 8, "rms_norm_eps": 1e-5, "rope_theta": 500000.0, "rope_scaling": scaling(32.0),
               "tie_word_embeddings": true, "vocab_size": 128256}),
        1_235_814_400,
    );
}

#[test]
fn mistral() {
    let spec = read(
        json!({"model_type": "mistral", "hidden_act": "silu", "hidden_size": 4096, "intermediate_size": 14336,
               "max_position_embeddings": 32768, "num_attention_heads": 32, "num_hidden_layers": 32,
               "num_key_value_heads": 8, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "sliding_window": 4096,
               "tie_word_embeddings": false, "vocab_size": 32000}),
        7_241_732_096,
    );
    assert!(spec.layers.iter().all(|layer| layer.span == AttentionSpan::Window(4_096)));
}

#[test]
fn qwen2_5() {
    let spec = read(
        json!({"model_type": "qwen2", "hidden_act": "silu", "hidden_size": 3584, "intermediate_size": 18944,
               "max_position_embeddings": 32768, "max_window_layers": 28, "num_attention_heads": 28,
               "num_hidden_layers": 28, "num_key_value_heads": 4, "rms_norm_eps": 1e-6, "rope_theta": 1000000.0,
               "sliding_window": 131072, "use_sliding_window": false, "tie_word_embeddings": false,
               "vocab_size": 152064}),
        7_615_616_512,
    );
    assert_eq!(spec.attention_bias, AttentionBias::QueryKeyValue);
    assert!(spec.layers.iter().all(|layer| layer.span == AttentionSpan::Full));
}

#[test]
fn qwen3() {
    let released = json!({"model_type": "qwen3", "attention_bias": false, "head_dim": 128, "hidden_act": "silu",
        "hidden_size": 4096, "intermediate_size": 12288, "max_position_embeddings": 40960, "max_window_layers": 36,
        "num_attention_heads": 32, "num_hidden_layers": 36, "num_key_value_heads": 8, "rms_norm_eps": 1e-6,
        "rope_scaling": null, "rope_theta": 1000000, "sliding_window": null, "use_sliding_window": false,
        "tie_word_embeddings": false, "vocab_size": 151936});
    let spec = read(released.clone(), 8_190_735_360);
    assert_eq!(spec.query_key_norm, QueryKeyNorm::PerHead);
    // Its model card adds YaRN for longer texts and leaves the number of positions as it was.
    let mut longer = released;
    longer["rope_scaling"] = json!({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768});
    let longer = read_config(&longer.to_string(), 1_000).expect("a configuration");
    assert_eq!(longer.context_length, 131_072);
    assert!(matches!(longer.rotary[0].scaling, RotaryScaling::Yarn { truncate: true, original_context: 32_768, .. }));
}

#[test]
fn olmo2() {
    let spec = read(
        json!({"model_type": "olmo2", "attention_bias": false, "hidden_act": "silu", "hidden_size": 4096,
               "intermediate_size": 11008, "max_position_embeddings": 4096, "num_attention_heads": 32,
               "num_hidden_layers": 32, "num_key_value_heads": 32, "rms_norm_eps": 1e-6, "rope_scaling": null,
               "rope_theta": 500000, "tie_word_embeddings": false, "vocab_size": 100352}),
        7_298_617_344,
    );
    assert_eq!((spec.norm_placement, spec.query_key_norm), (NormPlacement::Post, QueryKeyNorm::FullWidth));
}

#[test]
fn olmo3() {
    let types: Vec<&str> =
        (1..=32).map(|layer| if layer % 4 == 0 { "full_attention" } else { "sliding_attention" }).collect();
    let spec = read(
        json!({"model_type": "olmo3", "attention_bias": false, "hidden_act": "silu", "hidden_size": 4096,
               "intermediate_size": 11008, "layer_types": types, "max_position_embeddings": 65536,
               "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 32, "rms_norm_eps": 1e-6,
               "rope_scaling": {"attention_factor": 1.2079441541679836, "beta_fast": 32.0, "beta_slow": 1.0,
                                "factor": 8.0, "original_max_position_embeddings": 8192, "rope_type": "yarn"},
               "rope_theta": 500000, "sliding_window": 4096, "tie_word_embeddings": false, "vocab_size": 100278}),
        7_298_011_136,
    );
    assert_eq!(spec.rotary.len(), 2);
    for (index, layer) in spec.layers.iter().enumerate() {
        let full = (index + 1) % 4 == 0;
        assert_eq!(layer.span, if full { AttentionSpan::Full } else { AttentionSpan::Window(4_096) });
        assert_eq!(matches!(spec.rotary[layer.rotary].scaling, RotaryScaling::Yarn { .. }), full);
    }
    // At 64K, 24 of 32 layers keep their window instead of everything: 4 times less in all.
    let all = spec.layers.len() * 65_536 * 2 * 4_096 * 4;
    let kept = spec.key_value_bytes(Numerics::F32, 65_536, 512);
    assert!(kept < all * 31 / 100, "{kept} of {all}");
}
