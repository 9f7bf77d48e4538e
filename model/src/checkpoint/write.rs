//! Writes a Hugging Face folder that transformers loads.

use std::path::Path;

use serde::Serialize;

use super::mapped_file::io_error;
use super::safetensors::{INDEX_FILE, SINGLE_FILE};
use super::stored_type::StoredType;
use super::weight_writer::{TensorValues, WeightWriter};
use crate::spec::{self, ModelSpec, TensorShape};
use crate::text::assets::{TextAssets, generation_config};
use crate::{ModelError, ModelResult};

/// How much a weight file of an exported model holds at most, as `save_pretrained` of transformers 4 has it: 5 GB.
/// A tensor that is larger has a file of its own.
pub const SHARD_BYTES: u64 = 5_000_000_000;

/// Weight files as they were written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Weight files.
    pub files: usize,
    /// Their bytes, headers included.
    pub bytes: u64,
}

/// Writes a model as a Hugging Face folder: config.json, model.safetensors and, where given, the text files.
/// The same model gives the same bytes. `tensor` is asked for each of [`ModelSpec::tensors`] in their order and
/// gives its values in f32, row-major; one is held at a time. `folder` must exist; files in it are replaced,
/// config.json last.
///
/// # Errors
/// Whatever `tensor` returns; `Input` for a model no config.json can describe, and naming a tensor with a value that is
/// not finite (in the stored type); `Internal` for one of a wrong length; `Environment` when a file cannot be written.
pub fn write(
    folder: &Path,
    spec: &ModelSpec,
    stored_type: StoredType,
    tensor: &mut TensorValues<'_>,
    text: Option<&TextAssets>,
) -> ModelResult<()> {
    write_sharded(folder, spec, stored_type, u64::MAX, tensor, text).map(drop)
}

/// As [`write`], in weight files of at most `shard_bytes` bytes of data (a larger tensor has a file of its own).
/// More than one are named `model-00001-of-00003.safetensors` and so on, with `model.safetensors.index.json`.
///
/// # Errors
/// As [`write`].
pub fn write_sharded(
    folder: &Path,
    spec: &ModelSpec,
    stored_type: StoredType,
    shard_bytes: u64,
    tensor: &mut TensorValues<'_>,
    text: Option<&TextAssets>,
) -> ModelResult<Written> {
    let config = spec::write_config(
        spec,
        stored_type.torch_name(),
        text.and_then(|text| text.begin_token),
        text.map_or(&[], |text| &text.end_tokens),
        text.and_then(|text| text.padding_token),
    )
    .map_err(|reason| ModelError::input(format!("a config.json cannot hold this model: {reason}")))?;
    let tensors = spec.tensors();
    let written = write_weights(folder, &shards(&tensors, stored_type, shard_bytes), stored_type, tensor)?;
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
    write_text(&folder.join("config.json"), &config)?;
    Ok(written)
}

/// Which tensors lie in which file: in order, a new file where the next tensor would not fit.
fn shards(tensors: &[TensorShape], stored_type: StoredType, limit: u64) -> Vec<&[TensorShape]> {
    let mut shards = Vec::new();
    let (mut start, mut bytes) = (0, 0u64);
    for (index, tensor) in tensors.iter().enumerate() {
        let size = (tensor.values() * stored_type.bytes()) as u64;
        if index > start && bytes.saturating_add(size) > limit {
            shards.push(&tensors[start..index]);
            (start, bytes) = (index, 0);
        }
        bytes += size;
    }
    shards.push(&tensors[start..]);
    shards
}

fn write_weights(
    folder: &Path,
    shards: &[&[TensorShape]],
    stored_type: StoredType,
    tensor: &mut TensorValues<'_>,
) -> ModelResult<Written> {
    if let [tensors] = shards {
        let bytes = write_file(&folder.join(SINGLE_FILE), tensors, stored_type, tensor)?;
        return Ok(Written { files: 1, bytes });
    }
    let mut written = Written { files: shards.len(), bytes: 0 };
    let names: Vec<String> =
        (1..=shards.len()).map(|number| format!("model-{number:05}-of-{:05}.safetensors", shards.len())).collect();
    for (name, tensors) in names.iter().zip(shards) {
        written.bytes += write_file(&folder.join(name), tensors, stored_type, tensor)?;
    }
    write_text(&folder.join(INDEX_FILE), &index(&names, shards, stored_type)?)?;
    Ok(written)
}

fn write_file(
    path: &Path,
    tensors: &[TensorShape],
    stored_type: StoredType,
    tensor: &mut TensorValues<'_>,
) -> ModelResult<u64> {
    let header = header(tensors, stored_type)?;
    let mut writer = WeightWriter::create(path)?;
    writer.bytes(&(header.len() as u64).to_le_bytes())?;
    writer.bytes(&header)?;
    for shape in tensors {
        writer.tensor(shape, &tensor(shape)?, stored_type)?;
    }
    writer.finish()
}

/// `model.safetensors.index.json`: which file holds which tensor.
fn index(names: &[String], shards: &[&[TensorShape]], stored_type: StoredType) -> ModelResult<String> {
    struct Homes<'shards>(&'shards [String], &'shards [&'shards [TensorShape]]);

    #[derive(Serialize)]
    struct Metadata {
        total_parameters: usize,
        total_size: usize,
    }

    #[derive(Serialize)]
    struct Index<'shards> {
        metadata: Metadata,
        weight_map: Homes<'shards>,
    }

    impl Serialize for Homes<'_> {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let homes = self.0.iter().zip(self.1);
            serializer.collect_map(homes.flat_map(|(name, tensors)| tensors.iter().map(move |one| (&one.name, name))))
        }
    }

    let values: usize = shards.iter().flat_map(|tensors| tensors.iter()).map(TensorShape::values).sum();
    let metadata = Metadata { total_parameters: values, total_size: values * stored_type.bytes() };
    serde_json::to_string_pretty(&Index { metadata, weight_map: Homes(names, shards) })
        .map_err(|error| ModelError::internal(format!("the weight index cannot be written: {error}")))
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
                let dtype = self.1.element_type().name();
                let entry = Entry { dtype, shape: &tensor.shape, data_offsets: (start, end) };
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
