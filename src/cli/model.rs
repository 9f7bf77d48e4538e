//! `retmask model`.

use super::Settings;
use crate::error::{Error, Result};

/// What `retmask model` takes.
#[derive(Debug, clap::Args)]
pub struct Arguments {}

/// Executes `retmask model`.
///
/// # Errors
/// `Input` when the model or the request is wrong.
pub fn execute(_arguments: &Arguments, _settings: &Settings) -> Result<()> {
    Err(Error::internal("`retmask model` is being built"))
}
