//! The tensor directory of a GGUF file.

use std::collections::BTreeSet;
use std::ops::Range;

use super::DEFAULT_ALIGNMENT;
use super::metadata::Metadata;
use crate::checkpoint::byte_reader::{ByteReader, Reason};
use crate::checkpoint::element_type::ElementType;

/// Larger alignments are not in use anywhere; a file that states one is damaged.
const LARGEST_ALIGNMENT: usize = 1 << 16;
/// The format's limit.
const MOST_DIMENSIONS: u32 = 4;

/// One tensor as the file states it, checked to lie inside the file.
#[derive(Debug)]
pub(crate) struct DirectoryEntry {
    pub name: String,
    /// Row-major: slowest dimension first (the file has them the other way round).
    pub shape: Vec<usize>,
    pub element_type: ElementType,
    /// Byte range in the file.
    pub bytes: Range<usize>,
}

/// Reads `count` entries, then places and checks their data.
pub(super) fn read(
    reader: &mut ByteReader<'_>,
    metadata: &Metadata,
    count: u64,
) -> Result<Vec<DirectoryEntry>, Reason> {
    let alignment = metadata.integer("general.alignment")?.unwrap_or(DEFAULT_ALIGNMENT);
    if !alignment.is_power_of_two() || alignment > LARGEST_ALIGNMENT {
        return Err(format!("general.alignment is {alignment}; it must be a power of two up to {LARGEST_ALIGNMENT}"));
    }
    let mut entries = Vec::new();
    for _ in 0..count {
        entries.push(read_entry(reader, alignment)?);
    }
    let data_start = reader
        .position()
        .checked_next_multiple_of(alignment)
        .ok_or("the header ends beyond what a machine can address")?;
    let data_length = (reader.position() + reader.remaining()).saturating_sub(data_start);
    for entry in &mut entries {
        if entry.bytes.end > data_length {
            return Err(format!(
                "the tensor `{}` takes bytes {}..{} of the data, which has only {data_length}: the file is truncated or lies",
                entry.name, entry.bytes.start, entry.bytes.end
            ));
        }
        entry.bytes = data_start + entry.bytes.start..data_start + entry.bytes.end;
    }
    refuse_overlaps(&entries)?;
    Ok(entries)
}

/// One entry, its byte range counted from the start of the data.
fn read_entry(reader: &mut ByteReader<'_>, alignment: usize) -> Result<DirectoryEntry, Reason> {
    let name = reader.text("a tensor name")?.to_owned();
    let of_tensor = |reason: Reason| format!("the tensor `{name}`: {reason}");
    let dimensions = reader.u32("a dimension count")?;
    if dimensions == 0 || dimensions > MOST_DIMENSIONS {
        return Err(of_tensor(format!("{dimensions} dimensions; 1 to {MOST_DIMENSIONS} are allowed")));
    }
    let mut shape = Vec::new();
    for _ in 0..dimensions {
        let length = reader.u64("a dimension")?;
        let length = usize::try_from(length).ok().filter(|&length| length > 0);
        shape.push(length.ok_or_else(|| of_tensor("a dimension is 0 or out of range".into()))?);
    }
    shape.reverse();
    let element_type = ElementType::from_ggml(reader.u32("an element type")?).map_err(of_tensor)?;
    let start =
        usize::try_from(reader.u64("a data offset")?).map_err(|_| of_tensor("its offset is out of range".into()))?;
    if !start.is_multiple_of(alignment) {
        return Err(of_tensor(format!("its data starts at {start}, not at a multiple of {alignment}")));
    }
    let (row_length, outer) = shape.split_last().ok_or("a tensor has no dimensions")?;
    let end = outer
        .iter()
        .try_fold(1usize, |rows, &length| rows.checked_mul(length))
        .ok_or_else(|| format!("the shape {shape:?} is out of range"))
        .and_then(|rows| element_type.bytes_of(rows, *row_length))
        .and_then(|length| start.checked_add(length).ok_or_else(|| "its data ends out of range".into()))
        .map_err(of_tensor)?;
    Ok(DirectoryEntry { name, shape, element_type, bytes: start..end })
}

fn refuse_overlaps(entries: &[DirectoryEntry]) -> Result<(), Reason> {
    let mut names = BTreeSet::new();
    for entry in entries {
        if !names.insert(&entry.name) {
            return Err(format!("the tensor `{}` appears twice", entry.name));
        }
    }
    let mut by_place: Vec<&DirectoryEntry> = entries.iter().collect();
    by_place.sort_by_key(|entry| entry.bytes.start);
    for pair in by_place.windows(2) {
        if pair[1].bytes.start < pair[0].bytes.end {
            return Err(format!("the data of the tensors `{}` and `{}` overlap", pair[0].name, pair[1].name));
        }
    }
    Ok(())
}
