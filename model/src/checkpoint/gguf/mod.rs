//! GGUF files, versions 2 and 3, little-endian: header, metadata, tensor directory, data
//! (format: `docs/gguf.md` of ggml).

mod directory;
pub(crate) mod metadata;
mod metadata_writer;
pub(crate) mod names;
mod pre_tokenizer;
mod sentence_pieces;
mod text_assets;
mod vocabulary;
mod write;

use self::directory::DirectoryEntry;
use self::metadata::Metadata;
use super::byte_reader::{ByteReader, Reason};
use super::mapped_file::MappedFile;

pub(crate) use text_assets::has_chat_template;
pub(crate) use text_assets::has_tokenizer;
pub(crate) use text_assets::read as read_text_assets;
pub use write::write_gguf;

const MAGIC: [u8; 4] = *b"GGUF";
/// Where tensor data starts is a multiple of this, unless the metadata says otherwise.
const DEFAULT_ALIGNMENT: usize = 32;

/// The header of a GGUF file, checked against the file's real size.
pub(crate) struct Gguf {
    pub version: u32,
    pub metadata: Metadata,
    /// In the order of the file; names are unique and data ranges lie in the file without overlap.
    pub tensors: Vec<DirectoryEntry>,
}

impl Gguf {
    /// Whether the file calls itself GGUF.
    pub fn is_magic(bytes: &[u8]) -> bool {
        bytes.starts_with(&MAGIC)
    }

    /// Reads and checks everything but the tensor data.
    pub fn read(file: &MappedFile) -> Result<Self, Reason> {
        let bytes = file.bytes();
        let mut reader = ByteReader::new(bytes);
        let magic = reader.take(4, "the magic number")?;
        if magic != MAGIC {
            return Err(format!("this is no GGUF file: it starts with {magic:02x?} instead of \"GGUF\""));
        }
        let version = reader.u32("the version")?;
        match version {
            2 | 3 => {}
            _ if version.swap_bytes() <= 3 => {
                return Err("this GGUF file is big-endian; only little-endian files are supported".into());
            }
            _ => return Err(format!("GGUF version {version} is not supported; versions 2 and 3 are")),
        }
        let tensor_count = reader.u64("the tensor count")?;
        let metadata_count = reader.u64("the metadata count")?;
        let metadata = Metadata::read(&mut reader, metadata_count)?;
        let tensors = directory::read(&mut reader, &metadata, tensor_count)?;
        Ok(Self { version, metadata, tensors })
    }
}
