//! `retmask model logprobs`: log-probabilities of given tokens. Needs configuration and weights only.

use std::path::{Path, PathBuf};

use retmask_model::Numerics;
use retmask_model::decoder::Decoder;
use retmask_model::logprobs::token_logprobs;

use super::argument::ModelArgument;
use super::{read_file, read_mask};
use crate::cli::Settings;
use crate::error::{Error, Result};

/// What `retmask model logprobs` takes.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    model: ModelArgument,
    /// A JSON list of token-id lists; the answer has, for each, the log-probability of every token but the first
    #[arg(long, value_name = "FILE")]
    ids: PathBuf,
    /// Heads to mask: a mask artifact, or JSON [[layer, head], ...]
    #[arg(long, value_name = "FILE")]
    mask: Option<PathBuf>,
    /// The class of arithmetic: f32, or bf16, where linear layers read inputs and weights in bf16
    #[arg(long, value_name = "CLASS", default_value_t)]
    numerics: Numerics,
}

/// Executes `retmask model logprobs`.
///
/// # Errors
/// `Input` when the model, the ids or the mask are wrong.
pub fn execute(arguments: &Arguments, settings: &Settings) -> Result<()> {
    let sequences = read_ids(&arguments.ids)?;
    let mask = arguments.mask.as_deref().map(read_mask).transpose()?;
    let model = arguments.model.open(settings)?;
    let checkpoint = &model.checkpoint;
    let (layers, heads) = (checkpoint.spec().layers.len(), checkpoint.spec().query_heads);
    if let (Some(mask), Some(path)) = (&mask, &arguments.mask) {
        mask.check(layers, heads).map_err(|error| Error::input(format!("{}: {}", path.display(), error.message)))?;
    }
    let decoder = Decoder::load(checkpoint, arguments.numerics)?;
    let sequences: Vec<&[u32]> = sequences.iter().map(Vec::as_slice).collect();
    let logprobs =
        token_logprobs(&decoder, mask.as_ref(), &sequences, &mut |_| Ok(())).map_err(|error| match error.fault {
            retmask_model::Fault::Input => Error::input(format!("{}: {}", arguments.ids.display(), error.message)),
            _ => error.into(),
        })?;
    let text = serde_json::to_string(&logprobs)
        .map_err(|error| Error::internal(format!("the log-probabilities cannot be written as JSON: {error}")))?;
    settings.printer.data(&format!("{text}\n"))
}

fn read_ids(path: &Path) -> Result<Vec<Vec<u32>>> {
    serde_json::from_slice(&read_file(path)?)
        .map_err(|error| Error::input(format!("{}: expected a JSON list of token-id lists: {error}", path.display())))
}
