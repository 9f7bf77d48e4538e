//! The typed tree a key is made of.
//!
//! JSON would lose what a key must keep apart: `1`, `1.0` and `"1"`, or an integer's sign class. So
//! parameters are serialised straight into [`Value`], and only then shown as JSON for people.

use std::collections::BTreeMap;
use std::fmt;

use serde::ser::{self, Serialize};
use unicode_normalization::{UnicodeNormalization, is_nfc};

use super::encoder::Encoder;

/// A typed value. `Struct` is a map whose names come from the program, so that a missing name means
/// "equal to its default"; a missing name in a `Map` means "not there".
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Null,
    Bool(bool),
    I64(i64),
    U64(u64),
    /// Finite, and never -0.0.
    F64(f64),
    /// In Unicode normal form C.
    Str(String),
    List(Vec<Self>),
    Map(BTreeMap<String, Self>),
    Struct(BTreeMap<String, Self>),
}

/// Why a value cannot stand in a key: the dotted path of the field, and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValueError {
    pub field: String,
    pub message: String,
}

impl ValueError {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self { field: String::new(), message: message.into() }
    }

    /// Puts the error one level deeper.
    pub(super) fn within(mut self, name: &str) -> Self {
        self.field = if self.field.is_empty() { name.to_owned() } else { format!("{name}.{}", self.field) };
        self
    }
}

impl fmt::Display for ValueError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.field.is_empty() {
            formatter.write_str(&self.message)
        } else {
            write!(formatter, "`{}`: {}", self.field, self.message)
        }
    }
}

impl std::error::Error for ValueError {}

impl ser::Error for ValueError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(message.to_string())
    }
}

/// The names of the number wrappers in the JSON form.
const WRAPPERS: [&str; 4] = ["i64", "u64", "f64", "map"];

impl Value {
    /// The typed tree of anything serialisable.
    ///
    /// # Errors
    /// A number that is not finite, a map whose names are not text, raw bytes.
    pub fn of<T: Serialize + ?Sized>(value: &T) -> Result<Self, ValueError> {
        value.serialize(Encoder)
    }

    /// A text, normalised.
    pub fn text(text: &str) -> Self {
        Self::Str(normal(text))
    }

    /// Removes from a struct every field equal to the default's, in nested structs as well, and turns
    /// what is left into maps. Maps keep all their entries: there a missing name has a meaning of its own.
    pub fn without_defaults(self, default: &Self) -> Self {
        match (self, default) {
            (Self::Struct(mut fields), Self::Struct(defaults)) => {
                // A field left out by its serialiser although the default has it is not the default.
                for name in defaults.keys() {
                    fields.entry(name.clone()).or_insert(Self::Null);
                }
                let kept = fields.into_iter().filter_map(|(name, value)| match defaults.get(&name) {
                    Some(default) if *default == value => None,
                    Some(default) => Some((name, value.without_defaults(default))),
                    None => Some((name, value.settled())),
                });
                Self::Map(kept.collect())
            }
            (value, _) => value.settled(),
        }
    }

    /// Undoes [`Self::without_defaults`].
    pub fn with_defaults(self, default: &Self) -> Self {
        match (self, default) {
            (Self::Map(mut fields), Self::Struct(defaults)) => {
                for (name, default) in defaults {
                    let value = match fields.remove(name) {
                        Some(value) => value.with_defaults(default),
                        None => default.clone().settled(),
                    };
                    fields.insert(name.clone(), value);
                }
                Self::Map(fields)
            }
            (value, _) => value,
        }
    }

    /// The same tree with every struct as a map.
    fn settled(self) -> Self {
        match self {
            Self::Struct(fields) | Self::Map(fields) => {
                Self::Map(fields.into_iter().map(|(name, value)| (name, value.settled())).collect())
            }
            Self::List(items) => Self::List(items.into_iter().map(Self::settled).collect()),
            value => value,
        }
    }

    /// The JSON form: numbers carry their type as `{"u64": 3}`, so that nothing is lost; a map that would
    /// look like such a wrapper is wrapped as `{"map": {…}}`.
    pub fn to_json(&self) -> serde_json::Value {
        use serde_json::{Value as Json, json};
        match self {
            Self::Null => Json::Null,
            Self::Bool(value) => json!(value),
            Self::I64(value) => json!({ "i64": value }),
            Self::U64(value) => json!({ "u64": value }),
            Self::F64(value) => json!({ "f64": value }),
            Self::Str(text) => json!(text),
            Self::List(items) => Json::Array(items.iter().map(Self::to_json).collect()),
            Self::Map(fields) | Self::Struct(fields) => {
                let map: serde_json::Map<_, _> =
                    fields.iter().map(|(name, value)| (name.clone(), value.to_json())).collect();
                let ambiguous = map.len() == 1 && map.keys().all(|name| WRAPPERS.contains(&name.as_str()));
                if ambiguous { json!({ "map": map }) } else { Json::Object(map) }
            }
        }
    }

    /// Reads the JSON form back; `None` for JSON that [`Self::to_json`] never writes.
    pub fn from_json(json: &serde_json::Value) -> Option<Self> {
        use serde_json::Value as Json;
        match json {
            Json::Null => Some(Self::Null),
            Json::Bool(value) => Some(Self::Bool(*value)),
            Json::Number(_) => None,
            Json::String(text) => Some(Self::Str(text.clone())),
            Json::Array(items) => items.iter().map(Self::from_json).collect::<Option<_>>().map(Self::List),
            Json::Object(map) => {
                let entries = |map: &serde_json::Map<String, Json>| {
                    map.iter().map(|(name, value)| Some((name.clone(), Self::from_json(value)?))).collect()
                };
                match (map.len(), map.iter().next()) {
                    (1, Some((name, value))) if WRAPPERS.contains(&name.as_str()) => match name.as_str() {
                        "i64" => value.as_i64().map(Self::I64),
                        "u64" => value.as_u64().map(Self::U64),
                        "f64" => value.as_f64().map(Self::F64),
                        _ => value.as_object().and_then(entries).map(Self::Map),
                    },
                    _ => entries(map).map(Self::Map),
                }
            }
        }
    }

    /// For one line on a terminal: numbers without their type, long texts and collections shortened.
    pub fn brief(&self) -> String {
        const LONGEST: usize = 48;
        let full = self.plain().to_string();
        if full.chars().count() <= LONGEST {
            return full;
        }
        let head: String = full.chars().take(LONGEST - 1).collect();
        format!("{head}…")
    }

    /// JSON without the types of numbers, for people.
    pub fn plain(&self) -> serde_json::Value {
        use serde_json::{Value as Json, json};
        match self {
            Self::I64(value) => json!(value),
            Self::U64(value) => json!(value),
            Self::F64(value) => json!(value),
            Self::List(items) => Json::Array(items.iter().map(Self::plain).collect()),
            Self::Map(fields) | Self::Struct(fields) => {
                Json::Object(fields.iter().map(|(name, value)| (name.clone(), value.plain())).collect())
            }
            Self::Null | Self::Bool(_) | Self::Str(_) => self.to_json(),
        }
    }
}

/// Unicode normal form C.
pub(super) fn normal(text: &str) -> String {
    if is_nfc(text) { text.to_owned() } else { text.nfc().collect() }
}
