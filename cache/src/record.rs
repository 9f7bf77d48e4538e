//! Records: what a key's result is, and where it came from.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Digest, DigestKind, Key};

/// How an artifact is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// One blob.
    File,
    /// A manifest blob and a blob for each file it lists.
    Tree,
}

/// One output of a result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Output {
    /// The port it came out of; unique within a record.
    pub port: String,
    /// The artifact's media name with its version; only carried here.
    pub media: String,
    pub form: Form,
    /// What enters the keys of its readers: `b3` of a file, `l3` of a table, `t3` of a tree.
    pub digest: Digest,
    /// The `b3` of the file, or of the tree's manifest.
    pub blob: Digest,
    /// Bytes of the file, or of all the tree's files together.
    pub size: u64,
}

/// Where a result came from. Not part of any key; holds no host, path or user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    /// The kind of work that made it.
    pub kind: String,
    /// The version of that kind's behaviour.
    pub epoch: u32,
    /// The key's fields in readable form, so that a miss can be explained field by field.
    pub fields: serde_json::Value,
    /// When it was made: milliseconds since 1970-01-01 UTC.
    pub created_milliseconds: u64,
    /// How long the work took, in milliseconds.
    pub duration_milliseconds: u64,
    /// Versions of the programs that made it, by name.
    pub tools: BTreeMap<String, String>,
    /// Whether it is its maker's alone, because nobody can say what made it. It is given to no remote and written into no
    /// archive.
    #[serde(default, skip_serializing_if = "is_false")]
    pub private: bool,
    /// The scopes of the row maps that it was put together from, sorted; of work that is not done row by row, none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rows: Vec<Key>,
}

fn is_false(value: &bool) -> bool {
    !value
}

/// A key's result. Immutable once committed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    pub key: Key,
    pub outputs: Vec<Output>,
    pub provenance: Provenance,
}

impl Record {
    /// The output of this port, if there is one.
    pub fn output(&self, port: &str) -> Option<&Output> {
        self.outputs.iter().find(|output| output.port == port)
    }
}

/// First line of a record's file, before its digest; the number grows with the format.
const HEADER: &str = "retmask-record ";
const FORMAT: &str = "1";
/// A record longer than this is refused unread.
pub(crate) const MAX_BYTES: u64 = 16 << 20;

/// Why a file is not a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// Of another version, perhaps a future one.
    Version(String),
    /// Says what is wrong.
    Damaged(String),
}

impl Record {
    /// The file's bytes and the `b3` digest of its body.
    ///
    /// The file: the line `retmask-record 1 <digest of the rest>`, then JSON.
    pub(crate) fn to_bytes(&self) -> Result<(Vec<u8>, Digest), String> {
        self.check()?;
        let mut body = serde_json::to_vec_pretty(self).map_err(|error| error.to_string())?;
        body.push(b'\n');
        let digest = Digest::of_bytes(&body);
        let mut bytes = header(&digest).into_bytes();
        bytes.append(&mut body);
        if bytes.len() as u64 > MAX_BYTES {
            return Err(format!("a record of {} bytes is longer than {MAX_BYTES}", bytes.len()));
        }
        Ok((bytes, digest))
    }

    /// Reads a file's bytes; gives the digest of the body too.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<(Self, Digest), Unreadable> {
        let damaged = |problem: &str| Unreadable::Damaged(problem.to_owned());
        let end = bytes.iter().position(|&byte| byte == b'\n').ok_or_else(|| damaged("it has no first line"))? + 1;
        let (first, body) = bytes.split_at(end);
        let digest = Digest::of_bytes(body);
        if first != header(&digest).as_bytes() {
            let version = std::str::from_utf8(first).ok().and_then(|line| line.strip_prefix(HEADER)).map(|rest| {
                let version = rest.split_whitespace().next().unwrap_or_default();
                version.chars().take(20).collect::<String>()
            });
            return Err(match version {
                Some(version) if version != FORMAT && !version.is_empty() => Unreadable::Version(version),
                _ => damaged("its digest is not the one it states"),
            });
        }
        let record: Self = serde_json::from_slice(body).map_err(|error| Unreadable::Damaged(error.to_string()))?;
        record.check().map_err(Unreadable::Damaged)?;
        Ok((record, digest))
    }

    /// Refuses what contradicts itself.
    fn check(&self) -> Result<(), String> {
        for (index, output) in self.outputs.iter().enumerate() {
            let port = &output.port;
            if self.outputs[..index].iter().any(|other| other.port == *port) {
                return Err(format!("the output `{port}` stands twice"));
            }
            output.check().map_err(|why| format!("output `{port}`: {why}"))?;
        }
        Ok(())
    }
}

impl Output {
    /// Refuses digests that do not fit the form or each other.
    pub(crate) fn check(&self) -> Result<(), String> {
        let Self { form, digest, blob, .. } = self;
        if blob.kind() != DigestKind::Bytes {
            return Err(format!("its stored file is named {blob}, where a b3 digest is expected"));
        }
        match (form, digest.kind()) {
            (Form::File, DigestKind::Bytes) if digest != blob => {
                Err(format!("its digest {digest} is not the {blob} of its stored file"))
            }
            (Form::File, DigestKind::Bytes | DigestKind::Logical) | (Form::Tree, DigestKind::Tree) => Ok(()),
            (Form::File, _) => Err(format!("it is a file with the digest {digest}")),
            (Form::Tree, _) => Err(format!("it is a tree with the digest {digest}")),
        }
    }
}

fn header(digest: &Digest) -> String {
    format!("{HEADER}{FORMAT} {digest}\n")
}

#[cfg(test)]
mod tests;
