//! From a tree to a type: a serde deserializer whose errors keep the place and name what was expected.

mod error;
#[cfg(test)]
mod tests;

use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Expected, MapAccess, SeqAccess, VariantAccess,
    Visitor,
};

pub use error::DecodeError;

use super::tree::{Entry, Meaning, Node, Scalar, Value};
use error::words_of;

/// Decodes a node.
///
/// # Errors
/// The first fault.
pub fn decode<T: DeserializeOwned>(node: &Node) -> Result<T, DecodeError> {
    T::deserialize(Decoder { node })
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
        if number.is_nan() || number.abs() > largest {
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
