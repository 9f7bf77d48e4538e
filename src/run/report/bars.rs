//! Bars on a terminal: one per running stage, with rate and time left.

use std::collections::HashMap;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use unicode_width::UnicodeWidthStr;

use super::super::events::{Event, Reporter, Stamped};
use super::lines::{line, pace, transfer};
use crate::pipeline::Pipeline;

/// How often a bar moves by itself, so that a long step still looks alive.
const TICK: Duration = Duration::from_millis(200);

/// Draws bars on standard error.
pub struct Bars {
    all: MultiProgress,
    running: HashMap<String, ProgressBar>,
    color: bool,
    /// Terminal columns of the longest name of a stage or source.
    widest: usize,
}

impl Bars {
    /// Bars for the stages of a pipeline, with or without colours.
    pub fn new(pipeline: &Pipeline, color: bool) -> Self {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(10));
        let sources = pipeline.sources().iter().map(|source| source.name.width());
        let widest = pipeline.stages().iter().map(|stage| stage.name.width()).chain(sources).max().unwrap_or(0);
        Self { all, running: HashMap::new(), color, widest }
    }

    fn bar(&mut self, stage: &str) -> &ProgressBar {
        let (all, color) = (&self.all, self.color);
        let padding = " ".repeat(self.widest.saturating_sub(stage.width()));
        self.running.entry(stage.to_owned()).or_insert_with(|| {
            let bar = all.add(ProgressBar::no_length());
            bar.set_style(style(color, false));
            bar.set_prefix(format!("{stage}{padding}"));
            bar.enable_steady_tick(TICK);
            bar
        })
    }

    /// A line above the bars.
    fn say(&self, text: &str) {
        // Drawing fails only where there is no terminal any more.
        let _ = self.all.println(text);
    }
}

impl Reporter for Bars {
    fn event(&mut self, event: &Stamped<'_>) {
        let color = self.color;
        match event.event {
            Event::SourceProgress { source, done, total, fetched, seconds } => {
                let bar = self.bar(source);
                bar.set_style(style(color, true));
                bar.set_length(*total);
                bar.set_position(*done);
                bar.set_message(transfer(*done, *total, *fetched, *seconds));
            }
            Event::StageStarted { stage, reason, .. } => self.bar(stage).set_message(reason.to_string()),
            Event::StagePhase { stage, phase, unit, total } => {
                let bar = self.bar(stage);
                bar.set_style(style(color, *total > 0));
                bar.set_length(*total);
                bar.set_position(0);
                bar.set_message(if *total > 0 { format!("{phase}: 0/{total} {unit}") } else { phase.clone() });
            }
            Event::StageProgress { stage, phase, unit, done, total, tokens, seconds } => {
                let bar = self.bar(stage);
                bar.set_position(*done);
                let count = if *total > 0 { format!("{done}/{total} {unit}") } else { format!("{done} {unit}") };
                bar.set_message(format!("{phase}: {count}{}", pace(unit, *done, *total, *tokens, *seconds)));
            }
            other => {
                if let Event::StageFinished { stage, .. }
                | Event::StageFailed { stage, .. }
                | Event::StageSkipped { stage, .. }
                | Event::StageHit { stage, .. }
                | Event::SourceFinished { source: stage, .. } = other
                    && let Some(bar) = self.running.remove(stage)
                {
                    bar.finish_and_clear();
                    self.all.remove(&bar);
                }
                if let Some(text) = line(other) {
                    self.say(&text);
                }
            }
        }
    }
}

fn style(color: bool, counted: bool) -> ProgressStyle {
    let template = match (counted, color) {
        (true, true) => "{prefix:.bold} [{bar:24.cyan/blue}] {wide_msg}",
        (true, false) => "{prefix} [{bar:24}] {wide_msg}",
        (false, true) => "{prefix:.bold} {spinner:.cyan} {wide_msg}",
        (false, false) => "{prefix} {spinner} {wide_msg}",
    };
    // The templates are fixed; were one wrong, the default style would show the same facts.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> ")
}
