//! `retmask cache gc`: removes results that nothing keeps, and what unfinished work and old runs have left.

use std::time::Duration;

use retmask_cache::{CacheError, Collected, CollectedResume, CollectedRows, Limits, Store};
use serde_json::json;

use super::super::Settings;
use super::items::short;
use super::old_runs::{self, OldRun};
use super::runs::{self, Keep};
use super::times::{ago, minute, parse_age, timestamp};
use crate::error::{Error, Result};
use crate::output::{Align, Printer, Table};
use crate::run::report::bytes;
use crate::sizes;

/// What `retmask cache gc` takes.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Keep what the latest N runs of each pipeline used
    #[arg(long, value_name = "N", default_value_t = 3)]
    keep_runs: usize,
    /// Keep what runs begun within this time used
    #[arg(long, value_name = "AGE", default_value = "14d", value_parser = parse_age)]
    keep_for: Duration,
    /// Of the rest remove only what makes the store larger than this, what was used longest ago first
    #[arg(long, value_name = "SIZE", value_parser = sizes::parse)]
    max_size: Option<u64>,
    /// Of the rest remove only what was not used for longer than this
    #[arg(long, value_name = "AGE", value_parser = parse_age)]
    max_age: Option<Duration>,
    /// Remove records of runs, with their logs, that began longer ago than this; those of --keep-runs, --keep-for and of
    /// locked pipelines stay
    #[arg(long, value_name = "AGE", value_parser = parse_age)]
    max_run_age: Option<Duration>,
    /// Say what would be removed, and remove nothing
    #[arg(long)]
    dry_run: bool,
}

/// Executes `retmask cache gc`. With `--json` one object.
///
/// # Errors
/// `Environment` when another collector is at work, or the store cannot be read or changed.
pub fn execute(arguments: &Arguments, settings: &Settings) -> Result<()> {
    let store = Store::open(&settings.cache_folder()?)?;
    let printer = settings.printer;
    let keep = Keep { runs: arguments.keep_runs, since: ago(arguments.keep_for) };
    let limits = Limits { max_bytes: arguments.max_size, used_since: arguments.max_age.map(ago) };
    let collected = store.collect(limits, arguments.dry_run, &mut || {
        let runs = runs::read(&store, printer).map_err(|error| match error {
            Error::Message { message, .. } => CacheError::environment(store.root(), message),
            other => CacheError::internal(printer.describe(&other)),
        })?;
        runs::roots(&store, &runs, keep)
    })?;
    // Row maps stay as long as recent runs used them; for the others the same limits hold.
    let of_rows =
        Limits { max_bytes: limits.max_bytes.map(|most| most.saturating_sub(collected.kept_bytes)), ..limits };
    let rows = store.collect_rows(keep.since, of_rows, arguments.dry_run)?;
    let resume = store.collect_resume(keep.since, arguments.dry_run)?;
    let old_runs = match arguments.max_run_age {
        Some(age) => old_runs::collect(&store, &runs::read(&store, printer)?, keep, ago(age), arguments.dry_run)?,
        None => Vec::new(),
    };
    let done = Done { dry_run: arguments.dry_run, collected, rows, resume, old_runs };
    printer.data(&if printer.json() { done.json() } else { done.text(printer) })?;
    let collected = done.collected;
    if let Some(most) = arguments.max_size
        && collected.kept_bytes > most
    {
        printer.warn(&format!(
            "what pins, recent runs and locked pipelines keep is more than {}: `retmask cache ls --pinned` lists the \
             pins, and --keep-runs and --keep-for say which runs are recent",
            bytes(most)
        ));
    }
    Ok(())
}

/// What was removed, or would be.
struct Done {
    dry_run: bool,
    collected: Collected,
    rows: CollectedRows,
    resume: CollectedResume,
    old_runs: Vec<OldRun>,
}

impl Done {
    fn json(&self) -> String {
        let Self { dry_run, collected, rows, resume, old_runs } = self;
        let removed = collected.removed.iter().map(|removed| {
            json!({ "key": removed.key, "kind": removed.kind, "last_used": timestamp(removed.last_used).to_string(),
                "bytes": removed.bytes })
        });
        let kept_by = collected
            .kept_by
            .iter()
            .map(|(why, (results, bytes))| json!({ "because": why, "results": results, "bytes": bytes }));
        let unfinished = resume.removed.iter().map(|removed| {
            json!({ "key": removed.key, "changed": timestamp(removed.changed).to_string(), "bytes": removed.bytes,
                "finished": removed.finished })
        });
        let runs = old_runs
            .iter()
            .map(|run| json!({ "run": run.run, "began": timestamp(run.began).to_string(), "bytes": run.bytes }));
        let object = json!({
            "dry_run": dry_run, "removed": removed.collect::<Vec<_>>(), "removed_files": collected.removed_blobs,
            "freed_bytes": collected.freed, "kept": collected.kept, "kept_bytes": collected.kept_bytes,
            "kept_by": kept_by.collect::<Vec<_>>(),
            "row_maps": { "removed": rows.removed.len(), "freed_bytes": rows.freed, "kept": rows.kept,
                "kept_bytes": rows.kept_bytes },
            "checkpoints": { "removed": unfinished.collect::<Vec<_>>(), "freed_bytes": resume.freed, "kept": resume.kept,
                "kept_bytes": resume.kept_bytes },
            "runs": { "removed": runs.collect::<Vec<_>>() },
        });
        format!("{object}\n")
    }

    fn text(&self, printer: Printer) -> String {
        let Self { dry_run, collected, rows, resume, old_runs } = self;
        let (removed, gone) = if *dry_run { ("to remove", "would be removed") } else { ("removed", "removed") };
        let mut text = String::new();
        let mut add = |table: &Table| text += &format!("{}\n", table.render(printer));
        if !collected.removed.is_empty() {
            let columns = ["kind", "last used (UTC)"].map(|name| (name, Align::Left));
            let mut table = Table::new([(removed, Align::Left)].into_iter().chain(columns).chain([SIZE]));
            for removed in &collected.removed {
                table.row([short(&removed.key), removed.kind.clone(), minute(removed.last_used), bytes(removed.bytes)]);
            }
            add(&table);
        }
        if !resume.removed.is_empty() {
            let first = format!("checkpoint {removed}");
            let columns = [first.as_str(), "because", "last written (UTC)"].map(|name| (name, Align::Left));
            let mut table = Table::new(columns.into_iter().chain([SIZE]));
            for removed in &resume.removed {
                let why = if removed.finished { "it has its result" } else { "nobody went on" };
                table.row([short(&removed.key), why.to_owned(), minute(removed.changed), bytes(removed.bytes)]);
            }
            add(&table);
        }
        if !old_runs.is_empty() {
            let first = format!("run {removed}");
            let columns = [first.as_str(), "began (UTC)"].map(|name| (name, Align::Left));
            let mut table = Table::new(columns.into_iter().chain([SIZE]));
            for run in old_runs {
                table.row([run.run.clone(), minute(run.began), bytes(run.bytes)]);
            }
            add(&table);
        }
        if !collected.kept_by.is_empty() {
            let columns = [("kept because", Align::Left), ("results", Align::Right), SIZE];
            let mut table = Table::new(columns);
            for (why, (results, size)) in &collected.kept_by {
                table.row([why.clone(), results.to_string(), bytes(*size)]);
            }
            add(&table);
        }
        text += &format!(
            "{} results and {} files {gone}, {} freed; {} results stay, {}\n",
            collected.removed.len(),
            collected.removed_blobs,
            bytes(collected.freed),
            collected.kept,
            bytes(collected.kept_bytes),
        );
        let mut line = |what: &str, removed: usize, freed: u64, kept: u64, kept_bytes: u64| {
            if removed > 0 || kept > 0 {
                let (freed, kept_bytes) = (bytes(freed), bytes(kept_bytes));
                text += &format!("{removed} {what} {gone}, {freed} freed; {kept} stay, {kept_bytes}\n");
            }
        };
        line("row maps", rows.removed.len(), rows.freed, rows.kept, rows.kept_bytes);
        line("checkpoints", resume.removed.len(), resume.freed, resume.kept, resume.kept_bytes);
        if !old_runs.is_empty() {
            let freed = bytes(old_runs.iter().map(|run| run.bytes).sum());
            text += &format!("{} records of runs {gone}, {freed} freed\n", old_runs.len());
        }
        text
    }
}

const SIZE: (&str, Align) = ("size", Align::Right);
