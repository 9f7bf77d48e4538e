//! `retmask plan`.

use super::{PipelineArguments, Settings};
use crate::error::{Error, Result};

/// What `retmask plan` takes.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    pipeline: PipelineArguments,
}

/// Executes `retmask plan`.
///
/// # Errors
/// `Input` with every fault of the file and its place.
pub fn execute(arguments: &Arguments, settings: &Settings) -> Result<()> {
    let _ = (arguments.pipeline.read()?, settings.cache_folder()?, settings.threads);
    Err(Error::internal("`retmask plan` is being built"))
}
