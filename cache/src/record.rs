//! Records: what a key's result is, and where it came from.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Digest, Key};

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
