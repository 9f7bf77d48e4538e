//! Differentiable operations on candle tensors, each with its own forward and backward kernel.
//!
//! candle's fused operations cut the gradient graph without an error, so none is used: every operation here
//! states its backward pass, and one that has none fails loudly. [`Tape`] retraces them.

mod attention;
mod linear;
mod pointwise;
mod tape;

pub use attention::{PackedSequence, attention};
pub use linear::{linear, linear_fixed, linear_frozen};
pub use pointwise::{add, add_bias, rms_norm, rotate, scale, swiglu};
pub use tape::{Pass, Tape, TapeGradients};

use candle_core::{CpuStorage, Layout, Result, Shape, Tensor};

/// The values of a contiguous f32 tensor inside an operation.
fn values<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&storage.as_slice::<f32>()?[start..end]),
        None => candle_core::bail!("the operand is not contiguous"),
    }
}

/// Calls `use_values` with the values of a contiguous f32 CPU tensor.
pub(crate) fn with_values<T>(tensor: &Tensor, use_values: impl FnOnce(&[f32]) -> T) -> Result<T> {
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        candle_core::Storage::Cpu(storage) => Ok(use_values(values(storage, layout)?)),
        _ => candle_core::bail!("the tensor is not on the CPU"),
    }
}

/// A new storage with these values and this shape.
fn output(values: Vec<f32>, shape: impl Into<Shape>) -> Result<(CpuStorage, Shape)> {
    Ok((CpuStorage::F32(values), shape.into()))
}
