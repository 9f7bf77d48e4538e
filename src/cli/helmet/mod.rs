//! `retmask helmet`: the benchmark outside of pipelines.

mod comparison;
mod formats;
mod general;
mod lines;
mod published;
mod published_csv;
mod score;
mod systems;
mod table;
mod templates;
mod written;

use super::Settings;
use crate::error::Result;

/// What `retmask helmet` takes.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Score predictions of any system by a dataset's metrics
    Score(score::Arguments),
    /// The paper's table from runs: categories by length, systems side by side, with intervals of the differences
    Table(table::Arguments),
    /// General abilities (stages of kind general-eval), systems side by side, with intervals of the differences
    General(general::Arguments),
    /// Take the benchmark's own wording from a checkout of its repository, for the port `templates`
    Templates(templates::Arguments),
}

/// Executes `retmask helmet`.
///
/// # Errors
/// As its subcommands.
pub fn execute(arguments: &Arguments, settings: &Settings) -> Result<()> {
    match &arguments.command {
        Command::Score(arguments) => score::execute(arguments, settings),
        Command::Table(arguments) => table::execute(arguments, settings),
        Command::General(arguments) => general::execute(arguments, settings),
        Command::Templates(arguments) => templates::execute(arguments, settings),
    }
}
