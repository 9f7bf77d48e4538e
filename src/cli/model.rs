//! `retmask model`: asks a model directly, without a pipeline.

mod argument;
mod export;
mod fits;
mod generate;
mod info;
mod logprobs;
mod speed;

use std::path::Path;

use clap::Subcommand;
use retmask_model::heads::HeadMask;
use retmask_stages::artifact::mask;

use super::Settings;
use crate::error::{Error, Result};

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
    /// Continue a prompt, text appearing as it is made
    Generate(generate::Arguments),
    /// Print the log-probability of each next token of given token lists, as JSON
    Logprobs(logprobs::Arguments),
    /// Measure how fast a model runs here: prompts, one stream, many streams
    Speed(speed::Arguments),
    /// Write a model as a Hugging Face folder or a GGUF file, with heads masked for good
    Export(export::Arguments),
}

/// Executes `retmask model`.
///
/// # Errors
/// `Input` when the model or the request is wrong.
pub fn execute(arguments: &Arguments, settings: &Settings) -> Result<()> {
    match &arguments.command {
        Command::Info(arguments) => info::execute(arguments, settings),
        Command::Generate(arguments) => generate::execute(arguments, settings),
        Command::Logprobs(arguments) => logprobs::execute(arguments, settings),
        Command::Speed(arguments) => speed::execute(arguments, settings),
        Command::Export(arguments) => export::execute(arguments, settings),
    }
}

/// How every Parquet file starts.
const PARQUET_MAGIC: &[u8] = b"PAR1";

/// Reads a mask: a mask artifact, or JSON `[[layer, head], ...]`.
fn read_mask(path: &Path) -> Result<HeadMask> {
    let bytes = read_file(path)?;
    if bytes.starts_with(PARQUET_MAGIC) {
        return Ok(mask::read(path)?);
    }
    let text = String::from_utf8(bytes)
        .map_err(|error| Error::input(format!("{} is neither a mask artifact nor JSON: {error}", path.display())))?;
    HeadMask::from_json(&text).map_err(|error| Error::input(format!("{}: {}", path.display(), error.message)))
}

fn read_file(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|error| {
        let message = format!("cannot read {}: {error}", path.display());
        match error.kind() {
            std::io::ErrorKind::NotFound | std::io::ErrorKind::IsADirectory => Error::input(message),
            _ => Error::environment(message),
        }
    })
}
