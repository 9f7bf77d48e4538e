//! `retmask graph`: the stages of a pipeline and what flows between them.

use std::fmt::Write;

use anstyle::{AnsiColor, Style};
use serde_json::{Value, json};

use super::{PipelineArguments, Settings};
use crate::error::{Error, Result};
use crate::output::Printer;
use crate::pipeline::{Binding, HubLocation, Location, Origin, Pipeline, Source, Stage, Vertex};

/// What `retmask graph` takes.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    pipeline: PipelineArguments,
    /// Write Mermaid text, for pages that draw it
    #[arg(long)]
    mermaid: bool,
}

/// Executes `retmask graph`.
///
/// # Errors
/// `Input` with every fault of the file and its place.
pub fn execute(arguments: &Arguments, settings: &Settings) -> Result<()> {
    if arguments.mermaid && settings.printer.json() {
        return Err(Error::input("--mermaid and --json are two forms of one answer: give one of them"));
    }
    let pipeline = arguments.pipeline.read()?;
    let text = if settings.printer.json() {
        format!("{:#}\n", object(&pipeline))
    } else if arguments.mermaid {
        mermaid(&pipeline)
    } else {
        tree(&pipeline, settings.printer)
    };
    settings.printer.data(&text)
}

/// Where a source's bytes are, in words.
fn location(source: &Source) -> String {
    match &source.location {
        Location::Path(path) => path.display().to_string(),
        Location::Embedded { name, .. } => format!("{name} (built in)"),
        Location::Hub(hub) => format!("{} at {} (Hugging Face)", hub.repository, hub.revision),
    }
}

/// `source`, `stage.port`.
fn origin(pipeline: &Pipeline, binding: &Binding) -> String {
    match binding.origin {
        Origin::Source(source) => pipeline.source(source).name.clone(),
        Origin::Stage { stage, port } => format!("{}.{}", pipeline.stage(stage).name, port.name),
    }
}

/// `port`, `port.label`.
fn input(binding: &Binding) -> String {
    if binding.label.is_empty() {
        binding.port.name.to_owned()
    } else {
        format!("{}.{}", binding.port.name, binding.label)
    }
}

/// Every source, then every stage after those it reads, with what comes in on each edge.
fn tree(pipeline: &Pipeline, printer: Printer) -> String {
    let (bold, dim) = (Style::new().bold(), AnsiColor::BrightBlack.on_default());
    let mut text = format!("{}\n", printer.paint(bold, &pipeline.name));
    let widest = |names: &mut dyn Iterator<Item = usize>| names.max().unwrap_or(0);
    let name_width = widest(&mut pipeline.sources().iter().map(|source| source.name.len()));
    let media_width = widest(&mut pipeline.sources().iter().map(|source| source.media.name().len()));
    if !pipeline.sources().is_empty() {
        text.push('\n');
    }
    for source in pipeline.sources() {
        let media = printer.paint(dim, &format!("{:media_width$}", source.media.name()));
        let _ = writeln!(text, "{:name_width$}  {media}  {}", source.name, location(source));
    }
    for stage in pipeline.order().iter().map(|stage| pipeline.stage(*stage)) {
        let _ = writeln!(text, "\n{} ({})", printer.paint(bold, &stage.name), stage.kind.name);
        let port_width = widest(&mut stage.inputs.iter().map(|binding| input(binding).len()));
        let origin_width = widest(&mut stage.inputs.iter().map(|binding| origin(pipeline, binding).len()));
        for (index, binding) in stage.inputs.iter().enumerate() {
            let branch = if index + 1 == stage.inputs.len() { "└─" } else { "├─" };
            let media = printer.paint(dim, binding.media.name());
            let (port, origin) = (input(binding), origin(pipeline, binding));
            let _ = writeln!(text, "{branch} {port:port_width$}  <-  {origin:origin_width$}  {media}");
        }
    }
    text
}

/// A Mermaid flow chart. Nodes have numbers for ids, as some names are words of the language.
fn mermaid(pipeline: &Pipeline) -> String {
    let mut text = String::from("flowchart LR\n");
    for (index, source) in pipeline.sources().iter().enumerate() {
        let _ = writeln!(text, "    source{index}[(\"{}\")]", source.name);
    }
    for (index, stage) in pipeline.stages().iter().enumerate() {
        let _ = writeln!(text, "    stage{index}[\"{}<br/><i>{}</i>\"]", stage.name, stage.kind.name);
    }
    let graph = pipeline.graph();
    for edge in graph.edge_indices() {
        let (Some((from, to)), Some(weight)) = (graph.edge_endpoints(edge), graph.edge_weight(edge)) else { continue };
        let id = |vertex: Vertex| match vertex {
            Vertex::Source(source) => format!("source{}", source.0),
            Vertex::Stage(stage) => format!("stage{}", stage.0),
        };
        // Without prefix and version: a `;` ends a statement in Mermaid.
        let name = weight.name();
        let short = name.split_once('/').map_or(name, |(_, rest)| rest);
        let short = short.split(';').next().unwrap_or(short);
        let _ = writeln!(text, "    {} -->|{short}| {}", id(graph[from]), id(graph[to]));
    }
    text
}

fn object(pipeline: &Pipeline) -> Value {
    json!({
        "name": pipeline.name,
        "description": pipeline.description,
        "sources": pipeline.sources().iter().map(source_object).collect::<Vec<_>>(),
        "stages": pipeline.stages().iter().map(|stage| stage_object(pipeline, stage)).collect::<Vec<_>>(),
    })
}

fn source_object(source: &Source) -> Value {
    let (mut path, mut embedded, mut hub) = (None, None, None);
    match &source.location {
        Location::Path(place) => path = Some(place.display().to_string()),
        Location::Embedded { name, .. } => embedded = Some(*name),
        Location::Hub(HubLocation { repository, revision, wanted }) => {
            let (repo, kind) = (repository.name(), repository.kind);
            hub = Some(json!({ "repo": repo, "type": kind, "revision": revision, "files": wanted.patterns() }));
        }
    }
    json!({
        "name": source.name,
        "media": source.media.name(),
        "path": path,
        "embedded": embedded,
        "hf": hub,
        "fetch": source.fetch,
    })
}

fn stage_object(pipeline: &Pipeline, stage: &Stage) -> Value {
    let inputs = stage.inputs.iter().map(|binding| {
        let (from, output) = match binding.origin {
            Origin::Source(source) => (&pipeline.source(source).name, None),
            Origin::Stage { stage, port } => (&pipeline.stage(stage).name, Some(port.name)),
        };
        let label = Some(&binding.label).filter(|label| !label.is_empty());
        json!({ "port": binding.port.name, "label": label, "from": from, "output": output, "media": binding.media.name() })
    });
    let outputs = stage.kind.outputs.iter().map(|port| json!({ "port": port.name, "media": port.media.name() }));
    json!({
        "name": stage.name,
        "kind": stage.kind.name,
        "parameters": stage.parameters,
        "inputs": inputs.collect::<Vec<_>>(),
        "outputs": outputs.collect::<Vec<_>>(),
        "cpus": stage.resources.cpus,
        "memory": stage.resources.memory,
    })
}
