//! The text files of a model: tokenizer, chat template, special tokens.

use std::path::Path;

use serde_json::{Map, Value};

use crate::checkpoint::mapped_file::io_error;
use crate::spec::end_tokens;
use crate::{ModelError, ModelResult};

/// What a model brings for reading and writing text, as file contents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextAssets {
    /// tokenizer.json.
    pub tokenizer: String,
    /// tokenizer_config.json.
    pub tokenizer_config: Option<String>,
    /// The Jinja source of the chat template (chat_template.jinja).
    pub chat_template: Option<String>,
    /// generation_config.json.
    pub generation_config: Option<String>,
    /// The id put before a text, where the model has one.
    pub begin_token: Option<u32>,
    /// Ids that end a generation, the usual one first.
    pub end_tokens: Vec<u32>,
    /// The id that fills batches, where the model has one.
    pub padding_token: Option<u32>,
}

impl TextAssets {
    /// The spelling of the tokenizer's end-of-sequence token, where tokenizer_config.json states one.
    ///
    /// # Errors
    /// `Input` when that file is malformed.
    pub(crate) fn stated_end_of_sequence(&self) -> ModelResult<Option<String>> {
        let Some(config) = &self.tokenizer_config else { return Ok(None) };
        let config: hf_chat_template::TokenizerConfig = serde_json::from_str(config)
            .map_err(|error| ModelError::input(format!("tokenizer_config.json is malformed: {error}")))?;
        Ok(config.eos_token.as_ref().and_then(|token| token.as_str()).map(str::to_owned))
    }

    /// Reads the text files of a Hugging Face folder.
    ///
    /// End tokens come from generation_config.json, else from config.json, as transformers has it.
    ///
    /// # Errors
    /// `Input` when tokenizer.json is missing, or a file is malformed.
    pub fn read(folder: &Path) -> ModelResult<Self> {
        let Some(tokenizer) = read_optional(&folder.join("tokenizer.json"))? else {
            return Err(ModelError::input(format!("{} has no tokenizer.json", folder.display())).with_hint(
                "tokenizer.model (SentencePiece) is not read; load it in transformers and save it as a fast tokenizer",
            ));
        };
        let tokenizer_config = read_optional(&folder.join("tokenizer_config.json"))?;
        let generation_config = read_optional(&folder.join("generation_config.json"))?;
        let config = read_optional(&folder.join("config.json"))?;
        let chat_template = match read_optional(&folder.join("chat_template.jinja"))? {
            Some(template) => Some(template),
            None => template_in_config(folder, tokenizer_config.as_deref())?,
        };
        let mut ends = None;
        for (name, text) in [("generation_config.json", &generation_config), ("config.json", &config)] {
            if ends.is_none()
                && let Some(text) = text
            {
                ends = end_tokens(text).map_err(|reason| malformed(folder, name, reason))?;
            }
        }
        let special = |name: &str| -> ModelResult<Option<u32>> {
            let Some(text) = &config else { return Ok(None) };
            let config: Value = serde_json::from_str(text).map_err(|error| malformed(folder, "config.json", error))?;
            Ok(config.get(name).and_then(Value::as_u64).and_then(|id| u32::try_from(id).ok()))
        };
        Ok(Self {
            begin_token: special("bos_token_id")?,
            padding_token: special("pad_token_id")?,
            end_tokens: ends.unwrap_or_default(),
            tokenizer,
            tokenizer_config,
            chat_template,
            generation_config,
        })
    }
}

/// The template inside tokenizer_config.json: a string, or a list of named ones of which `default` counts.
fn template_in_config(folder: &Path, config: Option<&str>) -> ModelResult<Option<String>> {
    let Some(config) = config else { return Ok(None) };
    let bad = |reason: &dyn std::fmt::Display| malformed(folder, "tokenizer_config.json", reason);
    let config: hf_chat_template::TokenizerConfig = serde_json::from_str(config).map_err(|error| bad(&error))?;
    match config.chat_template {
        None => Ok(None),
        Some(hf_chat_template::ChatTemplateField::Single(template)) => Ok(Some(template)),
        Some(hf_chat_template::ChatTemplateField::Named(templates)) => {
            match templates.iter().find(|template| template.name == "default") {
                Some(template) => Ok(Some(template.template.clone())),
                None => Err(bad(&"`chat_template` has no template named `default`")),
            }
        }
    }
}

fn malformed(folder: &Path, name: &str, reason: impl std::fmt::Display) -> ModelError {
    ModelError::input(format!("{}: {reason}", folder.join(name).display()))
}

/// A text file's content, or `None` where there is no such file.
pub(crate) fn read_optional(path: &Path) -> ModelResult<Option<String>> {
    match std::fs::read(path) {
        Ok(bytes) => String::from_utf8(bytes)
            .map(Some)
            .map_err(|error| ModelError::input(format!("{} is not UTF-8: {error}", path.display()))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io_error("read", path, &error)),
    }
}

/// A generation_config.json with the special tokens alone.
pub(crate) fn generation_config(begin: Option<u32>, ends: &[u32], padding: Option<u32>) -> String {
    let mut fields = Map::new();
    if let Some(id) = begin {
        fields.insert("bos_token_id".into(), id.into());
    }
    match ends {
        [] => {}
        [id] => drop(fields.insert("eos_token_id".into(), (*id).into())),
        ids => drop(fields.insert("eos_token_id".into(), ids.into())),
    }
    if let Some(id) = padding {
        fields.insert("pad_token_id".into(), id.into());
    }
    format!("{:#}", Value::Object(fields))
}
