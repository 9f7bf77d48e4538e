//! `retmask plan`: what a run would do and why, without doing it.

use std::mem::ManuallyDrop;

use anstyle::{AnsiColor, Style};
use retmask_cache::Store;

use super::{ForceArguments, OnlyArguments, PipelineArguments, Settings};
use crate::error::{Error, Result};
use crate::output::{Align, Table};
use crate::pipeline::Pipeline;
use crate::plan::{HubSources, Planner, SourceState, StagePlan, State, plan_json};
use crate::run::report::bytes;

/// What `retmask plan` takes.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    pipeline: PipelineArguments,
    #[command(flatten)]
    only: OnlyArguments,
    #[command(flatten)]
    force: ForceArguments,
    /// Take from the Hugging Face hub only what the pipeline's lock file says
    #[arg(long)]
    locked: bool,
}

/// Executes `retmask plan`. Missing sources are shown, and are no failure.
///
/// # Errors
/// `Input` with every fault of the file and its place; `Environment` when the store cannot be read.
pub fn execute(arguments: &Arguments, settings: &Settings) -> Result<()> {
    // What is large is never taken apart: it goes with the process, which ends with the command.
    let pipeline = &*ManuallyDrop::new(arguments.pipeline.read()?.only(&arguments.only.only)?);
    let store = Store::open(&settings.cache_folder()?)?;
    let printer = &settings.printer;
    let hub = HubSources::open(pipeline, &store, arguments.locked)?;
    for stale in hub.stale(pipeline) {
        printer.warn(&format!("{stale}; it is not used"));
    }
    let mut planner = ManuallyDrop::new(Planner::new(pipeline, &store)?);
    planner.force(arguments.force.stages(pipeline)?);
    planner.find_hub_sources(&hub)?;
    let plan = ManuallyDrop::new(planner.plan()?);
    if printer.json() {
        let text = serde_json::to_string(&plan_json(&planner, &plan));
        let text = text.map_err(|error| Error::internal(format!("the plan cannot be written as JSON: {error}")))?;
        return printer.data(&format!("{text}\n"));
    }
    let mut text = table(pipeline, &plan).render(*printer);
    let count = |wanted: fn(&State) -> bool| plan.iter().filter(|stage| wanted(&stage.state)).count();
    text += &format!(
        "{} to run, {} depend on them, {} in the store\n",
        count(|state| matches!(state, State::Run(_))),
        count(|state| matches!(state, State::Depends(_) | State::ToFetch(_))),
        count(|state| matches!(state, State::Hit(_))),
    );
    let to_fetch = planner.to_fetch();
    if !to_fetch.is_empty() {
        text += &format!("{}\n", printer.paint(Style::new().bold(), "`retmask run` downloads"));
    }
    for index in to_fetch {
        if let SourceState::ToFetch { message, bytes: size } = planner.source(index) {
            let size = size.map_or("its size is not known before the hub is asked".to_owned(), bytes);
            text += &format!("  {message}\n    {size}\n");
        }
    }
    let missing = planner.missing();
    if !missing.is_empty() {
        text += &format!("{}\n", printer.paint(AnsiColor::Yellow.on_default().bold(), "missing sources"));
    }
    for index in missing {
        if let SourceState::Missing { message, hint } = planner.source(index) {
            text += &format!("  {message}\n");
            if let Some(hint) = hint {
                text += &format!("    {hint}\n");
            }
        }
    }
    printer.data(&text)
}

fn table(pipeline: &Pipeline, plan: &[StagePlan]) -> Table {
    let mut table =
        Table::new([("stage", Align::Left), ("kind", Align::Left), ("state", Align::Left), ("reason", Align::Left)]);
    for StagePlan { stage, state, .. } in plan {
        let (word, style, reason) = match state {
            State::Hit(_) => ("hit", Style::new().dimmed(), String::new()),
            State::Run(reason) => ("run", AnsiColor::Green.on_default(), reason.to_string()),
            State::Depends(stages) => {
                let names: Vec<&str> = stages.iter().map(|&stage| pipeline.stage(stage).name.as_str()).collect();
                ("depends", Style::new(), format!("on {}", names.join(", ")))
            }
            State::ToFetch(sources) => {
                let names: Vec<&str> = sources.iter().map(|&source| pipeline.source(source).name.as_str()).collect();
                ("depends", Style::new(), format!("on the download of {}", names.join(", ")))
            }
            State::Blocked(sources) => {
                let names: Vec<&str> = sources.iter().map(|&source| pipeline.source(source).name.as_str()).collect();
                ("blocked", AnsiColor::Yellow.on_default(), format!("source {} is missing", names.join(", ")))
            }
        };
        let stage = pipeline.stage(*stage);
        let (name, kind, plain) = (stage.name.as_str(), stage.kind.name, Style::new());
        table.styled_row([(name, plain), (kind, plain), (word, style), (&reason, plain)]);
    }
    table
}
