//! Models that read two texts as a pair and give a class.

use candle_core::{Device, Tensor};
use candle_transformers::models::{debertav2, xlm_roberta};
use serde_json::{Map, Value, json};
use tokenizers::Tokenizer;

use super::{Loading, TooLong};
use crate::{ModelError, ModelResult};

/// Tokens of a pair where positions are relative; more than any pair has.
const LONGEST: usize = 1 << 16;

/// A cross-encoder.
pub struct CrossEncoder {
    network: Network,
    tokenizer: Tokenizer,
    /// The class of entailment.
    label: usize,
    /// Tokens that it can read.
    most: usize,
}

enum Network {
    Deberta(debertav2::DebertaV2SeqClassificationModel),
    Roberta(xlm_roberta::XLMRobertaForSequenceClassification),
}

impl CrossEncoder {
    pub fn load(loading: Loading<'_>, label: Option<u32>) -> ModelResult<Self> {
        let config = loading.config;
        let classes = classes(config);
        let count = classes.len();
        let label = match label.map(|label| label as usize) {
            Some(label) if label < count => label,
            Some(label) => {
                return Err(loading.refuse(format!("`entailment-label: {label}`, but it has {count} classes")));
            }
            None => entailment(&classes).ok_or_else(|| {
                let names: Vec<String> = classes.iter().enumerate().map(|(id, name)| format!("{id} {name}")).collect();
                loading
                    .refuse(format!("no class of config.json is called entailment: {}", names.join(", ")))
                    .with_hint("say with `entailment-label` which one it is")
            })?,
        };
        let positions = config.get("max_position_embeddings").and_then(Value::as_u64);
        let positions = positions
            .and_then(|positions| usize::try_from(positions).ok())
            .ok_or_else(|| loading.refuse("config.json: `max_position_embeddings` is missing".into()))?;
        let weights = loading.weights(&[])?;
        let deberta = config.get("model_type").and_then(Value::as_str) == Some("deberta-v2");
        let (network, most) = if deberta {
            if config.get("conv_kernel_size").and_then(Value::as_u64).unwrap_or(0) > 0 {
                return Err(loading.refuse("DeBERTa with a convolution (`conv_kernel_size`) is not supported".into()));
            }
            let hidden = config.get("hidden_size").cloned().unwrap_or_default();
            let mut config: debertav2::Config = loading.config(&[
                ("pooler_hidden_size", hidden),
                ("pooler_dropout", json!(0)),
                ("pooler_hidden_act", json!("gelu")),
                ("pos_att_type", json!([])),
                ("id2label", (0..count).map(|id| (id.to_string(), Value::from(""))).collect::<Map<_, _>>().into()),
            ])?;
            // Relative positions have no end; the network counts so far.
            if !config.position_biased_input {
                if config.max_relative_positions < 1 {
                    config.max_relative_positions = positions as isize;
                }
                config.max_position_embeddings = LONGEST;
            }
            let model = debertav2::DebertaV2SeqClassificationModel::load(weights.set_prefix("deberta"), &config, None)
                .map_err(|error| loading.unfit(&error))?;
            (Network::Deberta(model), config.max_position_embeddings)
        } else {
            let config: xlm_roberta::Config = loading.config(&[("position_embedding_type", json!("absolute"))])?;
            let model = xlm_roberta::XLMRobertaForSequenceClassification::new(count, &config, weights)
                .map_err(|error| loading.unfit(&error))?;
            // Positions count from behind the padding's id.
            (Network::Roberta(model), positions.saturating_sub(config.pad_token_id as usize + 1))
        };
        Ok(Self { network, tokenizer: loading.tokenizer, label, most })
    }

    /// The logits of the classes.
    pub fn logits(&self, premise: &str, hypothesis: &str) -> ModelResult<Result<Vec<f32>, TooLong>> {
        let encoding = self
            .tokenizer
            .encode((premise, hypothesis), true)
            .map_err(|error| ModelError::internal(format!("the tokenizer failed: {error}")))?;
        let (ids, types) = (encoding.get_ids(), encoding.get_type_ids());
        if ids.len() > self.most {
            return Ok(Err(TooLong { tokens: ids.len(), most: self.most }));
        }
        let row = |values: &[u32]| Tensor::from_vec(values.to_vec(), (1, values.len()), &Device::Cpu);
        let (input, mask) = (row(ids)?, row(&vec![1; ids.len()])?);
        let logits = match &self.network {
            Network::Deberta(model) => model.forward(&input, Some(row(types)?), Some(mask))?,
            // RoBERTa has one type.
            Network::Roberta(model) => model.forward(&input, &mask, &row(&vec![0; ids.len()])?)?,
        };
        Ok(Ok(logits.flatten_all()?.to_vec1::<f32>()?))
    }

    /// Whether entailment is the most likely class; the first of equally likely ones counts.
    pub fn entails(&self, premise: &str, hypothesis: &str) -> ModelResult<Result<bool, TooLong>> {
        let logits = match self.logits(premise, hypothesis)? {
            Ok(logits) => logits,
            Err(too_long) => return Ok(Err(too_long)),
        };
        let best = (1..logits.len()).fold(0, |best, class| if logits[class] > logits[best] { class } else { best });
        Ok(Ok(best == self.label))
    }
}

/// The names of the classes, by their ids.
fn classes(config: &Value) -> Vec<String> {
    match config.get("id2label").and_then(Value::as_object) {
        Some(names) => {
            let name = |id: usize| names.get(&id.to_string()).and_then(Value::as_str).unwrap_or("").to_owned();
            (0..names.len()).map(name).collect()
        }
        // What a configuration without names means.
        None => vec![
            String::new();
            config.get("num_labels").and_then(Value::as_u64).map_or(2, |count| count.min(1_000) as usize)
        ],
    }
}

/// The class called entailment.
fn entailment(classes: &[String]) -> Option<usize> {
    classes.iter().position(|name| matches!(name.to_lowercase().as_str(), "entailment" | "entails" | "entailed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_class_of_entailment_is_known_by_its_name() {
        let config = json!({"id2label": {"0": "contradiction", "1": "ENTAILMENT", "2": "not_entailment"}});
        assert_eq!(entailment(&classes(&config)), Some(1));
        assert_eq!(entailment(&classes(&json!({"id2label": {"0": "LABEL_0", "1": "LABEL_1"}}))), None);
        assert_eq!(classes(&json!({})).len(), 2);
    }
}
