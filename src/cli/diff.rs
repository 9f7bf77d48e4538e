//! `retmask diff`: what two runs did and found differently.

use std::fmt::Write;

use anstyle::{AnsiColor, Style};
use retmask_cache::Store;

use super::Settings;
use crate::diff::{self, Detail, Differences, HeadChange, Metric, StageDifference};
use crate::error::Result;
use crate::output::{Align, Printer, Table};
use crate::run::{find_run, run_folders, run_name};
use crate::show::find_stage;

/// What `retmask diff` takes.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// A run, as `retmask runs` lists it (`latest` is the latest), or a stage: STAGE[@RUN]
    #[arg(value_name = "A")]
    first: String,
    /// What to compare with it: another run, or another stage
    #[arg(value_name = "B")]
    second: String,
}

/// Executes `retmask diff`. With `--json` one object.
///
/// # Errors
/// `Input` when there is no such run or stage; `Environment` when a record or a stored artifact cannot be read.
pub fn execute(arguments: &Arguments, settings: &Settings) -> Result<()> {
    let store = Store::open(&settings.cache_folder()?)?;
    let runs = run_folders(&store)?;
    let is_run = |name: &str| name == "latest" || runs.iter().any(|folder| run_name(folder) == name);
    let printer = settings.printer;
    if !is_run(&arguments.first) && !is_run(&arguments.second) {
        let [first, second] = [&arguments.first, &arguments.second].map(|address| find_stage(&store, address));
        let difference = diff::stages(&store, &first?, &second?)?;
        if printer.json() {
            return printer.data(&format!("{}\n", serde_json::json!(difference)));
        }
        return printer.data(&stage_text(&difference, printer));
    }
    let first = find_run(&store, &runs, Some(&arguments.first))?;
    let second = find_run(&store, &runs, Some(&arguments.second))?;
    let differences = diff::runs(&store, first, second)?;
    if printer.json() {
        return printer.data(&format!("{}\n", serde_json::json!(differences)));
    }
    printer.data(&text(&differences, printer))
}

fn text(differences: &Differences, printer: Printer) -> String {
    let mut text: String = differences.stages.iter().map(|stage| stage_text(stage, printer)).collect();
    for (run, stages) in
        [(&differences.first, &differences.only_first), (&differences.second, &differences.only_second)]
    {
        if !stages.is_empty() {
            let _ = writeln!(text, "only in {run}: {}", stages.join(", "));
        }
    }
    if !differences.without_result.is_empty() {
        let _ = writeln!(text, "with a result in one run only: {}", differences.without_result.join(", "));
    }
    let _ = writeln!(text, "{} stages differ, {} are the same", differences.stages.len(), differences.same);
    text
}

fn stage_text(stage: &StageDifference, printer: Printer) -> String {
    let (bold, dim) = (Style::new().bold(), AnsiColor::BrightBlack.on_default());
    let kind = printer.paint(dim, &format!("({})", stage.kind));
    let mut text = format!("{} {kind}\n", printer.paint(bold, &stage.stage));
    match &stage.fields {
        Some(fields) => fields.iter().for_each(|field| text += &format!("  {field}\n")),
        None => text += "  the record of one of the two is lost, so what it was made from is not known\n",
    }
    if stage.same_outputs {
        text += "  made the same\n";
    }
    for output in &stage.outputs {
        if let Some(detail) = &output.detail {
            text += &describe(&output.port, detail, printer);
        }
    }
    text
}

fn describe(port: &str, detail: &Detail, printer: Printer) -> String {
    let list = |names: &[String]| if names.is_empty() { "none".to_owned() } else { names.join(" ") };
    match detail {
        Detail::Mask(mask) => format!(
            "  {port}: {} heads kept; entered: {}; left: {}\n",
            mask.kept,
            list(&mask.entered),
            list(&mask.left)
        ),
        Detail::HeadSummary(summary) => format!(
            "  {port}: Gini coefficient {:.4} -> {:.4}, best score {:.4} -> {:.4}, trials counted {} -> {}\n",
            summary.gini[0],
            summary.gini[1],
            summary.best_score[0],
            summary.best_score[1],
            summary.counted[0],
            summary.counted[1]
        ),
        Detail::Heads(heads) => {
            let change = |HeadChange { head, scores: [old, new] }: &HeadChange| format!("{head} {old:.3} -> {new:.3}");
            let largest: Vec<String> = heads.largest.iter().map(change).collect();
            format!("  {port}: {} heads score differently; most: {}\n", heads.changed, largest.join(", "))
        }
        Detail::Pairs(pairs) => format!(
            "  {port}: {} pairs the same, {} with another chosen answer, {} with another rejected one, {} added, {} removed\n",
            pairs.same,
            pairs.chosen_changed.len(),
            pairs.rejected_changed.len(),
            pairs.added.len(),
            pairs.removed.len()
        ),
        Detail::Metrics(metrics) => metric_table(metrics, printer),
    }
}

/// The numbers HELMET reports, with their 95 % intervals.
fn metric_table(metrics: &[Metric], printer: Printer) -> String {
    let mut table = Table::new([
        ("  metric", Align::Left),
        ("first", Align::Right),
        ("second", Align::Right),
        ("difference", Align::Right),
    ]);
    let interval = |value: &Option<[f64; 3]>, sign: bool| match value {
        Some([value, low, high]) if sign => format!("{value:+.1} [{low:+.1}, {high:+.1}]"),
        Some([value, low, high]) => format!("{value:.1} [{low:.1}, {high:.1}]"),
        None => String::new(),
    };
    for metric in metrics.iter().filter(|metric| metric.primary) {
        let name = if metric.dataset.is_empty() { &metric.category } else { &metric.dataset };
        // Without the examples, the plain difference of the two values.
        let difference = match (&metric.difference, metric.old, metric.new) {
            (None, Some([old, ..]), Some([new, ..])) => format!("{:+.1}", new - old),
            (difference, ..) => interval(difference, true),
        };
        table.row([
            format!("  {name} {} {}", metric.length, metric.metric),
            interval(&metric.old, false),
            interval(&metric.new, false),
            difference,
        ]);
    }
    table.render(printer)
}
