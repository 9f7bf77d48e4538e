//! A model on disk: GGUF file or Hugging Face folder, opened but not yet loaded.

pub(crate) mod all_tensors;
mod byte_reader;
mod dequantise;
mod element_type;
mod export;
pub(crate) mod gguf;
pub(crate) mod mapped_file;
mod safetensors;
mod stored_type;
mod weight_writer;
mod write;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use self::byte_reader::Reason;
pub use self::element_type::ElementType;
pub use self::export::Destination;
use self::gguf::Gguf;
use self::gguf::names::RowOrder;
pub use self::gguf::write_gguf;
use self::mapped_file::MappedFile;
pub use self::stored_type::StoredType;
pub use self::weight_writer::TensorValues;
pub use self::write::{SHARD_BYTES, Written, write, write_sharded};
use crate::spec::{self, ModelSpec, Yarn};
use crate::text::TextCodec;
use crate::text::assets::{TextAssets, read_optional};
use crate::{ModelError, ModelResult};

/// An opened model. Tensors are read on demand, by their Hugging Face names, de-quantised to f32.
pub struct Checkpoint {
    path: PathBuf,
    spec: ModelSpec,
    files: Vec<MappedFile>,
    /// By Hugging Face name.
    tensors: BTreeMap<String, StoredTensor>,
    text: TextSource,
}

/// Where a tensor lies.
struct StoredTensor {
    /// Its name in the file.
    stored_name: String,
    file: usize,
    bytes: Range<usize>,
    element_type: ElementType,
    /// Row-major.
    shape: Vec<usize>,
    row_order: RowOrder,
}

/// Where tokenizer and chat template come from.
enum TextSource {
    Gguf(Box<Gguf>),
    Folder,
}

/// What the files of a model hold, for people to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorageSummary {
    /// `GGUF v3`, `safetensors`.
    pub format: String,
    pub files: usize,
    /// Size of all weight files in bytes.
    pub file_bytes: u64,
    /// Per element type: tensors, and their bytes in the file.
    pub element_types: BTreeMap<ElementType, (usize, u64)>,
    pub has_tokenizer: bool,
    pub has_chat_template: bool,
}

/// Values of a tensor that are read at once.
const PART_VALUES: usize = 1 << 22;

impl Checkpoint {
    /// Opens a GGUF file, or a folder with config.json and safetensors. Every tensor the model needs is known
    /// afterwards to be there, in its shape; none has been read yet.
    ///
    /// # Errors
    /// `Input` naming the file and what is wrong with it.
    pub fn open(path: &Path) -> ModelResult<Self> {
        let checkpoint = if path.is_dir() { Self::open_folder(path)? } else { Self::open_gguf(path)? };
        checkpoint.check_tensors()?;
        Ok(checkpoint)
    }

    /// The same weights with the window stretched; nothing on disk changes.
    ///
    /// # Errors
    /// `Input` as [`ModelSpec::stretched`].
    pub fn stretched(self, yarn: Yarn) -> ModelResult<Self> {
        let spec =
            self.spec.stretched(yarn).map_err(|reason| self.refuse(format!("`yarn` does not fit it: {reason}")))?;
        Ok(Self { spec, ..self })
    }

    /// Where the model was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The model's shape and rules.
    pub fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    /// The tensor of this Hugging Face name (`model.layers.0.self_attn.q_proj.weight`, …) in f32, row-major.
    /// GGUF tensors are renamed, and Llama's permuted query and key rows are put back.
    ///
    /// # Errors
    /// `Input` when it is missing, of another shape, or holds a value that is not finite.
    pub fn tensor(&self, name: &str, shape: &[usize]) -> ModelResult<Vec<f32>> {
        let stored = self.stored(name, shape)?;
        let row_length = shape.last().copied().unwrap_or(1);
        let rows = shape.iter().rev().skip(1).product();
        // A permuted bias is a row of single values.
        let (rows, row_length) = match stored.row_order {
            RowOrder::RotatedPairs { .. } if shape.len() == 1 => (row_length, 1),
            _ => (rows, row_length),
        };
        let file = &self.files[stored.file];
        let (bytes, order) = (&file.bytes()[stored.bytes.clone()], stored.row_order);
        // In parts, so that not all of a large tensor lies in memory twice.
        let part = (PART_VALUES / row_length.max(1)).max(1);
        let row_bytes = bytes.len() / rows.max(1);
        let mut values = Vec::with_capacity(rows * row_length);
        let read = (0..rows).step_by(part).try_for_each(|first| {
            let end = rows.min(first + part);
            let source_row = |row| order.source_row(first + row);
            let found = dequantise::rows_to_f32(stored.element_type, bytes, end - first, row_length, source_row);
            let start = stored.bytes.start;
            file.release(start + first * row_bytes..start + end * row_bytes);
            values.extend(found.map_err(|index| first * row_length + index)?);
            Ok(())
        });
        read.map(|()| values).map_err(|index: usize| {
            self.refuse(format!(
                "{} holds a value that is not finite (NaN or infinity), at index {index} of shape {shape:?}: the \
                 weights are damaged",
                describe(name, stored)
            ))
        })
    }

    /// Whether there is a tensor of this name.
    pub fn has_tensor(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// The tokenizer, chat template and end tokens that come with the model.
    ///
    /// # Errors
    /// `Input` when there are none, they are malformed, or name ids the embedding has no row for.
    pub fn text_codec(&self) -> ModelResult<TextCodec> {
        self.codec_of(&self.text_assets()?)
    }

    /// The codec of this model's texts, checked against the embedding.
    fn codec_of(&self, text: &TextAssets) -> ModelResult<TextCodec> {
        let named =
            |error: ModelError| ModelError { message: format!("{}: {}", self.path.display(), error.message), ..error };
        let codec = TextCodec::new(text).map_err(named)?;
        codec.check_ids(self.spec.vocabulary_size).map_err(named)?;
        Ok(codec)
    }

    /// The texts behind [`text_codec`](Self::text_codec), to be copied into a checkpoint made from this one.
    /// Those of a GGUF file are rewritten as Hugging Face files.
    ///
    /// # Errors
    /// `Input` when there are none or they are malformed.
    pub fn text_assets(&self) -> ModelResult<TextAssets> {
        match &self.text {
            TextSource::Folder => TextAssets::read(&self.path),
            TextSource::Gguf(gguf) => {
                gguf::read_text_assets(self.files[0].bytes(), &gguf.metadata).map_err(|reason| self.refuse(reason))
            }
        }
    }

    /// What the files hold; needs no tokenizer.
    ///
    /// # Errors
    /// As [`text_assets`](Self::text_assets), for a tokenizer_config.json that cannot be read.
    pub fn storage(&self) -> ModelResult<StorageSummary> {
        let (format, has_tokenizer, has_chat_template) = match &self.text {
            TextSource::Gguf(gguf) => (
                format!("GGUF v{}", gguf.version),
                gguf::has_tokenizer(&gguf.metadata),
                gguf::has_chat_template(&gguf.metadata),
            ),
            TextSource::Folder => {
                let has_tokenizer = self.path.join("tokenizer.json").is_file();
                let has_template = has_tokenizer && TextAssets::read(&self.path)?.chat_template.is_some();
                ("safetensors".into(), has_tokenizer, has_template)
            }
        };
        let mut element_types: BTreeMap<ElementType, (usize, u64)> = BTreeMap::new();
        for tensor in self.tensors.values() {
            let (count, bytes) = element_types.entry(tensor.element_type).or_default();
            *count += 1;
            *bytes += tensor.bytes.len() as u64;
        }
        Ok(StorageSummary {
            format,
            files: self.files.len(),
            file_bytes: self.files.iter().map(|file| file.bytes().len() as u64).sum(),
            element_types,
            has_tokenizer,
            has_chat_template,
        })
    }

    fn open_gguf(path: &Path) -> ModelResult<Self> {
        let file = MappedFile::open(path)?;
        let refuse = |reason: Reason| ModelError::input(format!("{}: {reason}", path.display()));
        if !Gguf::is_magic(file.bytes()) {
            return Err(ModelError::input(format!("{} is no GGUF file", path.display()))
                .with_hint("a model is a GGUF file, or a folder with config.json and safetensors weights"));
        }
        let mut gguf = Gguf::read(&file).map_err(refuse)?;
        let spec = spec::read_gguf(file.bytes(), &gguf).map_err(refuse)?;
        let mut tensors = BTreeMap::new();
        for entry in std::mem::take(&mut gguf.tensors) {
            if entry.name == gguf::names::ROTARY_DIVISORS {
                continue;
            }
            let (name, row_order) = gguf::names::hugging_face(&entry.name, &spec).map_err(refuse)?;
            let stored = StoredTensor {
                stored_name: entry.name,
                file: 0,
                bytes: entry.bytes,
                element_type: entry.element_type,
                shape: entry.shape,
                row_order,
            };
            tensors.insert(name, stored);
        }
        Ok(Self { path: path.to_owned(), spec, files: vec![file], tensors, text: TextSource::Gguf(Box::new(gguf)) })
    }

    fn open_folder(folder: &Path) -> ModelResult<Self> {
        let config_path = folder.join("config.json");
        let Some(config) = read_optional(&config_path)? else {
            return Err(ModelError::input(format!("{} has no config.json", folder.display()))
                .with_hint("a model is a GGUF file, or a folder with config.json and safetensors weights"));
        };
        let mut files = Vec::new();
        let mut tensors = BTreeMap::new();
        for (number, (file, entries)) in safetensors::open_folder(folder)?.into_iter().enumerate() {
            for entry in entries {
                // Old checkpoints store the rotary frequencies, which follow from the configuration.
                if entry.name.ends_with(".rotary_emb.inv_freq") {
                    continue;
                }
                let stored = StoredTensor {
                    stored_name: entry.name.clone(),
                    file: number,
                    bytes: entry.bytes,
                    element_type: entry.element_type,
                    shape: entry.shape,
                    row_order: RowOrder::AsStored,
                };
                tensors.insert(entry.name, stored);
            }
            files.push(file);
        }
        let spec = spec::read_config(&config, tensors.len())
            .map_err(|reason| ModelError::input(format!("{}: {reason}", config_path.display())))?;
        if spec.tied_embeddings {
            // transformers ties the output projection whether or not a copy was stored.
            tensors.remove("lm_head.weight");
        }
        Ok(Self { path: folder.to_owned(), spec, files, tensors, text: TextSource::Folder })
    }

    /// Every tensor the shape asks for is there in its shape, and no other is.
    fn check_tensors(&self) -> ModelResult<()> {
        let expected = self.spec.tensors();
        for tensor in &expected {
            self.stored(&tensor.name, &tensor.shape)?;
        }
        if self.tensors.len() > expected.len() {
            let known: std::collections::BTreeSet<&str> = expected.iter().map(|tensor| tensor.name.as_str()).collect();
            if let Some((name, stored)) = self.tensors.iter().find(|(name, _)| !known.contains(name.as_str())) {
                return Err(self.refuse(format!(
                    "{} is not part of a {} model of {} layers; leaving it out could change results",
                    describe(name, stored),
                    self.spec.family,
                    self.spec.layers.len()
                )));
            }
        }
        Ok(())
    }

    fn stored(&self, name: &str, shape: &[usize]) -> ModelResult<&StoredTensor> {
        let Some(stored) = self.tensors.get(name) else {
            return Err(self.refuse(format!("the tensor `{name}` of shape {shape:?} is missing")));
        };
        if stored.shape != shape {
            return Err(self.refuse(format!(
                "{} has the shape {:?}, but the configuration asks for {shape:?}",
                describe(name, stored),
                stored.shape
            )));
        }
        Ok(stored)
    }

    fn refuse(&self, reason: Reason) -> ModelError {
        ModelError::input(format!("{}: {reason}", self.path.display()))
    }
}

fn describe(name: &str, stored: &StoredTensor) -> String {
    if stored.stored_name == name {
        format!("the tensor `{name}`")
    } else {
        format!("the tensor `{}` ({name})", stored.stored_name)
    }
}
