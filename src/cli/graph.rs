//! `retmask graph`: the stages of a pipeline and what flows between them.

use super::{PipelineArguments, Settings};
use crate::error::{Error, Result};

/// What `retmask graph` takes.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    pipeline: PipelineArguments,
    /// Write Mermaid text, for pages that draw it
    #[arg(long)]
    mermaid: bool,
}

/// Executes `retmask graph`.
///
/// # Errors
/// `Input` with every fault of the file and its place.
pub fn execute(arguments: &Arguments, settings: &Settings) -> Result<()> {
    let _ = (arguments.pipeline.read()?, arguments.mermaid, settings);
    Err(Error::internal("`retmask graph` is being built"))
}
