//! What would run, what is a hit, and why.
//!
//! A stage's key is known once the digests of all its inputs are: those of sources are looked up first, those
//! of stages come from their records. So keys contain the *output* digests of upstream stages, and a stage
//! whose upstream ran again and gave the same bytes is a hit.

mod difference;
mod encoder;
mod hub_sources;
mod json;
pub mod key;
mod parameters;
mod programs;
mod reason;
mod recorded;
mod row_scope;
mod sources;
mod states;
mod value;

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use retmask_cache::{Digest, Key, Lookup, MissReason, Output, Record, Store};

pub use difference::{Comparison, Difference, compare};
pub use hub_sources::{HubFacts, HubSources, hub_sources, resolve_all};
pub use json::plan_json;
pub use reason::Reason;
pub use recorded::{Nearest, Recorded, RecordedParameter, recorded_parameters, recorded_values};
pub use row_scope::RowScopes;
pub use sources::{Content, Known, SourceState, digest as source_digest, lay_out, read_embedded};
pub use states::{StagePlan, State};

use crate::error::{Error, Result};
use crate::pipeline::{Binding, Location, Origin, Pipeline, SourceIndex, StageIndex};
use key::{KeyInput, StageKey};
use parameters::Encoded;
use programs::{program, programs};

/// The record of each stage whose result is known, by stage index.
pub type Results = Vec<Option<Arc<Record>>>;

/// A stage's key, with its fields for the record and its inputs for the keys of rows.
#[derive(Debug, Clone)]
pub struct Resolved {
    pub key: Key,
    stage_key: StageKey,
    /// The inputs in the key.
    pub inputs: Vec<KeyInput>,
}

impl Resolved {
    /// The key's fields in readable form, for the record and to be compared.
    pub fn fields(&self) -> serde_json::Value {
        self.stage_key.to_json()
    }
}

/// The result of looking a key up.
#[derive(Debug)]
pub enum Found {
    Hit(Arc<Record>),
    Miss(MissReason),
    /// It is to run whatever is there.
    Forced,
}

/// Answers questions about one pipeline against one store.
pub struct Planner<'a> {
    pipeline: &'a Pipeline,
    store: &'a Store,
    sources: Vec<SourceState>,
    parameters: Vec<Encoded>,
    /// The content of the programs that stages run.
    programs: Vec<Option<Digest>>,
    /// The stages that run although their results are there.
    forced: Vec<bool>,
    /// All records, read when the first miss is to be explained.
    recorded: OnceLock<Recorded>,
    /// Results of another store, to compare with.
    elsewhere: Elsewhere,
}

/// Results of another store.
#[derive(Debug, Default)]
struct Elsewhere {
    address: String,
    records: HashMap<Key, Arc<Record>>,
}

impl<'a> Planner<'a> {
    /// Finds and digests the sources and the programs that stages run; sources of the hub remain to be looked for or
    /// fetched.
    ///
    /// # Errors
    /// `Input` when a program is not there; `Environment` when a source or the store cannot be read. A missing source
    /// is no error here.
    pub fn new(pipeline: &'a Pipeline, store: &'a Store) -> Result<Self> {
        let mut used = vec![false; pipeline.sources().len()];
        for binding in pipeline.stages().iter().flat_map(|stage| &stage.inputs) {
            if let Origin::Source(source) = binding.origin {
                used[source.0] = true;
            }
        }
        let sources = pipeline.sources().iter().zip(used);
        let sources =
            sources.map(|(source, used)| if used { sources::find(store, source) } else { Ok(SourceState::Unused) });
        Ok(Self {
            pipeline,
            store,
            sources: sources.collect::<Result<_>>()?,
            parameters: parameters::encode(pipeline.stages())?,
            programs: programs(store, pipeline)?,
            forced: vec![false; pipeline.stages().len()],
            recorded: OnceLock::new(),
            elsewhere: Elsewhere::default(),
        })
    }

    pub fn pipeline(&self) -> &'a Pipeline {
        self.pipeline
    }

    pub fn store(&self) -> &'a Store {
        self.store
    }

    /// Has these stages run although their results are there.
    pub fn force(&mut self, stages: impl IntoIterator<Item = StageIndex>) {
        for stage in stages {
            self.forced[stage.0] = true;
        }
    }

    /// Compares with these results of another store as well, and takes them for what a run would take from there.
    pub fn look_elsewhere(&mut self, address: &str, records: Vec<Record>) {
        let mut known: HashMap<Key, Arc<Record>> = HashMap::new();
        for record in records {
            // Of several, the oldest counts.
            known.entry(record.key).or_insert_with(|| record.into());
        }
        self.elsewhere = Elsewhere { address: address.to_owned(), records: known };
    }

    /// The address of the other store, for a result that is there and not here.
    pub fn elsewhere(&self, record: &Record) -> Option<&str> {
        let there = self.elsewhere.records.get(&record.key)?;
        (**there == *record).then_some(self.elsewhere.address.as_str())
    }

    /// A source as it was found.
    pub fn source(&self, index: SourceIndex) -> &SourceState {
        &self.sources[index.0]
    }

    /// Whether a stage runs although its result is known.
    pub fn is_forced(&self, index: StageIndex) -> bool {
        self.forced[index.0]
    }

    /// Looks for the hub's sources without a network.
    ///
    /// # Errors
    /// As [`HubSources::find`].
    pub fn find_hub_sources(&mut self, hub: &HubSources) -> Result<()> {
        for (source, state) in self.pipeline.sources().iter().zip(&mut self.sources) {
            if let (Location::Hub(location), SourceState::ToFetch { .. }) = (&source.location, &*state) {
                *state = hub.find(self.store, source, location)?;
            }
        }
        Ok(())
    }

    /// The hub's sources that stages read and that are not known yet.
    pub fn to_fetch(&self) -> Vec<SourceIndex> {
        let to_fetch = |index: &usize| matches!(self.sources[*index], SourceState::ToFetch { .. });
        (0..self.sources.len()).filter(to_fetch).map(SourceIndex).collect()
    }

    /// Takes a source that was fetched.
    pub fn fetched(&mut self, index: SourceIndex, known: Known) {
        self.sources[index.0] = SourceState::Known(known);
    }

    /// What the sources from the hub stand for, by name, as far as it is known.
    pub fn hub_facts(&self) -> Vec<(&str, &HubFacts)> {
        let known = self.pipeline.sources().iter().zip(&self.sources).filter_map(|(source, state)| match state {
            SourceState::Known(known) => known.hub.as_ref().map(|facts| (source.name.as_str(), facts)),
            _ => None,
        });
        known.collect()
    }

    /// The sources that are missing, in file order.
    pub fn missing(&self) -> Vec<SourceIndex> {
        let missing = |index: &usize| matches!(self.sources[*index], SourceState::Missing { .. });
        (0..self.sources.len()).filter(missing).map(SourceIndex).collect()
    }

    /// The key of a stage; `None` until all its inputs are known.
    pub fn resolve(&self, index: StageIndex, results: &Results) -> Result<Option<Resolved>> {
        let mut inputs = Vec::new();
        for binding in &self.pipeline.stage(index).inputs {
            let Some(digest) = self.digest_of(binding, results)? else { return Ok(None) };
            inputs.push(key_input(binding, digest.to_string()));
        }
        let key = self.key(index, inputs.clone());
        Ok(Some(Resolved { key: key.digest(), stage_key: key, inputs }))
    }

    /// The readable fields of a stage's key as far as they are known; an input that is not known yet is [`NOT_KNOWN`].
    pub fn known_fields(&self, index: StageIndex, results: &Results) -> Result<serde_json::Value> {
        let mut inputs = Vec::new();
        for binding in &self.pipeline.stage(index).inputs {
            let digest = self.digest_of(binding, results)?;
            inputs.push(key_input(binding, digest.map_or_else(|| NOT_KNOWN.to_owned(), |digest| digest.to_string())));
        }
        Ok(self.key(index, inputs).to_json())
    }

    fn key(&self, index: StageIndex, mut inputs: Vec<KeyInput>) -> StageKey {
        let stage = self.pipeline.stage(index);
        if let Some(digest) = self.programs[index.0] {
            let (role, media) = ("program".to_owned(), "retmask/program;v1".to_owned());
            inputs.push(KeyInput { role, media, digest: digest.to_string() });
        }
        let parameters = self.parameters[index.0].values.clone();
        let key = StageKey::new(stage.kind.name, stage.kind.epoch, parameters, &inputs, stage.work.numerics());
        if stage.work.is_private() { key.private() } else { key }
    }

    /// Whether the program that a stage runs is still the one in its key; a stage without one has not changed.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn same_program(&self, index: StageIndex) -> Result<bool> {
        Ok(program(self.store, self.pipeline.stage(index))? == self.programs[index.0])
    }

    /// The content of an input, where it is known.
    pub fn digest_of(&self, binding: &Binding, results: &Results) -> Result<Option<Digest>> {
        Ok(match binding.origin {
            Origin::Source(source) => match &self.sources[source.0] {
                SourceState::Known(known) => Some(known.digest),
                _ => None,
            },
            Origin::Stage { stage, port } => match &results[stage.0] {
                Some(record) => Some(output_of(record, port.name)?.digest),
                None => None,
            },
        })
    }

    /// The usable result of a stage's key: recorded, complete, and its content verified (once, remembered).
    /// Nothing is looked up for a stage that is forced to run.
    pub fn look_up(&self, index: StageIndex, key: &Key) -> Result<Found> {
        if self.forced[index.0] {
            return Ok(Found::Forced);
        }
        let record = match self.store.lookup_verified(key)? {
            Lookup::Miss(reason) => return Ok(Found::Miss(reason)),
            Lookup::Hit(record) => record,
        };
        for port in self.pipeline.stage(index).kind.outputs {
            output_of(&record, port.name)?;
        }
        Ok(Found::Hit(record.into()))
    }

    /// Why a stage is no hit.
    pub fn explain(&self, index: StageIndex, fields: &serde_json::Value, miss: &MissReason) -> Result<Reason> {
        Ok(Reason::of(miss, self.nearest(index, fields)?))
    }

    /// The recorded result nearest to a stage of which these fields are known.
    pub fn nearest(&self, index: StageIndex, fields: &serde_json::Value) -> Result<Option<Nearest<'_>>> {
        let kind = &self.pipeline.stage(index).kind;
        Ok(self.recorded()?.nearest(kind.name, kind.epoch, fields, &self.parameters[index.0].defaults))
    }

    /// The fields in which a stage differs from a recorded result of its kind.
    pub fn compared(&self, index: StageIndex, old: &Record, fields: &serde_json::Value) -> Comparison {
        compare(&old.provenance.fields, fields, &self.parameters[index.0].defaults)
    }

    /// All results in the store.
    pub fn recorded(&self) -> Result<&Recorded> {
        if let Some(recorded) = self.recorded.get() {
            return Ok(recorded);
        }
        // A damaged record explains nothing; it is reported where it is looked up.
        let records = self.store.records()?.into_iter().filter_map(std::result::Result::ok);
        let elsewhere = self.elsewhere.records.values().map(|record| Record::clone(record));
        Ok(self.recorded.get_or_init(|| Recorded::of(records.chain(elsewhere))))
    }

    /// The result of a key in the other store.
    pub fn recorded_elsewhere(&self, key: &Key) -> Option<&Arc<Record>> {
        self.elsewhere.records.get(key)
    }
}

/// The fields in which the keys of two stored results of one kind differ; `None` where a record is lost.
///
/// # Errors
/// `Environment` when the store cannot be read.
pub fn recorded_differences(store: &Store, old: &Key, new: &Key) -> Result<Option<Vec<Difference>>> {
    let (Lookup::Hit(old), Lookup::Hit(new)) = (store.lookup(old)?, store.lookup(new)?) else { return Ok(None) };
    let defaults = parameters::defaults(&new.provenance.kind);
    Ok(Some(compare(&old.provenance.fields, &new.provenance.fields, &defaults).differences))
}

/// Stands for the digest of an input that is not known yet.
pub const NOT_KNOWN: &str = "not known yet";

fn key_input(binding: &Binding, digest: String) -> KeyInput {
    KeyInput { role: binding.role(), media: binding.media.name().to_owned(), digest }
}

/// The output of a port in a record of the stage's own kind and epoch.
///
/// # Errors
/// `Internal`: the kind gained a port without a new epoch.
pub fn output_of<'r>(record: &'r Record, port: &str) -> Result<&'r Output> {
    record.output(port).ok_or_else(|| {
        let (kind, epoch) = (&record.provenance.kind, record.provenance.epoch);
        Error::internal(format!("a result of kind `{kind}`, epoch {epoch}, has no output `{port}`"))
    })
}
