//! The parameters of a decoder: names (Hugging Face's), shapes, order.

use crate::spec::ModelSpec;

/// A parameter tensor: a matrix [outputs, inputs] or a vector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    pub name: String,
    pub shape: Vec<usize>,
}

/// All parameters of a model in the one order used everywhere: embedding, then each layer, then the head.
pub fn parameters(spec: &ModelSpec) -> Vec<Parameter> {
    let mut list = Vec::new();
    let mut add = |name: String, shape: &[usize]| list.push(Parameter { name, shape: shape.to_vec() });
    let (hidden, queries, keys) = (spec.hidden_size, spec.query_width(), spec.key_value_width());
    let inner = spec.intermediate_size;
    add("model.embed_tokens.weight".into(), &[spec.vocabulary_size, hidden]);
    for layer in 0..spec.layers.len() {
        let mut add = |name: &str, shape: &[usize]| add(format!("model.layers.{layer}.{name}.weight"), shape);
        add("input_layernorm", &[hidden]);
        add("self_attn.q_proj", &[queries, hidden]);
        add("self_attn.k_proj", &[keys, hidden]);
        add("self_attn.v_proj", &[keys, hidden]);
        add("self_attn.o_proj", &[hidden, queries]);
        add("post_attention_layernorm", &[hidden]);
        add("mlp.gate_proj", &[inner, hidden]);
        add("mlp.up_proj", &[inner, hidden]);
        add("mlp.down_proj", &[hidden, inner]);
    }
    add("model.norm.weight".into(), &[hidden]);
    if !spec.tied_embeddings {
        add("lm_head.weight".into(), &[spec.vocabulary_size, hidden]);
    }
    list
}
