//! Names to edges: what each input refers to, whether it fits, and the graph that comes of it.

mod fault;
mod input;
mod reference;

use std::collections::HashMap;
use std::path::PathBuf;

use petgraph::graph::DiGraph;
use retmask_stages::artifact::Media;

use super::declaration::Declared;
use super::graph::{Binding, Pipeline, Source, Stage, StageIndex, Vertex};
use super::{Diagnostic, Place, Texts, cycles, kinds, topology};
use reference::Target;

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
        let roles: Vec<String> = bindings.iter().map(Binding::role).collect();
        let Some(decoded) = kinds::parameters(kind.name, with, &roles, place, faults) else { continue };
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

    /// The names of all stages as the file has them.
    fn stage_names(&self) -> impl Iterator<Item = &'a str> {
        let mut last = None;
        self.declared.stages.iter().filter_map(move |stage| {
            let name = stage.instance.stage.as_str();
            (last.replace(name) != Some(name)).then_some(name)
        })
    }
}
