//! `retmask run`.

use super::{PipelineArguments, Settings};
use crate::error::{Error, Result};

/// What `retmask run` takes.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    pipeline: PipelineArguments,
}

/// Executes `retmask run`.
///
/// # Errors
/// `Input` with every fault of the file and its place.
pub fn execute(arguments: &Arguments, settings: &Settings) -> Result<()> {
    let _ = (arguments.pipeline.read()?, settings.cache_folder()?, settings.threads);
    Err(Error::internal("`retmask run` is being built"))
}
