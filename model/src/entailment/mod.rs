//! Entailment models: whether a premise entails a hypothesis.
//!
//! Two kinds of Hugging Face folders are taken: cross-encoders with a class for entailment (DeBERTa-v2 and -v3, RoBERTa,
//! XLM-RoBERTa), which read premise and hypothesis as a pair of texts; and T5 as TRUE was trained (Honovich et al. 2022),
//! which reads `premise: … hypothesis: …` and writes `1`. Weights are read from the mapped file into one copy in f32, in
//! which everything is computed.

mod cross_encoder;
mod t5;

use std::collections::HashMap;
use std::path::Path;

use candle_core::{Device, Tensor};
use candle_nn::VarBuilder;
use serde_json::Value;
use tokenizers::Tokenizer;

use crate::checkpoint::all_tensors::read_all;
use crate::text::assets::read_optional;
use crate::{ModelError, ModelResult};

/// A loaded entailment model.
pub struct EntailmentModel(Kind);

enum Kind {
    CrossEncoder(cross_encoder::CrossEncoder),
    T5(t5::T5),
}

/// Why a pair has no verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TooLong {
    pub tokens: usize,
    pub most: usize,
}

impl EntailmentModel {
    /// Opens a Hugging Face folder. `label` is the class that says entailment, where the configuration does not name it.
    ///
    /// # Errors
    /// `Input` when it is not such a model, or its files are missing or malformed.
    pub fn open(folder: &Path, label: Option<u32>) -> ModelResult<Self> {
        let place = folder.join("config.json");
        let text = read_optional(&place)?.ok_or_else(|| {
            ModelError::input(format!("{} has no config.json", folder.display()))
                .with_hint("an entailment model is a Hugging Face folder with safetensors weights and a tokenizer.json")
        })?;
        let refuse = |why: String| ModelError::input(format!("{}: {why}", place.display()));
        let config: Value = serde_json::from_str(&text).map_err(|error| refuse(format!("not JSON: {error}")))?;
        let tokenizer = folder.join("tokenizer.json");
        let mut tokenizer = Tokenizer::from_file(&tokenizer).map_err(|error| {
            ModelError::input(format!("{}: no usable tokenizer: {error}", tokenizer.display()))
                .with_hint("save_pretrained of a fast tokenizer writes it")
        })?;
        // Some files carry the truncation and padding of their training: a premise is never cut.
        tokenizer
            .with_truncation(None)
            .map_err(|error| ModelError::internal(format!("tokenizer settings: {error}")))?;
        tokenizer.with_padding(None);
        let rows = config.get("vocab_size").and_then(Value::as_u64).unwrap_or(0);
        if let Some(id) = tokenizer.get_vocab(true).into_values().max().filter(|id| u64::from(*id) >= rows) {
            return Err(refuse(format!("`vocab_size` is {rows}, but the tokenizer has a token with the id {id}"))
                .with_hint("tokenizer and weights belong to different models"));
        }
        let family = config.get("model_type").and_then(Value::as_str).unwrap_or("");
        let loading = Loading { folder, config: &config, tokenizer };
        match family {
            "t5" | "mt5" => {
                if label.is_some() {
                    return Err(refuse("this model writes its verdict: it has no class to choose".into()));
                }
                t5::T5::load(loading).map(|model| Self(Kind::T5(model)))
            }
            "deberta-v2" | "roberta" | "xlm-roberta" => {
                cross_encoder::CrossEncoder::load(loading, label).map(|model| Self(Kind::CrossEncoder(model)))
            }
            other => Err(refuse(format!(
                "`model_type` is `{other}`; entailment models are of type deberta-v2, roberta, xlm-roberta or t5"
            ))),
        }
    }

    /// Whether a premise entails a hypothesis. Nothing is cut: a pair that is longer than the model reads has no verdict.
    ///
    /// # Errors
    /// `Internal` when the computation fails.
    pub fn entails(&mut self, premise: &str, hypothesis: &str) -> ModelResult<Result<bool, TooLong>> {
        match &mut self.0 {
            Kind::CrossEncoder(model) => model.entails(premise, hypothesis),
            Kind::T5(model) => model.entails(premise, hypothesis),
        }
    }

    /// What the verdict is read from: the classes' logits of a cross-encoder, or those of the first token that T5 writes.
    ///
    /// # Errors
    /// As [`entails`](Self::entails).
    pub fn logits(&mut self, premise: &str, hypothesis: &str) -> ModelResult<Result<Vec<f32>, TooLong>> {
        match &mut self.0 {
            Kind::CrossEncoder(model) => model.logits(premise, hypothesis),
            Kind::T5(model) => model.first_logits(premise, hypothesis).map(Ok),
        }
    }
}

/// What a model is loaded from.
struct Loading<'a> {
    folder: &'a Path,
    config: &'a Value,
    tokenizer: Tokenizer,
}

impl Loading<'_> {
    /// The configuration as a model reads it, after `defaults` for what it may leave out.
    fn config<T: serde::de::DeserializeOwned>(&self, defaults: &[(&str, Value)]) -> ModelResult<T> {
        let mut config = self.config.clone();
        if let Some(fields) = config.as_object_mut() {
            for (name, value) in defaults {
                if fields.get(*name).is_none_or(Value::is_null) {
                    fields.insert((*name).to_owned(), value.clone());
                }
            }
        }
        serde_json::from_value(config).map_err(|error| self.refuse(format!("config.json: {error}")))
    }

    /// All weights in f32. A name of `copies` that is not among them stands for the weight behind it.
    fn weights(&self, copies: &[(&str, &str)]) -> ModelResult<VarBuilder<'static>> {
        let mut tensors: HashMap<String, Tensor> = HashMap::new();
        read_all(self.folder, &mut |name, shape, values| {
            tensors.insert(name, Tensor::from_vec(values, shape, &Device::Cpu)?);
            Ok(())
        })?;
        for (name, like) in copies {
            if let Some(tensor) = tensors.get(*like).filter(|_| !tensors.contains_key(*name)).cloned() {
                tensors.insert((*name).to_owned(), tensor);
            }
        }
        Ok(VarBuilder::from_tensors(tensors, candle_core::DType::F32, &Device::Cpu))
    }

    fn refuse(&self, why: String) -> ModelError {
        ModelError::input(format!("{}: {why}", self.folder.display()))
    }

    /// A weight that is missing or has another shape.
    fn unfit(&self, error: &candle_core::Error) -> ModelError {
        // The first line: the rest is where in the library it was noticed.
        let text = error.to_string();
        self.refuse(format!("the weights do not fit config.json: {}", text.lines().next().unwrap_or("")))
    }
}
