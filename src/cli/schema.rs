//! `retmask schema`: the JSON schema of a pipeline file, for editors.

use super::Settings;
use crate::error::Result;
use crate::pipeline::json_schema;

/// What `retmask schema` takes.
#[derive(Debug, clap::Args)]
pub struct Arguments {}

/// Executes `retmask schema`.
///
/// # Errors
/// `Environment` when standard output cannot be written.
pub fn execute(_arguments: &Arguments, settings: &Settings) -> Result<()> {
    settings.printer.data(&format!("{:#}\n", json_schema()))
}
