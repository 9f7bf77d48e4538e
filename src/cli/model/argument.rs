//! The model a command is asked about.

use std::path::{Path, PathBuf};

use retmask_cache::{Readable, Store};
use retmask_model::checkpoint::Checkpoint;
use retmask_model::embedded;
use tempfile::TempDir;

use crate::cli::Settings;
use crate::error::{Error, Result};
use crate::pipeline::suggest;
use crate::show::find;

/// `--model`, as every command under `retmask model` takes it.
#[derive(Debug, clap::Args)]
pub struct ModelArgument {
    /// A GGUF file, a folder with config.json and safetensors, `embedded:NAME`, or `stored:STAGE[.PORT][@RUN]`
    #[arg(long, value_name = "MODEL")]
    model: PathBuf,
}

/// An opened model, and what keeps its files there.
pub struct OpenModel {
    pub checkpoint: Checkpoint,
    _embedded: Option<TempDir>,
    _stored: Option<Readable>,
}

impl ModelArgument {
    /// Opens the model.
    ///
    /// # Errors
    /// `Input` when there is none of this name, or it is not supported; `Environment` when it cannot be read.
    pub fn open(&self, settings: &Settings) -> Result<OpenModel> {
        let typed = self.model.to_str().unwrap_or_default();
        if let Some(name) = typed.strip_prefix("embedded:") {
            let folder = unpack(name)?;
            let checkpoint = Checkpoint::open(folder.path())?;
            return Ok(OpenModel { checkpoint, _embedded: Some(folder), _stored: None });
        }
        if let Some(address) = typed.strip_prefix("stored:") {
            let store = Store::open(&settings.cache_folder()?)?;
            let stored = find(&store, address)?.read(&store)?;
            let checkpoint = Checkpoint::open(stored.path())?;
            return Ok(OpenModel { checkpoint, _embedded: None, _stored: Some(stored) });
        }
        Ok(OpenModel { checkpoint: Checkpoint::open(&self.model)?, _embedded: None, _stored: None })
    }

    /// The model as it was named.
    pub fn named(&self) -> &Path {
        &self.model
    }
}

/// Writes a built-in model into a folder of its own.
fn unpack(name: &str) -> Result<TempDir> {
    let files = embedded::find(name).ok_or_else(|| {
        let hint = suggest(name, "built-in models", embedded::MODELS.iter().map(|model| model.name));
        Error::input(format!("no model `{name}` is built into the program")).with_hint(hint.join("; "))
    })?;
    let failed = |error: std::io::Error| Error::environment(format!("cannot unpack the model `{name}`: {error}"));
    let folder = TempDir::with_prefix("retmask-").map_err(failed)?;
    for (file, bytes) in files {
        std::fs::write(folder.path().join(file), bytes).map_err(failed)?;
    }
    Ok(folder)
}
