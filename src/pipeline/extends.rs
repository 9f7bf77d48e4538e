//! `extends: FILE`: a variant that says only what differs from another pipeline.
//!
//! `params`, `sources`, `matrix` and `stages` are put together by name, a stage by its keys, its `in`, `with` and
//! `resources` by theirs; everything else replaces what was there. Nothing (`stages: {report: }`) takes a source, an axis
//! or a stage away. Every value keeps its place, so that a fault names the file it stands in.

use std::path::{Component, Path, PathBuf};

use super::tree::{Entry, Mapping, Meaning, Node, Value, shorten};
use super::{Diagnostic, Texts, declaration, read_text, yaml};
use crate::error::{Error, Result};

/// The key.
pub const EXTENDS: &str = "extends";
/// The most files in a row.
const MAX_FILES: usize = 8;

/// Reads what a file extends, and that in turn, and puts them together; `None` after reporting faults.
///
/// # Errors
/// `Environment` when a file that is there cannot be read.
pub fn resolve(root: Node, path: &Path, texts: &mut Texts, faults: &mut Vec<Diagnostic>) -> Result<Option<Node>> {
    let mut chain = Vec::new();
    let mut list = vec![root];
    let mut current = path.to_owned();
    while let Some(entry) = list.last().and_then(Node::mapping).and_then(|file| file.entry(EXTENDS)) {
        let Some(named) = declaration::text(&entry.value, "`extends`", faults) else { return Ok(None) };
        let place = entry.value.place;
        let refuse = |message: String| Diagnostic::new(place, message);
        if let Some(reason) = unfit(named) {
            faults.push(refuse(format!("`{}` cannot be extended: {reason}", shorten(named))));
            return Ok(None);
        }
        chain.push(identity(&current));
        let next = current.parent().unwrap_or(Path::new("")).join(named);
        if chain.contains(&identity(&next)) {
            faults.push(refuse(format!("{} would extend itself", next.display())));
            return Ok(None);
        }
        if chain.len() >= MAX_FILES {
            faults.push(refuse(format!("more than {MAX_FILES} files extend one another")));
            return Ok(None);
        }
        let content = match text_of(&next) {
            Ok(content) => content,
            Err(Error::Message { fault: retmask_stages::contract::Fault::Input, message, .. }) => {
                faults.push(refuse(message));
                return Ok(None);
            }
            Err(other) => return Err(other),
        };
        let text = texts.add_file(next.display().to_string(), content.as_str());
        match yaml::parse(text, 0, &content) {
            Ok(node) if node.mapping().is_some() => list.push(node),
            Ok(node) => {
                let fault = Diagnostic::new(node.place, format!("a pipeline file is a map, found {}", node.describe()));
                faults.push(fault.note(place, "extended here"));
                return Ok(None);
            }
            Err(mut found) => {
                faults.append(&mut found);
                return Ok(None);
            }
        }
        current = next;
    }
    let Some(mut whole) = list.pop() else { return Ok(None) };
    while let Some(own) = list.pop() {
        whole = file(whole, own, faults);
    }
    Ok(Some(whole))
}

/// Why a path is not one to extend.
fn unfit(path: &str) -> Option<&'static str> {
    let components = || Path::new(path).components();
    if path.contains("${") {
        Some("it is a path, in which references have no meaning")
    } else if path.contains('\0') || components().any(|part| matches!(part, Component::RootDir | Component::Prefix(_)))
    {
        Some("its path is relative to the file that extends it")
    } else if !path.ends_with(".yaml") && !path.ends_with(".yml") {
        Some("a pipeline file ends in .yaml or .yml")
    } else {
        None
    }
}

/// The same for every way of writing a path, as far as it exists.
fn identity(path: &Path) -> PathBuf {
    std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

/// The text of a regular file: a pipe would be waited for.
fn text_of(path: &Path) -> Result<String> {
    if std::fs::metadata(path).is_ok_and(|facts| !facts.is_file()) {
        return Err(Error::input(format!("{} is not a file", path.display())));
    }
    read_text(path)
}

/// A file over the one it extends.
fn file(base: Node, own: Node, faults: &mut Vec<Diagnostic>) -> Node {
    let (place, used) = (own.place, own.used);
    let (Value::Mapping(mut whole), Value::Mapping(own)) = (base.value, own.value) else {
        return Node { place, used, value: Value::Mapping(Mapping::default()) };
    };
    whole.entries.retain(|entry| entry.key != EXTENDS);
    for entry in own.entries {
        let section = matches!(entry.key.as_str(), "params" | "sources" | "matrix" | "stages");
        match whole.entry_mut(&entry.key) {
            _ if entry.key == EXTENDS => {}
            Some(there) if section => by_name(there, entry, faults),
            // A version that this program does not read is a fault, wherever it stands.
            Some(there) if entry.key == "version" && !is_one(&there.value) => {}
            Some(there) => *there = entry,
            None => whole.entries.push(entry),
        }
    }
    Node { place, used, value: Value::Mapping(whole) }
}

fn is_one(version: &Node) -> bool {
    version.scalar().is_some_and(|scalar| scalar.meaning() == Meaning::Unsigned(1))
}

/// Puts a section's named values over those of the extended file.
fn by_name(there: &mut Entry, own: Entry, faults: &mut Vec<Diagnostic>) {
    if own.value.is_null() {
        return;
    }
    let (Value::Mapping(names), true) = (own.value.value.clone(), there.value.mapping().is_some()) else {
        *there = own;
        return;
    };
    let Value::Mapping(section) = &mut there.value.value else { return };
    for entry in names.entries {
        let position = section.entries.iter().position(|known| known.key == entry.key);
        match (position, own.key.as_str(), entry.value.is_null()) {
            (Some(position), "sources" | "matrix" | "stages", true) => {
                section.entries.remove(position);
            }
            (None, "sources" | "matrix" | "stages", true) => {
                let what = if own.key == "matrix" { "axis" } else { own.key.trim_end_matches('s') };
                let message = format!("there is no {what} `{}` to leave out", shorten(&entry.key));
                let mut fault = Diagnostic::new(entry.key_place, message);
                fault.help = super::names::suggest(&entry.key, "it has", section.keys());
                faults.push(fault);
            }
            (Some(position), "stages", false) => stage(&mut section.entries[position], entry),
            (Some(position), ..) => section.entries[position] = entry,
            (None, ..) => section.entries.push(entry),
        }
    }
}

/// Puts a stage's keys over those it has; a stage of another kind is another stage.
fn stage(there: &mut Entry, own: Entry) {
    let kind = |node: &Node| {
        let kind = node.mapping().and_then(|stage| stage.entry("kind"));
        kind.and_then(|kind| kind.value.scalar()).map(|scalar| scalar.text.clone())
    };
    let other_kind = kind(&own.value).is_some_and(|own| kind(&there.value).is_none_or(|there| there != own));
    let places = (own.key_place, own.value.place);
    match (&mut there.value.value, own.value.value) {
        (Value::Mapping(whole), Value::Mapping(keys)) if !other_kind => {
            for entry in keys.entries {
                let parts = matches!(entry.key.as_str(), "in" | "with" | "resources");
                match whole.entry_mut(&entry.key) {
                    Some(there) if parts => over(there, entry),
                    Some(there) => *there = entry,
                    None => whole.entries.push(entry),
                }
            }
        }
        (value, own) => *value = own,
    }
    // A fault of the whole stage is one of the file that wrote of it last.
    (there.key_place, there.value.place) = places;
}

/// A map over a map, key by key; anything else replaces what was there.
fn over(there: &mut Entry, own: Entry) {
    let (Value::Mapping(whole), Value::Mapping(_)) = (&mut there.value.value, &own.value.value) else {
        *there = own;
        return;
    };
    let Value::Mapping(keys) = own.value.value else { return };
    for entry in keys.entries {
        match whole.entry_mut(&entry.key) {
            Some(there) => *there = entry,
            None => whole.entries.push(entry),
        }
    }
    (there.key_place, there.value.place) = (own.key_place, own.value.place);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        for fit in ["a.yaml", "../a.yml", "b/c.yaml", "./a.yaml"] {
            assert_eq!(unfit(fit), None, "{fit}");
        }
        for wrong in ["/a.yaml", "", "a", "a.yaml/", "${params.x}.yaml", "a\0.yaml", "/dev/zero"] {
            assert!(unfit(wrong).is_some(), "{wrong:?}");
        }
    }
}
