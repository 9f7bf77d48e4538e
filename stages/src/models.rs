//! Opening a model for a stage that may stretch its window.

use std::path::Path;

use retmask_model::ModelResult;
use retmask_model::checkpoint::Checkpoint;
use retmask_model::spec::Yarn;

/// Opens a model, its window stretched where `yarn` says so.
///
/// # Errors
/// `Input` as [`Checkpoint::open`] and [`Checkpoint::stretched`].
pub fn open(path: &Path, yarn: Option<Yarn>) -> ModelResult<Checkpoint> {
    let checkpoint = Checkpoint::open(path)?;
    match yarn {
        Some(yarn) => checkpoint.stretched(yarn),
        None => Ok(checkpoint),
    }
}
