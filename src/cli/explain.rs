//! `retmask explain`: why a stage is a hit or will run, before it does.

use std::fmt::Write;

use anstyle::{AnsiColor, Style};
use retmask_cache::Store;
use retmask_stages::contract::Fault;

use super::{PipelineArguments, RemoteArguments, Settings};
use crate::error::{Error, Result};
use crate::explain::{Cause, Explanation, Forecast, From, Made, Near, Verdict, explain};
use crate::output::Printer;
use crate::plan::{HubSources, Planner};
use crate::run::report::{bytes, duration};

/// What `retmask explain` takes.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    pipeline: PipelineArguments,
    /// The stage, or a pattern as for `--only`
    #[arg(value_name = "STAGE")]
    stage: String,
    /// Take from the Hugging Face hub only what the pipeline's lock file says
    #[arg(long)]
    locked: bool,
    #[command(flatten)]
    remote: RemoteArguments,
}

/// Most records that are read from a remote at a time; those that were read before do not count.
const MOST_READ: usize = 1_000;

/// Executes `retmask explain`. With `--json` an object per stage.
///
/// # Errors
/// `Input` with every fault of the file and its place, or for a stage it has not; `Environment` when the store cannot
/// be read.
pub fn execute(arguments: &Arguments, settings: &Settings) -> Result<()> {
    let pattern = std::slice::from_ref(&arguments.stage);
    let pipeline = arguments.pipeline.read()?;
    pipeline.named("", pattern)?;
    let pipeline = pipeline.only(pattern)?;
    let store = Store::open(&settings.cache_folder()?)?;
    let printer = settings.printer;
    let hub = HubSources::open(&pipeline, &store, arguments.locked)?;
    let mut planner = Planner::new(&pipeline, &store)?;
    planner.find_hub_sources(&hub)?;
    look_elsewhere(&mut planner, &store, &arguments.remote, printer)?;
    let plan = planner.plan()?;
    let explanations = explain(&planner, &plan, &pipeline.named("", pattern)?)?;
    let text: Vec<String> = explanations
        .iter()
        .map(|explanation| match printer.json() {
            true => format!("{}\n", serde_json::json!(explanation)),
            false => text(explanation, printer),
        })
        .collect();
    printer.data(&text.join(if printer.json() { "" } else { "\n" }))
}

/// Compares with the results of the remote, where one is named. One that fails is left out.
fn look_elsewhere(planner: &mut Planner<'_>, store: &Store, remote: &RemoteArguments, printer: Printer) -> Result<()> {
    let left_out = |message: &str| printer.warn(&format!("{message}; its results are left out"));
    let remote = match remote.of_run() {
        Ok(Some(remote)) => remote,
        Ok(None) => return Ok(()),
        Err(Error::Message { fault: Fault::Environment, message, .. }) => {
            left_out(&message);
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    match store.records_there(&remote, MOST_READ) {
        Ok(there) => {
            if there.unread > 0 || there.cut {
                let more = if there.cut { "many more".to_owned() } else { format!("{} more", there.unread) };
                let address = remote.address();
                printer.warn(&format!(
                    "{address} has {more} results, older ones, which were not compared; explain again goes on with them"
                ));
            }
            planner.look_elsewhere(remote.address(), there.records);
        }
        Err(error) => left_out(&error.message),
    }
    Ok(())
}

fn text(explanation: &Explanation, printer: Printer) -> String {
    let Explanation { stage, kind, epoch, state, .. } = explanation;
    let waits = explanation.waits_for.join(", ");
    let (style, word) = match state {
        Verdict::Hit => (Style::new().bold(), "hit".to_owned()),
        Verdict::Run => (AnsiColor::Green.on_default().bold(), "it will run".to_owned()),
        Verdict::Elsewhere => (Style::new().bold(), "a run takes it from the remote".to_owned()),
        Verdict::Depends => (Style::new().bold(), format!("depends on {waits}")),
        Verdict::ToFetch => (Style::new().bold(), format!("depends on the download of {waits}")),
        Verdict::Blocked => (AnsiColor::Yellow.on_default().bold(), format!("source {waits} is missing")),
    };
    let dim = printer.paint(AnsiColor::BrightBlack.on_default(), &format!("({kind}, epoch {epoch})"));
    let mut text = format!("{} {dim}: {}\n", printer.paint(Style::new().bold(), stage), printer.paint(style, &word));
    if let Some(key) = &explanation.key {
        let _ = writeln!(text, "  key {key}");
    }
    if let Some(lost) = &explanation.lost {
        let _ = writeln!(text, "  {lost}");
    }
    if let Some(made) = &explanation.made {
        let _ = writeln!(text, "  made by {}, in {}", maker(made), duration(made.seconds));
    }
    for output in &explanation.outputs {
        let _ = writeln!(text, "  {} {}, {}", output.port, bytes(output.size), output.digest);
    }
    match &explanation.nearest {
        Some(near) if explanation.lost.is_none() => text += &nearest(near),
        None if explanation.made.is_none() => text += "  the store holds no result of this kind\n",
        _ => {}
    }
    if let Some(forecast) = &explanation.forecast {
        let _ = writeln!(text, "  forecast: {}, {}", costs(forecast), basis(forecast));
    }
    if let Some(forecast) = &explanation.forecast_before {
        let without = match forecast.unknown {
            0 => String::new(),
            count => format!(", not counting {count} whose kind has no result yet"),
        };
        let _ = writeln!(text, "  before it: {}{without}", costs(forecast));
    }
    text
}

/// What differs from the nearest result, and what in the stages before it made it differ.
fn nearest(near: &Near) -> String {
    let mut text = format!("  {} of {} fields equal {}\n", near.equal, near.fields, maker(&near.made));
    for cause in &near.causes {
        let _ = writeln!(text, "    {}", line(cause));
    }
    let mut first = String::new();
    for upstream in &near.upstream {
        if upstream.causes.is_empty() {
            let _ = writeln!(first, "    {}: unchanged, its result is to be made again", upstream.stage);
        }
        let own = upstream.causes.iter().filter(|cause| !matches!(cause.from, Some(From::Stage(_))));
        for cause in own {
            let _ = writeln!(first, "    {}: {}", upstream.stage, line(cause));
        }
    }
    if !first.is_empty() {
        text += "  what changed first\n";
        text += &first;
    }
    text
}

fn line(cause: &Cause) -> String {
    match &cause.from {
        Some(From::Stage(name) | From::Source(name)) => format!("{}, from {name}", cause.difference),
        None => cause.difference.to_string(),
    }
}

fn maker(made: &Made) -> String {
    let time = made.created.strftime("%Y-%m-%d %H:%M:%S UTC");
    match (&made.by, &made.at) {
        (Some(by), _) => format!("stage {} of run {} ({time})", by.stage, by.run),
        (None, Some(at)) => format!("{} in {at} ({time})", made.key),
        (None, None) => format!("{} of a run that is not recorded here ({time})", made.key),
    }
}

fn costs(forecast: &Forecast) -> String {
    let range = if forecast.results > 1 && forecast.least_seconds < forecast.most_seconds {
        format!(" ({} to {})", duration(forecast.least_seconds), duration(forecast.most_seconds))
    } else {
        String::new()
    };
    format!("{}{range} and {}", duration(forecast.seconds), bytes(forecast.bytes))
}

fn basis(forecast: &Forecast) -> String {
    match forecast.results {
        1 => "as that result took".to_owned(),
        count => format!("the middle of {count} results equally near"),
    }
}
