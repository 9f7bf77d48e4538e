//! `retmask lock`: writes beside a pipeline what its sources from the Hugging Face hub stand for now.

use retmask_cache::Store;

use super::{PipelineArguments, Settings};
use crate::error::Result;
use crate::hub::Watcher;
use crate::output::{Align, Printer, Table};
use crate::plan::{HubSources, hub_sources, resolve_all};
use crate::run::report::bytes;

/// What `retmask lock` takes.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    pipeline: PipelineArguments,
}

/// Executes `retmask lock`. Asks the hub about every source; downloads nothing but indices of shards.
///
/// # Errors
/// `Input` with every fault of the file and its place, or for a source that is not there; `Environment` when the hub
/// cannot be asked or the lock file not be written.
pub fn execute(arguments: &Arguments, settings: &Settings) -> Result<()> {
    let pipeline = arguments.pipeline.read()?;
    let printer = settings.printer;
    if hub_sources(&pipeline).next().is_none() {
        printer.note("the pipeline has no sources from the Hugging Face hub: there is nothing to lock");
        return Ok(());
    }
    let store = Store::open(&settings.cache_folder()?)?;
    let sources = HubSources::without_lock(&pipeline, &store)?;
    let lock = resolve_all(&sources, &pipeline, &Notes(printer))?;
    let path = lock.write(&pipeline.path)?;
    if printer.json() {
        let answer = serde_json::json!({ "lock": path.display().to_string(), "sources": lock.sources });
        return printer.data(&format!("{answer}\n"));
    }
    let columns =
        [("source", Align::Left), ("repository", Align::Left), ("revision", Align::Left), ("commit", Align::Left)];
    let mut table = Table::new(columns.into_iter().chain([("files", Align::Right), ("size", Align::Right)]));
    for (source, location) in hub_sources(&pipeline) {
        let Some(pinned) = lock.sources.get(&source.name) else { continue };
        table.row([
            source.name.clone(),
            location.repository.to_string(),
            location.revision.to_string(),
            pinned.commit.to_string(),
            pinned.contents.len().to_string(),
            bytes(pinned.size()),
        ]);
    }
    printer.data(&format!("{}written to {}\n", table.render(printer), path.display()))
}

/// Waits are notes.
struct Notes(Printer);

impl Watcher for Notes {
    fn progress(&self, _: u64, _: u64, _: u64) {}

    fn note(&self, text: &str) {
        self.0.note(text);
    }
}
