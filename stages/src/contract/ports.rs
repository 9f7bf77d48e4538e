//! Typed ports and the paths behind them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{StageError, StageResult};
use crate::artifact::Media;

/// How many artifacts an input port takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arity {
    /// Exactly one.
    One,
    /// None or one.
    Optional,
    /// A map from a label to an artifact, in the order of the pipeline file; may be empty.
    Labelled,
}

/// An input port: its name, the media it takes, and how many.
#[derive(Debug, Clone, Copy)]
pub struct InputPort {
    pub name: &'static str,
    pub media: &'static [Media],
    pub arity: Arity,
    pub summary: &'static str,
}

/// An output port. The first port of a kind is the one an edge without a port name means.
#[derive(Debug, Clone, Copy)]
pub struct OutputPort {
    pub name: &'static str,
    pub media: Media,
    pub summary: &'static str,
}

/// One artifact handed to a stage: what it is and where its bytes are (read-only).
#[derive(Debug, Clone)]
pub struct Input {
    pub media: Media,
    pub path: PathBuf,
}

/// The artifacts handed to a stage, by port, each with its label (empty unless the port is labelled).
#[derive(Debug, Clone, Default)]
pub struct Inputs {
    ports: BTreeMap<String, Vec<(String, Input)>>,
}

impl Inputs {
    /// Adds an artifact to a port; `label` is empty for ports that are not labelled.
    pub fn insert(
        &mut self,
        port: impl Into<String>,
        label: impl Into<String>,
        media: Media,
        path: impl Into<PathBuf>,
    ) {
        self.ports.entry(port.into()).or_default().push((label.into(), Input { media, path: path.into() }));
    }

    /// The artifact at a port of arity one.
    ///
    /// # Errors
    /// An internal error when the port is empty: the planner checks arity before anything runs.
    pub fn one(&self, port: &str) -> StageResult<&Input> {
        self.optional(port)
            .ok_or_else(|| StageError::internal(format!("input port `{port}` was not filled by the planner")))
    }

    /// The artifact at an optional port.
    pub fn optional(&self, port: &str) -> Option<&Input> {
        self.ports.get(port).and_then(|list| list.first()).map(|(_, input)| input)
    }

    /// The artifacts at a labelled port, in the order of the pipeline file.
    pub fn labelled(&self, port: &str) -> &[(String, Input)] {
        self.ports.get(port).map_or(&[], Vec::as_slice)
    }
}

/// Where a stage writes: one path per output port inside a private folder that exists.
/// A table or file port is a file at that path; a tree port is a folder the stage creates there.
#[derive(Debug, Clone)]
pub struct Outputs {
    folder: PathBuf,
}

impl Outputs {
    /// Outputs below `folder`.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// The path of a port's output.
    pub fn path(&self, port: &str) -> PathBuf {
        self.folder.join(port)
    }

    /// The private folder itself.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}
