//! Tables: deterministic Parquet, and the logical digest `l3` over schema and rows in order.
//!
//! `l3` depends on names, types, nullability and values only: row groups, compression, page sizes and
//! the writer's version change the file's bytes but never its `l3`.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::{
    DataType, Field, Float32Type, Float64Type, Int32Type, Int64Type, Schema, SchemaRef, UInt32Type, UInt64Type,
};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};

use super::Media;
use crate::contract::{StageError, StageResult};

/// Domain of the logical table digest.
const DIGEST_CONTEXT: &str = "retmask 2026-11 logical table digest v1";
/// Key of the media name in the Parquet metadata.
const MEDIA_KEY: &str = "retmask.media";

/// Writes one table. The bytes depend on the rows, the schema and this program's pinned writer settings only.
///
/// # Errors
/// `Environment` when the file cannot be written.
pub fn write(path: &Path, media: Media, batch: &RecordBatch) -> StageResult<()> {
    let failed = |what: &str, error: &dyn std::fmt::Display| {
        StageError::environment(format!("cannot {what} {}: {error}", path.display()))
    };
    let level = ZstdLevel::try_new(3).map_err(|error| failed("write", &error))?;
    let properties = WriterProperties::builder()
        .set_created_by("retmask".into())
        .set_compression(Compression::ZSTD(level))
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_max_row_group_row_count(Some(65_536))
        .set_data_page_size_limit(1 << 20)
        .set_key_value_metadata(Some(vec![KeyValue::new(MEDIA_KEY.into(), Some(media.name().into()))]))
        .build();
    let file = File::create(path).map_err(|error| StageError::io("write", path, &error))?;
    let mut writer =
        ArrowWriter::try_new(file, batch.schema(), Some(properties)).map_err(|error| failed("write", &error))?;
    writer.write(batch).map_err(|error| failed("write", &error))?;
    writer.close().map_err(|error| failed("finish", &error))?;
    Ok(())
}

/// Reads a whole table and checks that it has at least the columns of `expected`, with their types.
///
/// # Errors
/// `Input` when the file is not Parquet or a column is missing or of another type.
pub fn read(path: &Path, expected: &Schema) -> StageResult<RecordBatch> {
    let batch = read_any(path)?;
    let schema = batch.schema();
    for field in expected.fields() {
        match schema.field_with_name(field.name()) {
            Err(_) => {
                let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
                return Err(StageError::input(format!(
                    "{}: column `{}` is missing; the table has: {}",
                    path.display(),
                    field.name(),
                    names.join(", ")
                )));
            }
            Ok(found) if !found.data_type().equals_datatype(field.data_type()) => {
                return Err(StageError::input(format!(
                    "{}: column `{}` holds {}, expected {}",
                    path.display(),
                    field.name(),
                    found.data_type(),
                    field.data_type()
                )));
            }
            Ok(_) => {}
        }
    }
    Ok(batch)
}

/// Reads a whole Parquet file, whatever its columns.
///
/// # Errors
/// `Input` when the file is missing or not Parquet.
pub fn read_any(path: &Path) -> StageResult<RecordBatch> {
    let (schema, batches) = batches(path)?;
    let batches = batches.collect::<StageResult<Vec<RecordBatch>>>()?;
    concat_batches(&schema, &batches).map_err(|error| not_a_table(path, &error))
}

/// The columns of a Parquet file, and its rows some at a time, for tables that are better not in memory as a whole.
///
/// # Errors
/// As [`read_any`]; each batch as well.
pub fn batches(path: &Path) -> StageResult<(SchemaRef, impl Iterator<Item = StageResult<RecordBatch>>)> {
    let file = File::open(path).map_err(|error| StageError::io("read", path, &error))?;
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| not_a_table(path, &error))?;
    let schema: SchemaRef = Arc::new(Schema::new(builder.schema().fields().clone()));
    let reader = builder.build().map_err(|error| not_a_table(path, &error))?;
    let (path, plain) = (path.to_path_buf(), schema.clone());
    let batches = reader.map(move |batch| {
        let batch = batch.and_then(|batch| batch.with_schema(plain.clone()));
        batch.map_err(|error| not_a_table(&path, &error))
    });
    Ok((schema, batches))
}

fn not_a_table(path: &Path, error: &dyn std::fmt::Display) -> StageError {
    StageError::input(format!("{} is not a Parquet table: {error}", path.display()))
}

/// A digest of one value, equal for equal values of one type.
///
/// # Errors
/// `Internal` for a column type no artifact uses.
pub fn value_digest(array: &dyn Array, row: usize) -> StageResult<[u8; 32]> {
    let mut hasher = blake3::Hasher::new();
    hash_value(&mut hasher, array, row)?;
    Ok(*hasher.finalize().as_bytes())
}

/// The logical digest `l3` of a Parquet file.
///
/// # Errors
/// As [`read_any`]; `Internal` for a column type no artifact uses.
pub fn logical_digest(path: &Path) -> StageResult<[u8; 32]> {
    batch_digest(&read_any(path)?)
}

/// The logical digest of a batch: schema, then every column's values in row order.
pub fn batch_digest(batch: &RecordBatch) -> StageResult<[u8; 32]> {
    let mut hasher = blake3::Hasher::new_derive_key(DIGEST_CONTEXT);
    hasher.update(&(batch.num_rows() as u64).to_le_bytes());
    hasher.update(&(batch.num_columns() as u64).to_le_bytes());
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        hash_field(&mut hasher, field);
        let mut values = blake3::Hasher::new();
        for row in 0..column.len() {
            hash_value(&mut values, column.as_ref(), row)?;
        }
        hasher.update(values.finalize().as_bytes());
    }
    Ok(*hasher.finalize().as_bytes())
}

fn hash_text(hasher: &mut blake3::Hasher, text: &str) {
    hasher.update(&(text.len() as u64).to_le_bytes());
    hasher.update(text.as_bytes());
}

fn hash_field(hasher: &mut blake3::Hasher, field: &Field) {
    hash_text(hasher, field.name());
    hasher.update(&[u8::from(field.is_nullable())]);
    match field.data_type() {
        DataType::List(item) => {
            hash_text(hasher, "list");
            hash_field(hasher, item);
        }
        DataType::Struct(fields) => {
            hash_text(hasher, "struct");
            hasher.update(&(fields.len() as u64).to_le_bytes());
            for field in fields {
                hash_field(hasher, field);
            }
        }
        other => hash_text(hasher, &other.to_string()),
    }
}

fn hash_value(hasher: &mut blake3::Hasher, array: &dyn Array, row: usize) -> StageResult<()> {
    if array.is_null(row) {
        hasher.update(&[0]);
        return Ok(());
    }
    hasher.update(&[1]);
    match array.data_type() {
        DataType::Utf8 => hash_text(hasher, array.as_string::<i32>().value(row)),
        DataType::LargeUtf8 => hash_text(hasher, array.as_string::<i64>().value(row)),
        DataType::Boolean => {
            hasher.update(&[u8::from(array.as_boolean().value(row))]);
        }
        DataType::Int32 => {
            hasher.update(&array.as_primitive::<Int32Type>().value(row).to_le_bytes());
        }
        DataType::Int64 => {
            hasher.update(&array.as_primitive::<Int64Type>().value(row).to_le_bytes());
        }
        DataType::UInt32 => {
            hasher.update(&array.as_primitive::<UInt32Type>().value(row).to_le_bytes());
        }
        DataType::UInt64 => {
            hasher.update(&array.as_primitive::<UInt64Type>().value(row).to_le_bytes());
        }
        DataType::Float32 => {
            hasher.update(&array.as_primitive::<Float32Type>().value(row).to_le_bytes());
        }
        DataType::Float64 => {
            hasher.update(&array.as_primitive::<Float64Type>().value(row).to_le_bytes());
        }
        DataType::List(_) => {
            let items = array.as_list::<i32>().value(row);
            hasher.update(&(items.len() as u64).to_le_bytes());
            for item in 0..items.len() {
                hash_value(hasher, items.as_ref(), item)?;
            }
        }
        DataType::Struct(_) => {
            for column in array.as_struct().columns() {
                hash_value(hasher, column.as_ref(), row)?;
            }
        }
        other => {
            return Err(StageError::internal(format!("no logical digest is defined for a column of type {other}")));
        }
    }
    Ok(())
}
