//! The key of a stage: blake3 over everything its output bytes may depend on, and nothing else.
//!
//! In the key: kind and epoch, parameters after default filling with defaults left out, inputs by port in
//! declared order with media and content digest, the numerics class of kinds that compute with a model.
//! Not in the key: stage names, paths, the pipeline file's form, threads, host, time; the user in that of private
//! results only, which nobody shares.
//!
//! Every field is framed as `name length (u32) | name | type tag (u8) | value length (u64) | value`, numbers
//! little-endian, so no two different keys share an encoding. `docs/architecture.md` describes the format;
//! `vectors.json` beside this file holds fixed examples.

use std::borrow::Borrow;
use std::sync::Arc;

use retmask_cache::Key;
use retmask_model::Numerics;
use serde::Serialize;

use super::value::{Value, ValueError};

/// The version of the key's fields and encoding.
pub const VERSION: &str = "retmask-key/1";
/// The domain of the key digest.
const CONTEXT: &str = "retmask 2026-11 stage-key v1";

/// One input of a stage, as the key sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyInput {
    /// `port`, or `port.label` for a labelled port.
    pub role: String,
    /// The media name with its version.
    pub media: String,
    /// The content digest with its kind, e.g. `l3:…`.
    pub digest: String,
}

/// Where this program computes: another processor may give other bits in the same type.
const BACKEND: &str = "cpu";

/// The fields of a stage's key.
#[derive(Debug, Clone, PartialEq)]
pub struct StageKey {
    fields: Vec<(&'static str, Arc<Value>)>,
}

impl StageKey {
    /// The key of a stage. `inputs` stand in the kind's declared port order, labelled ones in the order of
    /// the pipeline file.
    pub fn new(
        kind: &str,
        epoch: u32,
        parameters: impl Into<Arc<Value>>,
        inputs: &[KeyInput],
        numerics: Option<Numerics>,
    ) -> Self {
        let mut fields = vec![
            ("v", Value::text(VERSION).into()),
            ("kind", Value::text(kind).into()),
            ("epoch", Value::U64(epoch.into()).into()),
            ("params", parameters.into()),
            ("inputs", inputs_value(inputs).into()),
        ];
        fields.extend(numerics.map(numerics_field).map(|(name, value)| (name, value.into())));
        Self { fields }
    }

    /// A key of this user alone: those of others differ, in a shared store too.
    pub fn private(mut self) -> Self {
        let (name, value) = private_field();
        self.fields.push((name, value.into()));
        self
    }

    /// The canonical bytes the digest is taken over.
    #[cfg(test)]
    pub fn encode(&self) -> Vec<u8> {
        encode(&self.fields)
    }

    /// The digest.
    pub fn digest(&self) -> Key {
        digest(CONTEXT, &self.fields)
    }

    /// The same fields as readable JSON, for the record: nothing is lost, so a difference can be explained.
    pub fn to_json(&self) -> serde_json::Value {
        to_json(&self.fields)
    }
}

/// Inputs in their order.
pub(super) fn inputs_value(inputs: &[KeyInput]) -> Value {
    let map = |input: &KeyInput| text_map(&[("role", &input.role), ("media", &input.media), ("digest", &input.digest)]);
    Value::List(inputs.iter().map(map).collect())
}

/// The class of arithmetic, and which revision of it where there was one before.
pub(super) fn numerics_field(numerics: Numerics) -> (&'static str, Value) {
    let mut entries = vec![("dtype", numerics.name()), ("backend", BACKEND)];
    entries.extend(numerics.revision().map(|revision| ("revision", revision)));
    ("numerics", text_map(&entries))
}

/// Who may have a result that nobody can say what made it.
pub(super) fn private_field() -> (&'static str, Value) {
    ("private", Value::U64(rustix::process::geteuid().as_raw().into()))
}

fn text_map(entries: &[(&str, &str)]) -> Value {
    Value::Map(entries.iter().map(|(name, text)| ((*name).to_owned(), Value::text(text))).collect())
}

/// The canonical bytes of these fields.
fn encode(fields: &[(&'static str, impl Borrow<Value>)]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(512);
    for (name, value) in fields {
        encode_field(&mut bytes, name, value.borrow());
    }
    bytes
}

/// The key over these fields, in a domain.
pub(super) fn digest(context: &str, fields: &[(&'static str, impl Borrow<Value>)]) -> Key {
    let mut hasher = blake3::Hasher::new_derive_key(context);
    hasher.update(&encode(fields));
    Key::new(*hasher.finalize().as_bytes())
}

/// The same fields as readable JSON.
pub(super) fn to_json(fields: &[(&'static str, impl Borrow<Value>)]) -> serde_json::Value {
    let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), value.borrow().to_json()));
    fields.collect::<serde_json::Map<_, _>>().into()
}

/// Parameters as they stand in a key: typed, without the fields equal to their defaults.
///
/// # Errors
/// A value that cannot stand in a key, with the field's name.
pub fn parameters<P: Serialize>(parameters: &P, defaults: &Value) -> Result<Value, ValueError> {
    Ok(Value::of(parameters)?.without_defaults(defaults))
}

fn encode_field(bytes: &mut Vec<u8>, name: &str, value: &Value) {
    bytes.extend(frame_length(name.len()).to_le_bytes());
    bytes.extend(name.as_bytes());
    bytes.push(tag(value));
    let length_at = bytes.len();
    bytes.extend([0; 8]);
    encode_value(bytes, value);
    let length = (bytes.len() - length_at - 8) as u64;
    bytes[length_at..length_at + 8].copy_from_slice(&length.to_le_bytes());
}

/// Names come from a pipeline file whose size is bounded far below 4 GiB.
fn frame_length(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

const fn tag(value: &Value) -> u8 {
    match value {
        Value::Null => 0,
        Value::Bool(_) => 1,
        Value::I64(_) => 2,
        Value::U64(_) => 3,
        Value::F64(_) => 4,
        Value::Str(_) => 5,
        Value::List(_) => 6,
        Value::Map(_) | Value::Struct(_) => 7,
    }
}

fn encode_value(bytes: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => {}
        Value::Bool(value) => bytes.push(u8::from(*value)),
        Value::I64(value) => bytes.extend(value.to_le_bytes()),
        Value::U64(value) => bytes.extend(value.to_le_bytes()),
        Value::F64(value) => bytes.extend(value.to_bits().to_le_bytes()),
        Value::Str(text) => bytes.extend(text.as_bytes()),
        // Items have no name of their own; their order is their place.
        Value::List(items) => items.iter().for_each(|item| encode_field(bytes, "", item)),
        // A BTreeMap of strings iterates in the order of their bytes.
        Value::Map(fields) | Value::Struct(fields) => {
            fields.iter().for_each(|(name, value)| encode_field(bytes, name, value));
        }
    }
}

#[cfg(test)]
#[path = "key_tests.rs"]
mod tests;
