//! A tokenizer.json and the texts that go with it, as metadata of a GGUF file.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::metadata_writer::MetadataWriter;
use super::pre_tokenizer;
use super::text_assets::{CHAT_TEMPLATE, CONTROL, MERGES, NORMAL, TOKEN_TYPES, TOKENS, UNUSED, USER_DEFINED};
use crate::text::TextCodec;
use crate::text::assets::TextAssets;
use crate::{ModelError, ModelResult};

/// What of a tokenizer.json the format has words for, and what it must not have.
#[derive(Deserialize)]
struct TokenizerFile {
    #[serde(default)]
    added_tokens: Vec<AddedToken>,
    #[serde(default)]
    normalizer: Value,
    #[serde(default)]
    pre_tokenizer: Value,
    model: Model,
}

#[derive(Deserialize)]
struct AddedToken {
    id: u32,
    content: String,
    #[serde(default)]
    single_word: bool,
    #[serde(default)]
    lstrip: bool,
    #[serde(default)]
    rstrip: bool,
    #[serde(default)]
    special: bool,
}

#[derive(Deserialize)]
struct Model {
    r#type: Option<String>,
    #[serde(default)]
    byte_fallback: bool,
    #[serde(default)]
    ignore_merges: bool,
    vocab: BTreeMap<String, u32>,
    #[serde(default)]
    merges: Vec<Merge>,
}

/// Both spellings of a merge: `"a b"` and `["a", "b"]`.
#[derive(Deserialize)]
#[serde(untagged)]
enum Merge {
    Text(String),
    Pair(String, String),
}

/// Adds tokenizer, special tokens and chat template; the token list is filled up to `vocabulary_size`.
///
/// # Errors
/// `Input` when the tokenizer is not a byte-level BPE whose splitting rules have a name in the format, or does
/// something else the format cannot say.
pub(super) fn write(metadata: &mut MetadataWriter, text: &TextAssets, vocabulary_size: usize) -> ModelResult<()> {
    let file: TokenizerFile = serde_json::from_str(&text.tokenizer)
        .map_err(|error| ModelError::input(format!("its tokenizer.json is no byte-pair tokenizer: {error}")))?;
    if file.model.r#type.as_deref().is_some_and(|kind| kind != "BPE") || file.model.byte_fallback {
        return Err(ModelError::input("its tokenizer is no byte-level BPE, and no other kind can be written"));
    }
    let pre = pre_tokenizer::name_of(&file.normalizer, &file.pre_tokenizer, file.model.ignore_merges)
        .ok_or_else(|| ModelError::input("the rules by which its tokenizer splits text have no name in the format"))?;
    if let Some(token) = file.added_tokens.iter().find(|token| token.single_word || token.lstrip || token.rstrip) {
        return Err(ModelError::input(format!(
            "its token {:?} takes the space around it, which the format cannot say",
            token.content
        )));
    }
    metadata.text("tokenizer.ggml.model", "gpt2");
    metadata.text("tokenizer.ggml.pre", pre);
    let tokens = tokens(&file, vocabulary_size)?;
    metadata.texts(TOKENS, tokens.iter().map(|(token, _)| token.as_str()));
    metadata.integers(TOKEN_TYPES, &tokens.iter().map(|(_, kind)| *kind).collect::<Vec<_>>());
    let merges: Vec<String> = file
        .model
        .merges
        .into_iter()
        .map(|merge| match merge {
            Merge::Text(text) => text,
            Merge::Pair(left, right) => format!("{left} {right}"),
        })
        .collect();
    metadata.texts(MERGES, merges.iter().map(String::as_str));
    special_tokens(metadata, text)?;
    if let Some(template) = &text.chat_template {
        metadata.text(CHAT_TEMPLATE, template);
    }
    Ok(())
}

/// Every id's spelling and type. Rows of the embedding without a token get a name nothing is encoded to.
fn tokens(file: &TokenizerFile, vocabulary_size: usize) -> ModelResult<Vec<(String, i32)>> {
    let mut tokens: Vec<(String, i32)> = (0..vocabulary_size).map(|id| (format!("[PAD{id}]"), UNUSED)).collect();
    let model = file.model.vocab.iter().map(|(token, id)| (*id, token, NORMAL));
    let added = file
        .added_tokens
        .iter()
        .map(|token| (token.id, &token.content, if token.special { CONTROL } else { USER_DEFINED }));
    for (id, token, kind) in model.chain(added) {
        let place = tokens.get_mut(id as usize).ok_or_else(|| {
            ModelError::input(format!(
                "its token {token:?} has the id {id}, but the embedding has {vocabulary_size} rows"
            ))
        })?;
        *place = (token.clone(), kind);
    }
    Ok(tokens)
}

/// Begin, end and padding tokens, and which of them are put around every text.
fn special_tokens(metadata: &mut MetadataWriter, text: &TextAssets) -> ModelResult<()> {
    let codec = TextCodec::new(text)?;
    let (plain, whole) = (codec.encode("a", false)?, codec.encode("a", true)?);
    let around = whole.windows(plain.len()).position(|window| window == plain);
    let around = around.map(|start| (&whole[..start], &whole[start + plain.len()..]));
    let usual_end = codec.end_of_sequence();
    let (before, after) = match around {
        Some((before @ ([] | [_]), after)) if after.is_empty() || after.iter().eq(usual_end.iter()) => (before, after),
        _ => {
            return Err(ModelError::input(
                "its tokenizer puts more around a text than a begin token before and the end token after it",
            ));
        }
    };
    if let Some(begin) = before.first().copied().or(text.begin_token) {
        metadata.integer("tokenizer.ggml.bos_token_id", begin);
    }
    let mut ends: Vec<u32> = usual_end.into_iter().collect();
    ends.extend(text.end_tokens.iter().filter(|id| Some(**id) != usual_end));
    let keys = ["eos_token_id", "eot_token_id", "eom_token_id"];
    if ends.len() > keys.len() {
        return Err(ModelError::input(format!(
            "it has {} end tokens; the format has {} places",
            ends.len(),
            keys.len()
        )));
    }
    for (key, id) in keys.into_iter().zip(&ends) {
        metadata.integer(&format!("tokenizer.ggml.{key}"), *id);
    }
    if let Some(padding) = text.padding_token {
        metadata.integer("tokenizer.ggml.padding_token_id", padding);
    }
    metadata.boolean("tokenizer.ggml.add_bos_token", !before.is_empty());
    metadata.boolean("tokenizer.ggml.add_eos_token", !after.is_empty());
    Ok(())
}
