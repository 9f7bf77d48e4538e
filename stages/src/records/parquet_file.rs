//! Parquet: one record per row.

use std::fmt;
use std::fs::File;
use std::path::Path;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt32Type};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Map, Value};

use super::{Add, Columns};
use crate::contract::{StageError, StageResult};

/// Rows decoded at once.
const BATCH_ROWS: usize = 1024;

/// Calls `add` with the place and value of every row, as far as it stands in these columns; others are not decoded.
///
/// # Errors
/// `Input` when the file is not Parquet or a named column is of a type no style has; whatever `add` returns.
pub fn read(path: &Path, file: File, columns: Columns<'_>, add: &mut Add<'_>) -> StageResult<()> {
    let bad =
        |error: &dyn fmt::Display| StageError::input(format!("{} is not a Parquet table: {error}", path.display()));
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| bad(&error))?;
    let mask = match columns {
        Columns::All => ProjectionMask::all(),
        Columns::Named(wanted) => {
            let names: Vec<&str> = builder.schema().fields().iter().map(|field| field.name().as_str()).collect();
            let places: Vec<usize> =
                names.iter().enumerate().filter(|(_, name)| wanted.contains(name)).map(|(place, _)| place).collect();
            if places.is_empty() {
                let wanted: Vec<String> = wanted.iter().map(|column| format!("`{column}`")).collect();
                let (path, names, wanted) = (path.display(), names.join(", "), wanted.join(", "));
                return Err(StageError::input(format!("{path} has the columns {names}; expected {wanted}")));
            }
            ProjectionMask::roots(builder.parquet_schema(), places)
        }
    };
    let reader = builder.with_projection(mask).with_batch_size(BATCH_ROWS).build().map_err(|error| bad(&error))?;
    let mut number = 0;
    for batch in reader {
        let batch = batch.map_err(|error| bad(&error))?;
        for row in 0..batch.num_rows() {
            number += 1;
            let mut record = Map::new();
            for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
                match (json(column, row), columns) {
                    (Ok(value), _) => drop(record.insert(field.name().clone(), value)),
                    (Err(_), Columns::All) => {}
                    (Err(problem), Columns::Named(_)) => {
                        let (path, column) = (path.display(), field.name());
                        return Err(StageError::input(format!("{path}: column `{column}` {problem}")));
                    }
                }
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
        DataType::Int8 => array.as_primitive::<Int8Type>().value(row).into(),
        DataType::Int16 => array.as_primitive::<Int16Type>().value(row).into(),
        DataType::Int32 => array.as_primitive::<Int32Type>().value(row).into(),
        DataType::Int64 => array.as_primitive::<Int64Type>().value(row).into(),
        DataType::UInt8 => array.as_primitive::<UInt8Type>().value(row).into(),
        DataType::UInt32 => array.as_primitive::<UInt32Type>().value(row).into(),
        DataType::Float64 => array.as_primitive::<Float64Type>().value(row).into(),
        DataType::List(_) => list(&array.as_list::<i32>().value(row))?,
        DataType::LargeList(_) => list(&array.as_list::<i64>().value(row))?,
        DataType::Struct(fields) => {
            let mut object = Map::new();
            for (field, column) in fields.iter().zip(array.as_struct().columns()) {
                // Turns carry more than role and content (times); what has no JSON value is of no use here.
                if let Ok(value) = json(column, row) {
                    object.insert(field.name().clone(), value);
                }
            }
            Value::Object(object)
        }
        other => return Err(format!("holds {other}; expected texts, numbers, booleans, or lists and groups of them")),
    })
}
