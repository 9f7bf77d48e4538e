//! T5 that writes `1` where the premise entails the hypothesis (TRUE; Honovich et al. 2022, arXiv 2204.04991).

use candle_core::{Device, Tensor};
use candle_transformers::models::t5;
use serde_json::{Value, json};
use tokenizers::Tokenizer;

use super::{Loading, TooLong};
use crate::{ModelError, ModelResult};

/// The longest verdict that is looked at, in tokens, as in HELMET.
const NEW_TOKENS: usize = 10;

/// The model.
pub struct T5 {
    network: t5::T5ForConditionalGeneration,
    tokenizer: Tokenizer,
    /// What the decoder begins with, and what ends a text.
    start: u32,
    end: u32,
    /// What the network's logits are multiplied by.
    scale: f32,
}

impl T5 {
    pub fn load(loading: Loading<'_>) -> ModelResult<Self> {
        let mut config: t5::Config = loading.config(&[
            ("initializer_factor", json!(1.0)),
            ("dropout_rate", json!(0.0)),
            ("feed_forward_proj", json!("relu")),
            // One token after another, each over all before it.
            ("use_cache", json!(true)),
        ])?;
        // transformers 5 ties the output projection always, and says on its own whether its inputs are scaled.
        if loading.config.get("scale_decoder_outputs") == Some(&Value::Bool(false)) {
            config.tie_word_embeddings = false;
        }
        if !config.is_encoder_decoder {
            return Err(loading.refuse("config.json: not an encoder and decoder".into()));
        }
        let id = |field: &str, otherwise: usize| {
            let id = loading.config.get(field).and_then(Value::as_u64).unwrap_or(otherwise as u64);
            u32::try_from(id).map_err(|_| loading.refuse(format!("config.json: `{field}` is no token")))
        };
        let (start, end) = (id("decoder_start_token_id", config.pad_token_id)?, id("eos_token_id", 1)?);
        let network =
            t5::T5ForConditionalGeneration::load(loading.weights(&[("lm_head.weight", "shared.weight")])?, &config)
                .map_err(|error| loading.unfit(&error))?;
        // Where the projection is tied, T5 divides its inputs by the root of their width; the network multiplies them by it.
        let scale = if config.tie_word_embeddings { 1.0 / config.d_model as f32 } else { 1.0 };
        Ok(Self { network, tokenizer: loading.tokenizer, start, end, scale })
    }

    /// The logits of the first token of the verdict.
    pub fn first_logits(&mut self, premise: &str, hypothesis: &str) -> ModelResult<Vec<f32>> {
        let read = self.read(premise, hypothesis)?;
        self.next(&read, &[self.start])
    }

    /// Whether the verdict is `1`. Positions are relative, so no pair is too long.
    pub fn entails(&mut self, premise: &str, hypothesis: &str) -> ModelResult<Result<bool, TooLong>> {
        let read = self.read(premise, hypothesis)?;
        let mut written = Vec::new();
        let mut last = self.start;
        while written.len() < NEW_TOKENS {
            let logits = self.next(&read, &[last])?;
            let best = (1..logits.len()).fold(0, |best, id| if logits[id] > logits[best] { id } else { best });
            last = best as u32;
            if last == self.end {
                break;
            }
            written.push(last);
        }
        let text = self.tokenizer.decode(&written, true);
        let text = text.map_err(|error| ModelError::internal(format!("the tokenizer failed: {error}")))?;
        Ok(Ok(text.trim() == "1"))
    }

    /// The encoder's rows of a pair.
    fn read(&mut self, premise: &str, hypothesis: &str) -> ModelResult<Tensor> {
        let text = format!("premise: {premise} hypothesis: {hypothesis}");
        let encoding = self.tokenizer.encode(text, true);
        let encoding = encoding.map_err(|error| ModelError::internal(format!("the tokenizer failed: {error}")))?;
        self.network.clear_kv_cache();
        let ids = encoding.get_ids();
        Ok(self.network.encode(&Tensor::from_vec(ids.to_vec(), (1, ids.len()), &Device::Cpu)?)?)
    }

    /// The logits behind these tokens, which follow those given before.
    fn next(&mut self, read: &Tensor, tokens: &[u32]) -> ModelResult<Vec<f32>> {
        let tokens = Tensor::from_vec(tokens.to_vec(), (1, tokens.len()), &Device::Cpu)?;
        let logits = self.network.decode(&tokens, read)?.flatten_all()?.to_vec1::<f32>()?;
        Ok(logits.into_iter().map(|logit| logit * self.scale).collect())
    }
}
