//! What a reference stands for: a parameter, or the value of an axis at the point of an instance.

use std::borrow::Cow;

use super::super::tree::{MAX_TEXT, Node, Scalar, Value};
use super::super::{Diagnostic, Place, names};
use super::text::{Piece, split, whole_reference};
use super::{Expander, Here, TooLarge};

/// The longest chain of parameters that refer to parameters.
const MAX_CHAIN: usize = 32;

impl<'a> Expander<'a> {
    pub(super) fn scalar(&mut self, node: &Node, scalar: &Scalar, depth: usize) -> Result<Node, TooLarge> {
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
