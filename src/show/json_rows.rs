//! Table rows as JSON lines, complete: every column, every value in full.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float32Type, Float64Type, Int32Type, Int64Type, UInt32Type, UInt64Type};
use serde_json::{Map, Value, json};

use crate::error::{Error, Result};

/// One JSON object per row, in row order.
///
/// # Errors
/// `Internal` for a column type that no artifact uses.
pub fn json_lines(batch: &RecordBatch) -> Result<String> {
    Ok(rows(batch)?.into_iter().map(|row| format!("{}\n", Value::Object(row))).collect())
}

/// Every row as a map from column to value.
///
/// # Errors
/// `Internal` for a column type that no artifact uses.
pub fn rows(batch: &RecordBatch) -> Result<Vec<Map<String, Value>>> {
    let schema = batch.schema();
    let row = |row: usize| -> Result<Map<String, Value>> {
        let cells = schema.fields().iter().zip(batch.columns());
        cells.map(|(field, column)| Ok((field.name().clone(), value(column.as_ref(), row)?))).collect()
    };
    (0..batch.num_rows()).map(row).collect()
}

/// A value of an array. A number that is not finite is null, as JSON has none.
fn value(array: &dyn Array, row: usize) -> Result<Value> {
    if array.is_null(row) {
        return Ok(Value::Null);
    }
    Ok(match array.data_type() {
        DataType::Utf8 => json!(array.as_string::<i32>().value(row)),
        DataType::LargeUtf8 => json!(array.as_string::<i64>().value(row)),
        DataType::Boolean => json!(array.as_boolean().value(row)),
        DataType::Int32 => json!(array.as_primitive::<Int32Type>().value(row)),
        DataType::Int64 => json!(array.as_primitive::<Int64Type>().value(row)),
        DataType::UInt32 => json!(array.as_primitive::<UInt32Type>().value(row)),
        DataType::UInt64 => json!(array.as_primitive::<UInt64Type>().value(row)),
        DataType::Float32 => json!(array.as_primitive::<Float32Type>().value(row)),
        DataType::Float64 => json!(array.as_primitive::<Float64Type>().value(row)),
        DataType::List(_) => {
            let items = array.as_list::<i32>().value(row);
            Value::Array((0..items.len()).map(|item| value(items.as_ref(), item)).collect::<Result<_>>()?)
        }
        DataType::Struct(fields) => {
            let columns = array.as_struct().columns();
            let entries = fields.iter().zip(columns);
            let entries = entries.map(|(field, column)| Ok((field.name().clone(), value(column.as_ref(), row)?)));
            Value::Object(entries.collect::<Result<_>>()?)
        }
        other => return Err(Error::internal(format!("a column of type {other} cannot be shown as JSON"))),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Float64Array, ListArray, RecordBatch, StringArray, UInt32Array};
    use arrow::datatypes::UInt32Type;

    use super::json_lines;

    #[test]
    fn rows_are_complete_objects_in_order() {
        let list = ListArray::from_iter_primitive::<UInt32Type, _, _>([Some(vec![Some(1), None]), None]);
        let batch = RecordBatch::try_from_iter_with_nullable([
            ("layer", Arc::new(UInt32Array::from(vec![3, 4])) as _, false),
            ("score", Arc::new(Float64Array::from(vec![0.1, f64::NAN])) as _, false),
            ("text", Arc::new(StringArray::from(vec![Some("a\n\"b\""), None])) as _, true),
            ("ids", Arc::new(list) as _, true),
        ])
        .expect("a batch");
        let lines = json_lines(&batch).expect("known types");
        let expected = concat!(
            r#"{"layer":3,"score":0.1,"text":"a\n\"b\"","ids":[1,null]}"#,
            "\n",
            r#"{"layer":4,"score":null,"text":null,"ids":null}"#,
            "\n"
        );
        let parse = |text: &str| -> Vec<serde_json::Value> {
            text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
        };
        assert_eq!(parse(&lines), parse(expected));
    }
}
