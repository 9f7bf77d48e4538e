//! The head of a table artifact, aligned; nested columns shortened.

use std::fs::File;
use std::path::Path;

use polars::prelude::{
    AnyValue, Column, DataFrame, DataType, ParquetReader, PolarsError, SerReader, SortMultipleOptions,
};

use crate::error::{Error, Result};
use crate::output::{Align, Printer, Table};

/// What of a table is to be shown.
#[derive(Debug, Clone)]
pub struct View {
    /// Rows at most; all when `None`.
    pub rows: Option<usize>,
    /// Columns in this order; all when empty.
    pub columns: Vec<String>,
    /// Sort by this column before cutting; with a leading `-` the largest first.
    pub sort: Option<String>,
}

/// Terminal columns of one cell at most.
const WIDEST: usize = 48;
/// Items of a list shown at most.
const ITEMS: usize = 4;

/// Renders a Parquet file; the last line counts the rows.
///
/// # Errors
/// `Input` when a column is not there; `Environment` when the file cannot be read.
pub fn table(path: &Path, view: &View, printer: Printer) -> Result<String> {
    let failed = |error: PolarsError| Error::environment(format!("cannot read the table {}: {error}", path.display()));
    let file =
        File::open(path).map_err(|error| Error::environment(format!("cannot open {}: {error}", path.display())))?;
    let mut frame = ParquetReader::new(file).finish().map_err(failed)?;
    let all = frame.height();
    if let Some(sort) = &view.sort {
        let (column, descending) = match sort.strip_prefix('-') {
            Some(column) => (column, true),
            None => (sort.as_str(), false),
        };
        require(&frame, column)?;
        if frame.column(column).is_ok_and(|column| column.dtype().is_nested()) {
            return Err(Error::input(format!("column `{column}` holds lists or structures, which have no order")));
        }
        let options = SortMultipleOptions::new()
            .with_order_descending(descending)
            .with_nulls_last(true)
            .with_maintain_order(true);
        frame = frame.sort([column], options).map_err(failed)?;
    }
    for column in &view.columns {
        require(&frame, column)?;
    }
    if !view.columns.is_empty() {
        frame = frame.select(view.columns.iter().map(String::as_str)).map_err(failed)?;
    }
    let shown = frame.head(Some(view.rows.unwrap_or(all)));
    let mut text = render(&shown).render(printer);
    text += &match shown.height() {
        shown if shown == all => format!("{all} row{}\n", if all == 1 { "" } else { "s" }),
        shown => format!("{shown} of {all} rows\n"),
    };
    Ok(text)
}

fn require(frame: &DataFrame, column: &str) -> Result<()> {
    let names: Vec<String> = frame.get_column_names().iter().map(ToString::to_string).collect();
    if names.iter().any(|name| name == column) {
        return Ok(());
    }
    let error = Error::input(format!("the table has no column `{column}`"));
    Err(error.with_hint(format!("its columns are: {}", names.join(", "))))
}

fn render(frame: &DataFrame) -> Table {
    let columns: Vec<&Column> = frame.columns().iter().collect();
    let align = |column: &&Column| if column.dtype().is_numeric() { Align::Right } else { Align::Left };
    let mut table =
        Table::new(columns.iter().map(|column| (column.name().as_str(), align(column)))).widest_cell(WIDEST);
    let decimals: Vec<Option<usize>> = columns.iter().map(|column| decimals(column)).collect();
    for row in 0..frame.height() {
        let cells = columns.iter().zip(&decimals).map(|(column, decimals)| match (column.get(row), decimals) {
            (Ok(AnyValue::Float64(value)), Some(decimals)) => format!("{value:.decimals$}"),
            (Ok(value), _) => cell(&value),
            (Err(_), _) => String::new(),
        });
        table.row(cells);
    }
    table
}

/// How many decimals the shown numbers of a column need, at most 6; `None` where a plain form would be too long.
fn decimals(column: &Column) -> Option<usize> {
    if *column.dtype() != DataType::Float64 {
        return None;
    }
    let values = column.f64().ok()?.iter().flatten();
    let mut most = 0;
    for value in values {
        let magnitude = value.abs();
        if value != 0.0 && !(1e-4..1e9).contains(&magnitude) {
            return None;
        }
        let text = value.to_string();
        most = most.max(text.split_once('.').map_or(0, |(_, digits)| digits.len()));
    }
    Some(most.min(6))
}

/// One value as text.
fn cell(value: &AnyValue<'_>) -> String {
    match value {
        AnyValue::Null => String::new(),
        AnyValue::String(text) => (*text).to_owned(),
        AnyValue::StringOwned(text) => text.to_string(),
        AnyValue::Float64(number) => format!("{number:.5e}"),
        AnyValue::List(items) => {
            let shown: Vec<String> = items.iter().take(ITEMS).map(|item| inner(&item)).collect();
            match items.len().saturating_sub(ITEMS) {
                0 => format!("[{}]", shown.join(", ")),
                more => format!("[{}, … {more} more]", shown.join(", ")),
            }
        }
        AnyValue::Struct(..) | AnyValue::StructOwned(_) => inner(value),
        other => other.to_string(),
    }
}

/// A value inside a list or a structure: shorter, texts in quotes.
fn inner(value: &AnyValue<'_>) -> String {
    match value {
        AnyValue::String(text) => quoted(text),
        AnyValue::StringOwned(text) => quoted(text),
        AnyValue::Float64(number) => {
            let plain = number.to_string();
            if plain.len() <= 8 { plain } else { format!("{number:.4}") }
        }
        AnyValue::Struct(row, _, fields) => {
            let mut values = Vec::new();
            value._materialize_struct_av(&mut values);
            let _ = row;
            let pairs = fields.iter().zip(&values).map(|(field, value)| format!("{}: {}", field.name(), inner(value)));
            format!("{{{}}}", pairs.collect::<Vec<_>>().join(", "))
        }
        other => cell(other),
    }
}

/// The start of a text in quotes.
fn quoted(text: &str) -> String {
    const LONGEST: usize = 24;
    if text.chars().count() <= LONGEST {
        return format!("{text:?}");
    }
    format!("{:?}", text.chars().take(LONGEST - 1).chain(['…']).collect::<String>())
}
