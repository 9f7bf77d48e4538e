//! A model written out again: in another format or type, with heads masked for good.

use std::path::Path;

use super::stored_type::StoredType;
use super::weight_writer::TensorValues;
use super::write::{Written, write_sharded};
use super::{Checkpoint, ElementType, StoredTensor, gguf};
use crate::heads::HeadMask;
use crate::kernels::matmul::{PackedBytes, PackedMatrix};
use crate::spec::{ModelSpec, TensorShape};
use crate::{ModelResult, Numerics};

/// Where a model is written, and in which format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination<'path> {
    /// An existing, empty folder for a Hugging Face model, in weight files of at most so many bytes.
    Folder { path: &'path Path, shard_bytes: u64 },
    /// A GGUF file.
    Gguf(&'path Path),
}

impl Checkpoint {
    /// The type in which a copy keeps the matrices as they are: theirs where they share one that is not quantised,
    /// else f32, which holds every value of the others.
    pub fn lossless_type(&self) -> StoredType {
        let matrices = self.tensors.values().filter(|tensor| tensor.shape.len() > 1);
        let mut types = matrices.map(|tensor| StoredType::of(tensor.element_type));
        let first = types.next().flatten();
        match first {
            Some(first) if types.all(|other| other == Some(first)) => first,
            _ => StoredType::F32,
        }
    }

    /// Bytes of the weights loaded for inference: matrices as bf16 in the class `bf16` or where they are stored so, else in
    /// four bytes a value, as vectors are.
    pub fn weight_bytes_in_memory(&self, numerics: Numerics) -> PackedBytes {
        let bytes = |tensor: &StoredTensor| match *tensor.shape.as_slice() {
            [outputs, inputs] => {
                PackedMatrix::bytes_of(outputs, inputs, numerics, tensor.element_type == ElementType::BF16)
            }
            ref shape => PackedBytes::just(shape.iter().product::<usize>() * size_of::<f32>()),
        };
        self.tensors.values().map(bytes).sum()
    }

    /// Writes the model to `destination`, its text files with it where it has a tokenizer. The columns of `o_proj`
    /// that read a masked head are zero in the copy, so that it computes what this model computes under the mask.
    /// `each` is called before every tensor. Holds one tensor at a time.
    ///
    /// # Errors
    /// `Input` when the mask names a head the model does not have, a value is not finite in `stored_type`, or the
    /// format has no words for the model; `Environment` when it cannot be written; whatever `each` returns.
    pub fn export(
        &self,
        destination: Destination<'_>,
        stored_type: StoredType,
        mask: Option<&HeadMask>,
        each: &mut dyn FnMut(&TensorShape) -> ModelResult<()>,
    ) -> ModelResult<Written> {
        let spec = self.spec();
        let masked = mask.map(|mask| mask.flags(spec)).transpose()?;
        let text = if self.storage()?.has_tokenizer { Some(self.text_assets()?) } else { None };
        if let Some(text) = &text {
            self.codec_of(text)?;
        }
        let mut values = |tensor: &TensorShape| {
            each(tensor)?;
            let mut values = self.tensor(&tensor.name, &tensor.shape)?;
            if let Some(masked) = &masked
                && let Some(layer) = output_projection(&tensor.name)
            {
                clear_columns(&mut values, spec, &masked[layer * spec.query_heads..][..spec.query_heads]);
            }
            Ok(values)
        };
        let values: &mut TensorValues<'_> = &mut values;
        match destination {
            Destination::Folder { path, shard_bytes } => {
                write_sharded(path, spec, stored_type, shard_bytes, values, text.as_ref())
            }
            Destination::Gguf(path) => gguf::write_gguf(path, spec, stored_type, values, text.as_ref()),
        }
    }
}

/// The layer whose attention output this matrix projects.
fn output_projection(name: &str) -> Option<usize> {
    name.strip_prefix("model.layers.")?.strip_suffix(".self_attn.o_proj.weight")?.parse().ok()
}

/// Zeros in the columns of a [hidden, heads * head_dim] matrix that read masked heads.
fn clear_columns(values: &mut [f32], spec: &ModelSpec, masked: &[bool]) {
    for row in values.chunks_exact_mut(spec.query_width()) {
        for (head, columns) in row.chunks_exact_mut(spec.head_dim).enumerate() {
            if masked[head] {
                columns.fill(0.0);
            }
        }
    }
}
