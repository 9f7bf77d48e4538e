//! Sources: what comes from outside, each of one type.

use std::path::PathBuf;

use retmask_model::embedded;
use retmask_stages::artifact::Media;

use super::declaration::{map, text, used};
use super::graph::{Location, Source};
use super::tree::{Entry, shorten};
use super::{Diagnostic, hub_source, names};

/// The type keys whose value is a path or a Hugging Face repository, and what each brings.
pub const PATH_TYPES: &[(&str, Media)] = &[
    ("model", Media::Model),
    ("needles", Media::Needles),
    ("instructions", Media::Instructions),
    ("helmet-data", Media::HelmetData),
    ("prompt-templates", Media::PromptTemplates),
    ("judge-prompts", Media::JudgePrompts),
    ("punkt-parameters", Media::PunktParameters),
    ("evaluation-set", Media::EvaluationSet),
    ("tokenizer", Media::Tokenizer),
    ("published-scores", Media::PublishedScores),
    ("preference-set", Media::PreferenceSet),
    ("file", Media::File),
    ("folder", Media::Folder),
];
/// The type key of a model built into the program.
pub const EMBEDDED: &str = "embedded";
/// The key of the command that brings missing data.
pub const FETCH: &str = "fetch";

/// Reads one source: what it brings, as far as that is known, and the source if it has no fault.
pub fn read(entry: &Entry, faults: &mut Vec<Diagnostic>) -> (Option<Media>, Option<Source>) {
    let what = format!("source `{}`", entry.key);
    let Some(keys) = map(&entry.value, &what, faults) else { return (None, None) };
    let types = || PATH_TYPES.iter().map(|(name, _)| *name).chain([EMBEDDED]);
    let (typed, others): (Vec<&Entry>, Vec<&Entry>) =
        keys.entries.iter().partition(|entry| types().any(|name| name == entry.key));
    for other in others.iter().filter(|entry| entry.key != FETCH) {
        let mut fault = Diagnostic::new(other.key_place, format!("{what} has no key `{}`", shorten(&other.key)));
        fault.help = names::suggest(&other.key, "valid keys", types().chain([FETCH]));
        faults.push(fault);
    }
    let fetch_key = keys.entry(FETCH);
    let fetch = fetch_key.map(|entry| text(&entry.value, "`fetch`", faults));
    let typed = match typed.as_slice() {
        [typed] => typed,
        [] => {
            // An unknown key is the more likely slip, and has been reported.
            if others.iter().all(|entry| entry.key == FETCH) {
                let fault = Diagnostic::new(entry.key_place, format!("{what} does not say what it is"));
                faults.push(fault.help(format!("one of {}", names::list_names(&types().collect::<Vec<_>>()))));
            }
            return (None, None);
        }
        [first, second, ..] => {
            let message = format!("{what} has two types, `{}` and `{}`", first.key, second.key);
            faults.push(Diagnostic::new(second.key_place, message).note(first.key_place, "the first"));
            return (None, None);
        }
    };
    let media = PATH_TYPES.iter().find(|(name, _)| *name == typed.key).map_or(Media::Model, |(_, media)| *media);
    let location = if typed.key != EMBEDDED && typed.value.mapping().is_some() {
        if let Some(fetch) = fetch_key {
            let message = format!("{what} is a Hugging Face repository and needs no `{FETCH}`");
            faults.push(Diagnostic::new(fetch.key_place, message).help("`retmask run` downloads it"));
        }
        hub_source::read(typed, media, faults).map(Location::Hub)
    } else {
        text(&typed.value, &format!("`{}`", typed.key), faults).and_then(|value| {
            if typed.key == EMBEDDED { embedded_model(typed, value, faults) } else { path(typed, value, faults) }
        })
    };
    let (Some(location), Some(fetch)) = (location, fetch.map_or(Some(None), |fetch| fetch.map(Some))) else {
        return (Some(media), None);
    };
    let fetch = fetch.map(str::to_owned);
    (Some(media), Some(Source { name: entry.key.clone(), media, location, fetch }))
}

fn embedded_model(typed: &Entry, name: &str, faults: &mut Vec<Diagnostic>) -> Option<Location> {
    if let Some(model) = embedded::MODELS.iter().find(|model| model.name == name) {
        return Some(Location::Embedded { name: model.name, files: model.files });
    }
    let message = format!("no model `{}` is built into the program", shorten(name));
    let mut fault = Diagnostic::new(typed.value.place, message);
    fault.help = names::suggest(name, "built-in models", embedded::MODELS.iter().map(|model| model.name));
    faults.push(used(fault, &typed.value));
    None
}

fn path(typed: &Entry, value: &str, faults: &mut Vec<Diagnostic>) -> Option<Location> {
    let wrong = if value.is_empty() {
        Some("the path is empty")
    } else if value == "~" || value.starts_with("~/") {
        Some("`~` is not expanded in paths: write the whole path")
    } else if value.contains('\0') {
        Some("a path cannot hold a zero byte")
    } else {
        None
    };
    if let Some(message) = wrong {
        faults.push(used(Diagnostic::new(typed.value.place, message), &typed.value));
        return None;
    }
    Some(Location::Path(PathBuf::from(value)))
}
