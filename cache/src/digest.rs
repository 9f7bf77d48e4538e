//! Digests: 256-bit blake3 values that say what they are a digest of, and the keys of records.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What a digest was taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DigestKind {
    /// `b3`: the bytes of one file.
    Bytes,
    /// `l3`: schema and rows of a table in order, whatever its encoding. Computed elsewhere, only carried here.
    Logical,
    /// `t3`: the canonical manifest of a folder.
    Tree,
}

impl DigestKind {
    /// The two characters before the colon.
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Bytes => "b3",
            Self::Logical => "l3",
            Self::Tree => "t3",
        }
    }
}

/// A digest with its kind. Written as `b3:`, `l3:` or `t3:` and 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest {
    kind: DigestKind,
    bytes: [u8; 32],
}

impl Digest {
    /// A digest computed elsewhere.
    pub const fn new(kind: DigestKind, bytes: [u8; 32]) -> Self {
        Self { kind, bytes }
    }

    /// The `b3` digest of these bytes.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self::new(DigestKind::Bytes, *blake3::hash(bytes).as_bytes())
    }

    pub const fn kind(&self) -> DigestKind {
        self.kind
    }

    pub const fn bytes(&self) -> &[u8; 32] {
        &self.bytes
    }

    /// The 64 hexadecimal digits without the prefix.
    pub fn hex(&self) -> String {
        to_hex(&self.bytes)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.kind.prefix(), self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl FromStr for Digest {
    type Err = InvalidDigest;

    fn from_str(text: &str) -> Result<Self, InvalidDigest> {
        let invalid = || InvalidDigest { text: text.to_owned(), wanted: "`b3:`, `l3:` or `t3:` and 64 digits 0-9a-f" };
        let (prefix, hex) = text.split_once(':').ok_or_else(invalid)?;
        let kind = match prefix {
            "b3" => DigestKind::Bytes,
            "l3" => DigestKind::Logical,
            "t3" => DigestKind::Tree,
            _ => return Err(invalid()),
        };
        Ok(Self::new(kind, from_hex(hex).ok_or_else(invalid)?))
    }
}

/// What a result is stored under. Derived by the caller from everything that the result depends on.
/// Written as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key([u8; 32]);

impl Key {
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    pub const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&to_hex(&self.0))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl FromStr for Key {
    type Err = InvalidDigest;

    fn from_str(text: &str) -> Result<Self, InvalidDigest> {
        from_hex(text).map(Self).ok_or_else(|| InvalidDigest { text: text.to_owned(), wanted: "64 digits 0-9a-f" })
    }
}

/// Text that is not a digest or key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is not a digest: {wanted} are expected", text.escape_default())]
pub struct InvalidDigest {
    text: String,
    wanted: &'static str,
}

macro_rules! serde_as_text {
    ($($name:ty),+) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )+};
}
serde_as_text!(Digest, Key);

fn to_hex(bytes: &[u8; 32]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]])
        .map(char::from)
        .collect()
}

/// Strict: exactly 64 lower-case digits, so that a digest has one spelling only.
fn from_hex(text: &str) -> Option<[u8; 32]> {
    fn digit(byte: u8) -> Option<u8> {
        match byte {
            b'0'..=b'9' => Some(byte - b'0'),
            b'a'..=b'f' => Some(byte - b'a' + 10),
            _ => None,
        }
    }
    let text = text.as_bytes();
    if text.len() != 64 {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests;
