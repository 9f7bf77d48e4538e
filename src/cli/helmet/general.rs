//! `retmask helmet general`: general abilities of systems side by side.

use std::fmt::Write;

use retmask_cache::Store;
use retmask_stages::artifact::Media;
use retmask_stages::general_eval::scale;
use retmask_stages::metrics::bootstrap::{Bootstrap, Interval, RESAMPLES, Scored, paired_difference};
use serde_json::json;

use super::systems::{Row, named_stages, read};
use crate::cli::Settings;
use crate::error::Result;
use crate::output::{Align, Printer, Table};
use crate::run::StageOutputs;

/// What `retmask helmet general` takes.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Runs, as `retmask runs` lists them, or stages of kind general-eval: [LABEL=]RUN, [LABEL=]STAGE[@RUN]; the first
    /// system is what the others are compared with
    #[arg(value_name = "RUN", default_value = "latest")]
    runs: Vec<String>,
    /// Seed of the paired bootstrap behind the intervals of the differences
    #[arg(long, value_name = "N", default_value_t = 42)]
    seed: u64,
}

/// A metric of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Measure {
    task: String,
    metric: String,
}

/// A mean, if there is one.
struct Number {
    measure: Measure,
    value: Option<f64>,
    interval: Option<[f64; 2]>,
    examples: u32,
    note: String,
}

/// One value of one example, in the unit of tables.
struct Example {
    measure: Measure,
    example: u32,
    cluster: String,
    value: f64,
}

struct System {
    label: String,
    numbers: Vec<Number>,
    examples: Vec<Example>,
}

/// Executes `retmask helmet general`. With `--json` an object per row.
///
/// # Errors
/// `Input` when there is no such run or stage; `Environment` when a result is lost.
pub fn execute(arguments: &Arguments, settings: &Settings) -> Result<()> {
    let store = Store::open(&settings.cache_folder()?)?;
    let named = named_stages(&store, &arguments.runs, Media::GeneralSummary, "general-eval")?;
    let systems =
        named.into_iter().map(|(label, stages)| System::read(&store, label, &stages)).collect::<Result<Vec<_>>>()?;
    let mut measures: Vec<&Measure> = Vec::new();
    for number in systems.iter().flat_map(|system| &system.numbers) {
        if !measures.contains(&&number.measure) {
            measures.push(&number.measure);
        }
    }
    let printer = settings.printer;
    match printer.json() {
        true => printer.data(&report(&systems, &measures, arguments.seed)),
        false => printer.data(&text(&systems, &measures, arguments.seed, printer)),
    }
}

impl System {
    fn read(store: &Store, label: String, stages: &[StageOutputs]) -> Result<Self> {
        let mut system = Self { label, numbers: Vec::new(), examples: Vec::new() };
        for stage in stages {
            let of = |media: Media| stage.outputs.iter().find(|output| output.media == media.name());
            let rows = |media| of(media).map(|output| read(store, output)).transpose();
            for row in rows(Media::GeneralSummary)?.unwrap_or_default() {
                let row = Row { stage: &stage.stage, row: &row };
                let ends = (row.optional_real("low")?, row.optional_real("high")?);
                system.numbers.push(Number {
                    measure: Measure { task: row.text("task")?, metric: row.text("metric")? },
                    value: row.optional_real("value")?,
                    interval: ends.0.zip(ends.1).map(|(low, high)| [low, high]),
                    examples: row.count("examples")?,
                    note: row.text("note")?,
                });
            }
            for row in rows(Media::GeneralScores)?.unwrap_or_default() {
                let row = Row { stage: &stage.stage, row: &row };
                let metric = row.text("metric")?;
                system.examples.push(Example {
                    value: scale(&metric) * row.real("value")?,
                    measure: Measure { task: row.text("task")?, metric },
                    example: row.count("example")?,
                    cluster: row.text("cluster")?,
                });
            }
        }
        Ok(system)
    }

    fn number(&self, measure: &Measure) -> Option<&Number> {
        self.numbers.iter().find(|number| number.measure == *measure)
    }

    fn scored<'a>(&'a self, measure: &Measure) -> Vec<Scored<'a>> {
        let of = self.examples.iter().filter(|example| example.measure == *measure);
        of.map(|example| Scored {
            dataset: &example.measure.task,
            length: 0,
            example: example.example,
            cluster: &example.cluster,
            value: example.value,
        })
        .collect()
    }

    /// This system minus another over the same examples; `None` where they were not scored on the same.
    fn minus(&self, other: &Self, measure: &Measure, seed: u64) -> Option<Interval> {
        let name = format!("difference {} {}", measure.task, measure.metric);
        let bootstrap = Bootstrap { resamples: RESAMPLES, seed, name: &name };
        paired_difference(&other.scored(measure), &self.scored(measure), bootstrap).ok()
    }
}

fn text(systems: &[System], measures: &[&Measure], seed: u64, printer: Printer) -> String {
    let mut heads = vec![("task".to_owned(), Align::Left), ("metric".to_owned(), Align::Left)];
    for (index, system) in systems.iter().enumerate() {
        heads.push((system.label.clone(), Align::Right));
        if index > 0 {
            heads.push((format!("- {}", systems[0].label), Align::Right));
        }
    }
    let mut table = Table::new(heads.iter().map(|(head, align)| (head.as_str(), *align)));
    let mut notes: Vec<String> = Vec::new();
    let mut task = "";
    for measure in measures {
        // A likelihood of a few nats has its news behind the point.
        let digits = if scale(&measure.metric) == 1.0 { 3 } else { 1 };
        let mut cells =
            vec![if task == measure.task { String::new() } else { measure.task.clone() }, measure.metric.clone()];
        task = &measure.task;
        for (index, system) in systems.iter().enumerate() {
            let number = system.number(measure);
            let value = number.and_then(|number| number.value);
            cells.push(value.map_or_else(|| "not scored".to_owned(), |value| format!("{value:.digits$}")));
            if index > 0 {
                let difference = system.minus(&systems[0], measure, seed);
                cells.push(difference.map_or_else(String::new, |Interval { value, low, high }| {
                    format!("{value:+.digits$} [{low:+.digits$}, {high:+.digits$}]")
                }));
            }
            for note in number.iter().filter(|number| !number.note.is_empty()) {
                let line = format!("{}: {}", measure.task, note.note);
                if !notes.contains(&line) {
                    notes.push(line);
                }
            }
        }
        table.row(cells);
    }
    let mut text = table.render(printer);
    if systems.len() > 1 {
        notes.insert(0, "differences with 95 % intervals of the paired bootstrap over the same examples".to_owned());
    }
    if !notes.is_empty() {
        let _ = write!(text, "\n{}\n", notes.join("\n"));
    }
    text
}

/// A JSON object per row.
fn report(systems: &[System], measures: &[&Measure], seed: u64) -> String {
    let row = |measure: &&Measure| {
        let systems: Vec<serde_json::Value> = systems
            .iter()
            .enumerate()
            .map(|(index, system)| {
                let number = system.number(measure);
                let difference = if index == 0 { None } else { system.minus(&systems[0], measure, seed) };
                json!({
                    "system": system.label,
                    "value": number.and_then(|number| number.value),
                    "interval": number.and_then(|number| number.interval),
                    "examples": number.map(|number| number.examples),
                    "note": number.map(|number| &number.note),
                    "difference": difference.map(|interval| interval.value),
                    "difference_interval": difference.map(|interval| [interval.low, interval.high]),
                })
            })
            .collect();
        format!("{}\n", json!({"task": measure.task, "metric": measure.metric, "systems": systems}))
    };
    measures.iter().map(row).collect()
}
