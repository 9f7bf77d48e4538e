//! `retmask cache`: what the result store holds, whether it is sound, and how it is kept small.

mod archive;
mod du;
mod exchange;
mod gc;
mod items;
mod ls;
mod old_runs;
mod pin;
mod runs;
mod times;
mod verify;

use super::Settings;
use crate::error::Result;

/// What `retmask cache` takes.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List stored results: what made them, when, how large they are and which runs used them
    Ls(ls::Arguments),
    /// Say how much space results take, files that several share counted once
    Du(du::Arguments),
    /// Compare every stored file and record with its digest
    Verify(verify::Arguments),
    /// Remove results that nothing keeps: no pin, no recent run, no locked pipeline
    Gc(gc::Arguments),
    /// Keep results whatever `gc` is asked to remove
    Pin(pin::Arguments),
    /// Let `gc` remove results again
    Unpin(pin::Arguments),
    /// Write results into one file, for a machine without a network
    Export(archive::ExportArguments),
    /// Take in results from such a file, after checking all of it
    Import(archive::ImportArguments),
    /// Give results to the remote store
    Push(exchange::PushArguments),
    /// Take results from the remote store
    Pull(exchange::PullArguments),
}

/// Executes `retmask cache`.
///
/// # Errors
/// `Environment` when the store cannot be read or changed, else as the command says.
pub fn execute(arguments: &Arguments, settings: &Settings) -> Result<()> {
    match &arguments.command {
        Command::Ls(arguments) => ls::execute(arguments, settings),
        Command::Du(arguments) => du::execute(arguments, settings),
        Command::Verify(arguments) => verify::execute(arguments, settings),
        Command::Gc(arguments) => gc::execute(arguments, settings),
        Command::Pin(arguments) => pin::pin(arguments, settings),
        Command::Unpin(arguments) => pin::unpin(arguments, settings),
        Command::Export(arguments) => archive::export(arguments, settings),
        Command::Import(arguments) => archive::import(arguments, settings),
        Command::Push(arguments) => exchange::push(arguments, settings),
        Command::Pull(arguments) => exchange::pull(arguments, settings),
    }
}
