//! `retmask cache gc`: removes results that nothing keeps.

use std::time::Duration;

use retmask_cache::{CacheError, Limits, Store};
use serde_json::json;

use super::super::Settings;
use super::items::short;
use super::runs::{self, Keep};
use super::times::{ago, minute, parse_age, timestamp};
use crate::error::{Error, Result};
use crate::output::{Align, Table};
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
    if printer.json() {
        let removed = collected.removed.iter().map(|removed| {
            json!({ "key": removed.key, "kind": removed.kind, "last_used": timestamp(removed.last_used).to_string(),
                "bytes": removed.bytes })
        });
        let kept_by = collected
            .kept_by
            .iter()
            .map(|(why, (results, bytes))| json!({ "because": why, "results": results, "bytes": bytes }));
        let object = json!({
            "dry_run": arguments.dry_run, "removed": removed.collect::<Vec<_>>(), "removed_files": collected.removed_blobs,
            "freed_bytes": collected.freed, "kept": collected.kept, "kept_bytes": collected.kept_bytes,
            "kept_by": kept_by.collect::<Vec<_>>(),
            "row_maps": { "removed": rows.removed.len(), "freed_bytes": rows.freed, "kept": rows.kept,
                "kept_bytes": rows.kept_bytes },
        });
        return printer.data(&format!("{object}\n"));
    }
    let mut text = String::new();
    if !collected.removed.is_empty() {
        let (removed, used) = (if arguments.dry_run { "to remove" } else { "removed" }, "last used (UTC)");
        let columns = [(removed, Align::Left), ("kind", Align::Left), (used, Align::Left), ("size", Align::Right)];
        let mut table = Table::new(columns);
        for removed in &collected.removed {
            table.row([short(&removed.key), removed.kind.clone(), minute(removed.last_used), bytes(removed.bytes)]);
        }
        text += &format!("{}\n", table.render(printer));
    }
    if !collected.kept_by.is_empty() {
        let mut table = Table::new([("kept because", Align::Left), ("results", Align::Right), ("size", Align::Right)]);
        for (why, (results, size)) in &collected.kept_by {
            table.row([why.clone(), results.to_string(), bytes(*size)]);
        }
        text += &format!("{}\n", table.render(printer));
    }
    text += &format!(
        "{} results and {} files {}, {} freed; {} results stay, {}\n",
        collected.removed.len(),
        collected.removed_blobs,
        if arguments.dry_run { "would be removed" } else { "removed" },
        bytes(collected.freed),
        collected.kept,
        bytes(collected.kept_bytes),
    );
    if !rows.removed.is_empty() || rows.kept > 0 {
        text += &format!(
            "{} row maps {}, {} freed; {} stay, {}\n",
            rows.removed.len(),
            if arguments.dry_run { "would be removed" } else { "removed" },
            bytes(rows.freed),
            rows.kept,
            bytes(rows.kept_bytes),
        );
    }
    printer.data(&text)?;
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
