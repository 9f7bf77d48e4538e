//! Stages that wait for each other.

use std::collections::VecDeque;

use petgraph::algo::tarjan_scc;
use petgraph::graph::{DiGraph, NodeIndex};

use super::Diagnostic;
use super::link::Read;

/// Reports one shortest cycle for every group of stages that wait for each other. `reads[s]` are the stages that
/// stage `s` names, with the places.
pub fn report(names: &[&str], reads: &[Vec<Read>], faults: &mut Vec<Diagnostic>) {
    let mut graph: DiGraph<(), ()> = DiGraph::new();
    for _ in names {
        graph.add_node(());
    }
    for (reader, list) in reads.iter().enumerate() {
        for (origin, _) in list {
            graph.add_edge(NodeIndex::new(*origin), NodeIndex::new(reader), ());
        }
    }
    for group in tarjan_scc(&graph) {
        let group: Vec<usize> = group.into_iter().map(NodeIndex::index).collect();
        let Some(&first) = group.iter().min() else { continue };
        if group.len() == 1 && reads[first].iter().all(|(origin, _)| *origin != first) {
            continue;
        }
        faults.push(describe(&shortest(first, &group, reads), names, reads));
    }
}

/// The shortest way from `first` through what it reads back to itself, as [first, what it reads, ..., first]. The
/// group is strongly connected, so there is one.
fn shortest(first: usize, group: &[usize], reads: &[Vec<Read>]) -> Vec<usize> {
    let mut came_from = vec![None; reads.len()];
    let mut queue = VecDeque::from([first]);
    while let Some(stage) = queue.pop_front() {
        for (origin, _) in reads[stage].iter().filter(|(origin, _)| group.contains(origin)) {
            if *origin == first {
                let mut way: Vec<usize> = std::iter::successors(Some(stage), |step| came_from[*step]).collect();
                way.reverse();
                way.push(first);
                return way;
            }
            if came_from[*origin].is_none() {
                came_from[*origin] = Some(stage);
                queue.push_back(*origin);
            }
        }
    }
    vec![first, first]
}

fn describe(way: &[usize], names: &[&str], reads: &[Vec<Read>]) -> Diagnostic {
    let place = |reader: usize, origin: usize| {
        reads[reader].iter().find(|(named, _)| *named == origin).map(|(_, place)| *place)
    };
    let spelled: Vec<String> = way.iter().map(|stage| format!("`{}`", names[*stage])).collect();
    let message = format!("stages wait for each other: {}", spelled.join(" reads "));
    let mut steps = way.windows(2).filter_map(|step| {
        let words = format!("`{}` reads `{}`", names[step[0]], names[step[1]]);
        place(step[0], step[1]).map(|place| (place, words))
    });
    let Some((first, words)) = steps.next() else {
        return Diagnostic::new(super::Place { text: 0, start: 0, end: 0 }, message);
    };
    steps.fold(Diagnostic::new(first, message).label(words), |fault, (place, words)| fault.note(place, words))
}
