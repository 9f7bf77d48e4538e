//! `retmask status`: what runs now in the store.

use jiff::Timestamp;
use retmask_cache::Store;
use serde_json::json;

use super::Settings;
use crate::error::{Error, Result};
use crate::output::{Align, Table};
use crate::run::report::{duration, pace};
use crate::run::{Doing, Standing, doing, facts_of, run_folders, run_name, standing};

/// What `retmask status` takes.
#[derive(Debug, clap::Args)]
pub struct Arguments {}

/// Executes `retmask status`: a line per stage that runs or waits. With `--json` an object each.
///
/// # Errors
/// `Environment` when the store cannot be read.
pub fn execute(_arguments: &Arguments, settings: &Settings) -> Result<()> {
    let store = Store::open(&settings.cache_folder()?)?;
    let printer = settings.printer;
    let heads = [
        ("run", Align::Left),
        ("process", Align::Right),
        ("stage", Align::Left),
        ("for", Align::Right),
        ("doing", Align::Left),
    ];
    let (mut table, mut lines, mut running) = (Table::new(heads), String::new(), 0);
    for folder in run_folders(&store)?.iter().rev() {
        let facts = match facts_of(folder) {
            Ok(facts) => facts,
            Err(Error::Message { message, .. }) => {
                printer.warn(&message);
                continue;
            }
            Err(error) => return Err(error),
        };
        if standing(folder, &facts)? != Standing::Running {
            continue;
        }
        running += 1;
        let stages = doing(folder)?;
        let process = facts.process.to_string();
        if printer.json() {
            let object = json!({
                "run": facts.run, "pipeline": facts.pipeline, "process": facts.process, "started": facts.started,
                "stages": stages,
            });
            lines += &format!("{object}\n");
            continue;
        }
        if stages.is_empty() {
            table.row([run_name(folder), process, String::new(), since(facts.started), "plans".to_owned()]);
            continue;
        }
        for stage in &stages {
            table.row([run_name(folder), process.clone(), stage.stage.clone(), since(stage.since), text(stage)]);
        }
    }
    if printer.json() {
        return printer.data(&lines);
    }
    if running == 0 {
        printer.note("nothing runs");
        return Ok(());
    }
    printer.data(&table.render(printer))
}

fn since(time: Timestamp) -> String {
    duration((Timestamp::now().as_millisecond() - time.as_millisecond()).max(0) as f64 / 1000.0)
}

fn text(stage: &Doing) -> String {
    match (&stage.waits_for, &stage.progress) {
        (Some(holder), _) if holder.is_empty() => "waits for another process that makes this result".to_owned(),
        (Some(holder), _) => format!("waits for process {holder}, which makes this result"),
        (None, Some(progress)) => {
            let pace = pace(&progress.unit, progress.done, progress.total, progress.tokens, progress.seconds);
            format!("{}: {}/{} {}{pace}", progress.phase, progress.done, progress.total, progress.unit)
        }
        (None, None) => "runs".to_owned(),
    }
}
