//! Writes a GGUF file, version 3: metadata, tensor directory, data.

use std::path::Path;

use super::metadata_writer::{MetadataWriter, append_text};
use super::{DEFAULT_ALIGNMENT, MAGIC, names, vocabulary};
use crate::checkpoint::stored_type::StoredType;
use crate::checkpoint::weight_writer::{TensorValues, WeightWriter};
use crate::checkpoint::write::Written;
use crate::spec::{self, GgufDescription, GgufValue, ModelSpec, TensorShape};
use crate::text::assets::TextAssets;
use crate::{ModelError, ModelResult};

/// A tensor of the file: where its values come from and how they are stored.
struct Entry {
    name: String,
    shape: Vec<usize>,
    stored_type: StoredType,
    /// Bytes after the start of the data.
    offset: u64,
}

/// Writes a model as one GGUF file, laid out as llama.cpp's converter does: matrices in `stored_type`, vectors (norms
/// and biases) in f32, Llama's query and key rows as rotated pairs, tokenizer and chat template in the metadata where
/// `text` is given. The same model gives the same bytes. `tensor` is asked for each of
/// [`ModelSpec::tensors`] in their order and gives its values in f32, row-major; one is held at a time.
///
/// # Errors
/// Whatever `tensor` returns; `Input` for a model or tokenizer the format has no words for, and for a tensor with a
/// value that is not finite in the stored type; `Environment` when the file cannot be written.
pub fn write_gguf(
    path: &Path,
    spec: &ModelSpec,
    stored_type: StoredType,
    tensor: &mut TensorValues<'_>,
    text: Option<&TextAssets>,
) -> ModelResult<Written> {
    let refuse = |reason: String| {
        ModelError::input(format!("a GGUF file cannot hold this model: {reason}"))
            .with_hint("a Hugging Face folder can: name a place that does not end in .gguf")
    };
    let description = spec::describe_gguf(spec).map_err(refuse)?;
    let mut metadata = MetadataWriter::default();
    metadata.text("general.architecture", description.architecture);
    metadata.text("general.type", "model");
    metadata.integer("general.file_type", file_type(stored_type));
    for (key, value) in &description.keys {
        match value {
            GgufValue::Integer(value) => metadata.integer(key, *value),
            GgufValue::Number(value) => metadata.number(key, *value),
            GgufValue::Text(value) => metadata.text(key, value),
            GgufValue::Booleans(values) => metadata.booleans(key, values),
        }
    }
    if let Some(text) = text {
        vocabulary::write(&mut metadata, text, spec.vocabulary_size).map_err(|error| match error.fault {
            crate::Fault::Input => refuse(error.message),
            _ => error,
        })?;
    }
    let tensors = spec.tensors();
    let (entries, before) = directory(&tensors, &description, spec, stored_type).map_err(refuse)?;
    let mut writer = WeightWriter::create(path)?;
    writer.bytes(&header(&metadata, &entries))?;
    if let Some(divisors) = &description.rotary_divisors {
        pad(&mut writer)?;
        writer.tensor(&divisors_shape(divisors), divisors, StoredType::F32)?;
    }
    for (shape, entry) in tensors.iter().zip(&entries[before..]) {
        let values = tensor(shape)?;
        let order = names::stored(&shape.name, spec)
            .map(|(_, order)| order)
            .ok_or_else(|| ModelError::internal(format!("the tensor `{}` lost its name", shape.name)))?;
        pad(&mut writer)?;
        writer.tensor(shape, &order.to_stored(values, shape), entry.stored_type)?;
    }
    Ok(Written { files: 1, bytes: writer.finish()? })
}

/// `general.file_type`: what most tensors are stored as.
const fn file_type(stored_type: StoredType) -> u32 {
    match stored_type {
        StoredType::F32 => 0,
        StoredType::F16 => 1,
        StoredType::Bf16 => 32,
    }
}

fn divisors_shape(divisors: &[f32]) -> TensorShape {
    TensorShape { name: names::ROTARY_DIVISORS.into(), shape: vec![divisors.len()] }
}

/// The entries in the order of their data, and how many of them stand before those of `tensors`.
fn directory(
    tensors: &[TensorShape],
    description: &GgufDescription,
    spec: &ModelSpec,
    stored_type: StoredType,
) -> Result<(Vec<Entry>, usize), String> {
    let divisors: Vec<TensorShape> = description.rotary_divisors.as_deref().map(divisors_shape).into_iter().collect();
    let mut entries = Vec::new();
    let mut offset = 0u64;
    let mut push = |name: String, shape: &TensorShape| {
        let stored_type = if shape.shape.len() == 1 { StoredType::F32 } else { stored_type };
        entries.push(Entry { name, shape: shape.shape.clone(), stored_type, offset });
        offset += (shape.values() * stored_type.bytes()) as u64;
        offset = offset.next_multiple_of(DEFAULT_ALIGNMENT as u64);
    };
    for shape in &divisors {
        push(shape.name.clone(), shape);
    }
    for shape in tensors {
        let (name, _) = names::stored(&shape.name, spec)
            .ok_or_else(|| format!("the format has no name for the tensor `{}`", shape.name))?;
        push(name, shape);
    }
    Ok((entries, divisors.len()))
}

/// Everything before the data.
fn header(metadata: &MetadataWriter, entries: &[Entry]) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend(3u32.to_le_bytes());
    bytes.extend((entries.len() as u64).to_le_bytes());
    bytes.extend(metadata.count().to_le_bytes());
    bytes.extend(metadata.bytes());
    for entry in entries {
        append_text(&mut bytes, &entry.name);
        bytes.extend((entry.shape.len() as u32).to_le_bytes());
        bytes.extend(entry.shape.iter().rev().flat_map(|&length| (length as u64).to_le_bytes()));
        bytes.extend(entry.stored_type.element_type().ggml_number().to_le_bytes());
        bytes.extend(entry.offset.to_le_bytes());
    }
    bytes
}

/// Zeros up to where the next tensor may start.
fn pad(writer: &mut WeightWriter) -> ModelResult<()> {
    let alignment = DEFAULT_ALIGNMENT as u64;
    let missing = writer.written().next_multiple_of(alignment) - writer.written();
    writer.bytes(&[0; DEFAULT_ALIGNMENT][..missing as usize])
}
