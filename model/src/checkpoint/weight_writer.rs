//! A file of weights being written: values go to disk in pieces, the file is synced at its end.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use super::mapped_file::io_error;
use super::stored_type::StoredType;
use crate::spec::TensorShape;
use crate::{ModelError, ModelResult};

/// Gives a tensor's values in f32, row-major.
pub type TensorValues<'source> = dyn FnMut(&TensorShape) -> ModelResult<Vec<f32>> + 'source;

/// Values rounded and written at a time.
const VALUES_PER_WRITE: usize = 1 << 16;

/// Writes one file from its start to its end.
pub(super) struct WeightWriter {
    path: PathBuf,
    file: BufWriter<File>,
    written: u64,
}

impl WeightWriter {
    /// Creates or replaces the file.
    pub fn create(path: &Path) -> ModelResult<Self> {
        let file = File::create(path).map_err(|error| io_error("write", path, &error))?;
        Ok(Self { path: path.to_owned(), file: BufWriter::new(file), written: 0 })
    }

    /// Bytes written so far.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Appends bytes.
    pub fn bytes(&mut self, bytes: &[u8]) -> ModelResult<()> {
        self.file.write_all(bytes).map_err(|error| io_error("write", &self.path, &error))?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    /// Appends a tensor in a stored type.
    ///
    /// # Errors
    /// `Input` naming the tensor when a value is not finite in the type; `Internal` for a wrong number of values.
    pub fn tensor(&mut self, tensor: &TensorShape, values: &[f32], stored_type: StoredType) -> ModelResult<()> {
        if values.len() != tensor.values() {
            return Err(ModelError::internal(format!(
                "the tensor `{}` of shape {:?} came with {} values",
                tensor.name,
                tensor.shape,
                values.len()
            )));
        }
        let mut buffer = Vec::with_capacity(VALUES_PER_WRITE.min(values.len()) * stored_type.bytes());
        for part in values.chunks(VALUES_PER_WRITE) {
            buffer.clear();
            if !stored_type.append(&mut buffer, part) {
                return Err(ModelError::input(format!(
                    "the tensor `{}` holds a value that is NaN or infinite in {}: no checkpoint is written from it",
                    tensor.name,
                    stored_type.element_type().name()
                )));
            }
            self.bytes(&buffer)?;
        }
        Ok(())
    }

    /// Brings the file to disk; its size.
    pub fn finish(self) -> ModelResult<u64> {
        let failed = |error: std::io::Error| io_error("write", &self.path, &error);
        let file = self.file.into_inner().map_err(|error| failed(error.into_error()))?;
        file.sync_all().map_err(failed)?;
        Ok(self.written)
    }
}
