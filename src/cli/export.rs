//! `retmask export`.

use super::Settings;
use crate::error::{Error, Result};

/// What `retmask export` takes.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// What to export: STAGE[.PORT][@RUN], of the latest run by default
    #[arg(value_name = "ITEM")]
    item: String,
}

/// Executes `retmask export`.
///
/// # Errors
/// `Input` when there is no such item.
pub fn execute(arguments: &Arguments, settings: &Settings) -> Result<()> {
    let _ = (&arguments.item, settings.cache_folder()?);
    Err(Error::internal("`retmask export` is being built"))
}
