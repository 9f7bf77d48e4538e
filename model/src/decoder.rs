//! The decoder (being built).

use crate::ModelResult;
use crate::checkpoint::Checkpoint;
use crate::spec::ModelSpec;

/// A loaded model, ready to run.
pub struct Decoder {
    spec: ModelSpec,
}

impl Decoder {
    /// Loads all weights of a checkpoint.
    pub fn load(checkpoint: &Checkpoint) -> ModelResult<Self> {
        Ok(Self { spec: checkpoint.spec().clone() })
    }

    /// The model's shape and rules.
    pub fn spec(&self) -> &ModelSpec {
        &self.spec
    }
}
