//! The Llama family: what its configuration states, checked, as a [`ModelSpec`].

use super::{AttentionSpan, LayerSpec, ModelSpec, NormPlacement, QueryKeyNorm, RotaryScaling, RotarySpec};

/// No dimension of a real model comes near this; below it, products of two stay far inside 64 bits.
const LARGEST_DIMENSION: usize = 1 << 28;

/// The fields as a configuration states them.
#[derive(Debug, Clone)]
pub(super) struct LlamaFields {
    pub vocabulary_size: usize,
    pub hidden_size: usize,
    pub intermediate_size: usize,
    pub layers: usize,
    pub query_heads: usize,
    pub key_value_heads: usize,
    pub head_dim: Option<usize>,
    pub context_length: usize,
    pub norm_epsilon: f64,
    pub attention_bias: bool,
    pub mlp_bias: bool,
    pub tied_embeddings: bool,
    pub rotary: RotarySpec,
}

impl LlamaFields {
    /// Checks the fields against each other. `tensors` is how many tensors the weights hold: a model has
    /// more tensors than layers, so a lying layer count is refused before anything is made from it.
    pub fn into_spec(self, tensors: usize) -> Result<ModelSpec, String> {
        let dimensions = [
            ("vocabulary size", self.vocabulary_size),
            ("hidden size", self.hidden_size),
            ("intermediate size", self.intermediate_size),
            ("layer count", self.layers),
            ("attention head count", self.query_heads),
            ("key-value head count", self.key_value_heads),
            ("context length", self.context_length),
        ];
        for (name, value) in dimensions {
            if value == 0 || value > LARGEST_DIMENSION {
                return Err(format!("the {name} is {value}; it must be between 1 and {LARGEST_DIMENSION}"));
            }
        }
        if self.layers > tensors {
            return Err(format!("the layer count is {}, but the weights hold only {tensors} tensors", self.layers));
        }
        if !self.query_heads.is_multiple_of(self.key_value_heads) {
            return Err(format!(
                "{} attention heads cannot share {} key-value heads evenly",
                self.query_heads, self.key_value_heads
            ));
        }
        let head_dim = match self.head_dim {
            Some(head_dim) => head_dim,
            None if self.hidden_size.is_multiple_of(self.query_heads) => self.hidden_size / self.query_heads,
            None => {
                return Err(format!(
                    "the hidden size {} does not divide into {} attention heads, and no head dimension is stated",
                    self.hidden_size, self.query_heads
                ));
            }
        };
        if head_dim == 0 || head_dim > LARGEST_DIMENSION || !head_dim.is_multiple_of(2) {
            return Err(format!("the head dimension is {head_dim}; rotary positions need an even one"));
        }
        if !(self.norm_epsilon > 0.0 && self.norm_epsilon < 1.0) {
            return Err(format!("the norm's epsilon is {}; it must lie between 0 and 1", self.norm_epsilon));
        }
        check_rotary(&self.rotary)?;
        Ok(ModelSpec {
            family: "llama".into(),
            vocabulary_size: self.vocabulary_size,
            hidden_size: self.hidden_size,
            intermediate_size: self.intermediate_size,
            query_heads: self.query_heads,
            key_value_heads: self.key_value_heads,
            head_dim,
            context_length: self.context_length,
            norm_epsilon: self.norm_epsilon,
            norm_placement: NormPlacement::Pre,
            query_key_norm: QueryKeyNorm::None,
            attention_bias: self.attention_bias,
            mlp_bias: self.mlp_bias,
            tied_embeddings: self.tied_embeddings,
            rotary: vec![self.rotary],
            layers: vec![LayerSpec { span: AttentionSpan::Full, rotary: 0 }; self.layers],
        })
    }
}

fn check_rotary(rotary: &RotarySpec) -> Result<(), String> {
    if !(rotary.theta.is_finite() && rotary.theta > 1.0) {
        return Err(format!("the rotary base is {}; it must be a number above 1", rotary.theta));
    }
    if let RotaryScaling::Llama3 { factor, low_frequency_factor, high_frequency_factor, original_context } =
        rotary.scaling
    {
        let positive = [factor, low_frequency_factor, high_frequency_factor].iter().all(|&value| value > 0.0);
        if !positive || high_frequency_factor <= low_frequency_factor || original_context == 0 {
            return Err(format!(
                "the llama3 rotary scaling (factor {factor}, low {low_frequency_factor}, high {high_frequency_factor}, \
                 original context {original_context}) needs positive values and high above low"
            ));
        }
    }
    Ok(())
}
