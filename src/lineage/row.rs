//! One row of a table, by its number or by its name.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::UInt32Type;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::show::rows;

/// A row of an artifact.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// From 0.
    pub number: usize,
    /// What tells the row in every table it is in: the row id of a pair, `DATASET/LENGTH/EXAMPLE`, `LAYER-HEAD`.
    pub name: Option<String>,
    pub values: Map<String, Value>,
}

/// The rows that are meant: the one of this number, or those of this name. Of a row id the beginning is enough.
/// `prefix` stands before a row's name in messages.
///
/// # Errors
/// `Input` when there is no such row, or several ids begin so.
pub fn find(table: &RecordBatch, wanted: &str, prefix: &str) -> Result<Vec<Row>> {
    let count = table.num_rows();
    if let Ok(number) = wanted.parse::<usize>() {
        if number < count {
            return Ok(vec![take(table, number)?]);
        }
        let error = Error::input(format!("`{prefix}{wanted}`: there is no row {number}"));
        return Err(error.with_hint(format!("it has {count} rows, counted from 0")));
    }
    let exact = with_names(table, |name| name == wanted);
    let found = match exact.is_empty() && column(table, "row_id") && !wanted.is_empty() {
        true => with_names(table, |name| name.starts_with(wanted)),
        false => exact,
    };
    if found.is_empty() {
        let hint = match (0..count).find_map(|row| name(table, row)) {
            Some(first) => format!("a row is named by its number or as `{first}`, say"),
            None => format!("rows of this table are named by their numbers, 0 to {}", count.saturating_sub(1)),
        };
        return Err(Error::input(format!("`{prefix}{wanted}`: there is no such row")).with_hint(hint));
    }
    if found.len() > 1 && column(table, "row_id") {
        return Err(Error::input(format!("`{prefix}{wanted}`: {} row ids begin so", found.len()))
            .with_hint("give more of the row id"));
    }
    found.into_iter().map(|row| take(table, row)).collect()
}

/// The rows of another table that have the same names.
pub fn same(table: &RecordBatch, wanted: &[Row]) -> Result<Vec<Row>> {
    let names: std::collections::BTreeSet<&str> = wanted.iter().filter_map(|row| row.name.as_deref()).collect();
    with_names(table, |name| names.contains(name)).into_iter().map(|row| take(table, row)).collect()
}

fn with_names(table: &RecordBatch, wanted: impl Fn(&str) -> bool) -> Vec<usize> {
    (0..table.num_rows()).filter(|&row| name(table, row).is_some_and(|name| wanted(&name))).collect()
}

fn take(table: &RecordBatch, number: usize) -> Result<Row> {
    let values = rows(&table.slice(number, 1))?.into_iter().next().unwrap_or_default();
    Ok(Row { number, name: name(table, number), values })
}

fn column(table: &RecordBatch, name: &str) -> bool {
    table.column_by_name(name).is_some()
}

/// A row's name; `None` where its table has no columns that tell rows apart.
fn name(table: &RecordBatch, row: usize) -> Option<String> {
    let text = |name: &str| {
        let column = table.column_by_name(name)?.as_string_opt::<i32>()?;
        (!column.is_null(row)).then(|| column.value(row))
    };
    let number = |name: &str| {
        let column = table.column_by_name(name)?.as_primitive_opt::<UInt32Type>()?;
        (!column.is_null(row)).then(|| column.value(row))
    };
    if let Some(id) = text("row_id") {
        return Some(id.to_owned());
    }
    if let (Some(layer), Some(head)) = (number("layer"), number("head")) {
        return Some(format!("{layer}-{head}"));
    }
    Some(format!("{}/{}/{}", text("dataset")?, number("length")?, number("example")?))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, StringArray, UInt32Array};

    use super::*;

    fn pairs(ids: &[&str]) -> RecordBatch {
        let numbers = UInt32Array::from_iter_values((0..).take(ids.len()));
        let columns: [(&str, ArrayRef); 2] =
            [("row_id", Arc::new(StringArray::from(ids.to_vec()))), ("sample_index", Arc::new(numbers))];
        RecordBatch::try_from_iter(columns).unwrap()
    }

    fn numbers(rows: Result<Vec<Row>>) -> Vec<usize> {
        rows.unwrap().iter().map(|row| row.number).collect()
    }

    fn message(rows: Result<Vec<Row>>) -> String {
        match rows.unwrap_err() {
            Error::Message { message, .. } => message,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn rows_by_number_and_by_id() {
        let table = pairs(&["ab12", "ab34", "cd56"]);
        assert_eq!(numbers(find(&table, "1", "")), [1]);
        assert_eq!(numbers(find(&table, "ab3", "")), [1]);
        assert_eq!(numbers(find(&table, "cd56", "")), [2]);
        assert_eq!(message(find(&table, "ab", "pairs#")), "`pairs#ab`: 2 row ids begin so");
        assert_eq!(message(find(&table, "3", "pairs#")), "`pairs#3`: there is no row 3");
        assert_eq!(message(find(&table, "", "pairs#")), "`pairs#`: there is no such row");
    }

    #[test]
    fn the_same_rows_in_another_table() {
        let wanted = find(&pairs(&["ab12", "ab34", "cd56"]), "cd", "").unwrap();
        assert_eq!(wanted[0].values["sample_index"], 2);
        assert_eq!(numbers(same(&pairs(&["cd56", "ab12"]), &wanted)), [0]);
        let heads: [(&str, ArrayRef); 2] =
            ["layer", "head"].map(|name| (name, Arc::new(UInt32Array::from(vec![3, 4])) as ArrayRef));
        let heads = RecordBatch::try_from_iter(heads).unwrap();
        assert_eq!(numbers(same(&heads, &wanted)), Vec::<usize>::new());
        assert_eq!(numbers(find(&heads, "4-4", "")), [1]);
    }
}
