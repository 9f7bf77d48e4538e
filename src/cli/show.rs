//! `retmask show`.

use super::Settings;
use crate::error::{Error, Result};

/// What `retmask show` takes.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// What to show: STAGE[.PORT][@RUN], of the latest run by default
    #[arg(value_name = "ITEM")]
    item: String,
}

/// Executes `retmask show`.
///
/// # Errors
/// `Input` when there is no such item.
pub fn execute(arguments: &Arguments, settings: &Settings) -> Result<()> {
    let _ = (&arguments.item, settings.cache_folder()?);
    Err(Error::internal("`retmask show` is being built"))
}
