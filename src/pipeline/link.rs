//! Names to edges: what each input refers to, whether it fits, and the graph that comes of it.

use std::collections::HashMap;
use std::path::PathBuf;

use petgraph::graph::DiGraph;
use retmask_stages::artifact::Media;
use retmask_stages::contract::{Arity, InputPort, OutputPort};

use super::address::Address;
use super::declaration::{Declared, DeclaredSource, DeclaredStage, map, used};
use super::graph::{Binding, Origin, Pipeline, Source, SourceIndex, Stage, StageIndex, Vertex};
use super::matrix::Instance;
use super::tree::{Entry, Node, Scalar, shorten};
use super::{Diagnostic, Place, Texts, cycles, kinds, names, topology};

/// The label that stands for one label per instance of a matrix.
pub const ALL: &str = "*";

/// All of a pipeline but where it was read from.
pub struct Linked {
    name: String,
    description: Option<String>,
    sources: Vec<Source>,
    stages: Vec<Stage>,
    graph: DiGraph<Vertex, Media>,
    order: Vec<StageIndex>,
}

impl Linked {
    pub fn into_pipeline(self, path: PathBuf, texts: Texts) -> Pipeline {
        let Self { name, description, sources, stages, graph, order } = self;
        Pipeline { name, description, path, texts, sources, stages, graph, order }
    }
}

/// Links a declared file; `None` after any fault.
pub fn link(declared: Declared<'_>, faults: &mut Vec<Diagnostic>) -> Option<Linked> {
    let linker = Linker::new(&declared, faults);
    let mut stages = Vec::with_capacity(declared.stages.len());
    let mut reads = Vec::with_capacity(declared.stages.len());
    for stage in &declared.stages {
        let (bindings, stage_reads) = linker.inputs(stage, faults);
        reads.push(stage_reads);
        let Some(kind) = stage.kind else { continue };
        let place = stage.with.map_or(stage.place, |with| with.key_place);
        let with = stage.with.map(|entry| &entry.value);
        let Some(decoded) = kinds::parameters(kind.name, with, place, faults) else { continue };
        stages.push(Stage {
            name: stage.name.to_owned(),
            instance: stage.instance.clone(),
            kind,
            parameters: decoded.parameters,
            inputs: bindings,
            resources: stage.resources,
            work: decoded.work,
        });
    }
    let stage_names: Vec<&str> = declared.stages.iter().map(|stage| stage.name).collect();
    cycles::report(&stage_names, &reads, faults);
    if !faults.is_empty() {
        return None;
    }
    let sources: Vec<Source> = declared.sources.into_iter().filter_map(|source| source.source).collect();
    let graph = topology::graph(&sources, &stages);
    let order = topology::order(&graph, sources.len(), stages.len());
    Some(Linked { name: declared.name, description: declared.description, sources, stages, graph, order })
}

/// What a name in `in` may mean.
#[derive(Clone, Copy)]
enum Target {
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
enum Reference {
    Source(usize),
    /// A stage, or the instances that are meant. On the `free` axes neither the reference nor the reader says which
    /// instance, so that all are.
    Stages {
        list: Vec<usize>,
        free: Vec<String>,
        port: Option<&'static OutputPort>,
    },
}

/// A reference from one stage to another: which, and where it is written.
pub type Read = (usize, Place);

struct Linker<'a> {
    declared: &'a Declared<'a>,
    targets: HashMap<&'a str, Target>,
}

impl<'a> Linker<'a> {
    fn new(declared: &'a Declared<'a>, faults: &mut Vec<Diagnostic>) -> Self {
        let mut targets = HashMap::new();
        for (index, source) in declared.sources.iter().enumerate() {
            targets.insert(source.name, Target::Source(index));
        }
        for (index, stage) in declared.stages.iter().enumerate() {
            let name = stage.instance.stage.as_str();
            if let Some(Target::Stages { count, .. }) = targets.get_mut(name) {
                *count += 1;
                continue;
            }
            if let Some(Target::Source(source) | Target::Ambiguous(source)) =
                targets.insert(name, Target::Stages { first: index, count: 1 })
            {
                targets.insert(name, Target::Ambiguous(source));
                let message = format!("`{name}` is the name of a source and of a stage");
                let fault = Diagnostic::new(stage.place, message).label("the stage");
                faults.push(fault.note(declared.sources[source].place, "the source"));
            }
        }
        Self { declared, targets }
    }

    /// The bindings of a stage in its kind's port order, and every stage it names.
    fn inputs(&self, stage: &DeclaredStage<'_>, faults: &mut Vec<Diagnostic>) -> (Vec<Binding>, Vec<Read>) {
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

    /// The source, stage or instances a reference of `stage` names, and the output port where one is named.
    fn resolve(
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

    /// The names of all stages as the file has them.
    fn stage_names(&self) -> impl Iterator<Item = &'a str> {
        let mut last = None;
        self.declared.stages.iter().filter_map(move |stage| {
            let name = stage.instance.stage.as_str();
            (last.replace(name) != Some(name)).then_some(name)
        })
    }

    fn mismatch(
        &self,
        stage: &DeclaredStage<'_>,
        port: &InputPort,
        node: &Node,
        media: Media,
        origin: Place,
    ) -> Diagnostic {
        let written = node.scalar().map_or("", |scalar| &scalar.text);
        let message = format!(
            "input `{}` of stage `{}` takes {}, and `{written}` brings {}",
            port.name,
            stage.name,
            list_media(port.media),
            media.name()
        );
        let mut fault = used(Diagnostic::new(node.place, message), node);
        fault = fault.note(origin, format!("brings {}", media.name()));
        fault.help.extend(self.brought_by(port.media, stage.name));
        fault
    }

    fn missing(&self, stage: &DeclaredStage<'_>, port: &InputPort) -> Diagnostic {
        let message = format!("stage `{}` lacks its input `{}` ({})", stage.name, port.name, list_media(port.media));
        let place = stage.inputs.map_or(stage.place, |entry| entry.key_place);
        let mut fault = Diagnostic::new(place, message);
        let example = self.candidates(port.media, stage.name).into_iter().next().unwrap_or_else(|| "NAME".into());
        fault.help.push(format!("add `{}: {example}` under `in`", port.name));
        fault.help.extend(self.brought_by(port.media, stage.name));
        fault
    }

    /// What brings one of these media: sources, then outputs of other stages.
    fn candidates(&self, media: &[Media], reader: &str) -> Vec<String> {
        let sources = self.declared.sources.iter().filter_map(|DeclaredSource { name, media: brought, .. }| {
            brought.filter(|brought| media.contains(brought)).map(|_| (*name).to_owned())
        });
        let stages = self.declared.stages.iter().filter(|stage| stage.name != reader).flat_map(|stage| {
            let outputs = stage.kind.map_or(&[][..], |kind| kind.outputs);
            outputs
                .iter()
                .filter(|output| media.contains(&output.media))
                .map(|output| format!("{}.{}", stage.instance.stage, output.name))
        });
        let mut found: Vec<String> = sources.collect();
        for candidate in stages {
            // Every instance of a matrix has the same name here.
            if found.last() != Some(&candidate) && !found.contains(&candidate) {
                found.push(candidate);
            }
        }
        found
    }

    fn brought_by(&self, media: &[Media], reader: &str) -> Option<String> {
        let found = self.candidates(media, reader);
        let found: Vec<&str> = found.iter().map(String::as_str).collect();
        (!found.is_empty()).then(|| format!("what brings it: {}", names::list_names(&found)))
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

fn list_media(media: &[Media]) -> String {
    media.iter().map(|media| media.name()).collect::<Vec<_>>().join(" or ")
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
