//! Hugging Face folders: one model.safetensors, or shards with an index.
//!
//! A safetensors file is a header length (8 bytes, little-endian), a JSON header with element type, shape and
//! byte range of every tensor, and the data. The header is read here, not by the `safetensors` crate, whose
//! sum of stated sizes can overflow on a lying header.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::{Component, Path};

use serde::Deserialize;
use serde::de::{IgnoredAny, MapAccess, Visitor};

use super::byte_reader::{ByteReader, Reason};
use super::element_type::ElementType;
use super::mapped_file::MappedFile;
use crate::text::assets::read_optional;
use crate::{ModelError, ModelResult};

/// The format's limit on headers.
const LONGEST_HEADER: u64 = 100_000_000;
/// The only file of an unsharded model.
pub(crate) const SINGLE_FILE: &str = "model.safetensors";
pub(crate) const INDEX_FILE: &str = "model.safetensors.index.json";

/// One tensor as a header states it, checked to lie inside its file.
#[derive(Debug)]
pub(crate) struct HeaderEntry {
    pub name: String,
    pub shape: Vec<usize>,
    pub element_type: ElementType,
    /// Byte range in the file.
    pub bytes: Range<usize>,
}

/// Opens all weight files of a folder, each with its tensors.
///
/// # Errors
/// `Input` when there are none, a header lies, or index and files disagree.
pub(crate) fn open_folder(folder: &Path) -> ModelResult<Vec<(MappedFile, Vec<HeaderEntry>)>> {
    let single = folder.join(SINGLE_FILE);
    if single.exists() {
        return Ok(vec![open_file(&single)?]);
    }
    let index_path = folder.join(INDEX_FILE);
    let Some(index) = read_optional(&index_path)? else {
        return Err(ModelError::input(format!("{} has neither {SINGLE_FILE} nor {INDEX_FILE}", folder.display()))
            .with_hint("weights in other formats (pytorch_model.bin) must be saved as safetensors first"));
    };
    let bad = |reason: Reason| ModelError::input(format!("{}: {reason}", index_path.display()));
    let index: Index =
        serde_json::from_str(&index).map_err(|error| bad(format!("this is no weight index: {error}")))?;
    let mut shards: BTreeMap<&str, usize> = BTreeMap::new();
    for shard in index.weight_map.values() {
        *shards.entry(shard).or_default() += 1;
    }
    let mut files = Vec::new();
    for (shard, stated) in shards {
        if !is_plain_name(shard) {
            return Err(bad(format!("the shard name {shard:?} is not a file name inside the folder")));
        }
        let path = folder.join(shard);
        if !path.exists() {
            return Err(bad(format!("it names {shard}, which is not there"))
                .with_hint("the download is incomplete: fetch the missing file"));
        }
        let (file, entries) = open_file(&path)?;
        if let Some(entry) =
            entries.iter().find(|entry| index.weight_map.get(&entry.name).is_none_or(|home| home != shard))
        {
            return Err(bad(format!("the tensor `{}` is in {shard}, but the index does not say so", entry.name)));
        }
        if entries.len() != stated {
            return Err(bad(format!("the index places {stated} tensors in {shard}, which has {}", entries.len())));
        }
        files.push((file, entries));
    }
    Ok(files)
}

fn is_plain_name(name: &str) -> bool {
    let mut components = Path::new(name).components();
    matches!((components.next(), components.next()), (Some(Component::Normal(part)), None) if part == name)
}

fn open_file(path: &Path) -> ModelResult<(MappedFile, Vec<HeaderEntry>)> {
    let file = MappedFile::open(path)?;
    let entries =
        read_header(file.bytes()).map_err(|reason| ModelError::input(format!("{}: {reason}", path.display())))?;
    Ok((file, entries))
}

/// Reads and checks a header: the data ranges fill the rest of the file exactly, without holes or overlaps.
pub(crate) fn read_header(bytes: &[u8]) -> Result<Vec<HeaderEntry>, Reason> {
    let mut reader = ByteReader::new(bytes);
    let length = reader.u64("the header length")?;
    if length > LONGEST_HEADER {
        return Err(format!("the header states {length} bytes; the format allows {LONGEST_HEADER}"));
    }
    let header: Header = serde_json::from_slice(reader.take(length, "the header")?)
        .map_err(|error| format!("the header is malformed: {error}"))?;
    let data_start = reader.position();
    let mut entries = header.0.into_iter().map(|(name, stated)| entry(name, stated)).collect::<Result<Vec<_>, _>>()?;
    entries.sort_by_key(|entry| (entry.bytes.start, entry.bytes.end));
    let mut end = 0;
    for entry in &mut entries {
        if entry.bytes.start != end {
            return Err(format!(
                "the data of the tensor `{}` starts at {}, the one before ends at {end}",
                entry.name, entry.bytes.start
            ));
        }
        end = entry.bytes.end;
        if end > reader.remaining() {
            return Err(format!(
                "the tensor `{}` ends at byte {end} of the data, which has only {}: the file is truncated or lies",
                entry.name,
                reader.remaining()
            ));
        }
        entry.bytes = data_start + entry.bytes.start..data_start + end;
    }
    if end != reader.remaining() {
        return Err(format!("the tensors take {end} bytes, but {} follow the header", reader.remaining()));
    }
    Ok(entries)
}

fn entry(name: String, stated: StatedTensor) -> Result<HeaderEntry, Reason> {
    let of_tensor = |reason: Reason| format!("the tensor `{name}`: {reason}");
    let element_type = ElementType::from_safetensors(&stated.dtype).map_err(of_tensor)?;
    let out_of_range = || of_tensor("its shape or place is out of range".into());
    let number = |value: u64| usize::try_from(value).map_err(|_| out_of_range());
    let shape = stated.shape.into_iter().map(number).collect::<Result<Vec<_>, _>>()?;
    let (start, end) = (number(stated.data_offsets.0)?, number(stated.data_offsets.1)?);
    let length = shape
        .iter()
        .try_fold(element_type.block_bytes(), |length, &dimension| length.checked_mul(dimension))
        .ok_or_else(out_of_range)?;
    if end.checked_sub(start) != Some(length) {
        return Err(of_tensor(format!(
            "{} values of shape {shape:?} take {length} bytes, not those from {start} to {end}",
            element_type.name()
        )));
    }
    Ok(HeaderEntry { name, shape, element_type, bytes: start..end })
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StatedTensor {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

/// The tensors of a header; its `__metadata__` says nothing about them.
struct Header(BTreeMap<String, StatedTensor>);

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;

        impl<'de> Visitor<'de> for Entries {
            type Value = Header;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
                let mut tensors = BTreeMap::new();
                while let Some(name) = map.next_key::<String>()? {
                    if name == "__metadata__" {
                        map.next_value::<IgnoredAny>()?;
                        continue;
                    }
                    let tensor = map.next_value()?;
                    if tensors.contains_key(&name) {
                        return Err(serde::de::Error::custom(format!("the tensor `{name}` appears twice")));
                    }
                    tensors.insert(name, tensor);
                }
                Ok(Header(tensors))
            }
        }

        deserializer.deserialize_map(Entries)
    }
}
