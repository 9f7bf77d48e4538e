//! A report's headline table on the terminal: what the method did.

use std::path::Path;

use retmask_stages::artifact::{Media, schema, table};
use retmask_stages::report::terminal_table;

use crate::error::{Error, Result};

/// Columns of a terminal that the table is laid out for.
const WIDTH: usize = 100;

/// Renders a report summary.
///
/// # Errors
/// `Environment` when the table cannot be read.
pub fn headline(path: &Path) -> Result<String> {
    let expected = schema::of(Media::ReportSummary).ok_or_else(|| Error::internal("a report summary is no table"))?;
    Ok(terminal_table(&table::read(path, &expected)?, WIDTH))
}
