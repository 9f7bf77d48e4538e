//! The shape of a pipeline file: which keys stand where, and what kind of value each has.

use retmask_stages::artifact::Media;

use super::graph::{KindFacts, Resources, Source};
use super::matrix::Instance;
use super::substitute::Expanded;
use super::tree::{Entry, Mapping, Meaning, Node};
use super::{Diagnostic, Place, kinds, names, own_ports, resources, sources};

/// The version of the file format this program reads.
const VERSION: u64 = 1;
/// Keys of a file.
pub const FILE_KEYS: &[&str] = &["extends", "version", "name", "description", "params", "sources", "matrix", "stages"];
/// Keys of a stage.
pub const STAGE_KEYS: &[&str] = &["matrix", "kind", "in", "with", "resources"];
/// A file whose shape is right as far as this reader could see; names are not linked yet.
pub struct Declared<'a> {
    pub name: String,
    pub description: Option<String>,
    pub sources: Vec<DeclaredSource<'a>>,
    pub stages: Vec<DeclaredStage<'a>>,
}

/// A source: its name stands even where the rest is faulty, so that references to it raise no second fault.
pub struct DeclaredSource<'a> {
    pub name: &'a str,
    pub place: Place,
    pub source: Option<Source>,
    /// Known as soon as the type key is, even if the location is faulty.
    pub media: Option<Media>,
}

/// A stage with its parts as written.
pub struct DeclaredStage<'a> {
    /// Its own name, or that of the instance.
    pub name: &'a str,
    /// Which stage of the file, at which point of its matrix.
    pub instance: &'a Instance,
    pub place: Place,
    /// Absent when the kind is missing or unknown.
    pub kind: Option<KindFacts>,
    pub inputs: Option<&'a Entry>,
    pub with: Option<&'a Entry>,
    pub resources: Resources,
}

/// Reads the shape; `None` when there is no telling what the file means.
pub fn read<'a>(expanded: &'a Expanded, faults: &mut Vec<Diagnostic>) -> Option<Declared<'a>> {
    let root = &expanded.root;
    if root.is_null() {
        faults.push(
            Diagnostic::new(root.place, "the file is empty").help("a pipeline has `version`, `name` and `stages`"),
        );
        return None;
    }
    let file = map_with_keys(root, "a pipeline file", FILE_KEYS, faults)?;
    check_version(file, root, faults);
    let name = match file.entry("name") {
        Some(entry) => {
            let text = text(&entry.value, "`name`", faults).unwrap_or_default();
            check_name("pipeline", text, entry.value.place, &entry.value, faults);
            text.to_owned()
        }
        None => {
            faults.push(missing(root.place, "the file has no `name`", "name: my-pipeline"));
            String::new()
        }
    };
    let description = file.entry("description").and_then(|entry| text(&entry.value, "`description`", faults));
    if let Some(entry) = file.entry("params").filter(|entry| !is_empty(&entry.value))
        && let Some(params) = map(&entry.value, "`params`", faults)
    {
        for param in &params.entries {
            check_name("parameter", &param.key, param.key_place, &param.value, faults);
        }
    }
    let sources = named(file, "sources", "source", faults)
        .map(|entry| {
            let (media, source) = sources::read(entry, faults);
            DeclaredSource { name: &entry.key, place: entry.key_place, source, media }
        })
        .collect();
    let stages: Vec<_> = section(file, "stages", faults)
        .iter()
        .zip(&expanded.instances)
        .map(|(entry, instance)| {
            check_name("stage", &instance.stage, entry.key_place, &entry.value, faults);
            stage(entry, instance, faults)
        })
        .collect();
    match file.entry("stages") {
        None => faults.push(missing(root.place, "the file has no `stages`", "stages: {mask: {kind: build-mask, ...}}")),
        Some(entry)
            if stages.is_empty()
                && !entry.value.is_unresolved()
                && (is_empty(&entry.value) || entry.value.mapping().is_some()) =>
        {
            faults.push(Diagnostic::new(entry.key_place, "the pipeline has no stages"));
        }
        Some(_) => {}
    }
    Some(Declared { name, description: description.map(str::to_owned), sources, stages })
}

fn check_version(file: &Mapping, root: &Node, faults: &mut Vec<Diagnostic>) {
    let Some(entry) = file.entry("version") else {
        faults.push(missing(root.place, "the file has no `version`", "version: 1"));
        return;
    };
    let meaning = entry.value.scalar().map(|scalar| scalar.meaning());
    if meaning != Some(Meaning::Unsigned(VERSION)) && !entry.value.is_unresolved() {
        let message = format!("`version` is {}, and this program reads version {VERSION}", entry.value.describe());
        faults.push(Diagnostic::new(entry.value.place, message).help(format!("version: {VERSION}")));
    }
}

fn stage<'a>(entry: &'a Entry, instance: &'a Instance, faults: &mut Vec<Diagnostic>) -> DeclaredStage<'a> {
    let mut stage = DeclaredStage {
        name: &entry.key,
        instance,
        place: entry.key_place,
        kind: None,
        inputs: None,
        with: None,
        resources: Resources::default(),
    };
    let what = format!("stage `{}`", entry.key);
    if is_empty(&entry.value) {
        faults.push(missing(entry.key_place, &format!("{what} is empty"), "kind: build-mask"));
        return stage;
    }
    let Some(keys) = map_with_keys(&entry.value, &what, STAGE_KEYS, faults) else { return stage };
    match keys.entry("kind") {
        None => {
            let mut fault = Diagnostic::new(entry.key_place, format!("{what} has no `kind`"));
            fault.help.push(format!("kinds: {}", names::list_names(&kinds::names().collect::<Vec<_>>())));
            faults.push(fault);
        }
        Some(kind) => {
            if let Some(name) = text(&kind.value, "`kind`", faults) {
                stage.kind = kinds::find(name).map(|kind| own_ports::declared(kind, keys, faults));
                if stage.kind.is_none() {
                    let mut fault =
                        Diagnostic::new(kind.value.place, format!("there is no kind `{}`", super::tree::shorten(name)));
                    fault.help = names::suggest(name, "kinds", kinds::names());
                    faults.push(used(fault, &kind.value));
                }
            }
        }
    }
    let filled = |key: &str| keys.entry(key).filter(|entry| !is_empty(&entry.value) && !entry.value.is_unresolved());
    for (key, slot) in [("in", &mut stage.inputs), ("with", &mut stage.with)] {
        *slot = filled(key).filter(|entry| map(&entry.value, &format!("`{key}`"), faults).is_some());
    }
    if let Some(entry) = filled("resources") {
        stage.resources = resources::read(&entry.value, faults);
    }
    stage
}

/// The entries of a section, their names checked.
fn named<'a>(
    file: &'a Mapping,
    key: &str,
    what: &str,
    faults: &mut Vec<Diagnostic>,
) -> impl Iterator<Item = &'a Entry> + use<'a> {
    let entries = section(file, key, faults);
    for entry in entries {
        check_name(what, &entry.key, entry.key_place, &entry.value, faults);
    }
    entries.iter()
}

/// The entries of a section; none where it is left out, empty or no map.
fn section<'a>(file: &'a Mapping, key: &str, faults: &mut Vec<Diagnostic>) -> &'a [Entry] {
    let section = file.entry(key).filter(|entry| !is_empty(&entry.value) && !entry.value.is_unresolved());
    let entries = section.and_then(|entry| map(&entry.value, &format!("`{key}`"), faults));
    entries.map_or(&[], |mapping| mapping.entries.as_slice())
}

fn check_name(what: &str, name: &str, place: Place, node: &Node, faults: &mut Vec<Diagnostic>) {
    if !names::is_valid(name) && !node.is_unresolved() {
        let message = format!("`{}` cannot be the name of a {what}", super::tree::shorten(name));
        faults.push(
            Diagnostic::new(place, message).help("a name is made of a-z, 0-9 and -, and starts with a letter or digit"),
        );
    }
}

/// A map whose keys are all known; every unknown one is reported.
pub fn map_with_keys<'a>(
    node: &'a Node,
    what: &str,
    known: &[&str],
    faults: &mut Vec<Diagnostic>,
) -> Option<&'a Mapping> {
    let mapping = map(node, what, faults)?;
    for entry in mapping.entries.iter().filter(|entry| !known.contains(&entry.key.as_str())) {
        let key = super::tree::shorten(&entry.key);
        let mut fault = Diagnostic::new(entry.key_place, format!("{what} has no key `{key}`"));
        fault.help = names::suggest(&entry.key, "valid keys", known.iter().copied());
        faults.push(fault);
    }
    Some(mapping)
}

/// A map, or a fault saying what is there instead.
pub fn map<'a>(node: &'a Node, what: &str, faults: &mut Vec<Diagnostic>) -> Option<&'a Mapping> {
    if node.mapping().is_none() && !node.is_unresolved() {
        let fault =
            Diagnostic::new(node.place, format!("{what} is a map of keys and values, found {}", node.describe()));
        faults.push(used(fault, node));
    }
    node.mapping()
}

/// Text, or a fault saying what is there instead.
pub fn text<'a>(node: &'a Node, what: &str, faults: &mut Vec<Diagnostic>) -> Option<&'a str> {
    if let Some(scalar) = node.scalar()
        && let Meaning::Text(text) = scalar.meaning()
    {
        return Some(text);
    }
    if !node.is_unresolved() {
        let mut fault = Diagnostic::new(node.place, format!("{what} is text, found {}", node.describe()));
        if let Some(scalar) = node.scalar().filter(|scalar| !scalar.text.is_empty()) {
            fault = fault.help(format!("in quotes it is text: \"{}\"", scalar.text));
        }
        faults.push(used(fault, node));
    }
    None
}

/// Adds where a value is used, when it came in through a reference.
pub fn used(fault: Diagnostic, node: &Node) -> Diagnostic {
    match node.used {
        Some(place) => fault.note(place, "used here"),
        None => fault,
    }
}

/// `key:` with nothing behind it counts as not written, as does a map without keys.
fn is_empty(node: &Node) -> bool {
    node.is_null() || node.mapping().is_some_and(|mapping| mapping.entries.is_empty())
}

fn missing(place: Place, message: &str, example: &str) -> Diagnostic {
    Diagnostic::new(Place { end: place.start, ..place }, message).help(format!("for example: {example}"))
}

#[cfg(test)]
mod tests {
    use super::super::hub_source::{HUB, HUB_KEYS};
    use super::super::resources::RESOURCE_KEYS;
    use super::super::sources::{EMBEDDED, FETCH, PATH_TYPES};
    use super::*;

    #[test]
    fn every_key_is_documented() {
        let page = include_str!("../../docs/pipelines.md");
        let (page, _) = page.split_once("<!-- kinds: begin -->").unwrap();
        let types = PATH_TYPES.iter().map(|(key, _)| key).chain([&EMBEDDED, &FETCH, &HUB]).chain(HUB_KEYS);
        for key in FILE_KEYS.iter().chain(STAGE_KEYS).chain(RESOURCE_KEYS).chain(types) {
            assert!(page.contains(&format!("`{key}`")), "`{key}` is missing");
        }
        for (_, media) in PATH_TYPES {
            assert!(page.contains(media.name()), "{} is missing", media.name());
        }
    }

    /// The first indented block of the page below this heading.
    fn example(heading: &str) -> String {
        let page = include_str!("../../docs/pipelines.md");
        let below = page.lines().skip_while(|line| *line != heading);
        let block = below.skip_while(|line| !line.starts_with("    ")).take_while(|line| line.starts_with("    "));
        block.map(|line| format!("{}\n", &line[4..])).collect()
    }

    /// How many sources and stages a text declares that has no faults.
    fn valid(text: &str) -> (usize, usize) {
        let root = super::super::yaml::parse(0, 0, text).unwrap();
        let mut texts = super::super::Texts::default();
        texts.add("example", text);
        let mut faults = Vec::new();
        let expanded = super::super::substitute::expand(&root, &texts, &mut faults).unwrap();
        let declared = read(&expanded, &mut faults).unwrap();
        let counts = (declared.sources.len(), declared.stages.len());
        assert!(super::super::link::link(declared, &mut faults).is_some(), "{faults:?}");
        counts
    }

    #[test]
    fn the_documented_examples_are_valid() {
        assert_eq!(valid(&example("# Pipelines")), (2, 3));
        let head = "version: 1\nname: example\nstages: {data: {kind: synthetic}}\n";
        assert_eq!(
            valid(&format!("{head}{}", example("### Hugging Face repositories"))),
            (4, 1),
            "Hugging Face repositories"
        );
        let head = "version: 1\nname: example\nsources: {model: {embedded: tiny}, needles: {needles: n}, instructions: \
                    {instructions: i}}\n";
        assert_eq!(valid(&format!("{head}{}", example("## Matrices"))), (3, 22), "matrices");
    }
}
