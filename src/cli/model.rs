//! `retmask model`: asks a model directly, without a pipeline.

mod info;

use clap::Subcommand;

use super::Settings;
use crate::error::Result;

/// What `retmask model` takes.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Say what a model is: shape, size, what its files hold
    Info(info::Arguments),
}

/// Executes `retmask model`.
///
/// # Errors
/// `Input` when the model or the request is wrong.
pub fn execute(arguments: &Arguments, settings: &Settings) -> Result<()> {
    match &arguments.command {
        Command::Info(arguments) => info::execute(arguments, settings),
    }
}
