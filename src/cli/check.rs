//! `retmask check`: validates a pipeline file and runs nothing.

use super::{PipelineArguments, Settings};
use crate::error::Result;

/// What `retmask check` takes.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    pipeline: PipelineArguments,
}

/// Executes `retmask check`.
///
/// # Errors
/// `Input` with every fault of the file and its place.
pub fn execute(arguments: &Arguments, settings: &Settings) -> Result<()> {
    let pipeline = arguments.pipeline.read()?;
    let (stages, sources) = (pipeline.stages().len(), pipeline.sources().len());
    if settings.printer.json() {
        let answer = serde_json::json!({ "valid": true, "name": pipeline.name, "stages": stages, "sources": sources });
        return settings.printer.data(&format!("{answer}\n"));
    }
    let count = |number: usize, what: &str| format!("{number} {what}{}", if number == 1 { "" } else { "s" });
    settings.printer.data(&format!(
        "{}: pipeline `{}` is valid ({}, {})\n",
        arguments.pipeline.file.display(),
        pipeline.name,
        count(stages, "stage"),
        count(sources, "source")
    ))
}
