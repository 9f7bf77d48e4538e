//! Where an artifact, or a row of one, comes from: the stage that made it with its parameters and inputs, the stages
//! that made these, and so on to the sources.

mod origin;
mod row;

use std::collections::{BTreeMap, VecDeque};

use jiff::Timestamp;
use retmask_cache::{Digest, Key, Lookup, Output, Reading, Record, Store};
use retmask_stages::artifact::{Form, Media, mask, table};
use serde::Serialize;

pub use origin::Origin;
use origin::Stored;
pub use row::Row;

use crate::error::{Error, Result};
use crate::explain::created;
use crate::plan::{Recorded, RecordedParameter, recorded_parameters};
use crate::run::{
    self, RunFacts, SourceContent, StageOutputs, facts_of, find_run, maker, run_folders, sources_of, stages_of,
};
use crate::show::{Item, find, lost};

/// Everything behind an item.
#[derive(Debug, Serialize)]
pub struct Lineage {
    pub run: String,
    pub stage: String,
    pub artifact: Output,
    /// The row that was asked for; several where its name stands for several.
    pub rows: Vec<Row>,
    /// The stages behind the artifact, its own first; each comes before those it reads.
    pub stages: Vec<MadeStage>,
    /// The sources behind it.
    pub sources: Vec<SourceContent>,
}

/// A stage with a result.
#[derive(Debug, Serialize)]
pub struct MadeStage {
    /// Its name in the run, or in the run that made the result; the kind where no run is known.
    pub stage: String,
    pub key: Key,
    /// Nothing where the record is lost.
    #[serde(flatten)]
    pub facts: Option<MadeFacts>,
}

/// How a result was made.
#[derive(Debug, Serialize)]
pub struct MadeFacts {
    pub kind: String,
    pub epoch: u32,
    /// The run that computed it, where its record is here.
    pub made_by: Option<String>,
    pub created: Timestamp,
    pub seconds: f64,
    pub tools: BTreeMap<String, String>,
    pub parameters: Vec<RecordedParameter>,
    pub inputs: Vec<MadeFrom>,
    /// What the row asked for was made from that no input holds as such: of an evaluation example, its prompt.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub origins: Vec<Origin>,
    /// Why that cannot be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_origins: Option<String>,
}

/// An input of a result.
#[derive(Debug, Serialize)]
pub struct MadeFrom {
    pub role: String,
    pub media: String,
    pub digest: Digest,
    pub from: From,
    /// Of a mask: its heads as `layer-head`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heads: Option<Vec<String>>,
    /// The rows of it that the row asked for was made from.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rows: Vec<Row>,
}

/// Where an input came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum From {
    Stage(String),
    Source(String),
    /// Nothing in this store says.
    Unknown,
}

/// Traces an item, `STAGE[.PORT][@RUN]`, or a row of it, `ITEM#ROW`.
///
/// # Errors
/// `Input` when there is no such item or row; `Environment` when the store cannot be read or the artifact is lost.
pub fn trace(store: &Store, address: &str) -> Result<Lineage> {
    let (address, wanted) = match address.rsplit_once('#') {
        Some((address, row)) => (address, Some(row)),
        None => (address, None),
    };
    let item = find(store, address)?;
    let runs = run_folders(store)?;
    let folder = find_run(store, &runs, Some(&item.run))?;
    let mut tracer = Tracer {
        store,
        run: facts_of(folder)?,
        stages: stages_of(folder)?,
        sources: sources_of(folder)?,
        recorded: None,
        used: Vec::new(),
    };
    let rows = match wanted {
        None => Vec::new(),
        Some(wanted) => row::find(&table_of(store, &item)?, wanted, &format!("{address}#"))?,
    };
    let stage = tracer.stages.iter().find(|stage| stage.stage == item.stage);
    let key = stage.and_then(|stage| stage.key);
    let key = key.ok_or_else(|| Error::internal(format!("stage `{}` has a result and no key", item.stage)))?;
    let stages = tracer.all(item.stage.clone(), key, &rows)?;
    Ok(Lineage { run: item.run, stage: item.stage, artifact: item.output, rows, stages, sources: tracer.used })
}

fn table_of(store: &Store, item: &Item) -> Result<arrow::array::RecordBatch> {
    let output = &item.output;
    if Media::from_name(&output.media).is_none_or(|media| media.form() != Form::Table) {
        let message = format!("{}.{} is no table ({}): it has no rows", item.stage, output.port, output.media);
        return Err(Error::input(message).with_hint("leave out `#` and what follows it"));
    }
    Ok(table::read_any(item.read(store)?.path())?)
}

struct Tracer<'a> {
    store: &'a Store,
    run: RunFacts,
    /// Those of the run.
    stages: Vec<StageOutputs>,
    sources: Vec<SourceContent>,
    /// All records, read when the run alone does not say where something comes from.
    recorded: Option<Recorded>,
    /// The sources met so far.
    used: Vec<SourceContent>,
}

/// What made an artifact.
struct Maker {
    stage: String,
    key: Key,
    output: Output,
}

impl Tracer<'_> {
    /// All stages behind a result, breadth first.
    fn all(&mut self, stage: String, key: Key, rows: &[Row]) -> Result<Vec<MadeStage>> {
        let mut open = VecDeque::from([(stage, key, rows.to_vec())]);
        let mut seen = vec![key];
        let mut made = Vec::new();
        while let Some((stage, key, rows)) = open.pop_front() {
            let Lookup::Hit(record) = self.store.lookup(&key)? else {
                made.push(MadeStage { stage, key, facts: None });
                continue;
            };
            let (mut inputs, mut contents) = (Vec::new(), Vec::new());
            for (role, media, digest) in inputs_of(&record) {
                let maker = self.maker(&digest)?;
                let content = maker.as_ref().map_or(Stored::Source(digest), |it| Stored::Artifact(it.output.clone()));
                contents.push((role.clone(), media.clone(), content));
                let mut input = MadeFrom { role, media, digest, from: From::Unknown, heads: None, rows: Vec::new() };
                match maker {
                    Some(maker) => {
                        input.from = From::Stage(maker.stage.clone());
                        self.look_inside(&mut input, &maker.output, &rows)?;
                        if !seen.contains(&maker.key) {
                            seen.push(maker.key);
                            open.push_back((maker.stage, maker.key, input.rows.clone()));
                        }
                    }
                    None => {
                        if let Some(source) = self.sources.iter().find(|source| source.digest == Some(digest)) {
                            input.from = From::Source(source.source.clone());
                            if !self.used.iter().any(|used| used.source == source.source) {
                                self.used.push(source.clone());
                            }
                        }
                    }
                }
                inputs.push(input);
            }
            let mut facts = self.facts(&record, inputs)?;
            if !rows.is_empty() && origin::tells(&facts.kind) {
                match origin::origins(self.store, &self.run, &record, &contents, &rows) {
                    Ok(origins) => facts.origins = origins,
                    Err(Error::Message { message, .. }) => facts.no_origins = Some(message),
                    Err(Error::Pipeline(_)) => {
                        let file = self.run.file.display();
                        facts.no_origins = Some(format!("{file} is not the pipeline file of the run any more"));
                    }
                    Err(error) => return Err(error),
                }
            }
            made.push(MadeStage { stage, key, facts: Some(facts) });
        }
        Ok(made)
    }

    fn facts(&self, record: &Record, inputs: Vec<MadeFrom>) -> Result<MadeFacts> {
        let provenance = &record.provenance;
        Ok(MadeFacts {
            kind: provenance.kind.clone(),
            epoch: provenance.epoch,
            made_by: maker(self.store, &record.key)?.map(|by| by.run),
            created: created(record),
            seconds: provenance.duration_milliseconds as f64 / 1000.0,
            tools: provenance.tools.clone(),
            parameters: recorded_parameters(record),
            inputs,
            origins: Vec::new(),
            no_origins: None,
        })
    }

    /// What made an artifact: a stage of the run, else the youngest result anywhere in the store.
    fn maker(&mut self, digest: &Digest) -> Result<Option<Maker>> {
        for stage in &self.stages {
            if let (Some(output), Some(key)) = (stage.outputs.iter().find(|output| output.digest == *digest), stage.key)
            {
                return Ok(Some(Maker { stage: stage.stage.clone(), key, output: output.clone() }));
            }
        }
        if self.sources.iter().any(|source| source.digest == Some(*digest)) {
            return Ok(None);
        }
        let recorded = match self.recorded.take() {
            Some(recorded) => recorded,
            None => Recorded::of(self.store.records()?.into_iter().filter_map(std::result::Result::ok)),
        };
        let recorded = self.recorded.insert(recorded);
        let Some(record) = recorded.maker(None, digest) else { return Ok(None) };
        let Some(output) = record.outputs.iter().find(|output| output.digest == *digest) else { return Ok(None) };
        let stage = run::maker(self.store, &record.key)?.map_or_else(|| record.provenance.kind.clone(), |by| by.stage);
        Ok(Some(Maker { stage, key: record.key, output: output.clone() }))
    }

    /// The heads of a mask, and the rows of a table that `rows` were made from.
    fn look_inside(&self, input: &mut MadeFrom, output: &Output, rows: &[Row]) -> Result<()> {
        let media = Media::from_name(&output.media);
        if media.is_none_or(|media| media.form() != Form::Table) || (rows.is_empty() && media != Some(Media::Mask)) {
            return Ok(());
        }
        let readable = match self.store.read(output)? {
            Reading::Ready(readable) => readable,
            Reading::Lost(reason) => return Err(lost(&reason)),
        };
        if media == Some(Media::Mask) {
            let heads = mask::read(readable.path())?;
            input.heads = Some(heads.heads().map(|head| head.to_string()).collect());
        } else {
            input.rows = row::same(&table::read_any(readable.path())?, rows)?;
        }
        Ok(())
    }
}

/// Role, media and content of a result's inputs, as its key has them.
fn inputs_of(record: &Record) -> Vec<(String, String, Digest)> {
    let inputs = record.provenance.fields["inputs"].as_array();
    let text = |input: &serde_json::Value, name: &str| input[name].as_str().map(str::to_owned);
    let input = |input| Some((text(input, "role")?, text(input, "media")?, text(input, "digest")?.parse().ok()?));
    inputs.into_iter().flatten().filter_map(input).collect()
}
