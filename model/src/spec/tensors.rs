//! The tensors a model of this shape has, by their Hugging Face names.

use super::{AttentionBias, ModelSpec, NormPlacement, QueryKeyNorm};

/// A tensor's Hugging Face name and row-major shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorShape {
    pub name: String,
    pub shape: Vec<usize>,
}

impl TensorShape {
    /// How many values it holds.
    pub fn values(&self) -> usize {
        self.shape.iter().product()
    }
}

impl ModelSpec {
    /// Every weight of the model: embedding, layers in order, final norm, output projection. With tied
    /// embeddings there is no output projection.
    pub fn tensors(&self) -> Vec<TensorShape> {
        let mut tensors = Vec::new();
        let mut push = |name: String, shape: &[usize]| tensors.push(TensorShape { name, shape: shape.to_vec() });
        let embedding = [self.vocabulary_size, self.hidden_size];
        push("model.embed_tokens.weight".into(), &embedding);
        for layer in 0..self.layers.len() {
            self.layer_tensors(&format!("model.layers.{layer}"), &mut push);
        }
        push("model.norm.weight".into(), &[self.hidden_size]);
        if !self.tied_embeddings {
            push("lm_head.weight".into(), &embedding);
        }
        tensors
    }

    /// How many weights the model has.
    pub fn parameters(&self) -> u64 {
        self.tensors().iter().map(|tensor| tensor.values() as u64).sum()
    }

    fn layer_tensors(&self, layer: &str, push: &mut impl FnMut(String, &[usize])) {
        let (hidden, inner) = (self.hidden_size, self.intermediate_size);
        let (queries, keys) = (self.query_width(), self.key_value_width());
        let norms = match self.norm_placement {
            NormPlacement::Pre => ["input_layernorm", "post_attention_layernorm"],
            NormPlacement::Post => ["post_attention_layernorm", "post_feedforward_layernorm"],
        };
        for norm in norms {
            push(format!("{layer}.{norm}.weight"), &[hidden]);
        }
        let mut linear = |name: &str, outputs: usize, inputs: usize, bias: bool| {
            push(format!("{layer}.{name}.weight"), &[outputs, inputs]);
            if bias {
                push(format!("{layer}.{name}.bias"), &[outputs]);
            }
        };
        let input_bias = self.attention_bias != AttentionBias::None;
        linear("self_attn.q_proj", queries, hidden, input_bias);
        linear("self_attn.k_proj", keys, hidden, input_bias);
        linear("self_attn.v_proj", keys, hidden, input_bias);
        linear("self_attn.o_proj", hidden, queries, self.attention_bias == AttentionBias::All);
        linear("mlp.gate_proj", inner, hidden, self.mlp_bias);
        linear("mlp.up_proj", inner, hidden, self.mlp_bias);
        linear("mlp.down_proj", hidden, inner, self.mlp_bias);
        let norm_widths = match self.query_key_norm {
            QueryKeyNorm::None => return,
            QueryKeyNorm::PerHead => [self.head_dim, self.head_dim],
            QueryKeyNorm::FullWidth => [queries, keys],
        };
        for (name, width) in ["q_norm", "k_norm"].into_iter().zip(norm_widths) {
            push(format!("{layer}.self_attn.{name}.weight"), &[width]);
        }
    }
}
