//! The ports of stages that declare their own: inputs by what stands under `in`, outputs by the parameter `outputs`.

use retmask_stages::artifact::Media;
use retmask_stages::contract::{Arity, InputPort, OutputPort};

use super::graph::KindFacts;
use super::tree::{Entry, Mapping};
use super::{Diagnostic, names};

/// The facts of a kind for one stage, of which these are the keys. What does not fit is left out here: it is reported
/// where `in` and `with` are read.
pub fn declared(kind: KindFacts, keys: &Mapping, faults: &mut Vec<Diagnostic>) -> KindFacts {
    if !kind.declares_ports {
        return kind;
    }
    let entries = |mapping: Option<&Mapping>| mapping.map(|mapping| mapping.entries.clone()).unwrap_or_default();
    let below = |key: &str| keys.entry(key).and_then(|entry| entry.value.mapping());
    let inputs = entries(below("in")).into_iter().filter_map(|entry| input(&entry, faults));
    let inputs: Vec<InputPort> = inputs.collect();
    let declared = below("with").and_then(|with| with.entry("outputs")).and_then(|entry| entry.value.mapping());
    let outputs = entries(declared).into_iter().filter_map(|entry| {
        let media = Media::from_name(&entry.value.scalar()?.text)?;
        Some(OutputPort { name: kept(&entry.key), media, summary: "" })
    });
    // A pipeline is read once and used until the program ends, as are the ports of the other kinds.
    KindFacts { inputs: Vec::leak(inputs), outputs: Vec::leak(outputs.collect()), ..kind }
}

fn input(entry: &Entry, faults: &mut Vec<Diagnostic>) -> Option<InputPort> {
    if !names::is_valid(&entry.key) {
        let message = format!("`{}` cannot be the name of an input", super::tree::shorten(&entry.key));
        faults.push(Diagnostic::new(entry.key_place, message).help("a name is made of a-z, 0-9 and -"));
        return None;
    }
    let arity = if entry.value.mapping().is_some() { Arity::Labelled } else { Arity::One };
    Some(InputPort { name: kept(&entry.key), media: Media::ALL, arity, summary: "" })
}

fn kept(name: &str) -> &'static str {
    String::leak(name.to_owned())
}
