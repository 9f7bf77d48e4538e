//! `--set a.b=value`: changes to the tree from the command line.

use super::names;
use super::tree::{Entry, Mapping, Node, Value};
use super::{Diagnostic, Place, Texts, yaml};

/// The name that stands in messages for what was given with `--set`.
const TEXT_NAME: &str = "--set";
/// Keys of a stage that an override may bring into being.
const STAGE_SECTIONS: [&str; 3] = ["in", "with", "resources"];

/// Applies the overrides in order; each is added to `texts`, so that later faults point at it.
pub fn apply(root: &mut Node, overrides: &[String], texts: &mut Texts, faults: &mut Vec<Diagnostic>) {
    for text in overrides {
        let index = texts.add(TEXT_NAME, text.as_str());
        if let Err(mut found) = apply_one(root, text, index) {
            faults.append(&mut found);
        }
    }
}

fn apply_one(root: &mut Node, text: &str, index: u32) -> Result<(), Vec<Diagnostic>> {
    let place = |start: usize, end: usize| Place { text: index, start: start as u32, end: end as u32 };
    let Some(equals) = text.find('=') else {
        let fault = Diagnostic::new(place(0, text.len()), "an override is PATH=VALUE, and here is no `=`");
        return Err(vec![fault.help("for example `--set params.tau=0.2`")]);
    };
    let mut segments = Vec::new();
    let mut start = 0;
    for key in text[..equals].split('.') {
        segments.push((key, place(start, start + key.len())));
        start += key.len() + 1;
    }
    if segments.iter().any(|(key, _)| key.is_empty()) {
        return Err(vec![Diagnostic::new(place(0, equals), "the path has an empty part")]);
    }
    let value = yaml::parse(index, equals + 1, &text[equals + 1..])?;
    set(root, &segments, 0, value).map_err(|fault| vec![fault])
}

/// Descends along the path and puts the value at its end.
fn set(node: &mut Node, segments: &[(&str, Place)], depth: usize, value: Node) -> Result<(), Diagnostic> {
    let (key, place) = segments[depth];
    let so_far = || segments[..depth].iter().map(|(key, _)| *key).collect::<Vec<_>>().join(".");
    let in_stage = depth >= 2 && segments[0].0 == "stages";
    let last = depth + 1 == segments.len();
    if node.is_null() && in_stage {
        node.value = Value::Mapping(Mapping::default());
    }
    let description = node.describe();
    let Value::Mapping(mapping) = &mut node.value else {
        let message = format!("`{}` is {description}, so it has no `{key}`", so_far());
        return Err(Diagnostic::new(place, message));
    };
    if mapping.entry(key).is_none() {
        let new_section = in_stage && depth == 2 && STAGE_SECTIONS.contains(&key);
        let new_key = last && (in_stage || depth == 2 && matches!(segments[0].0, "sources" | "matrix"));
        if !new_section && !new_key {
            let owner = if depth == 0 { "the file".into() } else { format!("`{}`", so_far()) };
            let mut fault = Diagnostic::new(place, format!("{owner} has no `{key}` to override"));
            fault.help = names::suggest(key, "it has", mapping.keys());
            return Err(fault);
        }
        let empty = Node::new(place, Value::Mapping(Mapping::default()));
        mapping.entries.push(Entry { key: key.into(), key_place: place, value: empty });
    }
    let Some(entry) = mapping.entry_mut(key) else { return Ok(()) };
    if last {
        entry.value = value;
        return Ok(());
    }
    set(&mut entry.value, segments, depth + 1, value)
}
