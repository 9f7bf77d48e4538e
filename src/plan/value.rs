//! The typed tree a key is made of, and the serializer that turns parameters into it.
//!
//! JSON would lose what a key must keep apart: `1`, `1.0` and `"1"`, or an integer's sign class. So
//! parameters are serialised straight into [`Value`], and only then shown as JSON for people.

use std::collections::BTreeMap;
use std::fmt;

use serde::ser::{self, Serialize};
use unicode_normalization::{UnicodeNormalization, is_nfc};

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
    fn new(message: impl Into<String>) -> Self {
        Self { field: String::new(), message: message.into() }
    }

    /// Puts the error one level deeper.
    fn within(mut self, name: &str) -> Self {
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

fn normal(text: &str) -> String {
    if is_nfc(text) { text.to_owned() } else { text.nfc().collect() }
}

/// Serialises into [`Value`].
struct Encoder;

/// Collects the fields of a map, struct or struct variant.
struct Entries {
    fields: BTreeMap<String, Value>,
    name: String,
    variant: Option<&'static str>,
    is_struct: bool,
}

impl Entries {
    fn new(is_struct: bool, variant: Option<&'static str>) -> Self {
        Self { fields: BTreeMap::new(), name: String::new(), variant, is_struct }
    }

    fn put<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) -> Result<(), ValueError> {
        let name = normal(name);
        let value = Value::of(value).map_err(|error| error.within(&name))?;
        match self.fields.insert(name.clone(), value) {
            None => Ok(()),
            Some(_) => Err(ValueError::new("this name stands twice").within(&name)),
        }
    }

    fn finish(self) -> Value {
        let value = if self.is_struct { Value::Struct(self.fields) } else { Value::Map(self.fields) };
        in_variant(self.variant, value)
    }
}

/// Collects the items of a list, tuple or tuple variant.
struct Items {
    items: Vec<Value>,
    variant: Option<&'static str>,
}

impl Items {
    fn put<T: Serialize + ?Sized>(&mut self, item: &T) -> Result<(), ValueError> {
        let at = self.items.len();
        self.items.push(Value::of(item).map_err(|error| error.within(&at.to_string()))?);
        Ok(())
    }

    fn finish(self) -> Value {
        in_variant(self.variant, Value::List(self.items))
    }
}

fn in_variant(variant: Option<&'static str>, value: Value) -> Value {
    match variant {
        None => value,
        Some(name) => Value::Map(BTreeMap::from([(normal(name), value)])),
    }
}

impl ser::Serializer for Encoder {
    type Ok = Value;
    type Error = ValueError;
    type SerializeSeq = Items;
    type SerializeTuple = Items;
    type SerializeTupleStruct = Items;
    type SerializeTupleVariant = Items;
    type SerializeMap = Entries;
    type SerializeStruct = Entries;
    type SerializeStructVariant = Entries;

    fn serialize_bool(self, value: bool) -> Result<Value, ValueError> {
        Ok(Value::Bool(value))
    }
    fn serialize_i8(self, value: i8) -> Result<Value, ValueError> {
        Ok(Value::I64(value.into()))
    }
    fn serialize_i16(self, value: i16) -> Result<Value, ValueError> {
        Ok(Value::I64(value.into()))
    }
    fn serialize_i32(self, value: i32) -> Result<Value, ValueError> {
        Ok(Value::I64(value.into()))
    }
    fn serialize_i64(self, value: i64) -> Result<Value, ValueError> {
        Ok(Value::I64(value))
    }
    fn serialize_u8(self, value: u8) -> Result<Value, ValueError> {
        Ok(Value::U64(value.into()))
    }
    fn serialize_u16(self, value: u16) -> Result<Value, ValueError> {
        Ok(Value::U64(value.into()))
    }
    fn serialize_u32(self, value: u32) -> Result<Value, ValueError> {
        Ok(Value::U64(value.into()))
    }
    fn serialize_u64(self, value: u64) -> Result<Value, ValueError> {
        Ok(Value::U64(value))
    }
    /// A parameter of type `f32` stands as the shortest decimal that reads back to it, so that 0.1 is 0.1.
    fn serialize_f32(self, value: f32) -> Result<Value, ValueError> {
        let shortest = value.to_string().parse().map_err(|_| ValueError::new("not a number"))?;
        self.serialize_f64(shortest)
    }
    fn serialize_f64(self, value: f64) -> Result<Value, ValueError> {
        if !value.is_finite() {
            return Err(ValueError::new(format!("{value} is not allowed here; a finite number is")));
        }
        // Adding positive zero turns -0.0 into 0.0 and changes nothing else.
        Ok(Value::F64(value + 0.0))
    }
    fn serialize_char(self, value: char) -> Result<Value, ValueError> {
        Ok(Value::text(value.encode_utf8(&mut [0; 4])))
    }
    fn serialize_str(self, value: &str) -> Result<Value, ValueError> {
        Ok(Value::text(value))
    }
    fn serialize_bytes(self, _value: &[u8]) -> Result<Value, ValueError> {
        Err(ValueError::new("raw bytes have no place in a key"))
    }
    fn serialize_none(self) -> Result<Value, ValueError> {
        Ok(Value::Null)
    }
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Value, ValueError> {
        value.serialize(self)
    }
    fn serialize_unit(self) -> Result<Value, ValueError> {
        Ok(Value::Null)
    }
    fn serialize_unit_struct(self, _name: &'static str) -> Result<Value, ValueError> {
        Ok(Value::Struct(BTreeMap::new()))
    }
    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<Value, ValueError> {
        Ok(Value::text(variant))
    }
    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<Value, ValueError> {
        value.serialize(self)
    }
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<Value, ValueError> {
        Ok(in_variant(Some(variant), Value::of(value).map_err(|error| error.within(variant))?))
    }
    fn serialize_seq(self, _length: Option<usize>) -> Result<Items, ValueError> {
        Ok(Items { items: Vec::new(), variant: None })
    }
    fn serialize_tuple(self, _length: usize) -> Result<Items, ValueError> {
        self.serialize_seq(None)
    }
    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Items, ValueError> {
        self.serialize_seq(None)
    }
    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Items, ValueError> {
        Ok(Items { items: Vec::new(), variant: Some(variant) })
    }
    fn serialize_map(self, _length: Option<usize>) -> Result<Entries, ValueError> {
        Ok(Entries::new(false, None))
    }
    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Entries, ValueError> {
        Ok(Entries::new(true, None))
    }
    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Entries, ValueError> {
        Ok(Entries::new(true, Some(variant)))
    }
}

impl ser::SerializeMap for Entries {
    type Ok = Value;
    type Error = ValueError;
    fn serialize_key<T: Serialize + ?Sized>(&mut self, name: &T) -> Result<(), ValueError> {
        match Value::of(name)? {
            Value::Str(name) => {
                self.name = name;
                Ok(())
            }
            other => Err(ValueError::new(format!("a map's names are texts, not {}", other.brief()))),
        }
    }
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), ValueError> {
        let name = std::mem::take(&mut self.name);
        self.put(&name, value)
    }
    fn end(self) -> Result<Value, ValueError> {
        Ok(self.finish())
    }
}

macro_rules! collect_fields {
    ($($trait:ident),*) => {$(
        impl ser::$trait for Entries {
            type Ok = Value;
            type Error = ValueError;
            fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), ValueError> {
                self.put(name, value)
            }
            fn end(self) -> Result<Value, ValueError> {
                Ok(self.finish())
            }
        }
    )*};
}
collect_fields!(SerializeStruct, SerializeStructVariant);

macro_rules! collect_items {
    ($($trait:ident::$method:ident),*) => {$(
        impl ser::$trait for Items {
            type Ok = Value;
            type Error = ValueError;
            fn $method<T: Serialize + ?Sized>(&mut self, item: &T) -> Result<(), ValueError> {
                self.put(item)
            }
            fn end(self) -> Result<Value, ValueError> {
                Ok(self.finish())
            }
        }
    )*};
}
collect_items!(
    SerializeSeq::serialize_element,
    SerializeTuple::serialize_element,
    SerializeTupleStruct::serialize_field,
    SerializeTupleVariant::serialize_field
);
