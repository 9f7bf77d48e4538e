//! A model of random weights that reads and writes bytes: small enough to run a whole stage in a unit test.

#![allow(dead_code, reason = "each test file uses its part")]

use std::path::Path;

use retmask_model::checkpoint::{self, StoredType};
use retmask_model::random::Stream;
use retmask_model::spec::{
    AttentionBias, AttentionSpan, Family, LayerSpec, ModelSpec, NormPlacement, QueryKeyNorm, RotaryScaling, RotarySpec,
};
use retmask_model::text::TextAssets;
use serde_json::{Value, json};

/// Longest sequence of the model, in tokens (bytes).
pub const WINDOW: usize = 512;
/// Layers and query heads per layer.
pub const SHAPE: (usize, usize) = (2, 4);

/// A Llama of two layers whose tokens are bytes.
pub fn spec() -> ModelSpec {
    let layer = LayerSpec { span: AttentionSpan::Full, rotary: 0 };
    ModelSpec {
        family: Family::Llama,
        vocabulary_size: 258,
        hidden_size: 16,
        intermediate_size: 24,
        query_heads: SHAPE.1,
        key_value_heads: 2,
        head_dim: 4,
        context_length: WINDOW,
        norm_epsilon: 1e-5,
        norm_placement: NormPlacement::Pre,
        query_key_norm: QueryKeyNorm::None,
        attention_bias: AttentionBias::None,
        mlp_bias: false,
        tied_embeddings: true,
        rotary: vec![RotarySpec { theta: 10_000.0, scaling: RotaryScaling::None }],
        layers: vec![layer; SHAPE.0],
    }
}

/// Writes the model of [`spec`] into `folder`.
pub fn write(folder: &Path) {
    write_spec(folder, &spec());
}

/// Writes a model of random weights into `folder`, with a tokenizer of one token per byte and a chat template.
pub fn write_spec(folder: &Path, spec: &ModelSpec) {
    let assets = TextAssets {
        tokenizer: tokenizer().to_string(),
        tokenizer_config: None,
        chat_template: Some(
            "{% for turn in messages %}<s>{{ turn['role'] }}: {{ turn['content'] }}</s>{% endfor %}\
             {% if add_generation_prompt %}<s>assistant: {% endif %}"
                .into(),
        ),
        generation_config: None,
        begin_token: Some(256),
        end_tokens: vec![257],
        padding_token: Some(257),
    };
    checkpoint::write(
        folder,
        spec,
        StoredType::F32,
        &mut |tensor| {
            let mut stream = Stream::derive(3, &[tensor.name.as_bytes()]);
            Ok((0..tensor.values()).map(|_| 0.5 * stream.normal() as f32).collect())
        },
        Some(&assets),
    )
    .expect("the model is written");
}

/// Byte-level BPE without merges: ids 0 to 255 are the bytes' stand-in characters in rising order.
fn tokenizer() -> Value {
    let mut letters: Vec<char> = ('!'..='~').chain('¡'..='¬').chain('®'..='ÿ').collect();
    letters.extend((256..256 + (256 - letters.len() as u32)).filter_map(char::from_u32));
    let vocabulary: serde_json::Map<String, Value> =
        letters.iter().enumerate().map(|(id, letter)| (letter.to_string(), json!(id))).collect();
    let special = |id: u32, content: &str| {
        json!({
            "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true
        })
    };
    let byte_level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false});
    json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "post_processor": null,
        "added_tokens": [special(256, "<s>"), special(257, "</s>")],
        "pre_tokenizer": byte_level, "decoder": byte_level,
        "model": {"type": "BPE", "vocab": vocabulary, "merges": []}
    })
}
