//! Writes a Hugging Face folder that transformers loads.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use half::bf16;
use serde::Serialize;

use super::mapped_file::io_error;
use super::safetensors::SINGLE_FILE;
use crate::spec::{self, ModelSpec, TensorShape};
use crate::text::assets::{TextAssets, generation_config};
use crate::{ModelError, ModelResult};

/// Values rounded and written at a time.
const VALUES_PER_WRITE: usize = 1 << 16;

/// How weights are stored in a new checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoredType {
    /// Rounded to nearest, ties to even.
    Bf16,
    F32,
}

impl StoredType {
    const fn safetensors_name(self) -> &'static str {
        match self {
            Self::Bf16 => "BF16",
            Self::F32 => "F32",
        }
    }

    const fn torch_name(self) -> &'static str {
        match self {
            Self::Bf16 => "bfloat16",
            Self::F32 => "float32",
        }
    }

    const fn bytes(self) -> usize {
        match self {
            Self::Bf16 => 2,
            Self::F32 => 4,
        }
    }
}

/// Writes a model as a Hugging Face folder: config.json, model.safetensors and, where given, the text files.
/// The same model gives the same bytes. `tensor` is asked for each of [`ModelSpec::tensors`] in their order and
/// gives its values in f32, row-major; one is held at a time. `folder` must exist; files in it are replaced,
/// config.json last.
///
/// # Errors
/// Whatever `tensor` returns; `Input` naming a tensor with a value that is not finite (in the stored type);
/// `Internal` for one of a wrong length; `Environment` when a file cannot be written.
pub fn write(
    folder: &Path,
    spec: &ModelSpec,
    stored_type: StoredType,
    tensor: &mut dyn FnMut(&TensorShape) -> ModelResult<Vec<f32>>,
    text: Option<&TextAssets>,
) -> ModelResult<()> {
    let config = spec::write_config(
        spec,
        stored_type.torch_name(),
        text.and_then(|text| text.begin_token),
        text.map_or(&[], |text| &text.end_tokens),
        text.and_then(|text| text.padding_token),
    )
    .map_err(ModelError::internal)?;
    write_weights(&folder.join(SINGLE_FILE), spec, stored_type, tensor)?;
    if let Some(text) = text {
        write_text(&folder.join("tokenizer.json"), &text.tokenizer)?;
        if let Some(tokenizer_config) = &text.tokenizer_config {
            write_text(&folder.join("tokenizer_config.json"), tokenizer_config)?;
        }
        if let Some(template) = &text.chat_template {
            write_text(&folder.join("chat_template.jinja"), template)?;
        }
        let generation = match &text.generation_config {
            Some(generation) => generation.clone(),
            None => generation_config(text.begin_token, &text.end_tokens, text.padding_token),
        };
        write_text(&folder.join("generation_config.json"), &generation)?;
    }
    write_text(&folder.join("config.json"), &config)
}

fn write_weights(
    path: &Path,
    spec: &ModelSpec,
    stored_type: StoredType,
    tensor: &mut dyn FnMut(&TensorShape) -> ModelResult<Vec<f32>>,
) -> ModelResult<()> {
    let tensors = spec.tensors();
    let header = header(&tensors, stored_type)?;
    let file = File::create(path).map_err(|error| io_error("write", path, &error))?;
    let mut writer = BufWriter::new(file);
    let failed = |error: std::io::Error| io_error("write", path, &error);
    writer.write_all(&(header.len() as u64).to_le_bytes()).map_err(failed)?;
    writer.write_all(&header).map_err(failed)?;
    let mut buffer = Vec::with_capacity(VALUES_PER_WRITE * stored_type.bytes());
    for shape in &tensors {
        let values = tensor(shape)?;
        if values.len() != shape.values() {
            return Err(ModelError::internal(format!(
                "the tensor `{}` of shape {:?} came with {} values",
                shape.name,
                shape.shape,
                values.len()
            )));
        }
        for part in values.chunks(VALUES_PER_WRITE) {
            buffer.clear();
            if !append(&mut buffer, part, stored_type) {
                return Err(ModelError::input(format!(
                    "the tensor `{}` holds a value that is NaN or infinite in {}: no checkpoint is written from it",
                    shape.name,
                    stored_type.safetensors_name()
                )));
            }
            writer.write_all(&buffer).map_err(failed)?;
        }
    }
    let file = writer.into_inner().map_err(|error| failed(error.into_error()))?;
    file.sync_all().map_err(failed)
}

/// Appends values in the stored type; whether all are finite in it.
fn append(buffer: &mut Vec<u8>, values: &[f32], stored_type: StoredType) -> bool {
    let mut finite = true;
    match stored_type {
        StoredType::Bf16 => {
            for &value in values {
                let value = bf16::from_f32(value);
                finite &= value.is_finite();
                buffer.extend_from_slice(&value.to_le_bytes());
            }
        }
        StoredType::F32 => {
            for &value in values {
                finite &= value.is_finite();
                buffer.extend_from_slice(&value.to_le_bytes());
            }
        }
    }
    finite
}

/// The JSON header, tensors in order of their data, padded with spaces to a multiple of 8 bytes.
fn header(tensors: &[TensorShape], stored_type: StoredType) -> ModelResult<Vec<u8>> {
    struct Entries<'tensors>(&'tensors [TensorShape], StoredType);

    #[derive(Serialize)]
    struct Metadata {
        format: &'static str,
    }

    #[derive(Serialize)]
    struct Entry<'tensor> {
        dtype: &'static str,
        shape: &'tensor [usize],
        data_offsets: (usize, usize),
    }

    impl Serialize for Entries<'_> {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            use serde::ser::SerializeMap;
            let mut map = serializer.serialize_map(Some(self.0.len() + 1))?;
            // transformers refuses files that do not say which framework's layout they have.
            map.serialize_entry("__metadata__", &Metadata { format: "pt" })?;
            let mut start = 0;
            for tensor in self.0 {
                let end = start + tensor.values() * self.1.bytes();
                let entry =
                    Entry { dtype: self.1.safetensors_name(), shape: &tensor.shape, data_offsets: (start, end) };
                map.serialize_entry(&tensor.name, &entry)?;
                start = end;
            }
            map.end()
        }
    }

    let mut header = serde_json::to_vec(&Entries(tensors, stored_type))
        .map_err(|error| ModelError::internal(format!("the weight header cannot be written: {error}")))?;
    header.resize(header.len().next_multiple_of(8), b' ');
    Ok(header)
}

fn write_text(path: &Path, text: &str) -> ModelResult<()> {
    std::fs::write(path, text).map_err(|error| io_error("write", path, &error))
}
