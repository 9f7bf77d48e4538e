//! Sources from the Hugging Face hub: `TYPE: {hf: {repo: OWNER/NAME, revision: main}}`.

use retmask_stages::artifact::{Form, Media};

use super::declaration::{map_with_keys, text, used};
use super::graph::HubLocation;
use super::tree::{Entry, Mapping, Node, Value};
use super::{Diagnostic, names};
use crate::hub::{Pattern, Repository, RepositoryKind, Revision, Wanted};

/// The key below a source's type key.
pub const HUB: &str = "hf";
/// Keys of a repository.
pub const HUB_KEYS: &[&str] = &["repo", "revision", "type", "files"];

/// Reads what stands under a source's type key, which is a map.
pub fn read(typed: &Entry, media: Media, faults: &mut Vec<Diagnostic>) -> Option<HubLocation> {
    let outer = map_with_keys(&typed.value, &format!("`{}`", typed.key), &[HUB], faults)?;
    let Some(entry) = outer.entry(HUB) else {
        // An unknown key is the more likely slip, and has been reported.
        if outer.entries.is_empty() {
            let message = format!("`{}` does not say where it is", typed.key);
            faults.push(Diagnostic::new(typed.key_place, message).help("a path, or {hf: {repo: OWNER/NAME}}"));
        }
        return None;
    };
    let keys = map_with_keys(&entry.value, "`hf`", HUB_KEYS, faults)?;
    let kind = kind(keys, media, faults);
    let repository = match keys.entry("repo") {
        Some(repo) => checked(&repo.value, "`repo`", |name| Repository::new(kind, name), faults),
        // An unknown key is the more likely slip, and has been reported.
        None if keys.keys().any(|key| !HUB_KEYS.contains(&key)) => None,
        None => {
            faults.push(Diagnostic::new(entry.key_place, "`hf` has no `repo`").help("for example: repo: OWNER/NAME"));
            None
        }
    };
    let revision = match keys.entry("revision") {
        Some(revision) => checked(&revision.value, "`revision`", Revision::new, faults),
        None => Revision::new(Revision::DEFAULT).ok(),
    };
    let wanted = wanted(keys, entry, media, faults);
    Some(HubLocation { repository: repository?, revision: revision?, wanted: wanted? })
}

/// Models are in model repositories and everything else in datasets, unless it is said otherwise.
fn kind(keys: &Mapping, media: Media, faults: &mut Vec<Diagnostic>) -> RepositoryKind {
    let usual = if media == Media::Model { RepositoryKind::Model } else { RepositoryKind::Dataset };
    let Some(entry) = keys.entry("type") else { return usual };
    let Some(name) = text(&entry.value, "`type`", faults) else { return usual };
    RepositoryKind::from_name(name).unwrap_or_else(|| {
        let message = format!("`{}` is no type of repository", super::tree::shorten(name));
        let mut fault = Diagnostic::new(entry.value.place, message);
        fault.help = names::suggest(name, "types", RepositoryKind::ALL.iter().map(|kind| kind.name()));
        faults.push(used(fault, &entry.value));
        usual
    })
}

fn wanted(keys: &Mapping, hub: &Entry, media: Media, faults: &mut Vec<Diagnostic>) -> Option<Wanted> {
    let Some(entry) = keys.entry("files") else {
        return match media.form() {
            _ if media == Media::Model => Some(Wanted::Model),
            Form::Tree => Some(Wanted::All),
            _ => {
                let fault = Diagnostic::new(hub.key_place, "`hf` does not say which file of the repository it is");
                faults.push(fault.help("for example: files: [data/train.jsonl]"));
                None
            }
        };
    };
    let Value::Sequence(items) = &entry.value.value else {
        if !entry.value.is_unresolved() {
            let message = format!("`files` is a list of paths, found {}", entry.value.describe());
            let fault = Diagnostic::new(entry.value.place, message).help("for example: files: [data/train.jsonl]");
            faults.push(used(fault, &entry.value));
        }
        return None;
    };
    if items.is_empty() {
        faults.push(Diagnostic::new(entry.value.place, "`files` names no file"));
        return None;
    }
    let patterns: Vec<Pattern> =
        items.iter().filter_map(|item| checked(item, "a path under `files`", Pattern::new, faults)).collect();
    (patterns.len() == items.len()).then_some(Wanted::Files(patterns))
}

/// Text that a rule accepts, or a fault with the rule's words.
fn checked<T>(
    node: &Node,
    what: &str,
    rule: impl FnOnce(&str) -> Result<T, String>,
    faults: &mut Vec<Diagnostic>,
) -> Option<T> {
    match rule(text(node, what, faults)?) {
        Ok(value) => Some(value),
        Err(why) => {
            faults.push(used(Diagnostic::new(node.place, why), node));
            None
        }
    }
}
