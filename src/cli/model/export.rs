//! `retmask model export`: a model as a Hugging Face folder or a GGUF file, heads masked for good.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use retmask_cache::{Form, Unfinished};
use retmask_model::ModelError;
use retmask_model::checkpoint::{Destination, SHARD_BYTES, StoredType, Written};
use serde_json::json;

use super::argument::ModelArgument;
use super::read_mask;
use crate::cli::Settings;
use crate::error::{Error, Result};
use crate::run::report::bytes;

/// What `retmask model export` takes.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    model: ModelArgument,
    /// Where to: a GGUF file if the name ends in .gguf, else a new Hugging Face folder
    #[arg(long, value_name = "PATH")]
    to: PathBuf,
    /// Heads to mask: a mask artifact, or JSON [[layer, head], ...]; what reads them becomes zero
    #[arg(long, value_name = "FILE")]
    mask: Option<PathBuf>,
    /// The type of the weights [default: that of the model's matrices; f32 if they are quantised or differ]
    #[arg(long, value_name = "TYPE", value_parser = stored_type)]
    dtype: Option<StoredType>,
    /// The most bytes in a weight file of a folder, e.g. 2GB; a larger tensor has a file of its own
    #[arg(long, value_name = "SIZE", default_value_t = SHARD_BYTES, value_parser = crate::sizes::parse,
        hide_default_value = true)]
    shard_size: u64,
    /// Replace what is there
    #[arg(long)]
    force: bool,
}

fn stored_type(text: &str) -> std::result::Result<StoredType, String> {
    StoredType::ALL
        .into_iter()
        .find(|kind| kind.name() == text)
        .ok_or_else(|| format!("expected one of {}", StoredType::ALL.map(StoredType::name).join(", ")))
}

/// Executes `retmask model export`. Until everything is written it lies beside its place under a temporary name.
///
/// # Errors
/// `Input` when the model or the mask are wrong, the place is taken, or the format cannot hold the model;
/// `Environment` when it cannot be written; `Interrupted`.
pub fn execute(arguments: &Arguments, settings: &Settings) -> Result<()> {
    let mask = arguments.mask.as_deref().map(read_mask).transpose()?;
    let model = arguments.model.open(settings)?;
    let spec = model.checkpoint.spec();
    if let (Some(mask), Some(path)) = (&mask, &arguments.mask) {
        mask.check(spec.layers.len(), spec.query_heads)
            .map_err(|error| Error::input(format!("{}: {}", path.display(), error.message)))?;
    }
    let gguf = arguments.to.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf"));
    let form = if gguf { Form::File } else { Form::Tree };
    let unfinished = Unfinished::beside(&arguments.to, form, arguments.force).map_err(|error| {
        let taken = !arguments.force && arguments.to.symlink_metadata().is_ok();
        let error = Error::from(error);
        if taken { error.with_hint("name another place, or add --force to replace it") } else { error }
    })?;
    let stored_type = arguments.dtype.unwrap_or_else(|| model.checkpoint.lossless_type());
    let destination = if gguf {
        Destination::Gguf(unfinished.path())
    } else {
        make_folder(unfinished.path())?;
        Destination::Folder { path: unfinished.path(), shard_bytes: arguments.shard_size }
    };
    let stop = catch_interrupt()?;
    let written = model.checkpoint.export(destination, stored_type, mask.as_ref(), &mut |_| {
        if stop.load(Ordering::Relaxed) { Err(ModelError::interrupted()) } else { Ok(()) }
    })?;
    unfinished.finish()?;
    let masked = mask.as_ref().map_or(0, |mask| mask.len());
    say(arguments, settings, spec.parameters(), stored_type, masked, written, gguf)
}

fn make_folder(path: &Path) -> Result<()> {
    std::fs::create_dir(path)
        .map_err(|error| Error::environment(format!("cannot make the folder {}: {error}", path.display())))
}

/// A flag that is raised when the user asks to stop, so that what is half-written can be removed.
fn catch_interrupt() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let raised = stop.clone();
    ctrlc::set_handler(move || raised.store(true, Ordering::Relaxed))
        .map_err(|error| Error::environment(format!("cannot catch interrupts: {error}")))?;
    Ok(stop)
}

fn say(
    arguments: &Arguments,
    settings: &Settings,
    parameters: u64,
    stored_type: StoredType,
    masked: usize,
    written: Written,
    gguf: bool,
) -> Result<()> {
    let (from, to) = (arguments.model.named().display().to_string(), arguments.to.display().to_string());
    if settings.printer.json() {
        let object = json!({ "model": from, "path": to, "format": if gguf { "gguf" } else { "safetensors" },
            "dtype": stored_type.name(), "parameters": parameters, "masked_heads": masked, "files": written.files,
            "bytes": written.bytes });
        return settings.printer.data(&format!("{object}\n"));
    }
    let heads = match masked {
        0 => String::new(),
        1 => ", 1 head masked".into(),
        _ => format!(", {masked} heads masked"),
    };
    let files = if written.files == 1 { "1 weight file".into() } else { format!("{} weight files", written.files) };
    settings.printer.note(&format!(
        "{from} to {to}: {parameters} weights in {}{heads}, {files} of {}",
        stored_type.name(),
        bytes(written.bytes)
    ));
    Ok(())
}
