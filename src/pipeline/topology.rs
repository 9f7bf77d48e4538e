//! The graph of linked stages, and an order to run them in.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use petgraph::graph::{DiGraph, NodeIndex};
use retmask_stages::artifact::Media;

use super::graph::{Origin, Source, SourceIndex, Stage, StageIndex, Vertex};

/// The graph: sources, then stages, both in file order; an edge per binding.
pub fn graph(sources: &[Source], stages: &[Stage]) -> DiGraph<Vertex, Media> {
    let mut graph =
        DiGraph::with_capacity(sources.len() + stages.len(), stages.iter().map(|stage| stage.inputs.len()).sum());
    for index in 0..sources.len() {
        graph.add_node(Vertex::Source(SourceIndex(index)));
    }
    for index in 0..stages.len() {
        graph.add_node(Vertex::Stage(StageIndex(index)));
    }
    for (reader, stage) in stages.iter().enumerate() {
        for input in &stage.inputs {
            let origin = match input.origin {
                Origin::Source(source) => NodeIndex::new(source.0),
                Origin::Stage { stage, .. } => NodeIndex::new(sources.len() + stage.0),
            };
            graph.add_edge(origin, NodeIndex::new(sources.len() + reader), input.media);
        }
    }
    graph
}

/// The stages so that each comes after what it reads; of those that could come next, the first in the file.
pub fn order(graph: &DiGraph<Vertex, Media>, sources: usize, stages: usize) -> Vec<StageIndex> {
    let node = |stage: usize| NodeIndex::new(sources + stage);
    let mut waiting_for: Vec<usize> = (0..stages)
        .map(|stage| {
            let origins = graph.neighbors_directed(node(stage), petgraph::Direction::Incoming);
            origins.filter(|origin| matches!(graph[*origin], Vertex::Stage(_))).count()
        })
        .collect();
    let mut ready: BinaryHeap<Reverse<usize>> =
        (0..stages).filter(|stage| waiting_for[*stage] == 0).map(Reverse).collect();
    let mut order = Vec::with_capacity(stages);
    while let Some(Reverse(stage)) = ready.pop() {
        order.push(StageIndex(stage));
        for reader in graph.neighbors(node(stage)) {
            let reader = reader.index() - sources;
            waiting_for[reader] -= 1;
            if waiting_for[reader] == 0 {
                ready.push(Reverse(reader));
            }
        }
    }
    order
}
