//! Differentiable operations on candle tensors, each with its own forward and backward kernel.
//!
//! candle's fused operations cut the gradient graph without an error, so none is used: every operation here
//! states its backward pass. [`Tape`] retraces them.

mod attention;
mod kept;
mod linear;
mod pointwise;
mod tape;

pub use attention::{PackedSequence, attention};
pub use linear::{linear, linear_frozen};
pub use pointwise::{add, add_bias, rms_norm, rotate, scale, select_rows, swiglu};
pub use tape::{Accumulators, Pass, Tape};

use candle_core::{CpuStorage, Layout, Result, Tensor};

/// The values of a contiguous f32 tensor.
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
