//! The serializer that turns parameters into a [`Value`].

use std::collections::BTreeMap;

use serde::ser::{self, Serialize};

use super::value::{Value, ValueError, normal};

/// Serialises into [`Value`]. Widths are not types: `u8` and `u64` give the same value.
pub(super) struct Encoder;

/// Collects the fields of a map, struct or struct variant.
pub struct Entries {
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
pub struct Items {
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
