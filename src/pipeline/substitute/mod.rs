//! `${params.name}` and `${matrix.axis}`: a whole scalar becomes the value, type and all; inside other text its
//! spelling is spliced in. `$${` stands for `${` itself. Stages with a `matrix` are copied once for every point.

mod limits;
mod reference;
mod text;

use std::collections::HashMap;

use super::matrix::{self, Axis, Instance};
use super::tree::{Entry, Mapping, Node, Value};
use super::{Diagnostic, Texts};

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
}

#[cfg(test)]
mod tests;
