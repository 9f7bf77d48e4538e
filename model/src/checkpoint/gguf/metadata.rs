//! The key-value part of a GGUF file.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::checkpoint::byte_reader::{ByteReader, Reason};

/// Arrays of arrays are walked to this depth; none is read.
const DEEPEST_ARRAY: usize = 4;

/// The type numbers of the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ValueType {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    F32,
    Bool,
    Text,
    Array,
    U64,
    I64,
    F64,
}

impl ValueType {
    /// By their numbers.
    const ALL: [Self; 13] = [
        Self::U8,
        Self::I8,
        Self::U16,
        Self::I16,
        Self::U32,
        Self::I32,
        Self::F32,
        Self::Bool,
        Self::Text,
        Self::Array,
        Self::U64,
        Self::I64,
        Self::F64,
    ];

    /// The number of the type in a file.
    pub fn number(self) -> u32 {
        self as u32
    }

    fn from_number(number: u32, key: &str) -> Result<Self, Reason> {
        usize::try_from(number)
            .ok()
            .and_then(|number| Self::ALL.get(number).copied())
            .ok_or_else(|| format!("the metadata key `{key}` has the unknown value type {number}"))
    }

    /// Bytes of a value whose size does not vary.
    const fn fixed_size(self) -> Option<u64> {
        match self {
            Self::U8 | Self::I8 | Self::Bool => Some(1),
            Self::U16 | Self::I16 => Some(2),
            Self::U32 | Self::I32 | Self::F32 => Some(4),
            Self::U64 | Self::I64 | Self::F64 => Some(8),
            Self::Text | Self::Array => None,
        }
    }
}

/// One value. Arrays stay in the file and are read when asked for.
#[derive(Debug, Clone, PartialEq)]
enum Value {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Bool(bool),
    Text(Range<usize>),
    Array { element: ValueType, count: u64, start: usize },
}

impl Value {
    const fn describe(&self) -> &'static str {
        match self {
            Self::Unsigned(_) | Self::Signed(_) => "an integer",
            Self::Float(_) => "a float",
            Self::Bool(_) => "a boolean",
            Self::Text(_) => "a string",
            Self::Array { .. } => "an array",
        }
    }
}

/// All keys of a file. Readers of values are given the file's bytes, which hold strings and arrays.
pub(crate) struct Metadata {
    entries: BTreeMap<String, Value>,
}

impl Metadata {
    /// Reads `count` pairs.
    pub fn read(reader: &mut ByteReader<'_>, count: u64) -> Result<Self, Reason> {
        let mut entries = BTreeMap::new();
        for _ in 0..count {
            let key = reader.text("a metadata key")?;
            let kind = ValueType::from_number(reader.u32("a metadata type")?, key)?;
            let value = read_value(reader, kind, key)?;
            if entries.insert(key.to_owned(), value).is_some() {
                return Err(format!("the metadata key `{key}` appears twice"));
            }
        }
        Ok(Self { entries })
    }

    /// Whether there is such a key.
    pub fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// Keys that start with `prefix`, in order.
    pub fn keys_under<'this>(&'this self, prefix: &'this str) -> impl Iterator<Item = &'this str> {
        self.entries
            .range(prefix.to_owned()..)
            .map(|(key, _)| key.as_str())
            .take_while(move |key| key.starts_with(prefix))
    }

    /// An integer that is not negative.
    pub fn integer(&self, key: &str) -> Result<Option<usize>, Reason> {
        let number = match self.entries.get(key) {
            None => return Ok(None),
            Some(Value::Unsigned(number)) => usize::try_from(*number).ok(),
            Some(Value::Signed(number)) => usize::try_from(*number).ok(),
            Some(other) => return Err(wrong_type(key, "an integer", other)),
        };
        number.map(Some).ok_or_else(|| format!("the metadata key `{key}` is out of range"))
    }

    /// A token id.
    pub fn token(&self, key: &str) -> Result<Option<u32>, Reason> {
        self.integer(key)?
            .map(|id| u32::try_from(id).map_err(|_| format!("the metadata key `{key}` is no token id: {id}")))
            .transpose()
    }

    /// A finite number.
    pub fn number(&self, key: &str) -> Result<Option<f64>, Reason> {
        let number = match self.entries.get(key) {
            None => return Ok(None),
            Some(Value::Float(number)) => *number,
            Some(Value::Unsigned(number)) => *number as f64,
            Some(Value::Signed(number)) => *number as f64,
            Some(other) => return Err(wrong_type(key, "a number", other)),
        };
        if number.is_finite() { Ok(Some(number)) } else { Err(format!("the metadata key `{key}` is {number}")) }
    }

    /// A boolean.
    pub fn boolean(&self, key: &str) -> Result<Option<bool>, Reason> {
        match self.entries.get(key) {
            None => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(*value)),
            Some(other) => Err(wrong_type(key, "a boolean", other)),
        }
    }

    /// A string.
    pub fn text<'bytes>(&self, bytes: &'bytes [u8], key: &str) -> Result<Option<&'bytes str>, Reason> {
        match self.entries.get(key) {
            None => Ok(None),
            Some(Value::Text(range)) => std::str::from_utf8(&bytes[range.clone()])
                .map(Some)
                .map_err(|error| format!("the metadata key `{key}` is not UTF-8: {error}")),
            Some(other) => Err(wrong_type(key, "a string", other)),
        }
    }

    /// The strings of an array.
    pub fn texts<'bytes>(&self, bytes: &'bytes [u8], key: &str) -> Result<Option<Vec<&'bytes str>>, Reason> {
        let Some((count, start)) = self.array(key, &[ValueType::Text], "an array of strings")? else {
            return Ok(None);
        };
        let mut reader = ByteReader::at(bytes, start);
        let mut texts = Vec::new();
        for _ in 0..count {
            texts.push(reader.text(key)?);
        }
        Ok(Some(texts))
    }

    /// The integers of an array.
    pub fn integers(&self, bytes: &[u8], key: &str) -> Result<Option<Vec<i32>>, Reason> {
        let Some((count, start)) = self.array(key, &[ValueType::I32, ValueType::U32], "an array of 32-bit integers")?
        else {
            return Ok(None);
        };
        let mut reader = ByteReader::at(bytes, start);
        let mut integers = Vec::new();
        for _ in 0..count {
            integers.push(reader.i32(key)?);
        }
        Ok(Some(integers))
    }

    /// The finite numbers of an array.
    pub fn numbers(&self, bytes: &[u8], key: &str) -> Result<Option<Vec<f32>>, Reason> {
        let Some((count, start)) = self.array(key, &[ValueType::F32], "an array of 32-bit floats")? else {
            return Ok(None);
        };
        let mut reader = ByteReader::at(bytes, start);
        let mut numbers = Vec::new();
        for index in 0..count {
            let number = reader.f32(key)?;
            if !number.is_finite() {
                return Err(format!("the array `{key}` holds {number} at index {index}"));
            }
            numbers.push(number);
        }
        Ok(Some(numbers))
    }

    /// Whether the key holds an array.
    pub fn is_array(&self, key: &str) -> bool {
        matches!(self.entries.get(key), Some(Value::Array { .. }))
    }

    /// The booleans of an array.
    pub fn booleans(&self, bytes: &[u8], key: &str) -> Result<Option<Vec<bool>>, Reason> {
        let Some((count, start)) = self.array(key, &[ValueType::Bool], "an array of booleans")? else {
            return Ok(None);
        };
        let mut reader = ByteReader::at(bytes, start);
        let mut booleans = Vec::new();
        for _ in 0..count {
            match reader.u8(key)? {
                0 => booleans.push(false),
                1 => booleans.push(true),
                other => return Err(format!("the array `{key}` holds a boolean of value {other}")),
            }
        }
        Ok(Some(booleans))
    }

    fn array(&self, key: &str, kinds: &[ValueType], expected: &str) -> Result<Option<(u64, usize)>, Reason> {
        match self.entries.get(key) {
            None => Ok(None),
            Some(Value::Array { element, count, start }) if kinds.contains(element) => Ok(Some((*count, *start))),
            Some(other) => Err(wrong_type(key, expected, other)),
        }
    }
}

fn wrong_type(key: &str, expected: &str, found: &Value) -> Reason {
    format!("the metadata key `{key}` should be {expected}, not {}", found.describe())
}

fn read_value(reader: &mut ByteReader<'_>, kind: ValueType, key: &str) -> Result<Value, Reason> {
    Ok(match kind {
        ValueType::U8 => Value::Unsigned(reader.u8(key)?.into()),
        ValueType::U16 => Value::Unsigned(reader.u16(key)?.into()),
        ValueType::U32 => Value::Unsigned(reader.u32(key)?.into()),
        ValueType::U64 => Value::Unsigned(reader.u64(key)?),
        ValueType::I8 => Value::Signed(reader.i8(key)?.into()),
        ValueType::I16 => Value::Signed(reader.i16(key)?.into()),
        ValueType::I32 => Value::Signed(reader.i32(key)?.into()),
        ValueType::I64 => Value::Signed(reader.i64(key)?),
        ValueType::F32 => Value::Float(reader.f32(key)?.into()),
        ValueType::F64 => Value::Float(reader.f64(key)?),
        ValueType::Bool => match reader.u8(key)? {
            0 => Value::Bool(false),
            1 => Value::Bool(true),
            other => return Err(format!("the metadata key `{key}` is a boolean of value {other}")),
        },
        ValueType::Text => {
            let length = reader.text(key)?.len();
            Value::Text(reader.position() - length..reader.position())
        }
        ValueType::Array => {
            let element = ValueType::from_number(reader.u32(key)?, key)?;
            let count = reader.u64(key)?;
            let start = reader.position();
            skip_elements(reader, element, count, key, 1)?;
            Value::Array { element, count, start }
        }
    })
}

/// Walks over the elements of an array, so that everything in it is known to lie inside the file.
fn skip_elements(
    reader: &mut ByteReader<'_>,
    element: ValueType,
    count: u64,
    key: &str,
    depth: usize,
) -> Result<(), Reason> {
    if let Some(size) = element.fixed_size() {
        let length = count.checked_mul(size).ok_or_else(|| format!("the array `{key}` states {count} elements"))?;
        return reader.take(length, key).map(|_| ());
    }
    if depth > DEEPEST_ARRAY {
        return Err(format!("the metadata key `{key}` nests arrays deeper than {DEEPEST_ARRAY}"));
    }
    for _ in 0..count {
        if element == ValueType::Text {
            reader.text(key)?;
        } else {
            let inner = ValueType::from_number(reader.u32(key)?, key)?;
            let count = reader.u64(key)?;
            skip_elements(reader, inner, count, key, depth + 1)?;
        }
    }
    Ok(())
}
