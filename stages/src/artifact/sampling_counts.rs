//! The sampling counts artifact: how many records, responses and pairs there were, and what became of them.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray, UInt64Array};

use super::{Media, schema, table};
use crate::contract::{StageError, StageResult};

/// One count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Count {
    /// What is counted: `records`, `responses` or `pairs`.
    pub of: &'static str,
    pub what: String,
    pub count: usize,
}

/// Writes the counts in their order.
///
/// # Errors
/// `Environment` when the file cannot be written.
pub fn write(path: &Path, counts: &[Count]) -> StageResult<()> {
    let columns = vec![
        Arc::new(StringArray::from_iter_values(counts.iter().map(|count| count.of))) as ArrayRef,
        Arc::new(StringArray::from_iter_values(counts.iter().map(|count| &count.what))) as ArrayRef,
        Arc::new(UInt64Array::from_iter_values(counts.iter().map(|count| count.count as u64))) as ArrayRef,
    ];
    let schema =
        schema::of(Media::SamplingCounts).ok_or_else(|| StageError::internal("sampling counts have no schema"))?;
    let batch = RecordBatch::try_new(Arc::new(schema), columns)
        .map_err(|error| StageError::internal(format!("sampling counts do not fit their schema: {error}")))?;
    table::write(path, Media::SamplingCounts, &batch)
}
