//! `retmask cache ls`: the stored results.

use std::cmp::Reverse;
use std::time::Duration;

use retmask_cache::{Store, Stored};
use serde_json::json;

use super::super::Settings;
use super::items::short;
use super::runs::{self, Use};
use super::times::{ago, minute, parse_age, timestamp};
use crate::error::{Error, Result};
use crate::output::{Align, Table};
use crate::run::report::bytes;
use crate::sizes;

/// What `retmask cache ls` takes.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Only results of this kind of stage; may be given more than once
    #[arg(long, value_name = "KIND")]
    kind: Vec<String>,
    /// Only results that this run used or made; `latest` is the latest one
    #[arg(long, value_name = "RUN")]
    run: Option<String>,
    /// Only results that runs of this pipeline used or made
    #[arg(long, value_name = "NAME")]
    pipeline: Option<String>,
    /// Only pinned results
    #[arg(long)]
    pinned: bool,
    /// Only results that no run of this store used
    #[arg(long)]
    unused: bool,
    /// Only results made longer ago than this, e.g. 30d
    #[arg(long, value_name = "AGE", value_parser = parse_age)]
    older_than: Option<Duration>,
    /// Only results of more bytes than this, e.g. 1GB
    #[arg(long, value_name = "SIZE", value_parser = sizes::parse)]
    larger_than: Option<u64>,
    /// What comes first
    #[arg(long, value_name = "BY", default_value = "made")]
    sort: Sort,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Sort {
    /// The youngest
    Made,
    /// The largest
    Size,
}

/// Executes `retmask cache ls`. With `--json` an object per result.
///
/// # Errors
/// `Input` for a run that is not there; `Environment` when the store cannot be read.
pub fn execute(arguments: &Arguments, settings: &Settings) -> Result<()> {
    let store = Store::open(&settings.cache_folder()?)?;
    let printer = settings.printer;
    let inventory = store.inventory()?;
    let (runs, pins) = (runs::read(&store, printer)?, store.pins()?);
    let uses = runs::uses(&runs);
    let of_run = match arguments.run.as_deref() {
        Some("latest") => runs.last().map(|run| run.run.clone()),
        other => other.map(str::to_owned),
    };
    if let Some(run) = &arguments.run
        && !runs.iter().any(|found| Some(&found.run) == of_run.as_ref())
    {
        return Err(Error::input(format!("there is no run `{run}`")).with_hint("`retmask runs` lists them"));
    }
    let before = arguments.older_than.map(ago);
    let used_by = |stored: &Stored| uses.get(&stored.record.key).map(Vec::as_slice).unwrap_or_default();
    let wanted = |stored: &&Stored| {
        let (key, provenance) = (&stored.record.key, &stored.record.provenance);
        let uses = used_by(stored);
        (arguments.kind.is_empty() || arguments.kind.contains(&provenance.kind))
            && of_run.as_ref().is_none_or(|run| uses.iter().any(|used| used.run.run == *run))
            && arguments.pipeline.as_ref().is_none_or(|name| uses.iter().any(|used| used.run.pipeline == *name))
            && (!arguments.pinned || pins.contains_key(key))
            && (!arguments.unused || uses.is_empty())
            && before.is_none_or(|before| provenance.created_milliseconds < before)
            && arguments.larger_than.is_none_or(|size| stored.bytes() > size)
    };
    let mut listed: Vec<&Stored> = inventory.records.values().filter(wanted).collect();
    match arguments.sort {
        Sort::Made => {
            listed.sort_by_key(|stored| (Reverse(stored.record.provenance.created_milliseconds), stored.record.key))
        }
        Sort::Size => listed.sort_by_key(|stored| (Reverse(stored.bytes()), stored.record.key)),
    }
    if printer.json() {
        let pin = |stored: &Stored| pins.get(&stored.record.key).map(String::as_str);
        let lines: String = listed.iter().map(|stored| object(stored, used_by(stored), pin(stored)) + "\n").collect();
        return printer.data(&lines);
    }
    if listed.is_empty() {
        printer.note("no results");
        return Ok(());
    }
    let mut table = Table::new([
        ("key", Align::Left),
        ("kind", Align::Left),
        ("made (UTC)", Align::Left),
        ("size", Align::Right),
        ("state", Align::Left),
        ("used by", Align::Left),
    ]);
    for stored in &listed {
        let record = &stored.record;
        let state = match (stored.whole, pins.contains_key(&record.key)) {
            (false, _) => "incomplete",
            (true, true) => "pinned",
            (true, false) => "",
        };
        table.row([
            short(&record.key),
            record.provenance.kind.clone(),
            minute(record.provenance.created_milliseconds),
            bytes(stored.bytes()),
            state.to_owned(),
            told(used_by(stored)),
        ]);
    }
    let results = if listed.len() == 1 { "1 result".to_owned() } else { format!("{} results", listed.len()) };
    printer.data(&format!("{}{results}\n", table.render(printer)))
}

/// The latest use, and how many runs there are besides.
fn told(uses: &[Use<'_>]) -> String {
    let Some(latest) = uses.first() else { return "no run".to_owned() };
    let others = uses.iter().filter(|used| used.run.run != latest.run.run).map(|used| &used.run.run);
    let more = match others.collect::<std::collections::BTreeSet<_>>().len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{}@{}{more}", latest.stage, latest.run.run)
}

fn object(stored: &Stored, uses: &[Use<'_>], pin: Option<&str>) -> String {
    let record = &stored.record;
    let runs = uses
        .iter()
        .map(|used| json!({ "run": used.run.run, "pipeline": used.run.pipeline, "stage": used.stage }))
        .collect::<Vec<_>>();
    json!({
        "key": record.key, "kind": record.provenance.kind, "epoch": record.provenance.epoch,
        "made": timestamp(record.provenance.created_milliseconds).to_string(), "bytes": stored.bytes(),
        "whole": stored.whole, "pin": pin, "runs": runs, "outputs": record.outputs,
    })
    .to_string()
}
