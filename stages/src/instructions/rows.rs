//! Parquet: one record per row.

use std::fmt;
use std::fs::File;
use std::path::Path;

use arrow::array::{Array, AsArray};
use arrow::datatypes::DataType;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Map, Value};

use super::records::Add;
use crate::contract::{StageError, StageResult};

/// Rows decoded at once.
const BATCH_ROWS: usize = 1024;

/// Calls `add` with the place and value of every row, as far as it stands in these columns; others are not decoded.
///
/// # Errors
/// `Input` when the file is not Parquet or a column is of a type no style has; whatever `add` returns.
pub fn read(path: &Path, file: File, columns: &[&str], add: &mut Add<'_>) -> StageResult<()> {
    let bad =
        |error: &dyn fmt::Display| StageError::input(format!("{} is not a Parquet table: {error}", path.display()));
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| bad(&error))?;
    let names: Vec<String> = builder.schema().fields().iter().map(|field| field.name().clone()).collect();
    let wanted: Vec<usize> =
        names.iter().enumerate().filter(|(_, name)| columns.contains(&name.as_str())).map(|(index, _)| index).collect();
    if wanted.is_empty() {
        return Err(StageError::input(format!(
            "{} has the columns {}; expected {}",
            path.display(),
            names.join(", "),
            columns.iter().map(|column| format!("`{column}`")).collect::<Vec<_>>().join(", ")
        )));
    }
    let mask = ProjectionMask::roots(builder.parquet_schema(), wanted);
    let reader = builder.with_projection(mask).with_batch_size(BATCH_ROWS).build().map_err(|error| bad(&error))?;
    let mut number = 0;
    for batch in reader {
        let batch = batch.map_err(|error| bad(&error))?;
        for row in 0..batch.num_rows() {
            number += 1;
            let mut record = Map::new();
            for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
                let value = json(column, row).map_err(|problem| {
                    StageError::input(format!("{}: column `{}` {problem}", path.display(), field.name()))
                })?;
                record.insert(field.name().clone(), value);
            }
            add(&format_args!("row {number}"), Ok(&Value::Object(record)))?;
        }
    }
    Ok(())
}

/// A cell as the JSON value it stands for.
fn json(array: &dyn Array, row: usize) -> Result<Value, String> {
    if array.is_null(row) {
        return Ok(Value::Null);
    }
    let list = |items: &dyn Array| -> Result<Value, String> {
        (0..items.len()).map(|item| json(items, item)).collect::<Result<_, _>>().map(Value::Array)
    };
    Ok(match array.data_type() {
        DataType::Utf8 => array.as_string::<i32>().value(row).into(),
        DataType::LargeUtf8 => array.as_string::<i64>().value(row).into(),
        DataType::Utf8View => array.as_string_view().value(row).into(),
        DataType::Boolean => array.as_boolean().value(row).into(),
        DataType::List(_) => list(&array.as_list::<i32>().value(row))?,
        DataType::LargeList(_) => list(&array.as_list::<i64>().value(row))?,
        DataType::Struct(fields) => {
            let mut object = Map::new();
            for (field, column) in fields.iter().zip(array.as_struct().columns()) {
                // Turns carry more than role and content (times, counts); what is no text is of no use here.
                if let Ok(value) = json(column, row) {
                    object.insert(field.name().clone(), value);
                }
            }
            Value::Object(object)
        }
        other => return Err(format!("holds {other}; expected texts, booleans or lists of turns")),
    })
}
