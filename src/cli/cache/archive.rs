//! `retmask cache export` and `import`: results in one file, for a machine without a network.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use retmask_cache::{RunFile, Store};
use serde_json::json;

use super::super::Settings;
use super::items::{self, short};
use crate::error::{Error, Result};
use crate::run::report::bytes;

/// What `retmask cache export` takes.
#[derive(Debug, clap::Args)]
pub struct ExportArguments {
    /// A run with all its results, STAGE[@RUN], or at least eight digits of a key
    #[arg(value_name = "ITEM", required = true)]
    items: Vec<String>,
    /// The file to write
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    /// Replace the file if it is there
    #[arg(long)]
    overwrite: bool,
    /// Leave out the rows that the results were put together from, which spare the work of a longer list
    #[arg(long)]
    no_rows: bool,
}

/// What `retmask cache import` takes.
#[derive(Debug, clap::Args)]
pub struct ImportArguments {
    /// A file that `retmask cache export` wrote
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Files of a run's record that go with it: what was run and what came of it, without logs and pages.
const OF_RUN: [&str; 5] = ["run.json", "plan.json", "outputs.json", "events.ndjson", "pipeline.yaml"];

/// Executes `retmask cache export`.
///
/// # Errors
/// `Input` when nothing is meant by an item or the file is there already; `Environment` when a result is lost or the
/// file cannot be written.
pub fn export(arguments: &ExportArguments, settings: &Settings) -> Result<()> {
    let store = Store::open(&settings.cache_folder()?)?;
    let _in_use = store.begin_use()?;
    let meant = items::find(&store, &arguments.items)?;
    let mut files = Vec::new();
    for run in &meant.runs {
        let of_run = files_of(&store.runs_folder()?.join(run))?;
        files.extend(of_run.into_iter().map(|path| RunFile { run: run.clone(), path }));
    }
    let keys: BTreeSet<_> = meant.results.keys().copied().collect();
    let scopes = if arguments.no_rows { BTreeSet::new() } else { items::row_scopes(&store, keys.iter())? };
    let packed = store.pack(&keys, &scopes, &files, &arguments.output, arguments.overwrite)?;
    let packed = packed.map_err(|(key, reason)| {
        let name = meant.results.get(&key).map_or_else(|| short(&key), String::clone);
        Error::environment(format!("{name} cannot be exported: {reason}"))
            .with_hint("run the pipeline again: what is lost is made again")
    })?;
    if packed.private > 0 {
        let private = packed.private;
        settings.printer.warn(&format!("{private} results are left out: they are their maker's alone"));
    }
    let path = arguments.output.display().to_string();
    if settings.printer.json() {
        let object = json!({ "path": path, "results": packed.records, "files": packed.blobs, "bytes": packed.bytes,
            "row_files": packed.segments, "runs": meant.runs });
        return settings.printer.data(&format!("{object}\n"));
    }
    let (results, blobs, size) = (packed.records, packed.blobs, bytes(packed.bytes));
    let rows = if packed.segments > 0 { format!(" and {} files of rows", packed.segments) } else { String::new() };
    settings.printer.data(&format!("{path}: {results} results with {blobs} files{rows}, {size}\n"))
}

/// Whether a file of a run's folder goes with the run.
pub fn is_of_run(name: &str) -> bool {
    OF_RUN.contains(&name) || (name.starts_with("extended-") && name.ends_with(".yaml"))
}

/// The files of a run's folder that go with it.
///
/// # Errors
/// `Environment` when it cannot be read.
pub fn files_of(folder: &Path) -> Result<Vec<PathBuf>> {
    let failed = |error: std::io::Error| Error::environment(format!("cannot read {}: {error}", folder.display()));
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name().to_string_lossy().into_owned();
        if is_of_run(&name) {
            files.push(folder.join(name));
        }
    }
    files.sort_unstable();
    Ok(files)
}

/// Executes `retmask cache import`.
///
/// # Errors
/// `Input` when the file is not there or not in order in every part; then nothing of it is taken in. `Environment` when
/// the store cannot be written.
pub fn import(arguments: &ImportArguments, settings: &Settings) -> Result<()> {
    let store = Store::open(&settings.cache_folder()?)?;
    let printer = settings.printer;
    let unpacked = store.unpack(&arguments.file)?;
    for key in &unpacked.differing {
        printer.warn(&format!(
            "the store has another result of key {} and keeps it: the work is not deterministic, or not on both machines",
            short(key)
        ));
    }
    if printer.json() {
        let object = json!({ "new": unpacked.fresh, "known": unpacked.known, "differing": unpacked.differing,
            "files": unpacked.blobs, "row_files": unpacked.segments, "runs": unpacked.runs, "known_runs": unpacked.known_runs });
        return printer.data(&format!("{object}\n"));
    }
    let mut text = format!("{} new results, {} known", unpacked.fresh.len(), unpacked.known.len());
    if !unpacked.differing.is_empty() {
        text += &format!(", {} not taken", unpacked.differing.len());
    }
    if unpacked.segments > 0 {
        text += &format!(", {} files of rows", unpacked.segments);
    }
    for run in &unpacked.runs {
        text += &format!("\nrun {run}");
    }
    for run in &unpacked.known_runs {
        text += &format!("\nrun {run} was here before");
    }
    printer.data(&format!("{text}\n"))
}
