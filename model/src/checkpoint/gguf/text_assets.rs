//! The tokenizer of a GGUF file, rewritten as a tokenizer.json, and the texts that go with it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use super::metadata::Metadata;
use super::pre_tokenizer::{self, byte_level};
use super::sentence_pieces::{self, SCORES};
use crate::checkpoint::byte_reader::Reason;
use crate::text::assets::{TextAssets, generation_config};

pub(super) const TOKENS: &str = "tokenizer.ggml.tokens";
pub(super) const TOKEN_TYPES: &str = "tokenizer.ggml.token_type";
pub(super) const MERGES: &str = "tokenizer.ggml.merges";
pub(super) const CHAT_TEMPLATE: &str = "tokenizer.chat_template";

/// Token types of the format.
pub(super) const NORMAL: i32 = 1;
const UNKNOWN: i32 = 2;
pub(super) const CONTROL: i32 = 3;
pub(super) const USER_DEFINED: i32 = 4;
pub(super) const UNUSED: i32 = 5;

/// Whether the file has a tokenizer.
pub(crate) fn has_tokenizer(metadata: &Metadata) -> bool {
    metadata.has("tokenizer.ggml.model")
}

/// Whether the file has a chat template.
pub(crate) fn has_chat_template(metadata: &Metadata) -> bool {
    metadata.has(CHAT_TEMPLATE)
}

/// Reads the tokenizer, the chat template and the special tokens.
pub(crate) fn read(bytes: &[u8], metadata: &Metadata) -> Result<TextAssets, Reason> {
    let tokens = metadata.texts(bytes, TOKENS)?.ok_or_else(|| format!("the metadata key `{TOKENS}` is missing"))?;
    let types = match metadata.integers(bytes, TOKEN_TYPES)? {
        Some(types) if types.len() != tokens.len() => {
            return Err(format!("`{TOKENS}` has {} entries, `{TOKEN_TYPES}` has {}", tokens.len(), types.len()));
        }
        Some(types) => types,
        None => vec![NORMAL; tokens.len()],
    };
    let rules = Rules::read(bytes, metadata, &tokens, &types)?;

    let mut seen = BTreeSet::new();
    let mut vocabulary = Vec::new();
    let mut added_tokens = Vec::new();
    for (id, (&token, &kind)) in tokens.iter().zip(&types).enumerate() {
        if kind == UNUSED {
            continue;
        }
        if !seen.insert(token) {
            return Err(format!("`{TOKENS}` holds {token:?} twice"));
        }
        vocabulary.push((token, id));
        if matches!(kind, UNKNOWN | CONTROL | USER_DEFINED) {
            added_tokens.push(AddedToken::new(id, token, kind != USER_DEFINED));
        }
    }

    let special = |key: &str| -> Result<Option<(u32, &str)>, Reason> {
        let Some(id) = metadata.token(key)? else { return Ok(None) };
        let token =
            tokens.get(id as usize).ok_or_else(|| format!("`{key}` is {id}, but there are {} tokens", tokens.len()))?;
        Ok(Some((id, token)))
    };
    let begin = special("tokenizer.ggml.bos_token_id")?;
    let end = special("tokenizer.ggml.eos_token_id")?;
    let unknown = special("tokenizer.ggml.unknown_token_id")?;
    let padding = special("tokenizer.ggml.padding_token_id")?;
    let mut end_tokens = Vec::new();
    let others = [special("tokenizer.ggml.eot_token_id")?, special("tokenizer.ggml.eom_token_id")?];
    for (id, _) in [end].into_iter().chain(others).flatten() {
        if !end_tokens.contains(&id) {
            end_tokens.push(id);
        }
    }
    let adds = |key: &str, default: bool| Ok::<bool, Reason>(metadata.boolean(key)?.unwrap_or(default));
    let before = if adds("tokenizer.ggml.add_bos_token", rules.add_begin_token)? { begin } else { None };
    let after = if adds("tokenizer.ggml.add_eos_token", false)? { end } else { None };

    let tokenizer = TokenizerJson {
        version: "1.0",
        truncation: None,
        padding: None,
        added_tokens,
        normalizer: rules.normalizer,
        pre_tokenizer: rules.pre_tokenizer,
        post_processor: template_processing(before, after),
        decoder: rules.decoder,
        model: BytePairModel {
            kind: "BPE",
            dropout: None,
            unk_token: unknown.filter(|_| rules.byte_fallback).map(|(_, token)| token),
            continuing_subword_prefix: "",
            end_of_word_suffix: "",
            fuse_unk: rules.byte_fallback,
            byte_fallback: rules.byte_fallback,
            ignore_merges: rules.ignore_merges,
            vocab: Vocabulary(vocabulary),
            merges: Merges(rules.merges),
        },
    };
    let spelling = |token: Option<(u32, &str)>| token.map(|(_, token)| token.to_owned());
    let tokenizer_config = TokenizerConfig {
        tokenizer_class: "PreTrainedTokenizerFast",
        bos_token: spelling(begin),
        eos_token: spelling(end),
        unk_token: spelling(unknown),
        pad_token: spelling(padding),
        clean_up_tokenization_spaces: false,
    };
    let id = |token: Option<(u32, &str)>| token.map(|(id, _)| id);
    Ok(TextAssets {
        tokenizer: to_json(&tokenizer)?,
        tokenizer_config: Some(to_json(&tokenizer_config)?),
        chat_template: metadata.text(bytes, CHAT_TEMPLATE)?.map(str::to_owned),
        generation_config: Some(generation_config(id(begin), &end_tokens, id(padding))),
        begin_token: id(begin),
        end_tokens,
        padding_token: id(padding),
    })
}

/// How text becomes tokens and comes back, apart from the vocabulary.
struct Rules<'file> {
    normalizer: Value,
    pre_tokenizer: Value,
    decoder: Value,
    /// Characters without a token become tokens of their bytes.
    byte_fallback: bool,
    ignore_merges: bool,
    add_begin_token: bool,
    merges: Vec<(&'file str, &'file str)>,
}

impl<'file> Rules<'file> {
    fn read(bytes: &'file [u8], metadata: &Metadata, tokens: &[&'file str], types: &[i32]) -> Result<Self, Reason> {
        match metadata.text(bytes, "tokenizer.ggml.model")?.ok_or("the file has no tokenizer")? {
            "gpt2" => {
                let rules = pre_tokenizer::by_name(metadata.text(bytes, "tokenizer.ggml.pre")?)?;
                Ok(Self {
                    normalizer: rules.normalizer,
                    pre_tokenizer: rules.pre_tokenizer,
                    decoder: byte_level(true, false),
                    byte_fallback: false,
                    ignore_merges: rules.ignore_merges,
                    add_begin_token: rules.add_begin_token,
                    merges: listed_merges(bytes, metadata)?,
                })
            }
            "llama" => {
                let rules = sentence_pieces::rules(metadata)?;
                Ok(Self {
                    normalizer: rules.normalizer,
                    pre_tokenizer: Value::Null,
                    decoder: rules.decoder,
                    byte_fallback: true,
                    ignore_merges: false,
                    add_begin_token: true,
                    merges: sentence_pieces::merges(tokens, types, metadata.numbers(bytes, SCORES)?)?,
                })
            }
            other => Err(format!(
                "the tokenizer model `{other}` is not supported; `gpt2` (byte-level BPE) and `llama` (SentencePiece's BPE) are"
            )),
        }
    }
}

/// The merges as a list of them states them.
fn listed_merges<'file>(bytes: &'file [u8], metadata: &Metadata) -> Result<Vec<(&'file str, &'file str)>, Reason> {
    let merges = metadata.texts(bytes, MERGES)?.ok_or_else(|| format!("the metadata key `{MERGES}` is missing"))?;
    let pair = |(index, merge): (usize, &&'file str)| {
        merge.split_once(' ').ok_or_else(|| format!("`{MERGES}` entry {index} is not two tokens: {merge:?}"))
    };
    merges.iter().enumerate().map(pair).collect()
}

/// Puts the begin and end tokens around one text, and around both of a pair.
fn template_processing(before: Option<(u32, &str)>, after: Option<(u32, &str)>) -> Value {
    let around = |sequences: &[&str]| -> Vec<Value> {
        let mut pieces = Vec::new();
        for (type_id, sequence) in sequences.iter().enumerate() {
            let special = |token: (u32, &str)| json!({"SpecialToken": {"id": token.1, "type_id": type_id}});
            pieces.extend(before.map(special));
            pieces.push(json!({"Sequence": {"id": sequence, "type_id": type_id}}));
            pieces.extend(after.map(special));
        }
        pieces
    };
    let special_tokens: BTreeMap<&str, Value> = before
        .into_iter()
        .chain(after)
        .map(|(id, token)| (token, json!({"id": token, "ids": [id], "tokens": [token]})))
        .collect();
    json!({"type": "TemplateProcessing", "single": around(&["A"]), "pair": around(&["A", "B"]),
           "special_tokens": special_tokens})
}

fn to_json<T: Serialize>(value: &T) -> Result<String, Reason> {
    serde_json::to_string_pretty(value).map_err(|error| format!("the tokenizer cannot be written as JSON: {error}"))
}

#[derive(Serialize)]
struct TokenizerJson<'file> {
    version: &'static str,
    truncation: Option<()>,
    padding: Option<()>,
    added_tokens: Vec<AddedToken<'file>>,
    normalizer: Value,
    pre_tokenizer: Value,
    post_processor: Value,
    decoder: Value,
    model: BytePairModel<'file>,
}

#[derive(Serialize)]
struct AddedToken<'file> {
    id: usize,
    content: &'file str,
    single_word: bool,
    lstrip: bool,
    rstrip: bool,
    normalized: bool,
    special: bool,
}

impl<'file> AddedToken<'file> {
    fn new(id: usize, content: &'file str, special: bool) -> Self {
        Self { id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special }
    }
}

#[derive(Serialize)]
struct BytePairModel<'file> {
    #[serde(rename = "type")]
    kind: &'static str,
    dropout: Option<()>,
    unk_token: Option<&'file str>,
    continuing_subword_prefix: &'static str,
    end_of_word_suffix: &'static str,
    fuse_unk: bool,
    byte_fallback: bool,
    ignore_merges: bool,
    vocab: Vocabulary<'file>,
    merges: Merges<'file>,
}

/// Token to id, in order of ids.
struct Vocabulary<'file>(Vec<(&'file str, usize)>);

impl Serialize for Vocabulary<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().copied())
    }
}

/// Pairs in order of priority.
#[derive(Serialize)]
struct Merges<'file>(Vec<(&'file str, &'file str)>);

#[derive(Serialize)]
struct TokenizerConfig {
    tokenizer_class: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    bos_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    eos_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unk_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pad_token: Option<String>,
    clean_up_tokenization_spaces: bool,
}
