//! From a tree to a type: a serde deserializer whose errors keep the place and name what was expected.

use std::fmt;

use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Expected, MapAccess, SeqAccess, Unexpected,
    VariantAccess, Visitor,
};

use super::tree::{Entry, Meaning, Node, Scalar, Value};
use super::{Diagnostic, Place, names};

/// Decodes a node.
///
/// # Errors
/// The first fault.
pub fn decode<T: DeserializeOwned>(node: &Node) -> Result<T, DecodeError> {
    T::deserialize(Decoder { node })
}

/// Why a node could not be decoded, and where.
#[derive(Debug)]
pub struct DecodeError {
    message: String,
    help: Vec<String>,
    /// Where; set by the innermost value the error passes on its way out.
    place: Option<(Place, Option<Place>)>,
    /// Keys from the outermost map to the fault.
    path: Vec<String>,
    /// An unresolved reference: its fault has been reported.
    silent: bool,
}

impl DecodeError {
    fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), help: Vec::new(), place: None, path: Vec::new(), silent: false }
    }

    fn wrong_type(node: &Node, expected: &str) -> Self {
        let mut error = Self::new(format!("expected {expected}, found {}", node.describe()));
        error.silent = node.is_unresolved();
        error.at(node)
    }

    fn at(mut self, node: &Node) -> Self {
        self.place.get_or_insert((node.place, node.used));
        self
    }

    fn at_key(mut self, entry: &Entry) -> Self {
        self.place.get_or_insert((entry.key_place, None));
        self
    }

    fn below(mut self, entry: &Entry) -> Self {
        self.path.insert(0, entry.key.clone());
        self
    }

    /// The key of the outermost map in which the fault is; `None` when it is in no single one.
    pub fn outermost_key(&self) -> Option<&str> {
        self.path.first().map(String::as_str)
    }

    /// The fault for people; `whole` is the place of the decoded node. `None` when it was reported before.
    pub fn into_diagnostic(self, whole: Place) -> Option<Diagnostic> {
        if self.silent {
            return None;
        }
        let (place, used) = self.place.unwrap_or((whole, None));
        let message =
            if self.path.is_empty() { self.message } else { format!("`{}`: {}", self.path.join("."), self.message) };
        let mut diagnostic = Diagnostic::new(place, message);
        if let Some(used) = used {
            diagnostic = diagnostic.note(used, "used here");
        }
        diagnostic.help = self.help;
        Some(diagnostic)
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for DecodeError {}

impl de::Error for DecodeError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(message.to_string())
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(format!("expected {}, found {}", words_of(expected), words_of_unexpected(found)))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn invalid_length(length: usize, expected: &dyn Expected) -> Self {
        Self::new(format!("expected {}, found {length}", words_of(expected)))
    }

    fn unknown_variant(variant: &str, known: &'static [&'static str]) -> Self {
        let mut error = Self::new(format!("`{}` is not one of the allowed values", super::tree::shorten(variant)));
        error.help = names::suggest(variant, "allowed values", known.iter().copied());
        error
    }

    fn unknown_field(field: &str, known: &'static [&'static str]) -> Self {
        let mut error = Self::new("there is no such parameter");
        error.help = names::suggest(field, "valid names", known.iter().copied());
        error
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(format!("`{field}` is missing, and it has no default"))
    }

    fn duplicate_field(field: &'static str) -> Self {
        Self::new(format!("`{field}` stands twice"))
    }
}

/// serde's word for a type, in words a reader of the file knows.
fn words_of(expected: &dyn Expected) -> String {
    let text = expected.to_string();
    let range = |low: i128, high: u128| format!("a whole number from {low} to {high}");
    match text.as_str() {
        "u8" => range(0, u8::MAX.into()),
        "u16" => range(0, u16::MAX.into()),
        "u32" => range(0, u32::MAX.into()),
        "u64" | "usize" => "a whole number, 0 or larger".into(),
        "a nonzero u8" | "a nonzero u16" | "a nonzero u32" | "a nonzero u64" | "a nonzero usize" => {
            "a whole number, 1 or larger".into()
        }
        "i8" => range(i8::MIN.into(), i8::MAX as u128),
        "i16" => range(i16::MIN.into(), i16::MAX as u128),
        "i32" => range(i32::MIN.into(), i32::MAX as u128),
        "i64" | "isize" => "a whole number".into(),
        "f32" | "f64" => "a number".into(),
        "a boolean" => "`true` or `false`".into(),
        "a string" | "string" | "a borrowed string" => "text".into(),
        "a character" => "one character".into(),
        "a sequence" => "a list".into(),
        "variant identifier" => "the name of a variant".into(),
        other if other.starts_with("struct ") || other == "a map" => "a map".into(),
        other if other.starts_with("enum ") => "a name, or a map with one key".into(),
        other => other.replace("sequence", "list"),
    }
}

fn words_of_unexpected(found: Unexpected<'_>) -> String {
    match found {
        Unexpected::Bool(value) => format!("`{value}`"),
        Unexpected::Unsigned(value) => format!("the number {value}"),
        Unexpected::Signed(value) => format!("the number {value}"),
        Unexpected::Float(value) => format!("the number {value}"),
        Unexpected::Str(text) => format!("the text `{}`", super::tree::shorten(text)),
        Unexpected::Unit | Unexpected::Option => "nothing".into(),
        Unexpected::Seq => "a list".into(),
        Unexpected::Map => "a map".into(),
        other => other.to_string(),
    }
}

#[derive(Clone, Copy)]
struct Decoder<'a> {
    node: &'a Node,
}

impl<'a> Decoder<'a> {
    fn meaning(self) -> Option<Meaning<'a>> {
        self.node.scalar().map(Scalar::meaning)
    }

    fn wrong_type(self, expected: &dyn Expected) -> DecodeError {
        DecodeError::wrong_type(self.node, &words_of(expected))
    }

    fn whole_number<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.meaning() {
            Some(Meaning::Unsigned(number)) => visitor.visit_u64(number),
            Some(Meaning::Negative(number)) => visitor.visit_i64(number),
            _ => return Err(self.wrong_type(&visitor)),
        }
        .map_err(|error: DecodeError| error.at(self.node))
    }

    fn real_number<V: Visitor<'a>>(self, visitor: V, largest: f64) -> Result<V::Value, DecodeError> {
        let number = match self.meaning() {
            Some(Meaning::Real(number)) => number,
            Some(Meaning::Unsigned(number)) => number as f64,
            Some(Meaning::Negative(number)) => number as f64,
            _ => return Err(self.wrong_type(&visitor)),
        };
        // A key holds finite numbers only, and a number that overflows is a slip. -0 and 0 are one number.
        if !(number.abs() <= largest) {
            return Err(DecodeError::wrong_type(self.node, "a finite number"));
        }
        visitor.visit_f64(number + 0.0).map_err(|error: DecodeError| error.at(self.node))
    }

    fn text<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match (self.meaning(), self.node.scalar()) {
            (Some(Meaning::Text(text)), _) => visitor.visit_str(text).map_err(|error: DecodeError| error.at(self.node)),
            (Some(_), Some(scalar)) if !scalar.text.is_empty() => {
                let mut error = self.wrong_type(&"text");
                error.help.push(format!("in quotes it is text: \"{}\"", scalar.text));
                Err(error)
            }
            _ => Err(self.wrong_type(&"text")),
        }
    }
}

macro_rules! forward {
    ($to:ident: $($name:ident)*) => {
        $(fn $name<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
            self.$to(visitor)
        })*
    };
}

impl<'de> Deserializer<'de> for Decoder<'de> {
    type Error = DecodeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match &self.node.value {
            Value::Sequence(_) => self.deserialize_seq(visitor),
            Value::Mapping(_) => self.deserialize_map(visitor),
            Value::Unresolved => Err(self.wrong_type(&visitor)),
            Value::Scalar(scalar) => match scalar.meaning() {
                Meaning::Null => visitor.visit_unit().map_err(|error: DecodeError| error.at(self.node)),
                Meaning::Boolean(_) => self.deserialize_bool(visitor),
                Meaning::Real(_) => self.deserialize_f64(visitor),
                Meaning::Text(_) => self.text(visitor),
                Meaning::Unsigned(_) | Meaning::Negative(_) | Meaning::Huge => self.whole_number(visitor),
            },
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.meaning() {
            Some(Meaning::Boolean(value)) => {
                visitor.visit_bool(value).map_err(|error: DecodeError| error.at(self.node))
            }
            _ => Err(self.wrong_type(&visitor)),
        }
    }

    forward! { whole_number: deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
    deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.real_number(visitor, f32::MAX.into())
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.real_number(visitor, f64::MAX)
    }

    forward! { text: deserialize_char deserialize_str deserialize_string deserialize_identifier }

    forward! { deserialize_any: deserialize_bytes deserialize_byte_buf }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        if self.node.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
            .map_err(|error: DecodeError| error.at(self.node))
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        if self.node.is_null() { visitor.visit_unit() } else { Err(self.wrong_type(&visitor)) }
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, DecodeError> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_newtype_struct(self).map_err(|error: DecodeError| error.at(self.node))
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        let Value::Sequence(items) = &self.node.value else { return Err(self.wrong_type(&visitor)) };
        let mut access = Items { items: items.iter() };
        let value = visitor.visit_seq(&mut access).map_err(|error: DecodeError| error.at(self.node))?;
        if access.items.next().is_some() {
            let error = DecodeError::new(format!("the list has {} items, which is too many", items.len()));
            return Err(error.at(self.node));
        }
        Ok(value)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, DecodeError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        let Some(mapping) = self.node.mapping() else { return Err(self.wrong_type(&visitor)) };
        let access = Entries { entries: mapping.entries.iter(), value: None };
        visitor.visit_map(access).map_err(|error: DecodeError| error.at(self.node))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        let access = match &self.node.value {
            Value::Mapping(mapping) => match mapping.entries.as_slice() {
                [entry] => Variant { node: self.node, entry: Some(entry) },
                _ => return Err(DecodeError::new("expected a name, or a map with exactly one key").at(self.node)),
            },
            Value::Scalar(scalar) if matches!(scalar.meaning(), Meaning::Text(_)) => {
                Variant { node: self.node, entry: None }
            }
            _ => return Err(self.wrong_type(&visitor)),
        };
        visitor.visit_enum(access).map_err(|error: DecodeError| error.at(self.node))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_unit()
    }
}

struct Items<'a> {
    items: std::slice::Iter<'a, Node>,
}

impl<'de> SeqAccess<'de> for &mut Items<'de> {
    type Error = DecodeError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, DecodeError> {
        let Some(node) = self.items.next() else { return Ok(None) };
        seed.deserialize(Decoder { node }).map(Some).map_err(|error| error.at(node))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len())
    }
}

struct Entries<'a> {
    entries: std::slice::Iter<'a, Entry>,
    value: Option<&'a Entry>,
}

impl<'de> MapAccess<'de> for Entries<'de> {
    type Error = DecodeError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, DecodeError> {
        let Some(entry) = self.entries.next() else { return Ok(None) };
        self.value = Some(entry);
        let key = de::value::StrDeserializer::new(&entry.key);
        seed.deserialize(key).map(Some).map_err(|error: DecodeError| error.at_key(entry).below(entry))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, DecodeError> {
        let entry = self.value.take().ok_or_else(|| DecodeError::new("a value was asked for before its key"))?;
        seed.deserialize(Decoder { node: &entry.value }).map_err(|error| error.at(&entry.value).below(entry))
    }
}

/// A variant by its name alone, or as a map from its name to its content.
struct Variant<'a> {
    node: &'a Node,
    entry: Option<&'a Entry>,
}

impl<'de> EnumAccess<'de> for Variant<'de> {
    type Error = DecodeError;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), DecodeError> {
        let value = match (self.entry, self.node.scalar()) {
            (Some(entry), _) => {
                let key = de::value::StrDeserializer::new(&entry.key);
                seed.deserialize(key).map_err(|error: DecodeError| error.at_key(entry))?
            }
            (None, Some(scalar)) => {
                let name = de::value::StrDeserializer::new(&scalar.text);
                seed.deserialize(name).map_err(|error: DecodeError| error.at(self.node))?
            }
            (None, None) => return Err(DecodeError::new("expected a name").at(self.node)),
        };
        Ok((value, self))
    }
}

impl<'de> Variant<'de> {
    fn content(&self) -> Result<Decoder<'de>, DecodeError> {
        match self.entry {
            Some(entry) => Ok(Decoder { node: &entry.value }),
            None => {
                let name = self.node.scalar().map_or("", |scalar| &scalar.text);
                Err(DecodeError::new(format!("`{name}` needs a value: `{{{name}: ...}}`")).at(self.node))
            }
        }
    }
}

impl<'de> VariantAccess<'de> for Variant<'de> {
    type Error = DecodeError;

    fn unit_variant(self) -> Result<(), DecodeError> {
        match self.entry {
            Some(entry) if !entry.value.is_null() => {
                Err(DecodeError::new(format!("`{}` takes no value", entry.key)).at(&entry.value))
            }
            _ => Ok(()),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, DecodeError> {
        let content = self.content()?;
        seed.deserialize(content).map_err(|error| error.at(content.node))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, DecodeError> {
        self.content()?.deserialize_seq(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], visitor: V) -> Result<V::Value, DecodeError> {
        self.content()?.deserialize_map(visitor)
    }
}
