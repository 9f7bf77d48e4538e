//! A model on disk: GGUF file or Hugging Face folder, opened but not yet loaded.

use std::path::Path;

use crate::spec::ModelSpec;
use crate::text::TextCodec;
use crate::{ModelError, ModelResult};

/// An opened model. Tensors are read on demand, by their Hugging Face names, de-quantised to f32.
pub struct Checkpoint {
    spec: ModelSpec,
}

impl Checkpoint {
    /// Opens a GGUF file, or a folder with config.json and safetensors.
    ///
    /// # Errors
    /// `Input` naming the file and what is wrong with it.
    pub fn open(path: &Path) -> ModelResult<Self> {
        Err(ModelError::internal(format!("opening {} is being built", path.display())))
    }

    /// The model's shape and rules.
    pub fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    /// The tensor of this Hugging Face name (`model.layers.0.self_attn.q_proj.weight`, …) in f32, row-major.
    /// GGUF tensors are renamed, and Llama's permuted query and key rows are put back.
    ///
    /// # Errors
    /// `Input` when it is missing, of another shape, or holds a value that is not finite.
    pub fn tensor(&self, name: &str, shape: &[usize]) -> ModelResult<Vec<f32>> {
        Err(ModelError::internal(format!("reading {name} {shape:?} is being built")))
    }

    /// Whether there is a tensor of this name.
    pub fn has_tensor(&self, _name: &str) -> bool {
        false
    }

    /// The tokenizer, chat template and end tokens that come with the model.
    ///
    /// # Errors
    /// `Input` when there are none or they are malformed.
    pub fn text_codec(&self) -> ModelResult<TextCodec> {
        Err(ModelError::internal("the text codec is being built"))
    }
}
