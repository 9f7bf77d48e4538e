//! The key-value part of a GGUF file being written.

use super::metadata::ValueType;

/// Keys in the order they were added.
#[derive(Default)]
pub(super) struct MetadataWriter {
    count: u64,
    bytes: Vec<u8>,
}

impl MetadataWriter {
    /// How many keys there are.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// All keys as the file has them.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub fn integer(&mut self, key: &str, value: u32) {
        self.key(key, ValueType::U32);
        self.bytes.extend(value.to_le_bytes());
    }

    pub fn number(&mut self, key: &str, value: f32) {
        self.key(key, ValueType::F32);
        self.bytes.extend(value.to_le_bytes());
    }

    pub fn boolean(&mut self, key: &str, value: bool) {
        self.key(key, ValueType::Bool);
        self.bytes.push(value.into());
    }

    pub fn text(&mut self, key: &str, value: &str) {
        self.key(key, ValueType::Text);
        append_text(&mut self.bytes, value);
    }

    pub fn texts<'text>(&mut self, key: &str, values: impl ExactSizeIterator<Item = &'text str>) {
        self.array(key, ValueType::Text, values.len());
        for value in values {
            append_text(&mut self.bytes, value);
        }
    }

    pub fn integers(&mut self, key: &str, values: &[i32]) {
        self.array(key, ValueType::I32, values.len());
        self.bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    }

    pub fn booleans(&mut self, key: &str, values: &[bool]) {
        self.array(key, ValueType::Bool, values.len());
        self.bytes.extend(values.iter().map(|&value| u8::from(value)));
    }

    fn array(&mut self, key: &str, element: ValueType, count: usize) {
        self.key(key, ValueType::Array);
        self.bytes.extend(element.number().to_le_bytes());
        self.bytes.extend((count as u64).to_le_bytes());
    }

    fn key(&mut self, key: &str, kind: ValueType) {
        self.count += 1;
        append_text(&mut self.bytes, key);
        self.bytes.extend(kind.number().to_le_bytes());
    }
}

/// A string with its length before it.
pub(super) fn append_text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend((text.len() as u64).to_le_bytes());
    bytes.extend(text.as_bytes());
}
