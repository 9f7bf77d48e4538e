//! What a row was made from that no artifact holds, made anew by its stage: the prompt of an evaluation example.

use std::path::PathBuf;
use std::sync::Arc;

use retmask_cache::{Digest, Output, Readable, Reading, Record, Staging, Store};
use retmask_stages::artifact::Media;
use retmask_stages::contract::{Cancel, Context, Inputs, Kind, SilentProgress};
use retmask_stages::registry::{self, Visitor};
use serde::Serialize;

use super::Row;
use crate::error::{Error, Result};
use crate::pipeline::{self, SourceIndex};
use crate::plan::{Content, HubSources, Planner, SourceState, lay_out, read_embedded, recorded_values};
use crate::run::RunFacts;
use crate::show::lost;

/// What a row was made from.
#[derive(Debug, Clone, Serialize)]
pub struct Origin {
    /// The row's name.
    pub row: String,
    pub text: String,
}

/// An input of the stage, by where its content is.
#[derive(Debug, Clone)]
pub enum Stored {
    /// In the store.
    Artifact(Output),
    /// With the sources of the run.
    Source(Digest),
}

/// Whether stages of a kind tell more of their rows than their inputs do.
pub fn tells(kind: &str) -> bool {
    struct Tells;
    impl Visitor for Tells {
        type Output = bool;
        fn visit<K: Kind>(&mut self) -> bool {
            K::TELLS_ORIGINS
        }
    }
    registry::visit(kind, &mut Tells).unwrap_or(false)
}

/// What these rows of a result were made from. `inputs` are role, media and content; sources are looked for where the
/// pipeline file of the run says.
///
/// # Errors
/// `Input` and `Environment` with what is missing: the stage's epoch in this program, the run's pipeline file, a source
/// with the content it had.
pub fn origins(
    store: &Store,
    facts: &RunFacts,
    record: &Record,
    inputs: &[(String, String, Stored)],
    rows: &[Row],
) -> Result<Vec<Origin>> {
    let provenance = &record.provenance;
    let mut held = Held::default();
    let mut given = Inputs::default();
    let needs_sources = inputs.iter().any(|(_, _, stored)| matches!(stored, Stored::Source(_)));
    let pipeline = match needs_sources {
        true => Some(pipeline::read(&facts.file, &facts.overrides)?),
        false => None,
    };
    let planner = match &pipeline {
        Some(pipeline) => {
            let mut planner = Planner::new(pipeline, store)?;
            planner.find_hub_sources(&HubSources::open(pipeline, store, facts.lock.is_some())?)?;
            Some(planner)
        }
        None => None,
    };
    for (role, media, stored) in inputs {
        let path = match (stored, &planner) {
            (Stored::Artifact(output), _) => held.artifact(store, output)?,
            (Stored::Source(digest), Some(planner)) => held.source(planner, digest, role)?,
            (Stored::Source(_), None) => return Err(Error::internal("a source was to be read without its pipeline")),
        };
        let media = Media::from_name(media)
            .ok_or_else(|| Error::input(format!("this program does not know {media}, the media of `{role}`")))?;
        let (port, label) = role.split_once('.').unwrap_or((role, ""));
        given.insert(port_name(&provenance.kind, port)?, label, media, &path);
    }
    let scratch = store.stage()?;
    let context = Context::new(Arc::new(SilentProgress), Cancel::default(), scratch.path());
    let names: Vec<&str> = rows.iter().filter_map(|row| row.name.as_deref()).collect();
    let told =
        registry::visit(&provenance.kind, &mut Tell { record, inputs: &given, context: &context, names: &names });
    let told = told.ok_or_else(|| Error::internal(format!("the kind `{}` is not registered", provenance.kind)))??;
    Ok(told.into_iter().map(|(row, text)| Origin { row, text }).collect())
}

struct Tell<'a> {
    record: &'a Record,
    inputs: &'a Inputs,
    context: &'a Context,
    names: &'a [&'a str],
}

impl Visitor for Tell<'_> {
    type Output = Result<Vec<(String, String)>>;

    fn visit<K: Kind>(&mut self) -> Self::Output {
        let provenance = &self.record.provenance;
        if provenance.epoch != K::EPOCH {
            let (kind, epoch, now) = (&provenance.kind, provenance.epoch, K::EPOCH);
            return Err(Error::input(format!("epoch {epoch} of {kind} made it, and this program has epoch {now}")));
        }
        let parameters: K::Parameters = serde_json::from_value(recorded_values(self.record))
            .map_err(|error| Error::input(format!("its parameters are not those of this program: {error}")))?;
        Ok(K::origins(&parameters, self.inputs, self.context, self.names)?)
    }
}

/// The declared name of a port.
fn port_name(kind: &str, port: &str) -> Result<&'static str> {
    struct Port<'p>(&'p str);
    impl Visitor for Port<'_> {
        type Output = Option<&'static str>;
        fn visit<K: Kind>(&mut self) -> Option<&'static str> {
            K::INPUTS.iter().find(|input| input.name == self.0).map(|input| input.name)
        }
    }
    let found = registry::visit(kind, &mut Port(port)).flatten();
    found.ok_or_else(|| Error::input(format!("{kind} of this program has no port `{port}`")))
}

/// Keeps what is read readable.
#[derive(Default)]
struct Held {
    artifacts: Vec<Readable>,
    layouts: Vec<Staging>,
}

impl Held {
    fn artifact(&mut self, store: &Store, output: &Output) -> Result<PathBuf> {
        match store.read(output)? {
            Reading::Ready(readable) => Ok(self.hold(readable)),
            Reading::Lost(reason) => Err(lost(&reason)),
        }
    }

    fn hold(&mut self, readable: Readable) -> PathBuf {
        let path = readable.path().to_path_buf();
        self.artifacts.push(readable);
        path
    }

    fn source(&mut self, planner: &Planner<'_>, digest: &Digest, role: &str) -> Result<PathBuf> {
        let known =
            (0..planner.pipeline().sources().len()).find_map(|index| match planner.source(SourceIndex(index)) {
                SourceState::Known(known) if known.digest == *digest => Some(known),
                _ => None,
            });
        let known = known.ok_or_else(|| {
            Error::input(format!("the source of `{role}` is not there any more with the content {digest}"))
        })?;
        match &known.content {
            Content::InPlace(path) => Ok(path.clone()),
            Content::Linked { files, single } => {
                let layout = planner.store().stage()?;
                let path = lay_out(files, *single, layout.path())?;
                self.layouts.push(layout);
                Ok(path)
            }
            Content::Embedded { files, output } => {
                read_embedded(planner.store(), files, output).map(|readable| self.hold(readable))
            }
        }
    }
}
