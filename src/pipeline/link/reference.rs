//! What a name under `in` refers to: a source, a stage, or instances of one.

use retmask_stages::contract::OutputPort;

use super::super::address::Address;
use super::super::declaration::{DeclaredStage, used};
use super::super::matrix::Instance;
use super::super::tree::{Node, Scalar, shorten};
use super::super::{Diagnostic, names};
use super::{Linker, Read};

/// What a name in `in` may mean.
#[derive(Clone, Copy)]
pub(super) enum Target {
    Source(usize),
    /// A stage, or all its instances: they follow one another.
    Stages {
        first: usize,
        count: usize,
    },
    /// A source and a stage have this name, which has been reported.
    Ambiguous(usize),
}

/// What a reference in `in` refers to.
pub(super) enum Reference {
    Source(usize),
    /// A stage, or the instances that are meant. On the `free` axes neither the reference nor the reader says which
    /// instance, so that all are.
    Stages {
        list: Vec<usize>,
        free: Vec<String>,
        port: Option<&'static OutputPort>,
    },
}

impl Linker<'_> {
    /// The source, stage or instances a reference of `stage` names, and the output port where one is named.
    pub(super) fn resolve(
        &self,
        stage: &DeclaredStage<'_>,
        node: &Node,
        reads: &mut Vec<Read>,
        faults: &mut Vec<Diagnostic>,
    ) -> Option<Reference> {
        let Some(Scalar { text: written, .. }) = node.scalar() else {
            if !node.is_unresolved() {
                let message =
                    format!("an input is a stage (STAGE or STAGE.PORT) or a source, found {}", node.describe());
                faults.push(used(Diagnostic::new(node.place, message), node));
            }
            return None;
        };
        let Address { name, selected, port } = match Address::parse(written) {
            Ok(address) => address,
            Err(reason) => {
                let message = format!("`{}` names no stage: {reason}", shorten(written));
                let fault = Diagnostic::new(node.place, message);
                faults.push(used(fault.help("an instance of a matrix is `STAGE[AXIS=LABEL]`"), node));
                return None;
            }
        };
        match (self.targets.get(name), port) {
            (None, _) => {
                let mut fault = Diagnostic::new(node.place, format!("there is no stage or source `{}`", shorten(name)));
                let sources = self.declared.sources.iter().map(|source| source.name);
                fault.help = names::suggest(name, "stages and sources", self.stage_names().chain(sources));
                faults.push(used(fault, node));
                None
            }
            (Some(Target::Ambiguous(_)), _) => None,
            (Some(Target::Source(index)), None) if selected.is_empty() => Some(Reference::Source(*index)),
            (Some(Target::Source(_)), port) => {
                let what = if port.is_some() { "ports" } else { "instances" };
                let message = format!("`{name}` is a source, and a source has no {what}");
                faults.push(used(Diagnostic::new(node.place, message).help(format!("write `{name}`")), node));
                None
            }
            (Some(Target::Stages { first, count }), port) => {
                let instances = &self.declared.stages[*first..first + count];
                if instances[0].instance.faulty {
                    return None;
                }
                self.check_selected(instances, &selected, node, faults)?;
                let means = |instance: &Instance| {
                    instance.point.iter().all(|(axis, label)| {
                        let said = selected.iter().find(|(name, _)| name == axis).map(|(_, label)| *label);
                        said.or_else(|| stage.instance.label(axis)).is_none_or(|wanted| wanted == label)
                    })
                };
                let list: Vec<usize> =
                    (*first..first + count).filter(|index| means(self.declared.stages[*index].instance)).collect();
                reads.extend(list.iter().map(|index| (*index, node.place)));
                let said =
                    |axis: &str| selected.iter().any(|(name, _)| *name == axis) || stage.instance.label(axis).is_some();
                let axes = instances[0].instance.point.iter().map(|(axis, _)| axis);
                let free = axes.filter(|axis| !said(axis)).cloned().collect();
                let (Some(port), Some(kind)) = (port, instances[0].kind) else {
                    return Some(Reference::Stages { list, free, port: None });
                };
                let output = kind.output(port);
                if output.is_none() {
                    let message = format!("stage `{name}` of kind `{}` has no output `{}`", kind.name, shorten(port));
                    let mut fault = Diagnostic::new(node.place, message);
                    fault.help = names::suggest(port, "its outputs", kind.outputs.iter().map(|output| output.name));
                    faults.push(used(fault, node));
                }
                output.map(|output| Reference::Stages { list, free, port: Some(output) })
            }
        }
    }

    /// Reports axes and labels that the instances of a stage do not have.
    fn check_selected(
        &self,
        instances: &[DeclaredStage<'_>],
        selected: &[(&str, &str)],
        node: &Node,
        faults: &mut Vec<Diagnostic>,
    ) -> Option<()> {
        let stage = &instances[0].instance;
        for (axis, label) in selected {
            let labels = || instances.iter().filter_map(|one| one.instance.label(axis));
            let mut fault = if labels().next().is_none() {
                let message = format!("stage `{}` is not over an axis `{}`", stage.stage, shorten(axis));
                let mut fault = Diagnostic::new(node.place, message);
                fault.help = names::suggest(axis, "its axes", stage.point.iter().map(|(axis, _)| axis.as_str()));
                fault
            } else if labels().all(|known| known != *label) {
                let message = format!("axis `{axis}` has no point `{}`", shorten(label));
                let mut fault = Diagnostic::new(node.place, message);
                let mut known: Vec<&str> = Vec::new();
                known.extend(labels());
                known.sort_unstable();
                known.dedup();
                fault.help = names::suggest(label, "its points", known);
                fault
            } else {
                continue;
            };
            fault = used(fault, node);
            faults.push(fault);
            return None;
        }
        Some(())
    }
}
