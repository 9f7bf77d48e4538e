//! Plain lines on standard error, for logs and pipes: what starts, how far it is now and then, how it ended.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use retmask_stages::contract::RowCounts;

use super::super::events::{Event, Reporter, Stamped};
use super::text::{bytes, duration, rate};
use crate::output::Printer;

/// The shortest time between two progress lines of one stage.
const PAUSE: Duration = Duration::from_secs(10);

/// Writes plain lines.
pub struct Lines {
    printer: Printer,
    told: HashMap<String, Instant>,
}

impl Lines {
    pub fn new(printer: Printer) -> Self {
        Self { printer, told: HashMap::new() }
    }
}

impl Reporter for Lines {
    fn event(&mut self, event: &Stamped<'_>) {
        if let Event::StageProgress { stage: name, .. }
        | Event::StagePhase { stage: name, .. }
        | Event::SourceProgress { source: name, .. } = event.event
        {
            let told = self.told.entry(name.clone()).or_insert_with(Instant::now);
            if told.elapsed() < PAUSE {
                return;
            }
            *told = Instant::now();
        }
        if let Some(line) = line(event.event) {
            self.printer.note(&line);
        }
    }
}

/// The line for an event, where there is one. Hits are many and stand in the table at the end.
pub fn line(event: &Event) -> Option<String> {
    Some(match event {
        Event::RunStarted { .. } | Event::RunFinished { .. } | Event::StageHit { .. } | Event::StagePhase { .. } => {
            return None;
        }
        Event::SourceStarted { source, repo, revision, commit, files, bytes: size } => {
            let (plural, size) = (if *files == 1 { "" } else { "s" }, bytes(*size));
            format!("{source}: fetching {files} file{plural} of {repo} at {revision} ({commit}), {size}")
        }
        Event::SourceProgress { source, done, total, fetched, seconds } => {
            format!("{source}: {}", transfer(*done, *total, *fetched, *seconds))
        }
        Event::SourceNote { source, text } => format!("{source}: {text}"),
        Event::SourceFinished { source, seconds, .. } => format!("{source}: fetched in {}", duration(*seconds)),
        Event::StageWaiting { stage, holder, .. } => match holder {
            Some(holder) => format!("{stage}: process {holder} is making this result; waiting for it"),
            None => format!("{stage}: another process is making this result; waiting for it"),
        },
        Event::StageStarted { stage, kind, reason, .. } => format!("{stage}: {kind} starts ({reason})"),
        Event::StageProgress { stage, phase, unit, done, total, tokens, seconds } => {
            format!("{stage}: {phase}: {done}/{total} {unit}{}", pace(unit, *done, *total, *tokens, *seconds))
        }
        Event::StageRows { rows: RowCounts { reused: 0, .. }, .. } => return None,
        Event::StageRows { stage, rows: RowCounts { total, reused, .. } } => {
            format!("{stage}: {reused} of {total} rows are kept from before")
        }
        Event::StageFinished { stage, seconds, .. } => format!("{stage}: done in {}", duration(*seconds)),
        Event::RemoteFetched { stage, bytes: size, seconds, .. } => {
            format!("{stage}: taken from the remote, {} in {}", bytes(*size), duration(*seconds))
        }
        Event::RemoteStored { bytes: 0, .. } => return None,
        Event::RemoteStored { stage, bytes: size, seconds, .. } => {
            format!("{stage}: given to the remote, {} in {}", bytes(*size), duration(*seconds))
        }
        Event::RowsFetched { stage, rows, bytes: size, seconds, .. } => {
            format!("{stage}: {rows} rows taken from the remote, {} in {}", bytes(*size), duration(*seconds))
        }
        Event::RowsStored { stage, rows, bytes: size, seconds, .. } => {
            format!("{stage}: {rows} rows given to the remote, {} in {}", bytes(*size), duration(*seconds))
        }
        Event::RemoteFailed { stage, what } => format!("{stage}: {what}; the run goes on without"),
        Event::StageDiffers { stage, ports, .. } => format!(
            "{stage}: made other bytes than an earlier run of the same work at {}; the earlier result is kept",
            ports.join(", ")
        ),
        Event::InputLost { stage, remade, what } => format!("{stage}: {what}; {remade} runs again"),
        Event::Stopping => "stopping at the next safe point; interrupt again to stop at once".into(),
        Event::StageFailed { stage, .. } => format!("{stage}: failed"),
        Event::StageSkipped { stage, because } if because.is_empty() => format!("{stage}: not run"),
        Event::StageSkipped { stage, because } => format!("{stage}: not run, it needs {}", because.join(", ")),
    })
}

/// How far a download is, its rate and the time left, as far as they are known.
pub fn transfer(done: u64, total: u64, fetched: u64, seconds: f64) -> String {
    let mut text = format!("{} of {}", bytes(done), bytes(total));
    if fetched > 0 && seconds > 0.0 {
        let rate = fetched as f64 / seconds;
        text += &format!(", {}/s", bytes(rate as u64));
        if done < total {
            text += &format!(", {} left", duration((total - done) as f64 / rate));
        }
    }
    text
}

/// Rate, tokens per second and time left, as far as they are known.
pub fn pace(unit: &str, done: u64, total: u64, tokens: u64, seconds: f64) -> String {
    let mut text = String::new();
    if done > 0 && seconds > 0.0 {
        text += &format!(", {} {unit}/s", rate(done as f64 / seconds));
    }
    if tokens > 0 && seconds > 0.0 {
        text += &format!(", {} tok/s", rate(tokens as f64 / seconds));
    }
    if done > 0 && done < total {
        text += &format!(", {} left", duration(seconds / done as f64 * (total - done) as f64));
    }
    text
}
