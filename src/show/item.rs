//! `STAGE[.PORT][@RUN]`: an output of a stage, in the latest run unless one is named.

use std::path::Path;

use retmask_cache::{Output, Readable, Reading, Store};

use crate::error::{Error, Result};
use crate::pipeline::suggest;
use crate::run::{StageOutputs, StageState, find_run, run_folders, run_name, stages_of};

/// An output found by its address.
#[derive(Debug)]
pub struct Item {
    pub run: String,
    pub stage: String,
    pub output: Output,
    /// The names of the stage's outputs that are not this one.
    pub others: Vec<String>,
}

impl Item {
    /// A verified path to read the artifact from.
    ///
    /// # Errors
    /// `Environment` when the stored content is lost or damaged.
    pub fn read(&self, store: &Store) -> Result<Readable> {
        match store.read(&self.output)? {
            Reading::Ready(readable) => Ok(readable),
            Reading::Lost(reason) => Err(lost(&reason)),
        }
    }
}

/// A stored artifact that is gone.
pub fn lost(reason: &retmask_cache::MissReason) -> Error {
    Error::environment(reason.to_string()).with_hint("run the pipeline again: what is lost is made again")
}

/// Finds an item by its address.
///
/// # Errors
/// `Input` when there is no such run, stage or port, or the stage has no result there; with the nearest name.
pub fn find(store: &Store, address: &str) -> Result<Item> {
    let (run, found, port) = locate(store, address)?;
    let stage = found.stage;
    let output = match &port {
        None => found.outputs.first(),
        Some(port) => found.outputs.iter().find(|output| output.port == *port),
    };
    let Some(output) = output.cloned() else {
        let names: Vec<&str> = found.outputs.iter().map(|output| output.port.as_str()).collect();
        let port = port.unwrap_or_default();
        let error = Error::input(format!("stage `{stage}` has no output `{port}`"));
        return Err(error.with_hint(suggest(&port, "its outputs", names).join("; ")));
    };
    let others = found.outputs.iter().filter(|other| other.port != output.port).map(|other| other.port.clone());
    Ok(Item { run, others: others.collect(), stage, output })
}

/// Finds a stage with a result by its address, `STAGE[@RUN]`.
///
/// # Errors
/// `Input` as [`find`], and for an address that names a port.
pub fn find_stage(store: &Store, address: &str) -> Result<StageOutputs> {
    let (_, stage, port) = locate(store, address)?;
    match port {
        None => Ok(stage),
        Some(port) => Err(Error::input(format!("`{address}` is an output, and a stage or a run is to be named here"))
            .with_hint(format!("leave out `.{port}`"))),
    }
}

/// The run, the stage and the port an address means.
fn locate(store: &Store, address: &str) -> Result<(String, StageOutputs, Option<String>)> {
    let (name, run) = match address.rsplit_once('@') {
        Some((name, run)) => (name, Some(run)),
        None => (address, None),
    };
    let runs = run_folders(store)?;
    let folder = find_run(store, &runs, run)?;
    let stages = stages_of(folder)?;
    let run = run_name(folder);
    let (stage, port) = split(&stages, name);
    let Some(found) = stages.iter().find(|candidate| candidate.stage == stage) else {
        let names: Vec<&str> = stages.iter().map(|stage| stage.stage.as_str()).collect();
        let of_matrix: Vec<String> = names
            .iter()
            .filter(|name| name.strip_prefix(stage).is_some_and(|rest| rest.starts_with('[')))
            .map(|name| format!("`{name}`"))
            .collect();
        let hint = match runs.iter().rev().find(|folder| has_result(folder, stage)) {
            _ if !of_matrix.is_empty() => format!("it has the instances {}", of_matrix.join(", ")),
            Some(folder) => format!("an earlier run has it: `{name}@{}`", run_name(folder)),
            None => suggest(stage, "its stages", names).join("; "),
        };
        return Err(Error::input(format!("run {run} has no stage `{stage}`")).with_hint(hint));
    };
    if found.outputs.is_empty() {
        let error = Error::input(format!("stage `{stage}` has no result in run {run}: it {}", ended(found.state)));
        let earlier = runs.iter().rev().find(|folder| has_result(folder, stage));
        return Err(match earlier {
            Some(folder) => error.with_hint(format!("an earlier run has one: `{name}@{}`", run_name(folder))),
            None => error,
        });
    }
    Ok((run, found.clone(), port.map(str::to_owned)))
}

/// A stage's own name may hold dots, so the whole name is tried first.
fn split<'n>(stages: &[StageOutputs], name: &'n str) -> (&'n str, Option<&'n str>) {
    if stages.iter().any(|stage| stage.stage == name) {
        return (name, None);
    }
    match name.rsplit_once('.') {
        Some((stage, port)) => (stage, Some(port)),
        None => (name, None),
    }
}

const fn ended(state: StageState) -> &'static str {
    match state {
        StageState::Failed => "failed",
        StageState::Skipped => "was not run",
        StageState::Pending => "has not ended",
        StageState::Hit | StageState::Ran => "has none",
    }
}

fn has_result(folder: &Path, stage: &str) -> bool {
    // A run whose record cannot be read is no better place to look.
    stages_of(folder).is_ok_and(|stages| stages.iter().any(|found| found.stage == stage && !found.outputs.is_empty()))
}
