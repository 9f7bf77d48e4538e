//! The digests the hub knows files by: SHA-256 of large ones, git's blob id of small ones.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

/// Bytes read at a time.
const PIECE: usize = 1 << 20;

/// What a file's content must be. Written as `sha256:` or `git:` and hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum ContentDigest {
    /// SHA-256 of the bytes: files in large-file storage.
    Sha256([u8; 32]),
    /// SHA-1 of git's blob header and the bytes: files in the git repository itself.
    GitBlob([u8; 20]),
}

impl ContentDigest {
    /// Reads the digits of a SHA-256.
    pub fn sha256(digits: &str) -> Option<Self> {
        from_hex(digits).map(Self::Sha256)
    }

    /// Reads the digits of a git blob id.
    pub fn git_blob(digits: &str) -> Option<Self> {
        from_hex(digits).map(Self::GitBlob)
    }

    /// The digits, which name the file's blob in the hub's cache: told apart by their number.
    pub fn digits(&self) -> String {
        match self {
            Self::Sha256(bytes) => to_hex(bytes),
            Self::GitBlob(bytes) => to_hex(bytes),
        }
    }

    /// The digest a blob of the hub's cache is named by.
    pub fn from_blob_name(name: &str) -> Option<Self> {
        Self::sha256(name).or_else(|| Self::git_blob(name))
    }
}

impl fmt::Display for ContentDigest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = match self {
            Self::Sha256(_) => "sha256",
            Self::GitBlob(_) => "git",
        };
        write!(formatter, "{prefix}:{}", self.digits())
    }
}

impl FromStr for ContentDigest {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digest = match text.split_once(':') {
            Some(("sha256", digits)) => Self::sha256(digits),
            Some(("git", digits)) => Self::git_blob(digits),
            _ => None,
        };
        digest.ok_or_else(|| {
            let shown = super::names::shown(text);
            format!("`{shown}` is no digest: `sha256:` and 64 digits 0-9a-f, or `git:` and 40, are expected")
        })
    }
}

impl TryFrom<String> for ContentDigest {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<ContentDigest> for String {
    fn from(digest: ContentDigest) -> Self {
        digest.to_string()
    }
}

/// Takes a file's bytes in order.
pub(super) enum ContentHasher {
    Sha256(Sha256),
    GitBlob(Sha1),
}

impl ContentHasher {
    /// A hasher that gives a digest of the kind of `like`, for a file of `size` bytes.
    pub(super) fn new(like: &ContentDigest, size: u64) -> Self {
        match like {
            ContentDigest::Sha256(_) => Self::Sha256(Sha256::new()),
            ContentDigest::GitBlob(_) => {
                let mut hasher = Sha1::new();
                hasher.update(format!("blob {size}\0"));
                Self::GitBlob(hasher)
            }
        }
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::GitBlob(hasher) => hasher.update(bytes),
        }
    }

    /// Takes all of a reader; gives the number of bytes.
    pub(super) fn update_from(&mut self, mut reader: impl Read) -> io::Result<u64> {
        let mut buffer = vec![0; PIECE];
        let mut total = 0;
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => return Ok(total),
                Ok(read) => {
                    self.update(&buffer[..read]);
                    total += read as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    pub(super) fn finish(self) -> ContentDigest {
        match self {
            Self::Sha256(hasher) => ContentDigest::Sha256(hasher.finalize().into()),
            Self::GitBlob(hasher) => ContentDigest::GitBlob(hasher.finalize().into()),
        }
    }
}

/// The digest of a file's content, of the kind of `like`.
///
/// # Errors
/// As reading the file.
pub fn hash_file(path: &Path, like: &ContentDigest) -> io::Result<ContentDigest> {
    let file = File::open(path)?;
    let mut hasher = ContentHasher::new(like, file.metadata()?.len());
    hasher.update_from(file)?;
    Ok(hasher.finish())
}

fn to_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    digits.map(char::from).collect()
}

/// Strict: exactly `2 * N` lower-case digits, so that a digest has one spelling only.
fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    if text.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of `sha256sum` and `git hash-object`.
    const SHA256: &str = "sha256:5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
    const GIT: &str = "git:ce013625030ba8dba906f756967f9e9ca394464a";

    #[test]
    fn digests_are_those_of_other_tools() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "hello\n").unwrap();
        for text in [SHA256, GIT] {
            let digest: ContentDigest = text.parse().unwrap();
            assert_eq!(digest.to_string(), text);
            assert_eq!(hash_file(file.path(), &digest).unwrap(), digest);
            assert_eq!(ContentDigest::from_blob_name(&digest.digits()), Some(digest));
        }
    }

    #[test]
    fn a_digest_has_one_spelling() {
        let digits = &GIT[4..];
        let wrong =
            [digits.to_owned(), format!("git:{}", digits.to_uppercase()), format!("sha256:{digits}"), "git:".into()];
        for text in wrong {
            assert!(text.parse::<ContentDigest>().is_err(), "{text}");
        }
    }
}
