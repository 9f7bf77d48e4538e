//! Results in one file, to be carried where no network goes.
//!
//! ```text
//! retmask-archive 1
//! blob <64 digits> <bytes>          and that many bytes; each blob once
//! record <key> <bytes>              and the record's file as it lies in the store
//! rows <scope> <64 digits> <bytes>  and a segment of rows
//! run <run> <file> <bytes>          and a file of a run's record
//! end <64 digits>                   the b3 of everything before this line; nothing follows
//! ```
//!
//! Blobs come before the records that name them. There are no paths but names of runs and of their files, which are
//! checked; the paths of trees stand in manifests, which are blobs, and are checked as everywhere.

mod pack;
mod unpack;

pub use pack::{Packed, RunFile};
pub use unpack::Unpacked;

use crate::{Digest, Key};

/// First line; the number grows with the format.
const HEADER: &str = "retmask-archive 1\n";
/// Longest line before an entry.
const MAX_LINE: u64 = 512;

/// The line before an entry's bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Entry {
    Blob(Digest, u64),
    Record(Key, u64),
    Rows { scope: Key, digest: Digest, size: u64 },
    Run { run: String, file: String, size: u64 },
    End(Digest),
}

impl Entry {
    fn line(&self) -> String {
        match self {
            Self::Blob(digest, size) => format!("blob {} {size}\n", digest.hex()),
            Self::Record(key, size) => format!("record {key} {size}\n"),
            Self::Rows { scope, digest, size } => format!("rows {scope} {} {size}\n", digest.hex()),
            Self::Run { run, file, size } => format!("run {run} {file} {size}\n"),
            Self::End(digest) => format!("end {}\n", digest.hex()),
        }
    }

    /// Reads a line without its line feed; only the very spelling that [`Self::line`] writes.
    fn from_line(line: &str) -> Option<Self> {
        let words: Vec<&str> = line.split(' ').collect();
        let digest = |hex: &str| format!("b3:{hex}").parse().ok();
        let entry = match words[..] {
            ["blob", hex, size] => Self::Blob(digest(hex)?, size.parse().ok()?),
            ["rows", scope, hex, size] => {
                Self::Rows { scope: scope.parse().ok()?, digest: digest(hex)?, size: size.parse().ok()? }
            }
            ["record", key, size] => Self::Record(key.parse().ok()?, size.parse().ok()?),
            ["run", run, file, size] if is_name(run) && is_name(file) => {
                Self::Run { run: run.to_owned(), file: file.to_owned(), size: size.parse().ok()? }
            }
            ["end", hex] => Self::End(digest(hex)?),
            _ => return None,
        };
        (entry.line().strip_suffix('\n') == Some(line)).then_some(entry)
    }
}

/// Whether a text can be the name of a run or of one of its files: letters, digits, `-`, `_` and `.`, not at the start.
pub(super) fn is_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (1..=128).contains(&text.len()) && text.bytes().all(allowed) && !text.starts_with('.')
}

#[cfg(test)]
mod tests;
