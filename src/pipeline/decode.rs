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

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::super::yaml;
    use super::*;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
    struct Sample {
        count: u8,
        rate: f64,
        single: f32,
        offset: i64,
        text: String,
        flag: bool,
        letter: char,
        list: Vec<u32>,
        pair: (u8, String),
        maybe: Option<u32>,
        at_least_one: Option<std::num::NonZeroU32>,
        choice: Choice,
        inner: Inner,
        map: std::collections::BTreeMap<String, u8>,
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Inner {
        depth: u8,
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(rename_all = "kebab-case", deny_unknown_fields)]
    enum Choice {
        #[default]
        Plain,
        One(u32),
        Two(u8, u8),
        Fields {
            low: f64,
        },
    }

    fn sample(content: &str) -> Result<Sample, DecodeError> {
        decode(&yaml::parse(0, 0, content).unwrap())
    }

    /// The message, and the text it points at.
    fn fault(content: &str) -> (String, String) {
        let root = yaml::parse(0, 0, content).unwrap();
        let fault = decode::<Sample>(&root).unwrap_err().into_diagnostic(root.place).unwrap();
        let place = content[fault.place.start as usize..fault.place.end as usize].to_owned();
        (fault.message, place)
    }

    #[test]
    fn every_type_decodes() {
        let read = sample(
            "count: 7\nrate: 3\nsingle: 0.5\noffset: -9\ntext: '12'\nflag: true\nletter: x\nlist: [1, 2]\n\
             pair: [1, a]\nmaybe: 4\nat-least-one: 1\nchoice: {fields: {low: 1e-3}}\ninner: {depth: 2}\nmap: {a: 1}\n",
        )
        .unwrap();
        assert_eq!((read.count, read.rate, read.single, read.offset), (7, 3.0, 0.5, -9));
        assert_eq!((read.text.as_str(), read.flag, read.letter), ("12", true, 'x'));
        assert_eq!((read.list, read.pair, read.maybe), (vec![1, 2], (1, "a".to_owned()), Some(4)));
        assert_eq!(read.choice, Choice::Fields { low: 1e-3 });
        assert_eq!((read.inner.depth, read.map["a"]), (2, 1));
        assert_eq!(sample("choice: plain\nmaybe: null\n").unwrap(), Sample::default());
        assert_eq!(sample("choice: {one: 3}\n").unwrap().choice, Choice::One(3));
        assert_eq!(sample("choice: {two: [3, 4]}\n").unwrap().choice, Choice::Two(3, 4));
        assert!(sample("rate: -0.0\n").unwrap().rate.is_sign_positive());
    }

    #[test]
    fn faults_say_what_was_expected_and_point_at_the_value() {
        for (content, message, place) in [
            ("count: 300\n", "`count`: expected a whole number from 0 to 255, found the number 300", "300"),
            ("count: -1\n", "`count`: expected a whole number from 0 to 255, found the number -1", "-1"),
            ("count: 1.5\n", "`count`: expected a whole number from 0 to 255, found the number 1.5", "1.5"),
            ("offset: 1e3\n", "`offset`: expected a whole number, found the number 1e3", "1e3"),
            (
                "offset: 99999999999999999999\n",
                "`offset`: expected a whole number, found the number 99999999999999999999",
                "99999999999999999999",
            ),
            ("rate: x\n", "`rate`: expected a number, found the text `x`", "x"),
            ("rate: .nan\n", "`rate`: expected a finite number, found the number .nan", ".nan"),
            ("rate: 1e999\n", "`rate`: expected a finite number, found the number 1e999", "1e999"),
            ("single: 1e39\n", "`single`: expected a finite number, found the number 1e39", "1e39"),
            ("text: 12\n", "`text`: expected text, found the number 12", "12"),
            ("text: true\n", "`text`: expected text, found `true`", "true"),
            ("flag: yes\n", "`flag`: expected `true` or `false`, found the text `yes`", "yes"),
            ("letter: xy\n", "`letter`: expected one character, found the text `xy`", "xy"),
            ("list: 3\n", "`list`: expected a list, found the number 3", "3"),
            ("list: [1, x]\n", "`list`: expected a whole number from 0 to 4294967295, found the text `x`", "x"),
            ("pair: [1, a, 2]\n", "`pair`: the list has 3 items, which is too many", "[1, a, 2]"),
            ("at-least-one: 0\n", "`at-least-one`: expected a whole number, 1 or larger, found the number 0", "0"),
            ("choice: plan\n", "`choice`: `plan` is not one of the allowed values", "plan"),
            ("choice: one\n", "`choice`: `one` needs a value: `{one: ...}`", "one"),
            ("choice: {plain: 1}\n", "`choice`: `plain` takes no value", "1"),
            (
                "choice: {one: 1, two: 2}\n",
                "`choice`: expected a name, or a map with exactly one key",
                "{one: 1, two: 2}",
            ),
            ("choice: {fields: {hi: 1}}\n", "`choice.hi`: there is no such parameter", "hi"),
            ("choice: {fields: {}}\n", "`choice`: `low` is missing, and it has no default", "{}"),
            ("inner: {depht: 1}\n", "`inner.depht`: there is no such parameter", "depht"),
            ("inner: 3\n", "`inner`: expected a map, found the number 3", "3"),
            ("map: {a: x}\n", "`map.a`: expected a whole number from 0 to 255, found the text `x`", "x"),
            ("cuont: 1\n", "`cuont`: there is no such parameter", "cuont"),
            ("count:\n", "`count`: expected a whole number from 0 to 255, found nothing", ""),
        ] {
            assert_eq!(fault(content), (message.to_owned(), place.to_owned()), "{content}");
        }
    }
}
