//! `retmask run`: executes a pipeline and says what came of it.

use std::io::IsTerminal;
use std::mem::ManuallyDrop;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anstyle::{AnsiColor, Style};
use retmask_cache::{Output, Reading, Store};
use retmask_stages::artifact::Media;
use retmask_stages::contract::{Fault, RowCounts};

use super::{ForceArguments, OnlyArguments, PipelineArguments, RemoteArguments, Settings};
use crate::error::{Error, Result};
use crate::output::{Align, Table};
use crate::pipeline::Pipeline;
use crate::plan::{HubSources, Planner};
use crate::run::report::{Bars, JsonLines, Lines, bytes, duration};
use crate::run::{self, Events, Interrupts, Options, Outcome, Reporter, RunRemote, StageOutputs, StageState};
use crate::show::headline;

/// What `retmask run` takes.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    pipeline: PipelineArguments,
    #[command(flatten)]
    only: OnlyArguments,
    #[command(flatten)]
    force: ForceArguments,
    /// After a failure go on with the stages that do not need what failed
    #[arg(long)]
    keep_going: bool,
    /// CPUs that stages running at the same time share; a stage takes all of them unless its `resources.cpus`
    /// says less [default: --threads]
    #[arg(long, value_name = "N")]
    cpus: Option<NonZeroUsize>,
    /// Ids of the GPUs that stages share [default: CUDA_VISIBLE_DEVICES, else all of the machine]
    #[arg(long, value_name = "IDS", value_delimiter = ',')]
    gpus: Option<Vec<String>>,
    /// Take from the Hugging Face hub only what the pipeline's lock file says
    #[arg(long)]
    locked: bool,
    #[command(flatten)]
    remote: RemoteArguments,
    /// Fail when the remote store does, instead of going on without it
    #[arg(long, help_heading = "Remote store")]
    require_remote: bool,
}

/// Executes `retmask run`.
///
/// # Errors
/// `Input` with every fault of the file and its place, or for missing sources; else as the first stage that failed.
pub fn execute(arguments: &Arguments, settings: &Settings) -> Result<()> {
    let interrupts = Interrupts::catch()?;
    // What is large is never taken apart: it goes with the process, which ends with the command.
    let pipeline = &*ManuallyDrop::new(arguments.pipeline.read()?.only(&arguments.only.only)?);
    let store = Store::open(&settings.cache_folder()?)?;
    let _in_use = store.begin_use()?;
    let printer = settings.printer;
    let hub = HubSources::open(pipeline, &store, arguments.locked)?;
    for stale in hub.stale(pipeline) {
        printer.warn(&format!("{stale}; it is not used"));
    }
    let mut planner = ManuallyDrop::new(Planner::new(pipeline, &store)?);
    planner.force(arguments.force.stages(pipeline)?);
    run::require_sources(&planner)?;
    let mut reporters: Vec<Box<dyn Reporter>> = Vec::new();
    let mut json_failure = None;
    if printer.json() {
        let (reporter, failure) = JsonLines::new(printer);
        json_failure = Some(failure);
        reporters.push(Box::new(reporter));
    } else if !printer.quiet() && std::io::stderr().is_terminal() {
        reporters.push(Box::new(Bars::new(pipeline, printer.color_error())));
    } else if !printer.quiet() {
        reporters.push(Box::new(Lines::new(printer)));
    }
    let events = Arc::new(Events::new(reporters));
    run::fetch_sources(&mut planner, &hub, &events)?;
    let plan = ManuallyDrop::new(planner.plan()?);
    let remote = remote(arguments, settings)?;
    let options = Options {
        remote,
        cpus: arguments.cpus.unwrap_or(settings.threads),
        gpus: gpus(arguments.gpus.as_deref())?,
        threads: settings.threads,
        overrides: arguments.pipeline.set.clone(),
        only: arguments.only.only.clone(),
        keep_going: arguments.keep_going,
        lock: hub.lock_file(),
        plan: &plan,
    };
    let outcome = run::run(&planner, options, events, &interrupts)?;
    if let Some(failure) = json_failure
        && let Some(error) = failure.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take()
    {
        return Err(error);
    }
    if !printer.json() {
        printer.data(&summary(pipeline, &outcome, settings))?;
        for text in reports(&store, &outcome, settings)? {
            printer.data(&text)?;
        }
    }
    conclude(pipeline, outcome)
}

/// The GPUs that stages share: those that were named, those this process may see, else those that the driver lists.
fn gpus(named: Option<&[String]>) -> Result<Vec<String>> {
    let split = |text: &str| text.split(',').map(|id| id.trim().to_owned()).filter(|id| !id.is_empty()).collect();
    let list: Vec<String> = match (named, std::env::var("CUDA_VISIBLE_DEVICES")) {
        (Some(named), _) => named.iter().map(|id| id.trim().to_owned()).filter(|id| !id.is_empty()).collect(),
        (None, Ok(visible)) => split(&visible),
        (None, Err(_)) => {
            // No such folder: no driver, and so no GPU that could be used.
            let count = std::fs::read_dir("/proc/driver/nvidia/gpus").map_or(0, Iterator::count);
            (0..count).map(|id| id.to_string()).collect()
        }
    };
    let mut distinct = list.clone();
    distinct.sort_unstable();
    distinct.dedup();
    if distinct.len() < list.len() {
        return Err(Error::input(format!("the GPUs {} name one twice", list.join(","))));
    }
    Ok(list)
}

/// The remote that the run uses. One that cannot be used is warned about, unless it is required.
fn remote(arguments: &Arguments, settings: &Settings) -> Result<Option<RunRemote>> {
    if arguments.require_remote && !arguments.remote.is_given() {
        return Err(Error::input("--require-remote, and no remote is named")
            .with_hint("give one with --remote URL or RETMASK_REMOTE"));
    }
    match arguments.remote.of_run() {
        Ok(remote) => Ok(remote.map(|remote| RunRemote::new(remote, arguments.require_remote))),
        Err(Error::Message { fault: Fault::Environment, message, .. }) if !arguments.require_remote => {
            settings.printer.warn(&format!("{message}; the run goes on without it"));
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// The error that stands for all that failed.
fn conclude(pipeline: &Pipeline, outcome: Outcome) -> Result<()> {
    if outcome.interrupted {
        return Err(Error::interrupted());
    }
    let others = outcome.failures.len().saturating_sub(1);
    let Some((stage, error)) = outcome.failures.into_iter().next() else { return Ok(()) };
    let name = &pipeline.stage(stage).name;
    Err(match error {
        Error::Message { fault, message, hint } => {
            let more = match others {
                0 => String::new(),
                others => format!(" ({others} more failed, see {})", outcome.folder.join("events.ndjson").display()),
            };
            Error::Message { fault, message: format!("stage `{name}`: {message}{more}"), hint }
        }
        other => other,
    })
}

/// The table of stages, and a line for the run.
fn summary(pipeline: &Pipeline, outcome: &Outcome, settings: &Settings) -> String {
    let mut table =
        Table::new([("stage", Align::Left), ("state", Align::Left), ("time", Align::Right), ("outputs", Align::Left)]);
    let mut saved = 0.0;
    for stage in &outcome.stages {
        let plain = Style::new();
        let (mut state, style) = match stage.state {
            StageState::Hit => ("hit".to_owned(), plain.dimmed()),
            StageState::Ran => ("ran".to_owned(), AnsiColor::Green.on_default()),
            StageState::Failed => ("failed".to_owned(), AnsiColor::Red.on_default().bold()),
            StageState::Skipped => ("not run".to_owned(), AnsiColor::Yellow.on_default()),
            StageState::Pending => ("pending".to_owned(), plain),
        };
        if let Some(RowCounts { total, reused, .. }) = stage.rows.filter(|rows| rows.reused > 0) {
            state += &format!(", {reused} of {total} rows reused");
        }
        let time = match (stage.state, stage.seconds) {
            (StageState::Ran, Some(seconds)) => duration(seconds),
            (StageState::Hit, Some(seconds)) => {
                saved += seconds;
                String::new()
            }
            _ => String::new(),
        };
        let outputs: Vec<String> =
            stage.outputs.iter().map(|output| format!("{} {}", output.port, bytes(output.size))).collect();
        let cells = [(stage.stage.clone(), plain), (state, style), (time, plain), (outputs.join(", "), plain)];
        table.styled_row(cells);
    }
    let count = |state| outcome.stages.iter().filter(|stage| stage.state == state).count();
    let mut line = format!(
        "{}: {} ran, {} hit{}",
        pipeline.name,
        count(StageState::Ran),
        count(StageState::Hit),
        if saved >= 1.0 { format!(" ({} not spent again)", duration(saved)) } else { String::new() }
    );
    for (state, word) in [(StageState::Failed, "failed"), (StageState::Skipped, "not run")] {
        if count(state) > 0 {
            line += &format!(", {} {word}", count(state));
        }
    }
    let run = format!("run {}, record in {}", outcome.run, outcome.folder.display());
    format!("{}{line}, in {}\n{run}\n", table.render(settings.printer), duration(outcome.seconds))
}

/// What reports have to say: their headline tables, and where their pages are.
fn reports(store: &Store, outcome: &Outcome, settings: &Settings) -> Result<Vec<String>> {
    let (mut texts, mut pages) = (Vec::new(), Vec::new());
    for StageOutputs { stage, outputs, .. } in &outcome.stages {
        for output in outputs {
            match Media::from_name(&output.media) {
                Some(Media::ReportSummary) => {
                    if let Reading::Ready(readable) = store.read(output)? {
                        texts.push(format!("\n{}\n", headline(readable.path())?));
                    }
                }
                Some(Media::ReportPage) => {
                    let path = page_path(&outcome.folder, stage, output);
                    match store.export(output, &path, true)? {
                        None => pages.push(format!("report: {}\n", path.display())),
                        Some(reason) => settings.printer.warn(&format!("the page of `{stage}` is lost: {reason}")),
                    }
                }
                _ => {}
            }
        }
    }
    texts.extend(pages);
    Ok(texts)
}

/// Pages lie in the folder of their run, named for their stage.
fn page_path(folder: &Path, stage: &str, output: &Output) -> PathBuf {
    folder.join(format!("{stage}.{}.html", output.port))
}
