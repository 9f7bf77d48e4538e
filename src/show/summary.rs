//! A report's headline table on the terminal: what the method did.

use std::path::Path;

use arrow::array::AsArray;
use retmask_stages::artifact::{Media, schema, table};

use crate::error::{Error, Result};
use crate::output::{Align, Printer, Table};

/// Renders a report summary: a block per section; figures separated by ` | ` stand in columns of their own.
///
/// # Errors
/// `Environment` when the table cannot be read.
pub fn headline(path: &Path, printer: Printer) -> Result<String> {
    let expected = schema::of(Media::ReportSummary).ok_or_else(|| Error::internal("a report summary is no table"))?;
    let batch = table::read(path, &expected)?;
    let column = |name: &str| -> Result<Vec<String>> {
        let column = batch.column_by_name(name).ok_or_else(|| Error::internal(format!("no column `{name}`")))?;
        Ok(column.as_string::<i32>().iter().map(|text| text.unwrap_or_default().to_owned()).collect())
    };
    let (sections, items, values) = (column("section")?, column("item")?, column("value")?);
    let mut text = String::new();
    let mut start = 0;
    for end in 1..=sections.len() {
        if end < sections.len() && sections[end] == sections[start] {
            continue;
        }
        let figures: Vec<Vec<&str>> = values[start..end].iter().map(|value| value.split(" | ").collect()).collect();
        let widest = figures.iter().map(Vec::len).max().unwrap_or(0);
        let heading = [(sections[start].as_str(), Align::Left)];
        let mut block = Table::new(heading.into_iter().chain((0..widest).map(|_| ("", Align::Left))));
        for (item, figures) in items[start..end].iter().zip(figures) {
            let cells = std::iter::once(format!("  {item}")).chain(figures.into_iter().map(str::to_owned));
            block.row(cells);
        }
        text += &block.render(printer);
        start = end;
    }
    Ok(text)
}
