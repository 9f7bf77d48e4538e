//! What names may be: repositories, revisions, commits, and paths of files. Everything that comes from a server or
//! a file is checked here before it becomes part of a path or an address.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The hub's limit on `owner/name`.
const LONGEST_REPOSITORY: usize = 96;
/// Git's limit on names of references.
const LONGEST_REVISION: usize = 255;
/// Longest path of a file in bytes, and the most folders one in another: the limits of a stored folder.
const LONGEST_PATH: usize = 4096;
const DEEPEST_PATH: usize = 64;

/// Which kind of repository: each has an address and a cache folder of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RepositoryKind {
    Model,
    Dataset,
}

impl RepositoryKind {
    pub const ALL: &[Self] = &[Self::Model, Self::Dataset];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Dataset => "dataset",
        }
    }

    /// The name in addresses of the API and in the cache.
    pub const fn plural(self) -> &'static str {
        match self {
            Self::Model => "models",
            Self::Dataset => "datasets",
        }
    }

    /// What stands before a repository in the addresses of its page and files.
    pub const fn address_prefix(self) -> &'static str {
        match self {
            Self::Model => "",
            Self::Dataset => "datasets/",
        }
    }

    /// The kind of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.name() == name)
    }
}

/// A repository of the hub: `owner/name`, and of which kind.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Repository {
    pub kind: RepositoryKind,
    name: String,
}

impl Repository {
    /// Checks `owner/name` as the hub does.
    ///
    /// # Errors
    /// One sentence that says what is wrong.
    pub fn new(kind: RepositoryKind, name: &str) -> Result<Self, String> {
        let refused = |why: &str| Err(format!("`{}` is no repository of the hub: {why}", shown(name)));
        let Some((owner, rest)) = name.split_once('/') else {
            return refused("write OWNER/NAME");
        };
        if name.len() > LONGEST_REPOSITORY {
            return refused("it has more than 96 characters");
        }
        for part in [owner, rest] {
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
            if part.is_empty() || !part.bytes().all(allowed) {
                return refused("owner and name are made of letters, digits, `-`, `_` and `.`");
            }
            if part.starts_with(['-', '.']) || part.ends_with(['-', '.']) {
                return refused("owner and name neither start nor end with `-` or `.`");
            }
        }
        // `--` stands for the slash in the cache; `..` would leave a folder.
        if name.contains("--") || name.contains("..") || name.ends_with(".git") {
            return refused("`--`, `..` and a final `.git` are not allowed");
        }
        Ok(Self { kind, name: name.to_owned() })
    }

    /// `owner/name`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name of its folder in the hub's cache.
    pub fn folder(&self) -> String {
        format!("{}--{}", self.kind.plural(), self.name.replace('/', "--"))
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.name)
    }
}

/// A branch, a tag, a pull request (`refs/pr/1`) or a commit.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Revision(String);

impl Revision {
    /// What is meant where none is said.
    pub const DEFAULT: &str = "main";

    /// Checks a revision by git's rules for names of references, narrowed to characters without a meaning elsewhere.
    ///
    /// # Errors
    /// One sentence that says what is wrong.
    pub fn new(text: &str) -> Result<Self, String> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'/' | b'+');
        let parts_are_good = text.split('/').all(|part| {
            !part.is_empty() && !part.starts_with(['.', '-']) && !part.ends_with('.') && !part.ends_with(".lock")
        });
        if text.len() > LONGEST_REVISION || !text.bytes().all(allowed) || text.contains("..") || !parts_are_good {
            return Err(format!("`{}` is no revision: a branch, a tag or a commit of 40 digits is", shown(text)));
        }
        Ok(Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The commit, when it is one and not a name that may move.
    pub fn commit(&self) -> Option<Commit> {
        Commit::new(&self.0).ok()
    }
}

/// A commit: 40 lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Commit(String);

impl Commit {
    /// Checks a commit.
    ///
    /// # Errors
    /// One sentence that says what is wrong.
    pub fn new(text: &str) -> Result<Self, String> {
        let digit = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f');
        if text.len() != 40 || !text.bytes().all(digit) {
            return Err(format!("`{}` is no commit: 40 digits 0-9a-f are", shown(text)));
        }
        Ok(Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

macro_rules! text_like {
    ($($name:ident),+) => {$(
        impl TryFrom<String> for $name {
            type Error = String;

            fn try_from(text: String) -> Result<Self, String> {
                Self::new(&text)
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }
    )+};
}
text_like!(Revision, Commit);

/// The beginning of a text from outside, harmless in a message.
pub(super) fn shown(text: &str) -> String {
    const SHOWN: usize = 100;
    let cut = if text.chars().nth(SHOWN).is_some() { "…" } else { "" };
    let start: String = text.chars().take(SHOWN).collect();
    format!("{}{cut}", start.escape_debug())
}

/// Refuses a path that is absolute, leaves its folder, or means something else on another system.
pub(super) fn check_path(path: &str) -> Result<(), String> {
    let refused = |why: &str| Err(format!("the file name `{}` {why}", shown(path)));
    if path.len() > LONGEST_PATH {
        return refused("is longer than 4096 bytes");
    }
    if path.starts_with('/') {
        return refused("is absolute");
    }
    if path.split('/').count() > DEEPEST_PATH {
        return refused("lies in more than 64 folders");
    }
    for part in path.split('/') {
        if matches!(part, "" | "." | "..") {
            return refused("has an empty part, `.` or `..`, and would leave its folder");
        }
        if part.chars().any(|character| character.is_control() || character == '\\') {
            return refused("has control characters or backslashes");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories() {
        for name in ["Qwen/Qwen3-8B", "a/b", "allenai/Olmo-3-7B-Think", "HuggingFaceTB/SmolLM2_1.7B"] {
            assert!(Repository::new(RepositoryKind::Model, name).is_ok(), "{name}");
        }
        let long = format!("a/{}", "b".repeat(95));
        for name in [
            "gpt2", "a/b/c", "/a", "a/", "../a", "a/..", "a/.b", "-a/b", "a--b/c", "a/b--c", "a b/c", "ä/b", "a/b.git",
            &long,
        ] {
            assert!(Repository::new(RepositoryKind::Model, name).is_err(), "{name}");
        }
        let dataset = Repository::new(RepositoryKind::Dataset, "lmsys/lmsys-chat-1m").unwrap();
        assert_eq!(dataset.folder(), "datasets--lmsys--lmsys-chat-1m");
    }

    #[test]
    fn revisions() {
        for text in ["main", "v1.0", "refs/pr/12", "feature/a_b", &"0123456789".repeat(4)] {
            assert!(Revision::new(text).is_ok(), "{text}");
        }
        for text in
            ["", "..", "a/../b", "/main", "main/", "a//b", "-x", ".a", "a/.b", "a.", "x.lock", "a b", "a\\b", "a:b"]
        {
            assert!(Revision::new(text).is_err(), "{text}");
        }
        assert!(Revision::new("main").unwrap().commit().is_none());
        assert!(Revision::new(&"a1".repeat(20)).unwrap().commit().is_some());
        assert!(Revision::new(&"A1".repeat(20)).unwrap().commit().is_none(), "commits are in lower case");
    }

    #[test]
    fn paths_stay_in_their_folder() {
        for path in ["config.json", "data/train-00000-of-00006.parquet", ".gitattributes", "a..b"] {
            assert_eq!(check_path(path), Ok(()), "{path}");
        }
        let deep = "a/".repeat(64) + "b";
        for path in ["", "/etc/passwd", "..", "../x", "a/../b", "a//b", "./a", "a/", "a\\..\\b", "a\0b", "a\nb", &deep]
        {
            assert!(check_path(path).is_err(), "{path:?}");
        }
    }
}
