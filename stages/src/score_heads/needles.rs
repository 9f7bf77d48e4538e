//! The needles folder: `needles.jsonl`, and one haystack folder `part1/`, `part2/`, … per needle.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::contract::{StageError, StageResult};

/// A fact to hide, the question that asks for it, and the words that answer it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Needle {
    /// The sentence put into the haystack.
    pub needle: String,
    pub question: String,
    /// The part of the sentence that answers the question: the span that is looked for in the prompt.
    pub real_needle: String,
}

/// Reads `needles.jsonl` of a needles folder.
///
/// # Errors
/// `Input` naming the file and the line.
pub fn read_needles(folder: &Path) -> StageResult<Vec<Needle>> {
    let path = folder.join("needles.jsonl");
    let text = read_text(&path)?;
    let mut needles = Vec::new();
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let place = format!("{}, line {}", path.display(), index + 1);
        let needle: Needle = serde_json::from_str(line).map_err(|error| {
            StageError::input(format!("{place}: {error}"))
                .with_hint("a line is a JSON object with the texts `needle`, `question` and `real_needle`")
        })?;
        for (field, value) in
            [("needle", &needle.needle), ("question", &needle.question), ("real_needle", &needle.real_needle)]
        {
            if value.trim().is_empty() {
                return Err(StageError::input(format!("{place}: `{field}` is empty")));
            }
        }
        needles.push(needle);
    }
    if needles.is_empty() {
        return Err(StageError::input(format!("{} holds no needle", path.display())));
    }
    Ok(needles)
}

/// The haystack of needle `index` (from 0): the text files of `part{index + 1}/`, in order of their names, one
/// after the other.
///
/// # Errors
/// `Input` when the folder is missing or has no text.
pub fn read_haystack(folder: &Path, index: usize) -> StageResult<String> {
    let part = folder.join(format!("part{}", index + 1));
    let entries = fs::read_dir(&part).map_err(|error| {
        StageError::io("read the haystack folder", &part, &error)
            .with_hint(format!("needle {index} of needles.jsonl takes its haystack from the *.txt files there"))
    })?;
    let mut files: Vec<PathBuf> = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| StageError::io("read", &part, &error))?.path();
        if path.extension().is_some_and(|extension| extension == "txt") {
            files.push(path);
        }
    }
    files.sort();
    let mut text = String::new();
    for file in &files {
        text.push_str(&read_text(file)?);
    }
    if text.trim().is_empty() {
        return Err(StageError::input(format!("{} holds no text: expected *.txt files", part.display())));
    }
    Ok(text)
}

fn read_text(path: &Path) -> StageResult<String> {
    let bytes = fs::read(path).map_err(|error| StageError::io("read", path, &error))?;
    String::from_utf8(bytes).map_err(|error| {
        let place = error.utf8_error().valid_up_to();
        StageError::input(format!("{}: byte {place} is not UTF-8 text", path.display()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_joined_by_name_and_faults_are_placed() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let good = r#"{"needle": "n", "question": "q", "real_needle": "r", "note": 1}"#;
        fs::write(root.join("needles.jsonl"), format!("{good}\n\n{good}\n")).unwrap();
        assert_eq!(read_needles(root).unwrap().len(), 2);
        fs::create_dir(root.join("part2")).unwrap();
        for (name, text) in [("b.txt", "second "), ("a.txt", "first "), ("c.md", "no")] {
            fs::write(root.join("part2").join(name), text).unwrap();
        }
        assert_eq!(read_haystack(root, 1).unwrap(), "first second ");
        assert!(read_haystack(root, 0).unwrap_err().message.contains("part1"));

        let fault = |text: &[u8]| {
            fs::write(root.join("needles.jsonl"), text).unwrap();
            read_needles(root).unwrap_err().message
        };
        assert!(
            fault(format!("{good}\n{{\"needle\": \"n\"}}").as_bytes()).contains("line 2: missing field `question`")
        );
        assert!(fault(br#"{"needle": " ", "question": "q", "real_needle": "r"}"#).contains("`needle` is empty"));
        assert!(fault(b"\n").contains("no needle"));
        assert!(fault(b"\xff").contains("byte 0 is not UTF-8"));
    }
}
