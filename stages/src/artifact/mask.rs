//! The mask artifact: a row per masked head, in order of layer, then head.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch, UInt32Array};
use arrow::datatypes::UInt32Type;
use retmask_model::heads::{Head, HeadMask};

use super::{Media, schema, table};
use crate::contract::{StageError, StageResult};

/// Writes a mask.
///
/// # Errors
/// `Environment` when the file cannot be written.
pub fn write(path: &Path, mask: &HeadMask) -> StageResult<()> {
    let layers = UInt32Array::from_iter_values(mask.heads().map(|head| head.layer));
    let heads = UInt32Array::from_iter_values(mask.heads().map(|head| head.head));
    let schema = schema::of(Media::Mask).ok_or_else(|| StageError::internal("the mask has no schema"))?;
    let batch = RecordBatch::try_new(Arc::new(schema), vec![Arc::new(layers), Arc::new(heads)])
        .map_err(|error| StageError::internal(format!("the mask does not fit its schema: {error}")))?;
    table::write(path, Media::Mask, &batch)
}

/// Reads a mask.
///
/// # Errors
/// `Input` when the file is not a mask, names a head twice or leaves one out.
pub fn read(path: &Path) -> StageResult<HeadMask> {
    let schema = schema::of(Media::Mask).ok_or_else(|| StageError::internal("the mask has no schema"))?;
    let batch = table::read(path, &schema)?;
    let column = |name: &str| -> StageResult<&UInt32Array> {
        let array = batch.column_by_name(name).and_then(|array| array.as_primitive_opt::<UInt32Type>());
        array.filter(|array| array.nulls().is_none_or(|nulls| nulls.null_count() == 0)).ok_or_else(|| {
            StageError::input(format!("{}: column `{name}` must hold a number in every row", path.display()))
        })
    };
    let (layers, heads) = (column("layer")?, column("head")?);
    let mask: HeadMask =
        layers.values().iter().zip(heads.values()).map(|(&layer, &head)| Head { layer, head }).collect();
    if mask.len() != batch.num_rows() {
        let mut seen = std::collections::BTreeSet::new();
        let twice = layers.values().iter().zip(heads.values()).find(|pair| !seen.insert(*pair));
        let name = twice.map_or_else(String::new, |(layer, head)| format!("{layer}-{head}"));
        return Err(StageError::input(format!("{}: the mask names head {name} twice", path.display())));
    }
    Ok(mask)
}
