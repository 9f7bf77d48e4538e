//! Which files of a repository are needed.

use serde::{Deserialize, Serialize};

use super::lock_file::PinnedFile;
use super::names::{check_path, shown};

/// The files of a model beside its weights: those the program reads.
const MODEL_FILES: &[&str] =
    &["chat_template.jinja", "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"];
/// The weights of a model that is not sharded; it goes before the index, as when the model is read.
const SINGLE_WEIGHTS: &str = "model.safetensors";
/// Which shard holds which tensor.
pub(super) const WEIGHT_INDEX: &str = "model.safetensors.index.json";

/// What is wanted of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// Configuration, tokenizer and weights of a model.
    Model,
    /// Everything but files whose name, or the name of a folder, begins with a dot.
    All,
    /// What these patterns name; each names at least one file.
    Files(Vec<Pattern>),
}

impl Wanted {
    /// The patterns, as written.
    pub fn patterns(&self) -> Option<&[Pattern]> {
        if let Self::Files(patterns) = self { Some(patterns) } else { None }
    }
}

/// A path, in which `*` stands for any characters but `/`, and `**` for any.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pattern(String);

impl Pattern {
    /// Checks a pattern: as a path, which it may be, and without hidden names, which no source has.
    ///
    /// # Errors
    /// One sentence that says what is wrong.
    pub fn new(text: &str) -> Result<Self, String> {
        check_path(text)?;
        if is_hidden(text) {
            return Err(format!(
                "the file name `{}` has a part that begins with a dot, which no source has",
                shown(text)
            ));
        }
        Ok(Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn matches(&self, path: &str) -> bool {
        matches(self.0.as_bytes(), path.as_bytes())
    }
}

impl TryFrom<String> for Pattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::new(&text)
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> Self {
        pattern.0
    }
}

/// Linear in time for each star, whatever the pattern: the last star is the only one that ever gives way, and `**`
/// gives way where `*` cannot.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    // reachable[i]: whether pattern[..p] matches text[..i].
    let mut reachable = vec![false; text.len() + 1];
    reachable[0] = true;
    let mut position = 0;
    while position < pattern.len() {
        if pattern[position] == b'*' {
            let any = pattern.get(position + 1) == Some(&b'*');
            for end in 1..=text.len() {
                reachable[end] |= reachable[end - 1] && (any || text[end - 1] != b'/');
            }
            position += if any { 2 } else { 1 };
            continue;
        }
        for end in (1..=text.len()).rev() {
            reachable[end] = reachable[end - 1] && text[end - 1] == pattern[position];
        }
        reachable[0] = false;
        position += 1;
    }
    reachable[text.len()]
}

/// Whether a name in a path begins with a dot: such files are no part of a user's folder either.
fn is_hidden(path: &str) -> bool {
    path.split('/').any(|part| part.starts_with('.'))
}

/// The files that are wanted, sorted by path.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Selected<'a> {
    Files(Vec<&'a PinnedFile>),
    /// The weights are in shards, which the index names: it must be read first.
    Sharded {
        others: Vec<&'a PinnedFile>,
        index: &'a PinnedFile,
    },
}

/// Chooses from all files of a repository.
///
/// # Errors
/// One sentence on what the repository lacks, and what may be done.
pub(super) fn select<'a>(wanted: &Wanted, files: &'a [PinnedFile]) -> Result<Selected<'a>, (String, String)> {
    let find = |path: &str| files.iter().find(|file| file.path == path);
    match wanted {
        Wanted::All => Ok(Selected::Files(files.iter().filter(|file| !is_hidden(&file.path)).collect())),
        Wanted::Files(patterns) => {
            let names_it = |pattern: &Pattern, file: &PinnedFile| !is_hidden(&file.path) && pattern.matches(&file.path);
            for pattern in patterns {
                if !files.iter().any(|file| names_it(pattern, file)) {
                    return Err((format!("has no file `{}`", shown(pattern.as_str())), names(files)));
                }
            }
            let wanted = |file: &&PinnedFile| patterns.iter().any(|pattern| names_it(pattern, file));
            Ok(Selected::Files(files.iter().filter(wanted).collect()))
        }
        Wanted::Model => {
            let mut others: Vec<&PinnedFile> = MODEL_FILES.iter().filter_map(|path| find(path)).collect();
            for needed in ["config.json", "tokenizer.json"] {
                if !others.iter().any(|file| file.path == needed) {
                    let hint = format!("a GGUF file of it can be named with `files: [NAME.gguf]`; {}", names(files));
                    return Err((format!("has no {needed}"), hint));
                }
            }
            match (find(SINGLE_WEIGHTS), find(WEIGHT_INDEX)) {
                (Some(weights), _) => {
                    others.push(weights);
                    others.sort_by(|left, right| left.path.cmp(&right.path));
                    Ok(Selected::Files(others))
                }
                (None, Some(index)) => Ok(Selected::Sharded { others, index }),
                (None, None) => Err((format!("has neither {SINGLE_WEIGHTS} nor {WEIGHT_INDEX}"), names(files))),
            }
        }
    }
}

/// Adds the shards that an index names, and the index itself.
///
/// # Errors
/// One sentence on what is wrong with the index.
pub(super) fn add_shards<'a>(
    mut others: Vec<&'a PinnedFile>,
    index: &'a PinnedFile,
    content: &[u8],
    files: &'a [PinnedFile],
) -> Result<Vec<&'a PinnedFile>, String> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: std::collections::BTreeMap<String, String>,
    }
    let content: Index =
        serde_json::from_slice(content).map_err(|error| format!("{WEIGHT_INDEX} is no index of weights: {error}"))?;
    let shards: std::collections::BTreeSet<&str> = content.weight_map.values().map(String::as_str).collect();
    for shard in shards {
        let file = files.iter().find(|file| file.path == shard);
        others.push(file.ok_or_else(|| format!("{WEIGHT_INDEX} names `{}`, which it lacks", shown(shard)))?);
    }
    others.push(index);
    others.sort_by(|left, right| left.path.cmp(&right.path));
    Ok(others)
}

/// The first files there are, for a hint.
fn names(files: &[PinnedFile]) -> String {
    const SHOWN: usize = 12;
    let mut text: Vec<String> = files.iter().take(SHOWN).map(|file| shown(&file.path)).collect();
    if files.len() > SHOWN {
        text.push(format!("and {} more", files.len() - SHOWN));
    }
    if text.is_empty() { "it has no files".into() } else { format!("it has {}", text.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::super::content::ContentDigest;
    use super::*;

    fn files(paths: &[&str]) -> Vec<PinnedFile> {
        let file = |path: &&str| PinnedFile { path: (*path).into(), size: 1, digest: ContentDigest::GitBlob([0; 20]) };
        paths.iter().map(file).collect()
    }

    fn paths(files: &[&PinnedFile]) -> Vec<String> {
        files.iter().map(|file| file.path.clone()).collect()
    }

    #[test]
    fn patterns() {
        for (pattern, path, expected) in [
            ("a.json", "a.json", true),
            ("a.json", "b/a.json", false),
            ("*.json", "a.json", true),
            ("*.json", "b/a.json", false),
            ("**.json", "b/a.json", true),
            ("data/*-of-*.parquet", "data/train-0-of-2.parquet", true),
            ("data/**", "data/a/b", true),
            ("data/**", "data", false),
            ("a*b*c", "abbbbc", true),
            ("a*b*c", "abbbb", false),
            ("*", "", true),
        ] {
            assert_eq!(matches(pattern.as_bytes(), path.as_bytes()), expected, "{pattern} {path}");
        }
        for hidden in [".gitattributes", "a/.b", ".a/b"] {
            assert!(Pattern::new(hidden).is_err(), "{hidden}");
        }
        assert!(!matches("*a".repeat(200).as_bytes(), "a".repeat(199).as_bytes()), "at once");
    }

    #[test]
    fn of_a_model_only_what_is_read() {
        let all = files(&[
            ".gitattributes",
            "LICENSE",
            "README.md",
            "config.json",
            "consolidated.safetensors",
            "generation_config.json",
            "model.safetensors",
            "original/consolidated.00.pth",
            "pytorch_model.bin",
            "tokenizer.json",
            "tokenizer_config.json",
        ]);
        let Ok(Selected::Files(chosen)) = select(&Wanted::Model, &all) else { panic!() };
        let expected =
            ["config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"];
        assert_eq!(paths(&chosen), expected);
    }

    #[test]
    fn hidden_files_are_never_chosen() {
        let all = files(&[".gitattributes", ".cache/x", "a", "b/.c", "b/c"]);
        let everything = Wanted::Files(vec![Pattern::new("**").unwrap()]);
        for wanted in [Wanted::All, everything] {
            let Ok(Selected::Files(chosen)) = select(&wanted, &all) else { panic!() };
            assert_eq!(paths(&chosen), ["a", "b/c"]);
        }
    }

    #[test]
    fn shards_are_those_of_the_index() {
        let all = files(&[
            "config.json",
            "consolidated.safetensors",
            "model-1.safetensors",
            "model-2.safetensors",
            "model.safetensors.index.json",
            "tokenizer.json",
        ]);
        let Ok(Selected::Sharded { others, index }) = select(&Wanted::Model, &all) else { panic!() };
        let content = br#"{"metadata": {}, "weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors", "c": "model-1.safetensors"}}"#;
        let chosen = add_shards(others.clone(), index, content, &all).unwrap();
        let expected = [
            "config.json",
            "model-1.safetensors",
            "model-2.safetensors",
            "model.safetensors.index.json",
            "tokenizer.json",
        ];
        assert_eq!(paths(&chosen), expected);
        for shard in ["../x", "model-3.safetensors", "/etc/passwd"] {
            let content = format!(r#"{{"weight_map": {{"a": "{shard}"}}}}"#);
            assert!(add_shards(others.clone(), index, content.as_bytes(), &all).is_err_and(|why| why.contains(shard)));
        }
        assert!(add_shards(others, index, b"[]", &all).is_err());
    }

    #[test]
    fn what_a_repository_lacks_is_said() {
        let refused = |wanted: &Wanted, paths: &[&str]| select(wanted, &files(paths)).unwrap_err();
        let (why, hint) = refused(&Wanted::Model, &["model.Q4.gguf"]);
        assert!(why == "has no config.json" && hint.contains("files: [NAME.gguf]") && hint.contains("model.Q4.gguf"));
        let (why, _) = refused(&Wanted::Model, &["config.json", "pytorch_model.bin", "tokenizer.json"]);
        assert_eq!(why, "has neither model.safetensors nor model.safetensors.index.json");
        let (why, _) = refused(&Wanted::Files(vec![Pattern::new("*.parquet").unwrap()]), &["a.json"]);
        assert_eq!(why, "has no file `*.parquet`");
    }
}
