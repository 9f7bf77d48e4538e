//! `retmask why`: where an artifact, or a row of one, comes from.

use std::fmt::Write;

use anstyle::{AnsiColor, Style};
use retmask_cache::Store;
use serde_json::Value;

use super::Settings;
use crate::error::Result;
use crate::lineage::{From, Lineage, MadeFacts, MadeFrom, Origin, Row, trace};
use crate::output::Printer;
use crate::run::report::{bytes, duration};

/// What `retmask why` takes.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// What is asked about: STAGE[.PORT][@RUN], or a row of it as ITEM#ROW; a row is named by its number from 0, a
    /// pair also by the beginning of its row id, an example as DATASET/LENGTH/EXAMPLE, a head as LAYER-HEAD
    #[arg(value_name = "ITEM")]
    item: String,
}

/// Characters of a value shown; `--json` gives all.
const SHOWN: usize = 240;
/// Heads of a mask shown.
const HEADS: usize = 24;

/// Executes `retmask why`. With `--json` one object.
///
/// # Errors
/// `Input` when there is no such item or row; `Environment` when a stored artifact is lost.
pub fn execute(arguments: &Arguments, settings: &Settings) -> Result<()> {
    let store = Store::open(&settings.cache_folder()?)?;
    let lineage = trace(&store, &arguments.item)?;
    let printer = settings.printer;
    if printer.json() {
        return printer.data(&format!("{}\n", serde_json::json!(lineage)));
    }
    printer.data(&text(&lineage, printer))
}

fn text(lineage: &Lineage, printer: Printer) -> String {
    let (bold, dim) = (Style::new().bold(), AnsiColor::BrightBlack.on_default());
    let output = &lineage.artifact;
    let head = format!("{}.{}", lineage.stage, output.port);
    let mut text = format!(
        "{} of run {} {}\n",
        printer.paint(bold, &head),
        lineage.run,
        printer.paint(dim, &format!("({}, {}, {})", output.media, bytes(output.size), output.digest))
    );
    for row in &lineage.rows {
        text += &row_text(row, 1);
    }
    for stage in &lineage.stages {
        let Some(facts) = &stage.facts else {
            let _ = writeln!(text, "\n{}: its record {} is lost", printer.paint(bold, &stage.stage), stage.key);
            continue;
        };
        let about = format!("({}, epoch {}, {})", facts.kind, facts.epoch, stage.key);
        let _ = writeln!(text, "\n{} {}", printer.paint(bold, &stage.stage), printer.paint(dim, &about));
        text += &facts_text(facts);
    }
    if !lineage.sources.is_empty() {
        let _ = writeln!(text, "\n{}", printer.paint(bold, "sources"));
    }
    for source in &lineage.sources {
        let digest = source.digest.map(|digest| digest.to_string()).unwrap_or_default();
        let hub = source.hub.as_ref().and_then(|hub| serde_json::to_string(hub).ok());
        let hub = hub.map(|hub| format!(" {hub}")).unwrap_or_default();
        let _ = writeln!(text, "  {} ({}) {digest}{hub}", source.source, source.media);
    }
    text
}

fn facts_text(facts: &MadeFacts) -> String {
    let run = facts.made_by.as_ref().map_or_else(String::new, |run| format!(" by run {run}"));
    let tools: Vec<String> = facts.tools.iter().map(|(name, version)| format!("{name} {version}")).collect();
    let time = facts.created.strftime("%Y-%m-%d %H:%M:%S UTC");
    let mut text = format!("  made{run} on {time} in {}, {}\n", duration(facts.seconds), tools.join(", "));
    // What is not at its default, and what draws are made from.
    let told = facts.parameters.iter().filter(|parameter| !parameter.default || parameter.name == "seed");
    for parameter in told {
        let _ = writeln!(text, "  with.{} {}", parameter.name, brief(&parameter.value));
    }
    for MadeFrom { role, media, digest, from, heads, rows } in &facts.inputs {
        let from = match from {
            From::Stage(stage) => format!("from stage {stage}"),
            From::Source(source) => format!("source {source}"),
            From::Unknown => format!("{digest}, which nothing in this store made ({media})"),
        };
        let heads = heads.as_ref().map_or_else(String::new, |heads| {
            let more = heads.len().saturating_sub(HEADS);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            let list: Vec<&str> = heads.iter().take(HEADS).map(String::as_str).collect();
            format!(": {} heads {}{more}", heads.len(), list.join(" "))
        });
        let _ = writeln!(text, "  in.{role} {from}{heads}");
        for row in rows {
            text += &row_text(row, 2);
        }
    }
    for Origin { row, text: origin } in &facts.origins {
        let _ = writeln!(text, "  {row} was asked as ({} characters)\n    {}", origin.chars().count(), ends(origin));
    }
    if let Some(why) = &facts.no_origins {
        let _ = writeln!(text, "  how the row was asked cannot be told: {why}");
    }
    text
}

/// A text on one line: all of it, or its beginning and its end.
fn ends(text: &str) -> String {
    let line = |text: String| text.chars().flat_map(visible).collect::<String>();
    let count = text.chars().count();
    if count <= 2 * SHOWN {
        return line(text.to_owned());
    }
    let (begin, end) = (text.chars().take(SHOWN).collect(), text.chars().skip(count - SHOWN).collect());
    format!("{} … {}", line(begin), line(end))
}

fn row_text(row: &Row, depth: usize) -> String {
    let indent = "  ".repeat(depth);
    let mut text = format!("{indent}row {}\n", row.number);
    let widest = row.values.keys().map(String::len).max().unwrap_or(0);
    for (column, value) in &row.values {
        let _ = writeln!(text, "{indent}  {column:widest$}  {}", brief(value));
    }
    text
}

/// A value on one line: texts without quotes, conversations as `role: content`, control characters made visible.
fn brief(value: &Value) -> String {
    let conversation = |items: &[Value]| -> Option<String> {
        let turn = |turn: &Value| Some(format!("{}: {}", turn["role"].as_str()?, turn["content"].as_str()?));
        let turns: Vec<String> = items.iter().map(turn).collect::<Option<_>>()?;
        (!turns.is_empty()).then(|| turns.join(" | "))
    };
    let full = match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => conversation(items).unwrap_or_else(|| value.to_string()),
        other => other.to_string(),
    };
    let mut line: String = full.chars().take(SHOWN).flat_map(visible).collect();
    if full.chars().nth(SHOWN).is_some() {
        line.push('…');
    }
    line
}

fn visible(character: char) -> Vec<char> {
    if character.is_control() { character.escape_default().collect() } else { vec![character] }
}
