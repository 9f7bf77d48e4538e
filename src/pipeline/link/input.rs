//! The inputs of a stage: what is bound to each port, and whether it fits.

use retmask_stages::artifact::Media;
use retmask_stages::contract::{Arity, InputPort, OutputPort};

use super::super::declaration::{DeclaredStage, map, used};
use super::super::graph::{Binding, Origin, SourceIndex, StageIndex};
use super::super::tree::{Entry, Node, shorten};
use super::super::{Diagnostic, Place, names};
use super::reference::Reference;
use super::{Linker, Read};

/// The label that stands for one label per instance of a matrix.
const ALL: &str = "*";

impl Linker<'_> {
    /// The bindings of a stage in its kind's port order, and every stage it names.
    pub(super) fn inputs(&self, stage: &DeclaredStage<'_>, faults: &mut Vec<Diagnostic>) -> (Vec<Binding>, Vec<Read>) {
        let mut reads = Vec::new();
        let entries = stage.inputs.and_then(|entry| entry.value.mapping());
        let entries = entries.map_or(&[][..], |mapping| mapping.entries.as_slice());
        let Some(kind) = stage.kind else {
            // Without its kind the ports are unknown, but the names can be checked.
            for entry in entries {
                for node in entry
                    .value
                    .mapping()
                    .map_or(vec![&entry.value], |map| map.entries.iter().map(|e| &e.value).collect())
                {
                    self.resolve(stage, node, &mut reads, faults);
                }
            }
            return (Vec::new(), reads);
        };
        let ports = || kind.inputs.iter().map(|port| port.name);
        let mut misspelt = Vec::new();
        for entry in entries.iter().filter(|entry| kind.input(&entry.key).is_none()) {
            let message = format!("kind `{}` has no input `{}`", kind.name, shorten(&entry.key));
            let mut fault = Diagnostic::new(entry.key_place, message);
            fault.help = names::suggest(&entry.key, "its inputs", ports());
            faults.push(fault);
            misspelt.extend(names::nearest(&entry.key, ports()));
        }
        let mut bindings = Vec::new();
        for port in kind.inputs {
            match entries.iter().find(|entry| entry.key == port.name) {
                Some(entry) => self.port(stage, port, entry, &mut bindings, &mut reads, faults),
                None if port.arity == Arity::One && !misspelt.contains(&port.name) => {
                    faults.push(self.missing(stage, port));
                }
                None => {}
            }
        }
        (bindings, reads)
    }

    fn port(
        &self,
        stage: &DeclaredStage<'_>,
        port: &'static InputPort,
        entry: &Entry,
        bindings: &mut Vec<Binding>,
        reads: &mut Vec<Read>,
        faults: &mut Vec<Diagnostic>,
    ) {
        if port.arity == Arity::Labelled {
            if entry.value.scalar().is_some() && !entry.value.is_null() {
                let message = format!("input `{}` takes several artifacts: a map from a label to each", port.name);
                let written = entry.value.scalar().map_or("", |scalar| &scalar.text);
                let fault = Diagnostic::new(entry.value.place, message);
                faults.push(fault.help(format!("for example {}: {{base: {}}}", port.name, shorten(written))));
                return;
            }
            if entry.value.is_null() {
                return;
            }
            let Some(labels) = map(&entry.value, &format!("input `{}`", port.name), faults) else { return };
            let mut seen: Vec<(String, Place)> = Vec::new();
            for label in &labels.entries {
                if !names::is_valid(&label.key) && label.key != ALL {
                    let message = format!("`{}` cannot be a label", shorten(&label.key));
                    faults.push(Diagnostic::new(label.key_place, message).help("a label is made of a-z, 0-9 and -"));
                }
                for binding in self.bind(stage, port, Some(label), &label.value, reads, faults) {
                    if let Some((_, first)) = seen.iter().find(|(other, _)| *other == binding.label) {
                        let message = format!("the label `{}` stands twice at input `{}`", binding.label, port.name);
                        faults.push(Diagnostic::new(label.key_place, message).note(*first, "first here"));
                    }
                    seen.push((binding.label.clone(), label.key_place));
                    bindings.push(binding);
                }
            }
            return;
        }
        if entry.value.is_null() && port.arity == Arity::One {
            faults.push(self.missing(stage, port));
            return;
        }
        if entry.value.is_null() {
            return;
        }
        bindings.extend(self.bind(stage, port, None, &entry.value, reads, faults));
    }

    /// What a reference brings to a port: one artifact, or, under a label, one of every instance that is meant.
    fn bind(
        &self,
        stage: &DeclaredStage<'_>,
        port: &'static InputPort,
        label: Option<&Entry>,
        node: &Node,
        reads: &mut Vec<Read>,
        faults: &mut Vec<Diagnostic>,
    ) -> Vec<Binding> {
        let key = label.map_or("", |label| label.key.as_str());
        let fits = |media: Media, origin: Place, faults: &mut Vec<Diagnostic>| {
            let fits = port.media.contains(&media);
            if !fits {
                faults.push(self.mismatch(stage, port, node, media, origin));
            }
            fits
        };
        let Some(reference) = self.resolve(stage, node, reads, faults) else { return Vec::new() };
        let collected = matches!(&reference, Reference::Stages { free, .. } if !free.is_empty());
        if let Some(label) = label.filter(|label| label.key == ALL && !collected) {
            let message = format!("`{ALL}` stands for the points of a matrix, and here is one artifact");
            faults.push(Diagnostic::new(label.key_place, message).help("give it a label of its own"));
            return Vec::new();
        }
        let (list, free, output) = match reference {
            Reference::Source(index) => {
                let source = &self.declared.sources[index];
                let Some(media) = source.media.filter(|media| fits(*media, source.place, faults)) else {
                    return Vec::new();
                };
                let origin = Origin::Source(SourceIndex(index));
                return vec![Binding { port, label: key.to_owned(), origin, media }];
            }
            Reference::Stages { list, free, port } => (list, free, port),
        };
        if collected && label.is_none() {
            let names: Vec<&str> = list.iter().map(|index| self.declared.stages[*index].name).collect();
            let written = node.scalar().map_or("", |scalar| &scalar.text);
            let message = format!(
                "`{}` is {} instances here, and input `{}` takes one",
                shorten(written),
                names.len(),
                port.name
            );
            let help = format!("name one, or give this stage the same `matrix`: {}", names::list_names(&names));
            faults.push(used(Diagnostic::new(node.place, message).help(help), node));
            return Vec::new();
        }
        let mut bindings = Vec::with_capacity(list.len());
        for index in list {
            let origin = &self.declared.stages[index];
            // A cycle is reported, and that is enough.
            let Some(kind) = origin.kind.filter(|_| origin.name != stage.name) else { continue };
            let output = match output.map_or_else(|| pick_output(kind.outputs, port), Ok) {
                Ok(output) => output,
                // It declares none that could be read, and that is reported.
                Err(fitting) if fitting.is_empty() => continue,
                Err(fitting) => {
                    let message = format!("stage `{}` has several outputs that fit input `{}`", origin.name, port.name);
                    let choices = fitting.iter().map(|output| format!("`{}.{}`", origin.name, output.name));
                    let help = format!("say which: {}", choices.collect::<Vec<_>>().join(" or "));
                    faults.push(used(Diagnostic::new(node.place, message).help(help), node));
                    continue;
                }
            };
            if !fits(output.media, origin.place, faults) {
                continue;
            }
            let labels = free.iter().filter_map(|axis| origin.instance.label(axis));
            let label: Vec<&str> = Some(key).filter(|key| *key != ALL).into_iter().chain(labels).collect();
            let (label, media) = (label.join("-"), output.media);
            bindings.push(Binding {
                port,
                label,
                origin: Origin::Stage { stage: StageIndex(index), port: output },
                media,
            });
        }
        bindings
    }
}

/// The output an edge without a port name means: the only one that fits, else the first of all if it fits; where
/// none fits the first of all, so that the mismatch can be shown; several that fit are handed back.
fn pick_output(
    outputs: &'static [OutputPort],
    port: &InputPort,
) -> Result<&'static OutputPort, Vec<&'static OutputPort>> {
    let fitting: Vec<&OutputPort> = outputs.iter().filter(|output| port.media.contains(&output.media)).collect();
    match (fitting.as_slice(), outputs.first()) {
        ([only], _) => Ok(only),
        (_, None) => Err(fitting),
        ([], Some(first)) => Ok(first),
        (_, Some(first)) if port.media.contains(&first.media) => Ok(first),
        _ => Err(fitting),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn output(name: &'static str, media: Media) -> OutputPort {
        OutputPort { name, media, summary: "" }
    }

    #[test]
    fn the_output_an_edge_without_a_port_means() {
        const OUTPUTS: &[OutputPort] = &[
            output("scores", Media::HeadScores),
            output("trials", Media::Trials),
            output("masked-trials", Media::Trials),
            output("mask", Media::Mask),
        ];
        let port = |media| InputPort { name: "in", media, arity: Arity::One, summary: "" };
        let picked = |media| pick_output(OUTPUTS, &port(media)).map(|output| output.name);
        assert_eq!(picked(&[Media::Mask]).ok(), Some("mask"), "the only one that fits");
        assert_eq!(picked(&[Media::Mask, Media::HeadScores]).ok(), Some("scores"), "the first, as it fits");
        assert_eq!(picked(&[Media::Model]).ok(), Some("scores"), "none fits: the first, to show the mismatch");
        let fitting: Vec<&str> =
            picked(&[Media::Trials]).err().into_iter().flatten().map(|output| output.name).collect();
        assert_eq!(fitting, ["trials", "masked-trials"], "several fit, and the first of all does not");
    }
}
