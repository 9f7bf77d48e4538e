//! What a configuration states, checked, as a [`ModelSpec`].

use super::rotary_settings::{self, RotaryTables};
use super::{AttentionBias, AttentionSpan, Family, LayerSpec, ModelSpec, RotaryScaling, RotarySpec};

/// No dimension of a real model comes near this; below it, products of two stay far inside 64 bits.
pub(super) const LARGEST_DIMENSION: usize = 1 << 28;

/// The fields as a configuration states them.
#[derive(Debug, Clone)]
pub(super) struct StatedFields {
    pub family: Family,
    pub vocabulary_size: usize,
    pub hidden_size: usize,
    pub intermediate_size: usize,
    pub query_heads: usize,
    pub key_value_heads: usize,
    pub head_dim: Option<usize>,
    pub context_length: usize,
    pub norm_epsilon: f64,
    pub attention_bias: AttentionBias,
    pub mlp_bias: bool,
    pub tied_embeddings: bool,
    pub rotary: RotaryTables,
    /// Per layer.
    pub spans: Vec<AttentionSpan>,
}

/// Checks the number of layers. `tensors` is how many tensors the weights hold: a model has more tensors than
/// layers, so a lying layer count is refused before anything is made from it.
pub(super) fn layer_count(layers: usize, tensors: usize) -> Result<usize, String> {
    in_range("layer count", layers)?;
    if layers > tensors {
        return Err(format!("the layer count is {layers}, but the weights hold only {tensors} tensors"));
    }
    Ok(layers)
}

fn in_range(name: &str, value: usize) -> Result<(), String> {
    if value == 0 || value > LARGEST_DIMENSION {
        return Err(format!("the {name} is {value}; it must be between 1 and {LARGEST_DIMENSION}"));
    }
    Ok(())
}

impl StatedFields {
    /// Checks the fields against each other.
    pub fn into_spec(self) -> Result<ModelSpec, String> {
        in_range("vocabulary size", self.vocabulary_size)?;
        in_range("hidden size", self.hidden_size)?;
        in_range("intermediate size", self.intermediate_size)?;
        in_range("attention head count", self.query_heads)?;
        in_range("key-value head count", self.key_value_heads)?;
        in_range("context length", self.context_length)?;
        if !self.query_heads.is_multiple_of(self.key_value_heads) {
            return Err(format!(
                "{} attention heads cannot share {} key-value heads evenly",
                self.query_heads, self.key_value_heads
            ));
        }
        let head_dim = self.checked_head_dim()?;
        if !(self.norm_epsilon > 0.0 && self.norm_epsilon < 1.0) {
            return Err(format!("the norm's epsilon is {}; it must lie between 0 and 1", self.norm_epsilon));
        }
        let family = self.family;
        if !family.attention_biases().contains(&self.attention_bias) {
            return Err(format!(
                "attention biases ({:?}) do not fit `{family}` models, which have {:?}",
                self.attention_bias,
                family.attention_biases()
            ));
        }
        if self.mlp_bias && !family.can_have_mlp_bias() {
            return Err(format!("MLP biases do not fit `{family}` models, which have none"));
        }
        let (rotary, layers) = tables_in_use(&self.rotary, &self.spans);
        for table in &rotary {
            rotary_settings::check(table)?;
            if let RotaryScaling::Divisors(divisors) = &table.scaling
                && divisors.len() != head_dim / 2
            {
                let (count, pairs) = (divisors.len(), head_dim / 2);
                return Err(format!("{count} rotary divisors do not fit heads of {pairs} rotated pairs"));
            }
        }
        let context_length = rotary.iter().map(stretched_context).fold(self.context_length, usize::max);
        in_range("context length", context_length)?;
        Ok(ModelSpec {
            family,
            vocabulary_size: self.vocabulary_size,
            hidden_size: self.hidden_size,
            intermediate_size: self.intermediate_size,
            query_heads: self.query_heads,
            key_value_heads: self.key_value_heads,
            head_dim,
            context_length,
            norm_epsilon: self.norm_epsilon,
            norm_placement: family.norm_placement(),
            query_key_norm: family.query_key_norm(),
            attention_bias: self.attention_bias,
            mlp_bias: self.mlp_bias,
            tied_embeddings: self.tied_embeddings,
            rotary,
            layers,
        })
    }

    fn checked_head_dim(&self) -> Result<usize, String> {
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
        Ok(head_dim)
    }
}

/// How many positions YaRN stretches its table to. Configurations to which YaRN was added, as model cards ask for longer
/// texts, often still state the number of positions before.
fn stretched_context(table: &RotarySpec) -> usize {
    match table.scaling {
        // Converting saturates; the result is checked.
        RotaryScaling::Yarn { factor, original_context, .. } => (factor * original_context as f64) as usize,
        _ => 0,
    }
}

/// The different tables that some layer uses, and each layer with its own.
fn tables_in_use(tables: &RotaryTables, spans: &[AttentionSpan]) -> (Vec<RotarySpec>, Vec<LayerSpec>) {
    let mut used = Vec::new();
    let layers = spans
        .iter()
        .map(|&span| {
            let table = match span {
                AttentionSpan::Full => &tables.full,
                AttentionSpan::Window(_) => &tables.sliding,
            };
            let rotary = used.iter().position(|known| known == table).unwrap_or_else(|| {
                used.push(table.clone());
                used.len() - 1
            });
            LayerSpec { span, rotary }
        })
        .collect();
    (used, layers)
}
