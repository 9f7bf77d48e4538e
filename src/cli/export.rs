//! `retmask export`: copies an artifact out of the store.

use std::path::PathBuf;

use retmask_cache::Store;
use serde_json::json;

use super::Settings;
use crate::error::Result;
use crate::run::report::bytes;
use crate::show::{find, lost};

/// What `retmask export` takes.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// What to export: STAGE[.PORT][@RUN]; the stage's first output and the latest run by default
    #[arg(value_name = "ITEM")]
    item: String,
    /// Where to: the name of the new file or folder
    #[arg(value_name = "PATH")]
    path: PathBuf,
    /// Replace what is there
    #[arg(long)]
    overwrite: bool,
}

/// Executes `retmask export`. The copy is the user's own: the store never notices what becomes of it.
///
/// # Errors
/// `Input` when there is no such item or the path is taken; `Environment` when it cannot be written.
pub fn execute(arguments: &Arguments, settings: &Settings) -> Result<()> {
    let store = Store::open(&settings.cache_folder()?)?;
    let item = find(&store, &arguments.item)?;
    if let Some(reason) = store.export(&item.output, &arguments.path, arguments.overwrite)? {
        return Err(lost(&reason));
    }
    let path = arguments.path.display().to_string();
    if settings.printer.json() {
        let output = &item.output;
        let object = json!({ "run": item.run, "stage": item.stage, "port": output.port, "digest": output.digest,
            "size": output.size, "path": path });
        return settings.printer.data(&format!("{object}\n"));
    }
    settings.printer.note(&format!(
        "{}.{} of run {}: {} to {path}",
        item.stage,
        item.output.port,
        item.run,
        bytes(item.output.size)
    ));
    Ok(())
}
