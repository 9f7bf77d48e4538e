//! Folders as values: a sorted manifest of their files, and the digest over it.

mod names;
pub(crate) mod walk;

use std::collections::HashMap;
use std::fmt::Write;

use crate::{Digest, DigestKind};

/// First line of a manifest; the number grows with the format.
const HEADER: &str = "retmask-tree 1";
/// Domain of the `t3` digest: a manifest's `t3` is never the `b3` of a file with the same bytes.
const DOMAIN: &str = "retmask 2026-11 tree-manifest v1";

/// One file of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeEntry {
    /// Relative, `/`-separated, UTF-8, without empty names, `.`, `..`, backslashes and control characters.
    pub path: String,
    pub executable: bool,
    pub size: u64,
    /// The `b3` of its bytes.
    pub digest: Digest,
}

/// The files of a tree, sorted by path. Empty folders are not part of it.
///
/// Canonical bytes: the line `retmask-tree 1`, then a line `<x or -> <size> <64 hexadecimal digits> <path>`
/// for each file in the order of the paths' bytes. Every manifest has exactly one spelling, and text that
/// is not such a spelling is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    entries: Vec<TreeEntry>,
    size: u64,
}

impl Manifest {
    /// Sorts and checks: names as `TreeEntry::path` says, no two that differ in case only, no file where another
    /// needs a folder.
    ///
    /// # Errors
    /// One sentence that names the offending path.
    pub fn new(mut entries: Vec<TreeEntry>) -> Result<Self, String> {
        entries.sort_unstable_by(|left, right| left.path.cmp(&right.path));
        let mut size = 0u64;
        for entry in &entries {
            names::check(&entry.path)?;
            if entry.digest.kind() != DigestKind::Bytes {
                return Err(format!("`{}` has the digest {}, where a b3 digest is expected", entry.path, entry.digest));
            }
            size =
                size.checked_add(entry.size).ok_or_else(|| format!("the sizes up to `{}` exceed 2^64", entry.path))?;
        }
        check_spelling(&entries)?;
        Ok(Self { entries, size })
    }

    pub fn entries(&self) -> &[TreeEntry] {
        &self.entries
    }

    /// Bytes of all files together.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The `t3` digest: blake3 in key derivation mode over the canonical bytes.
    pub fn digest(&self) -> Digest {
        Self::digest_of(&self.to_bytes())
    }

    /// The `t3` digest of canonical bytes.
    fn digest_of(bytes: &[u8]) -> Digest {
        Digest::new(DigestKind::Tree, blake3::derive_key(DOMAIN, bytes))
    }

    /// The canonical bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut text = format!("{HEADER}\n");
        for entry in &self.entries {
            let mark = if entry.executable { 'x' } else { '-' };
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{mark} {} {} {}", entry.size, entry.digest.hex(), entry.path);
        }
        text.into_bytes()
    }

    /// Reads canonical bytes.
    ///
    /// # Errors
    /// One sentence that says what is wrong, with the line.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(bytes).map_err(|error| format!("the manifest is not UTF-8: {error}"))?;
        let body = text
            .strip_prefix(HEADER)
            .and_then(|rest| rest.strip_prefix('\n'))
            .ok_or_else(|| format!("the manifest does not begin with the line `{HEADER}`"))?;
        let entries = body
            .split_terminator('\n')
            .enumerate()
            .map(|(index, line)| {
                parse_line(line).ok_or_else(|| format!("line {} of the manifest is not a file's line", index + 2))
            })
            .collect::<Result<_, _>>()?;
        let manifest = Self::new(entries)?;
        if manifest.to_bytes() != bytes {
            return Err("the manifest is not in its canonical spelling".to_owned());
        }
        Ok(manifest)
    }
}

fn parse_line(line: &str) -> Option<TreeEntry> {
    let mut fields = line.splitn(4, ' ');
    let executable = match fields.next()? {
        "x" => true,
        "-" => false,
        _ => return None,
    };
    let size = fields.next()?.parse().ok()?;
    let digest = format!("b3:{}", fields.next()?).parse().ok()?;
    let path = fields.next()?.to_owned();
    Some(TreeEntry { path, executable, size, digest })
}

/// Refuses two spellings of one name, and a name that is both a file and a folder: such a tree cannot be laid
/// out on every file system.
fn check_spelling(entries: &[TreeEntry]) -> Result<(), String> {
    // Folded path of a file or folder -> how it is spelled, and whether it is a file.
    let mut spellings: HashMap<String, (&str, bool)> = HashMap::new();
    for entry in entries {
        let folders = entry.path.match_indices('/').map(|(end, _)| (&entry.path[..end], false));
        for (spelling, is_file) in folders.chain([(entry.path.as_str(), true)]) {
            let (other, other_is_file) = *spellings.entry(names::fold(spelling)).or_insert((spelling, is_file));
            if other != spelling {
                return Err(format!("`{other}` and `{spelling}` differ in upper and lower case only"));
            }
            // The very same file comes once; a second visit of a folder is its next file.
            let first_visit = std::ptr::eq(other, spelling);
            if !first_visit && (is_file || other_is_file) {
                return Err(format!("`{spelling}` stands twice, as two files or as a file and a folder"));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
