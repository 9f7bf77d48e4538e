//! Every tensor of a folder, whatever model it is of.

use std::path::Path;

use super::{dequantise, safetensors};
use crate::{ModelError, ModelResult};

/// Hands every tensor of a Hugging Face folder over, in f32 and row-major, by its name and shape; the files' pages are
/// given back as they were read.
///
/// # Errors
/// `Input` when there are no weights, a header lies, or a value is not finite; whatever `take` says.
pub(crate) fn read_all(
    folder: &Path,
    take: &mut dyn FnMut(String, Vec<usize>, Vec<f32>) -> ModelResult<()>,
) -> ModelResult<()> {
    for (file, entries) in safetensors::open_folder(folder)? {
        for entry in entries {
            let row_length = entry.shape.last().copied().unwrap_or(1);
            let rows = entry.shape.iter().rev().skip(1).product();
            let bytes = &file.bytes()[entry.bytes.clone()];
            let values = dequantise::rows_to_f32(entry.element_type, bytes, rows, row_length, |row| row);
            file.release(entry.bytes.clone());
            let values = values.map_err(|index| {
                ModelError::input(format!(
                    "{}: the tensor `{}` holds a value that is not finite, at index {index}: the weights are damaged",
                    folder.display(),
                    entry.name
                ))
            })?;
            take(entry.name, entry.shape, values)?;
        }
    }
    Ok(())
}
