//! The checked pipeline: every name resolved, every port typed, every parameter decoded.

use std::collections::BTreeSet;
use std::fmt;
use std::num::{NonZeroU32, NonZeroU64};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use petgraph::graph::{DiGraph, NodeIndex};
use retmask_model::Numerics;
use retmask_stages::artifact::Media;
use retmask_stages::contract::{Context, InputPort, Inputs, Kind, OutputPort, Outputs, StageResult};
use serde_json::{Map, Value};

use super::Texts;
use super::matrix::Instance;
use crate::hub::{Repository, Revision, Wanted};

/// What is known about a stage kind without running it.
#[derive(Debug, Clone, Copy)]
pub struct KindFacts {
    pub name: &'static str,
    pub epoch: u32,
    pub inputs: &'static [InputPort],
    pub outputs: &'static [OutputPort],
    /// Whether a stage declares its ports itself; then these are the stage's.
    pub declares_ports: bool,
}

impl KindFacts {
    /// The facts of a kind.
    pub fn of<K: Kind>() -> Self {
        Self {
            name: K::NAME,
            epoch: K::EPOCH,
            inputs: K::INPUTS,
            outputs: K::OUTPUTS,
            declares_ports: K::DECLARES_PORTS,
        }
    }

    /// The output port of this name.
    pub fn output(&self, name: &str) -> Option<&'static OutputPort> {
        self.outputs.iter().find(|port| port.name == name)
    }

    /// The input port of this name.
    pub fn input(&self, name: &str) -> Option<&'static InputPort> {
        self.inputs.iter().find(|port| port.name == name)
    }
}

/// A kind together with its decoded parameters: what remains is to run it.
pub trait Work: Send + Sync {
    /// Runs the stage.
    ///
    /// # Errors
    /// As the kind says.
    fn run(&self, inputs: &Inputs, outputs: &Outputs, context: &Context) -> StageResult<()>;

    /// The class of arithmetic the result depends on.
    fn numerics(&self) -> Option<Numerics>;

    /// Whether its results are kept for their maker alone.
    fn is_private(&self) -> bool {
        false
    }

    /// The program outside this process that does the work.
    fn program(&self) -> Option<&str> {
        None
    }
}

/// Where a source's bytes are.
#[derive(Debug, Clone)]
pub enum Location {
    /// A file or folder; relative paths are relative to the working directory.
    Path(PathBuf),
    /// A model built into the program: its name, and its files as (name, bytes).
    Embedded { name: &'static str, files: &'static [(&'static str, &'static [u8])] },
    /// Files of a Hugging Face repository.
    Hub(HubLocation),
}

/// Files of a repository of the Hugging Face hub.
#[derive(Debug, Clone)]
pub struct HubLocation {
    pub repository: Repository,
    pub revision: Revision,
    pub wanted: Wanted,
}

/// Something from outside the pipeline.
#[derive(Debug, Clone)]
pub struct Source {
    pub name: String,
    pub media: Media,
    pub location: Location,
    /// The command that brings the data when it is missing.
    pub fetch: Option<String>,
}

/// What a stage asks of the machine. Not part of the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Resources {
    /// CPUs; all of them when not given.
    pub cpus: Option<NonZeroU32>,
    /// Bytes of memory; not limited when not given.
    pub memory: Option<NonZeroU64>,
    /// GPUs, for programs; none when not given.
    pub gpus: Option<NonZeroU32>,
    /// Work between two checkpoints of a stage that keeps any; 10 minutes when not given.
    pub checkpoint_interval: Option<Duration>,
}

/// Index of a source in [`Pipeline::sources`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceIndex(pub usize);

/// Index of a stage in [`Pipeline::stages`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StageIndex(pub usize);

/// Where an input comes from.
#[derive(Debug, Clone, Copy)]
pub enum Origin {
    Source(SourceIndex),
    Stage { stage: StageIndex, port: &'static OutputPort },
}

/// One artifact bound to an input port of a stage.
#[derive(Debug, Clone)]
pub struct Binding {
    pub port: &'static InputPort,
    /// Empty unless the port is labelled.
    pub label: String,
    pub origin: Origin,
    /// What flows along the edge.
    pub media: Media,
}

impl Binding {
    /// `port`, or `port.label` on a labelled port.
    pub fn role(&self) -> String {
        let port = self.port.name;
        if self.label.is_empty() { port.to_owned() } else { format!("{port}.{}", self.label) }
    }
}

/// One stage of a pipeline.
#[derive(Clone)]
pub struct Stage {
    /// Its name in the file; for an instance of a matrix, `STAGE[AXIS=LABEL,...]`.
    pub name: String,
    /// Which stage of the file, at which point of its matrix.
    pub instance: Instance,
    pub kind: KindFacts,
    /// Every parameter after default filling, typed by the kind's schema (1 given for a real number is 1.0).
    pub parameters: Map<String, Value>,
    /// By port in the kind's declared order; labels of one port in file order.
    pub inputs: Vec<Binding>,
    pub resources: Resources,
    /// The kind with its decoded parameters.
    pub work: Arc<dyn Work>,
}

impl fmt::Debug for Stage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Stage").field("name", &self.name).field("kind", &self.kind.name).finish_non_exhaustive()
    }
}

/// A node of the graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vertex {
    Source(SourceIndex),
    Stage(StageIndex),
}

/// A checked pipeline.
#[derive(Debug)]
pub struct Pipeline {
    pub name: String,
    pub description: Option<String>,
    /// The pipeline file's path as given.
    pub path: PathBuf,
    /// The file's text and the overrides, for messages and for the record of a run.
    pub texts: Texts,
    pub(super) sources: Vec<Source>,
    pub(super) stages: Vec<Stage>,
    pub(super) graph: DiGraph<Vertex, Media>,
    pub(super) order: Vec<StageIndex>,
}

impl Pipeline {
    /// The sources in file order.
    pub fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// The stages in file order.
    pub fn stages(&self) -> &[Stage] {
        &self.stages
    }

    /// One source.
    pub fn source(&self, index: SourceIndex) -> &Source {
        &self.sources[index.0]
    }

    /// One stage.
    pub fn stage(&self, index: StageIndex) -> &Stage {
        &self.stages[index.0]
    }

    /// The stages so that each comes after those it reads from; ties in file order.
    pub fn order(&self) -> &[StageIndex] {
        &self.order
    }

    /// The graph: sources and stages, and an edge per binding from origin to reader with what flows along it.
    pub fn graph(&self) -> &DiGraph<Vertex, Media> {
        &self.graph
    }

    /// The graph node of a stage. Sources come first in the graph, then stages, both in file order.
    pub fn node(&self, stage: StageIndex) -> NodeIndex {
        NodeIndex::new(self.sources.len() + stage.0)
    }

    /// The stages whose results this stage needs, itself left out: those it reads, and those that these read.
    pub fn needs(&self, stage: StageIndex) -> BTreeSet<StageIndex> {
        let (mut needed, mut open) = (BTreeSet::new(), vec![stage]);
        while let Some(stage) = open.pop() {
            for input in &self.stages[stage.0].inputs {
                if let Origin::Stage { stage, .. } = input.origin
                    && needed.insert(stage)
                {
                    open.push(stage);
                }
            }
        }
        needed
    }

    /// These stages and all that read their results, directly or through others.
    pub fn from(&self, stages: impl IntoIterator<Item = StageIndex>) -> BTreeSet<StageIndex> {
        let mut open: Vec<StageIndex> = stages.into_iter().collect();
        let mut found: BTreeSet<StageIndex> = open.iter().copied().collect();
        while let Some(stage) = open.pop() {
            open.extend(self.readers(stage).into_iter().filter(|&reader| found.insert(reader)));
        }
        found
    }

    /// The stages that read an output of this stage, each once, in file order.
    pub fn readers(&self, stage: StageIndex) -> Vec<StageIndex> {
        let mut readers: Vec<StageIndex> = self
            .graph
            .neighbors(self.node(stage))
            .filter_map(|node| match self.graph[node] {
                Vertex::Stage(reader) => Some(reader),
                Vertex::Source(_) => None,
            })
            .collect();
        readers.sort_unstable();
        readers.dedup();
        readers
    }
}
