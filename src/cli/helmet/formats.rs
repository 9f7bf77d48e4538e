//! A comparison as text, Markdown, CSV, LaTeX and JSON.

use std::fmt::Write;

use retmask_stages::metrics::bootstrap::Interval;
use serde_json::json;

use super::comparison::{Beside, Cell, Comparison, Row};
use crate::output::{Align, Printer, Table};

/// How a table is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Aligned columns
    Text,
    /// A Markdown table
    Markdown,
    /// Comma-separated values: a line per number, in full precision
    Csv,
    /// A LaTeX tabular with the rules of booktabs
    Latex,
}

/// The comparison in a form, with what has to be known of it.
pub fn render(comparison: &Comparison, format: Format, printer: Printer) -> String {
    match format {
        Format::Text => text(comparison, printer),
        Format::Markdown => markdown(comparison),
        Format::Csv => csv(comparison),
        Format::Latex => latex(comparison),
    }
}

/// The heads of the columns: every system, its difference behind it, and the published numbers.
fn heads(comparison: &Comparison) -> Vec<String> {
    let mut heads = vec!["length".to_owned(), String::new()];
    for (index, label) in comparison.labels.iter().enumerate() {
        heads.push(label.clone());
        if index > 0 {
            heads.push(format!("- {}", comparison.labels[0]));
        }
    }
    heads.extend(comparison.published.iter().map(|model| format!("published {model}")));
    heads
}

/// A row's cells below those heads.
fn cells(comparison: &Comparison, row: &Row) -> Vec<String> {
    let mut cells = vec![row.place.length.to_string(), name(row)];
    for (index, cell) in row.cells.iter().enumerate() {
        cells.push(value(cell));
        if index > 0 {
            cells.push(cell.difference.as_ref().map(difference).unwrap_or_default());
        }
    }
    if comparison.published.is_some() {
        cells.push(row.published.map_or_else(String::new, |beside| beside.written(|number| format!("{number:.1}"))));
    }
    cells
}

fn name(row: &Row) -> String {
    match row.place.dataset.as_str() {
        "" => row.place.category.clone(),
        dataset => format!("  {dataset} {}", row.place.metric),
    }
}

fn value(cell: &Cell) -> String {
    match cell.number {
        None => "not scored".into(),
        Some(number) if number.whole => format!("{:.1}", number.value),
        Some(number) => format!("{:.1}*", number.value),
    }
}

fn difference(interval: &Interval) -> String {
    format!("{:+.1} [{:+.1}, {:+.1}]", interval.value, interval.low, interval.high)
}

/// What has to be known, a line each.
fn remarks(comparison: &Comparison) -> Vec<String> {
    let mut remarks = Vec::new();
    if comparison.labels.len() > 1 {
        remarks.push("differences with 95 % intervals of the paired bootstrap over the same examples".to_owned());
    }
    if comparison.is_partial() {
        remarks.push("* over a part of what HELMET averages".to_owned());
    }
    let mut said: Vec<(String, Vec<u32>)> = Vec::new();
    for (note, labels) in &comparison.notes {
        let whose =
            if labels.len() == comparison.labels.len() { String::new() } else { format!(" ({})", labels.join(", ")) };
        let metric = if note.metric.is_empty() { String::new() } else { format!(" {}", note.metric) };
        let line = format!("{}{metric}: {}{whose}", note.dataset, note.note);
        match said.iter_mut().find(|(known, _)| *known == line) {
            Some((_, lengths)) => lengths.push(note.length),
            None => said.push((line, vec![note.length])),
        }
    }
    let lengths = |lengths: Vec<u32>| lengths.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
    remarks.extend(said.into_iter().map(|(line, at)| format!("{line}, at length {}", lengths(at))));
    remarks.extend(comparison.unpaired.iter().map(|why| format!("no difference of {why}")));
    remarks
}

fn text(comparison: &Comparison, printer: Printer) -> String {
    let heads = heads(comparison);
    let align = |(column, head): (usize, &'_ str)| -> (String, Align) {
        (head.to_owned(), if column == 1 { Align::Left } else { Align::Right })
    };
    let columns: Vec<(String, Align)> = heads.iter().map(String::as_str).enumerate().map(align).collect();
    let mut table = Table::new(columns.iter().map(|(head, align)| (head.as_str(), *align)));
    comparison.rows.iter().for_each(|row| table.row(cells(comparison, row)));
    let mut text = table.render(printer);
    let remarks = remarks(comparison);
    if !remarks.is_empty() {
        text += &format!("\n{}\n", remarks.join("\n"));
    }
    text
}

fn markdown(comparison: &Comparison) -> String {
    let escaped = |text: &str| text.trim_start().replace('\\', "\\\\").replace('|', "\\|").replace('*', "\\*");
    let line = |cells: &[String]| {
        let cells: Vec<String> = cells.iter().map(|cell| escaped(cell)).collect();
        format!("| {} |\n", cells.join(" | "))
    };
    let heads = heads(comparison);
    let rules: Vec<&str> = (0..heads.len()).map(|column| if column == 1 { "---" } else { "---:" }).collect();
    let mut text = line(&heads);
    text += &format!("|{}|\n", rules.join("|"));
    comparison.rows.iter().for_each(|row| text += &line(&cells(comparison, row)));
    let remarks = remarks(comparison);
    if !remarks.is_empty() {
        text.push('\n');
        remarks.iter().for_each(|remark| text += &format!("- {}\n", escaped(remark)));
    }
    text
}

fn csv(comparison: &Comparison) -> String {
    let quoted = |text: &str| match text.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_owned(),
    };
    let mut text = String::from(
        "length,category,dataset,metric,system,value,low,high,whole,examples,difference,difference_low,difference_high,published\n",
    );
    for row in &comparison.rows {
        for (label, cell) in comparison.labels.iter().zip(&row.cells) {
            let Some(number) = cell.number else { continue };
            let difference = cell
                .difference
                .map_or(",,".to_owned(), |interval| format!("{},{},{}", interval.value, interval.low, interval.high));
            let published =
                row.published.map_or_else(String::new, |beside| beside.written(|number| number.to_string()));
            let place = &row.place;
            let _ = writeln!(
                text,
                "{},{},{},{},{},{},{},{},{},{},{difference},{published}",
                place.length,
                place.category,
                place.dataset,
                place.metric,
                quoted(label),
                number.value,
                number.low,
                number.high,
                number.whole,
                number.examples
            );
        }
    }
    text
}

fn latex(comparison: &Comparison) -> String {
    let line = |cells: &[String]| {
        let cells: Vec<String> = cells.iter().map(|cell| latex_text(cell.trim_start())).collect();
        format!("{} \\\\\n", cells.join(" & "))
    };
    let heads = heads(comparison);
    let columns: String = (0..heads.len()).map(|column| if column == 1 { 'l' } else { 'r' }).collect();
    let mut text = format!("\\begin{{tabular}}{{{columns}}}\n\\toprule\n{}", line(&heads));
    let mut length = None;
    for row in &comparison.rows {
        if length != Some(row.place.length) {
            text += "\\midrule\n";
            length = Some(row.place.length);
        }
        text += &line(&cells(comparison, row));
    }
    text += "\\bottomrule\n\\end{tabular}\n";
    remarks(comparison).iter().for_each(|remark| text += &format!("% {}\n", remark.replace('\n', " ")));
    text
}

/// Characters with a meaning in LaTeX stand for themselves.
fn latex_text(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\\' => escaped.push_str("\\textbackslash{}"),
            '~' => escaped.push_str("\\textasciitilde{}"),
            '^' => escaped.push_str("\\textasciicircum{}"),
            '&' | '%' | '$' | '#' | '_' | '{' | '}' => escaped.extend(['\\', letter]),
            // A minus sign, not a hyphen.
            '-' if escaped.is_empty() || escaped.ends_with(['[', ' ']) => escaped.push_str("$-$"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// A JSON object per row.
pub fn report(comparison: &Comparison) -> String {
    let row = |row: &Row| {
        let systems = comparison.labels.iter().zip(&row.cells).map(|(label, cell)| {
            json!({
                "system": label,
                "value": cell.number.map(|number| number.value),
                "interval": cell.number.map(|number| [number.low, number.high]),
                "whole": cell.number.map(|number| number.whole),
                "examples": cell.number.map(|number| number.examples),
                "difference": cell.difference.map(|interval| interval.value),
                "difference_interval": cell.difference.map(|interval| [interval.low, interval.high]),
            })
        });
        let published = match row.published {
            None => json!(null),
            Some(Beside::Number(number)) => json!(number),
            Some(why) => json!(why.written(|_| String::new())),
        };
        let notes = comparison.notes.iter().filter(|(note, _)| {
            let same = note.length == row.place.length && note.category == row.place.category;
            same && (row.place.dataset.is_empty() || note.dataset == row.place.dataset)
        });
        let notes = notes.map(|(note, systems)| {
            json!({"dataset": note.dataset, "metric": note.metric, "note": note.note, "systems": systems})
        });
        json!({
            "length": row.place.length,
            "category": row.place.category,
            "dataset": row.place.dataset,
            "metric": row.place.metric,
            "systems": systems.collect::<Vec<_>>(),
            "published": published,
            "notes": notes.collect::<Vec<_>>(),
        })
    };
    comparison.rows.iter().map(|one| format!("{}\n", row(one))).collect()
}
