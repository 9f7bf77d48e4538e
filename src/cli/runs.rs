//! `retmask runs`: what was run, when, and how it ended.

use retmask_cache::Store;
use serde_json::json;

use super::Settings;
use crate::error::{Error, Result};
use crate::output::{Align, Table};
use crate::run::report::duration;
use crate::run::{StageState, facts_of, run_folders, stages_of, standing};

/// What `retmask runs` takes.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Only runs of this pipeline
    #[arg(value_name = "NAME")]
    pipeline: Option<String>,
    /// How many runs to list, the latest ones; 0 lists all
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: usize,
}

/// Executes `retmask runs`: the latest first. With `--json` an object per run. A run whose record is damaged is warned
/// about and left out.
///
/// # Errors
/// `Environment` when the store cannot be read.
pub fn execute(arguments: &Arguments, settings: &Settings) -> Result<()> {
    let store = Store::open(&settings.cache_folder()?)?;
    let printer = &settings.printer;
    let heads = [
        ("run", Align::Left),
        ("pipeline", Align::Left),
        ("state", Align::Left),
        ("ran", Align::Right),
        ("hit", Align::Right),
        ("failed", Align::Right),
        ("time", Align::Right),
        ("changed", Align::Left),
    ];
    let (mut table, mut lines, mut listed) = (Table::new(heads), String::new(), 0);
    for folder in run_folders(&store)?.iter().rev() {
        if arguments.limit > 0 && listed == arguments.limit {
            break;
        }
        let (facts, stages) = match (facts_of(folder), stages_of(folder)) {
            (Ok(facts), Ok(stages)) => (facts, stages),
            (Err(Error::Message { message, .. }), _) | (_, Err(Error::Message { message, .. })) => {
                printer.warn(&message);
                continue;
            }
            (Err(error), _) | (_, Err(error)) => return Err(error),
        };
        if arguments.pipeline.as_ref().is_some_and(|name| *name != facts.pipeline) {
            continue;
        }
        listed += 1;
        let state = standing(folder, &facts)?.name();
        let count = |state| stages.iter().filter(|stage| stage.state == state).count();
        let (ran, hits, failed) = (count(StageState::Ran), count(StageState::Hit), count(StageState::Failed));
        let seconds =
            facts.finished.map(|finished| (finished.as_millisecond() - facts.started.as_millisecond()) as f64 / 1000.0);
        if printer.json() {
            let object = json!({
                "run": facts.run, "pipeline": facts.pipeline, "file": facts.file, "state": state,
                "started": facts.started, "finished": facts.finished, "overrides": facts.overrides,
                "only": facts.only, "ran": ran, "hits": hits, "failed": failed, "stages": stages.len(),
            });
            lines += &format!("{object}\n");
            continue;
        }
        let only = facts.only.iter().map(|pattern| format!("only {pattern}"));
        let changed: Vec<String> = facts.overrides.iter().cloned().chain(only).collect();
        table.row([
            facts.run,
            facts.pipeline,
            state.to_owned(),
            ran.to_string(),
            hits.to_string(),
            failed.to_string(),
            seconds.map(duration).unwrap_or_default(),
            changed.join(", "),
        ]);
    }
    if printer.json() {
        return printer.data(&lines);
    }
    if listed == 0 {
        printer.note("no runs");
        return Ok(());
    }
    printer.data(&table.render(*printer))
}
