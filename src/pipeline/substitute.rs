//! `${params.name}` and `${matrix.axis}`: a whole scalar becomes the value, type and all; inside other text its
//! spelling is spliced in. `$${` stands for `${` itself. Stages with a `matrix` are copied once for every point.

use std::borrow::Cow;
use std::collections::HashMap;

use super::matrix::{self, Axis, Instance};
use super::tree::{Entry, MAX_DEPTH, MAX_NODES, MAX_TEXT, Mapping, Node, Scalar, Value};
use super::{Diagnostic, Place, Texts, names};

/// The longest chain of parameters that refer to parameters.
const MAX_CHAIN: usize = 32;

/// A tree without references.
pub struct Expanded {
    pub root: Node,
    /// For every entry of `stages`, in its order: the stage it is, or the instance of which stage.
    pub instances: Vec<Instance>,
}

/// Replaces every reference of the tree; one that cannot be resolved becomes [`Value::Unresolved`].
/// `None` when the tree grew beyond its limits.
pub fn expand(root: &Node, texts: &Texts, faults: &mut Vec<Diagnostic>) -> Option<Expanded> {
    let params = root.mapping().and_then(|mapping| mapping.entry("params")).map(|entry| &entry.value);
    let mut expander = Expander {
        params,
        texts,
        known: HashMap::new(),
        open: Vec::new(),
        here: Here::Outside,
        nodes: 0,
        bytes: 0,
        faults,
    };
    expander.file(root).ok()
}

/// What `${matrix...}` can stand for where the expander is.
enum Here {
    /// Nothing: this is no stage with a `matrix`.
    Outside,
    /// The stage's `matrix` is faulty, which has been reported.
    Faulty,
    /// Values by axis.
    At(Vec<(String, Node)>),
}

/// The tree grew beyond its limits; the fault has been reported.
struct TooLarge;

struct Expander<'a> {
    params: Option<&'a Node>,
    texts: &'a Texts,
    /// Values of parameters by dotted path; `Unresolved` for those whose own value has a fault.
    known: HashMap<String, Node>,
    /// The parameters being expanded.
    open: Vec<String>,
    here: Here,
    nodes: usize,
    bytes: usize,
    faults: &'a mut Vec<Diagnostic>,
}

/// A piece of a scalar.
enum Piece<'a> {
    Text(&'a str),
    Reference(&'a str),
    /// A `${` without its `}`.
    Unclosed(&'a str),
}

impl<'a> Expander<'a> {
    fn file(&mut self, root: &Node) -> Result<Expanded, TooLarge> {
        let Some(file) = root.mapping() else {
            return Ok(Expanded { root: self.node(root, 0)?, instances: Vec::new() });
        };
        self.count(root, 0)?;
        let declared = file.entry("matrix").map(|entry| self.node(&entry.value, 1)).transpose()?;
        let faults_before = self.faults.len();
        let axes = declared.as_ref().map_or_else(Vec::new, |node| matrix::axes(node, self.faults));
        let faulty = declared.as_ref().is_some_and(Node::is_unresolved) || self.faults.len() > faults_before;
        let mut instances = Vec::new();
        let mut entries = Vec::with_capacity(file.entries.len());
        for entry in &file.entries {
            let value = match (entry.key.as_str(), entry.value.mapping(), &declared) {
                ("matrix", _, Some(declared)) => declared.clone(),
                ("stages", Some(stages), _) => {
                    self.count(&entry.value, 1)?;
                    let stages = self.stages(stages, &axes, faulty, &mut instances)?;
                    Node { value: Value::Mapping(stages), ..entry.value.clone() }
                }
                _ => self.node(&entry.value, 1)?,
            };
            entries.push(Entry { key: entry.key.clone(), key_place: entry.key_place, value });
        }
        let value = Value::Mapping(Mapping { entries });
        Ok(Expanded { root: Node { place: root.place, used: root.used, value }, instances })
    }

    /// Every stage, those with a `matrix` once for every point.
    fn stages(
        &mut self,
        stages: &Mapping,
        axes: &[Axis],
        faulty: bool,
        instances: &mut Vec<Instance>,
    ) -> Result<Mapping, TooLarge> {
        let mut entries = Vec::with_capacity(stages.entries.len());
        for entry in &stages.entries {
            let matrix_of = |stage: &Node| {
                let own = stage.mapping().and_then(|stage| stage.entry("matrix"));
                own.filter(|own| !own.value.is_null()).cloned()
            };
            let Some(own) = matrix_of(&entry.value) else {
                let value = self.node(&entry.value, 2)?;
                if let Some(hidden) = matrix_of(&value) {
                    let fault =
                        Diagnostic::new(hidden.key_place, "`matrix` stands in the stage itself, not in a value");
                    self.faults.push(fault.note(entry.value.place, "used here"));
                }
                entries.push(Entry { key: entry.key.clone(), key_place: entry.key_place, value });
                instances.push(Instance::single(&entry.key));
                continue;
            };
            let named = self.node(&own.value, 3)?;
            let Some(chosen) = matrix::chosen(&entry.key, &named, axes, faulty, self.faults) else {
                self.here = Here::Faulty;
                let value = self.node(&entry.value, 2)?;
                self.here = Here::Outside;
                entries.push(Entry { key: entry.key.clone(), key_place: entry.key_place, value });
                instances.push(Instance { faulty: true, ..Instance::single(&entry.key) });
                continue;
            };
            let before = instances.len();
            let points = matrix::points(&chosen, before, own.value.place, self.faults).ok_or(TooLarge)?;
            for point in points {
                let instance = matrix::instance(&entry.key, &point, own.value.place, self.faults);
                let values = point.coordinates.into_iter().map(|(axis, _, value)| (axis.to_owned(), value.clone()));
                self.here = Here::At(values.collect());
                let value = self.node(&entry.value, 2);
                self.here = Here::Outside;
                entries.push(Entry { key: instance.name(), key_place: entry.key_place, value: value? });
                instances.push(instance);
            }
        }
        Ok(Mapping { entries })
    }

    fn node(&mut self, node: &Node, depth: usize) -> Result<Node, TooLarge> {
        self.count(node, depth)?;
        let value = match &node.value {
            Value::Scalar(scalar) if scalar.text.contains("${") => return self.scalar(node, scalar, depth),
            Value::Sequence(items) => {
                Value::Sequence(items.iter().map(|item| self.node(item, depth + 1)).collect::<Result<_, _>>()?)
            }
            Value::Mapping(mapping) => {
                let entries = mapping.entries.iter().map(|entry| {
                    let value = self.node(&entry.value, depth + 1)?;
                    Ok(Entry { key: entry.key.clone(), key_place: entry.key_place, value })
                });
                Value::Mapping(Mapping { entries: entries.collect::<Result<_, _>>()? })
            }
            other => other.clone(),
        };
        Ok(Node { place: node.place, used: node.used, value })
    }

    /// Counts one node of the result against the limits.
    fn count(&mut self, node: &Node, depth: usize) -> Result<(), TooLarge> {
        self.nodes += 1;
        self.bytes += node.scalar().map_or(0, |scalar| scalar.text.len());
        if depth > MAX_DEPTH {
            return self.too_large(node.place, format!("values are nested more than {MAX_DEPTH} levels deep here"));
        }
        if self.nodes > MAX_NODES || self.bytes > MAX_TEXT {
            let limits = format!("{MAX_NODES} values or {} MiB of text", MAX_TEXT >> 20);
            return self.too_large(node.place, format!("with its references the file grows beyond {limits} here"));
        }
        Ok(())
    }

    fn too_large(&mut self, place: Place, message: String) -> Result<(), TooLarge> {
        self.faults.push(Diagnostic::new(place, message));
        Err(TooLarge)
    }

    /// Counts a whole value that is copied in at a depth.
    fn count_copy(&mut self, node: &Node, depth: usize) -> Result<(), TooLarge> {
        self.count(node, depth)?;
        match &node.value {
            Value::Sequence(items) => items.iter().try_for_each(|item| self.count_copy(item, depth + 1)),
            Value::Mapping(mapping) => {
                mapping.entries.iter().try_for_each(|entry| self.count_copy(&entry.value, depth + 1))
            }
            Value::Scalar(_) | Value::Unresolved => Ok(()),
        }
    }

    fn scalar(&mut self, node: &Node, scalar: &Scalar, depth: usize) -> Result<Node, TooLarge> {
        let with = |value: Value| Node { place: node.place, used: node.used, value };
        if let Some(path) = whole_reference(&scalar.text) {
            let mut copy = self.value_of(path, node)?;
            self.count_copy(&copy, depth)?;
            copy.used = Some(node.place);
            return Ok(copy);
        }
        let mut text = String::new();
        for piece in split(&scalar.text) {
            match piece {
                Piece::Text(part) => text.push_str(part),
                Piece::Unclosed(part) => {
                    let fault = Diagnostic::new(self.place_of(node, part), "this reference has no closing `}`");
                    self.faults.push(fault.help("write `$${` for the two characters `${`"));
                    return Ok(with(Value::Unresolved));
                }
                Piece::Reference(path) => {
                    let value = self.value_of(path, node)?;
                    match &value.value {
                        Value::Scalar(part) => text.push_str(&part.text),
                        Value::Unresolved => return Ok(with(Value::Unresolved)),
                        Value::Sequence(_) | Value::Mapping(_) => {
                            let message = format!("`{path}` is {}, which cannot stand inside text", value.describe());
                            let place = self.place_of(node, &format!("${{{path}}}"));
                            self.faults.push(Diagnostic::new(place, message).note(value.place, "its value"));
                            return Ok(with(Value::Unresolved));
                        }
                    }
                }
            }
            if text.len() > MAX_TEXT {
                break;
            }
        }
        let result = with(Value::Scalar(Scalar { text, plain: false }));
        self.count(&result, depth)?;
        Ok(result)
    }

    /// The value of a reference that stands in `node`; `Unresolved` after reporting why.
    fn value_of(&mut self, path: &str, node: &Node) -> Result<Node, TooLarge> {
        if let Some(known) = self.known.get(path) {
            return Ok(known.clone());
        }
        let unresolved = Node::new(node.place, Value::Unresolved);
        if path == "matrix" || path.starts_with("matrix.") {
            return Ok(self.matrix_value(path, node).unwrap_or(unresolved));
        }
        let place = self.place_of(node, &format!("${{{path}}}"));
        if let Some(first) = self.open.iter().position(|open| open == path) {
            let chain: Vec<String> =
                self.open[first..].iter().map(String::as_str).chain([path]).map(|name| format!("`{name}`")).collect();
            self.faults.push(Diagnostic::new(place, format!("parameters refer to each other: {}", chain.join(" -> "))));
            return Ok(unresolved);
        }
        if self.open.len() >= MAX_CHAIN {
            let message = format!("more than {MAX_CHAIN} parameters refer to one another in a row");
            self.faults.push(Diagnostic::new(place, message));
            return Ok(unresolved);
        }
        self.open.push(path.to_owned());
        let faults_before = self.faults.len();
        let outcome = match self.find(path, place) {
            Ok(Some(value)) => self.node(&value, 0).map(Some),
            Ok(None) => Ok(None),
            Err(TooLarge) => Err(TooLarge),
        };
        self.open.pop();
        // A name that does not exist is reported wherever it is used; a faulty value only where it stands.
        let Some(value) = outcome? else { return Ok(unresolved) };
        let value = if self.faults.len() == faults_before { value } else { unresolved };
        self.known.insert(path.to_owned(), value.clone());
        Ok(value)
    }

    /// What a reference to an axis stands for at this point, its own references resolved; `None` after reporting why
    /// there is nothing.
    fn matrix_value(&mut self, path: &str, node: &Node) -> Option<Node> {
        let place = self.place_of(node, &format!("${{{path}}}"));
        let mut keys = path.split('.').skip(1);
        let axis = keys.next().unwrap_or_default();
        let fault = match &self.here {
            Here::Faulty => return None,
            Here::At(values) if self.open.is_empty() => match values.iter().find(|(name, _)| name == axis) {
                Some((_, value)) => {
                    let mut owner = format!("matrix.{axis}");
                    let mut current = value;
                    for key in keys {
                        if current.is_unresolved() {
                            return None;
                        }
                        match current.mapping().and_then(|mapping| mapping.entry(key)) {
                            Some(entry) => current = &entry.value,
                            None => {
                                let fault = no_such_key(place, &owner, key, Some(current));
                                self.faults.push(fault);
                                return None;
                            }
                        }
                        owner = format!("{owner}.{key}");
                    }
                    return Some(current.clone());
                }
                None => {
                    let mut fault = Diagnostic::new(place, format!("this stage is not over an axis `{axis}`"));
                    fault.help = names::suggest(axis, "its axes", values.iter().map(|(name, _)| name.as_str()));
                    fault
                }
            },
            _ => Diagnostic::new(place, format!("`{path}` has no value here"))
                .help("`${matrix.AXIS}` stands in a stage that says `matrix: AXIS`"),
        };
        self.faults.push(fault);
        None
    }

    /// The parameter as written; `None` after reporting that there is none.
    fn find(&mut self, path: &str, place: Place) -> Result<Option<Cow<'a, Node>>, TooLarge> {
        let mut keys = path.split('.');
        if keys.next() != Some("params") || path == "params" {
            let fault = Diagnostic::new(place, format!("`{path}` is not a parameter"));
            let fault = fault
                .help("a reference is `${params.NAME}` or `${matrix.AXIS}`; write `$${` for the two characters `${`");
            self.faults.push(fault);
            return Ok(None);
        }
        let mut owner = "params".to_owned();
        let mut current = self.params.map(Cow::Borrowed);
        for key in keys {
            // A parameter that is itself a reference to a map: follow it first.
            let inner = current.as_deref().and_then(Node::scalar).and_then(|scalar| whole_reference(&scalar.text));
            if let (Some(inner), Some(node)) = (inner, &current) {
                current = Some(Cow::Owned(self.value_of(inner, node)?));
            }
            if current.as_deref().is_some_and(Node::is_unresolved) {
                return Ok(None);
            }
            let Some(child) = current.as_ref().and_then(|node| child(node, key)) else {
                self.faults.push(no_such_key(place, &owner, key, current.as_deref()));
                return Ok(None);
            };
            owner = format!("{owner}.{key}");
            current = Some(child);
        }
        Ok(current)
    }

    /// The place of `part` inside a scalar as it is written; the whole scalar where escapes hide it.
    fn place_of(&self, node: &Node, part: &str) -> Place {
        let Place { text, start, end } = node.place;
        let written = self.texts.content(node.place).get(start as usize..end as usize);
        match written.and_then(|written| written.find(part)) {
            Some(offset) => {
                let start = start + offset as u32;
                Place { text, start, end: start + part.len() as u32 }
            }
            None => node.place,
        }
    }
}

/// The value under a key of a map; without a copy where the map is part of the file's own tree.
fn child<'a>(node: &Cow<'a, Node>, key: &str) -> Option<Cow<'a, Node>> {
    match node {
        Cow::Borrowed(node) => node.mapping()?.entry(key).map(|entry| Cow::Borrowed(&entry.value)),
        Cow::Owned(node) => node.mapping()?.entry(key).map(|entry| Cow::Owned(entry.value.clone())),
    }
}

fn no_such_key(place: Place, owner: &str, key: &str, node: Option<&Node>) -> Diagnostic {
    let mut fault = Diagnostic::new(place, format!("`{owner}` has no `{key}`"));
    match node.map(|node| (node, node.mapping())) {
        Some((_, Some(mapping))) => {
            fault.help = names::suggest(key, "it has", mapping.keys());
            fault
        }
        Some((node, None)) if !node.is_null() => fault.note(node.place, format!("`{owner}` is {}", node.describe())),
        _ => fault.help(format!("`{owner}` is empty")),
    }
}

/// The path of a text that is one reference and nothing else.
fn whole_reference(text: &str) -> Option<&str> {
    let path = text.strip_prefix("${")?.strip_suffix('}')?;
    (!path.contains(['{', '}'])).then_some(path)
}

fn split(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let (before, from) = rest.split_at(start);
        if let Some(before) = before.strip_suffix('$') {
            pieces.extend([Piece::Text(before), Piece::Text("${")]);
            rest = &from[2..];
            continue;
        }
        if !before.is_empty() {
            pieces.push(Piece::Text(before));
        }
        let Some(length) = from.find('}') else {
            pieces.push(Piece::Unclosed(from));
            return pieces;
        };
        pieces.push(Piece::Reference(&from[2..length]));
        rest = &from[length + 1..];
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest));
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::super::yaml;
    use super::*;

    fn expanded(content: &str) -> Result<Node, Vec<String>> {
        let mut texts = Texts::default();
        texts.add("file", content);
        let mut faults = Vec::new();
        let root = yaml::parse(0, 0, content).unwrap();
        let expanded = expand(&root, &texts, &mut faults);
        if faults.is_empty() {
            return Ok(expanded.unwrap().root);
        }
        Err(faults.into_iter().map(|fault| fault.message).collect())
    }

    fn at<'a>(root: &'a Node, key: &str) -> &'a Node {
        &root.mapping().unwrap().entry(key).unwrap().value
    }

    #[test]
    fn a_whole_scalar_keeps_the_type_and_a_part_is_text() {
        let content = "params: {n: 3, list: [1, 2], again: \"${params.n}\"}\na: ${params.n}\nb: \"${params.list}\"\n\
                       c: n=${params.n}\nd: $${params.n}\ne: ${params.again}\nf: ${params.n}${params.n}\n";
        let root = expanded(content).unwrap();
        assert_eq!(at(&root, "a").describe(), "the number 3");
        assert_eq!(at(&root, "b").describe(), "a list");
        assert_eq!(at(&root, "c").describe(), "the text `n=3`");
        assert_eq!(at(&root, "d").describe(), "the text `${params.n}`");
        assert_eq!(at(&root, "e").describe(), "the number 3");
        assert_eq!(at(&root, "f").describe(), "the text `33`");
        assert_eq!(at(&root, "a").used.unwrap().start as usize, content.find("\na: ").unwrap() + 4);
    }

    #[test]
    fn nested_parameters_are_reached_through_references() {
        let root =
            expanded("params:\n  a: {x: {y: 1}}\n  b: ${params.a}\n  c: ${params.b.x}\nv: ${params.c.y}\n").unwrap();
        assert_eq!(at(&root, "v").describe(), "the number 1");
    }

    #[test]
    fn faults_are_reported_once_each() {
        assert_eq!(
            expanded(
                "params: {tau: 1}\na: ${params.tua}\nb: ${params.tua}\nc: ${tau}\nd: ${params.tau\ne: ${params.tau.x}\n"
            )
            .unwrap_err(),
            [
                "`params` has no `tua`",
                "`params` has no `tua`",
                "`tau` is not a parameter",
                "this reference has no closing `}`",
                "`params.tau` has no `x`",
            ]
        );
        assert_eq!(
            expanded("params:\n  a: ${params.b}\n  b: ${params.c}\n  c: x${params.a}\nv: ${params.a}\n").unwrap_err(),
            ["parameters refer to each other: `params.b` -> `params.c` -> `params.a` -> `params.b`"]
        );
        assert_eq!(expanded("params: {l: [1]}\na: x${params.l}\n").unwrap_err().len(), 1);
        assert_eq!(expanded("a: ${params.x}\n").unwrap_err(), ["`params` has no `x`"]);
    }

    #[test]
    fn reference_bombs_are_refused() {
        let mut lists = String::from("params:\n  a0: [x, x, x, x, x, x, x, x, x, x]\n");
        let mut texts = String::from("params:\n  a0: xxxxxxxxxxxxxxxx\n");
        for level in 1..20 {
            let below = format!("\"${{params.a{}}}\", ", level - 1).repeat(10);
            lists.push_str(&format!("  a{level}: [{below}]\n"));
            texts.push_str(&format!("  a{level}: \"{}\"\n", format!("${{params.a{}}}", level - 1).repeat(10)));
        }
        assert!(expanded(&lists).unwrap_err()[0].contains("grows beyond"));
        assert!(expanded(&texts).unwrap_err()[0].contains("grows beyond"));
        let mut chain = String::from("params:\n  a0: 1\n");
        for level in 1..2000 {
            chain.push_str(&format!("  a{level}: ${{params.a{}}}\n", level - 1));
        }
        // In file order every parameter finds the one before it known.
        assert!(expanded(&chain).is_ok());
        let backwards: String = (0..2000).map(|level| format!("  a{level}: ${{params.a{}}}\n", level + 1)).collect();
        assert!(expanded(&format!("params:\n{backwards}")).unwrap_err()[0].contains("in a row"));
    }
}
