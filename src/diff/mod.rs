//! What two runs have made differently: parameters, masks, scores of heads, metrics and pairs.
//!
//! Stages are compared by their names. Only what differs in content is opened.

mod artifacts;
mod metrics;

use std::path::Path;

use arrow::array::RecordBatch;
use retmask_cache::{Output, Reading, Store};
use retmask_stages::artifact::{Media, table};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::error::Result;
use crate::plan::{self, Difference};
use crate::run::{StageOutputs, run_name, stages_of};
use crate::show::{lost, rows};
pub use artifacts::{HeadChange, Heads, Mask, Pairs, Summary};
pub use metrics::Metric;

/// How two runs differ.
#[derive(Debug, Serialize)]
pub struct Differences {
    pub first: String,
    pub second: String,
    /// Stages that only one of the runs has.
    pub only_first: Vec<String>,
    pub only_second: Vec<String>,
    /// Stages that only one of the runs has a result of.
    pub without_result: Vec<String>,
    /// How many stages have the same key in both.
    pub same: usize,
    /// The others, in the second run's order.
    pub stages: Vec<StageDifference>,
}

/// Two results of a stage, or of two stages.
#[derive(Debug, Serialize)]
pub struct StageDifference {
    pub stage: String,
    pub kind: String,
    /// Fields of the key that differ: parameters as `with.…`, inputs as `in.…`; `None` where a record is lost.
    pub fields: Option<Vec<Difference>>,
    /// All outputs are the same all the same.
    pub same_outputs: bool,
    /// What can be said of outputs that differ.
    pub outputs: Vec<OutputDifference>,
}

/// An output that differs.
#[derive(Debug, Serialize)]
pub struct OutputDifference {
    pub port: String,
    pub media: String,
    #[serde(flatten)]
    pub detail: Option<Detail>,
}

/// How an artifact differs, where its media says how to tell.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Detail {
    Mask(Mask),
    HeadSummary(Summary),
    Heads(Heads),
    Metrics(Vec<Metric>),
    Pairs(Pairs),
}

/// Compares two runs by their folders.
///
/// # Errors
/// `Environment` when a record or a stored artifact cannot be read.
pub fn runs(store: &Store, first: &Path, second: &Path) -> Result<Differences> {
    let (left, right) = (stages_of(first)?, stages_of(second)?);
    let missing = |from: &[StageOutputs], other: &[StageOutputs]| -> Vec<String> {
        let lacks = |stage: &&StageOutputs| !other.iter().any(|found| found.stage == stage.stage);
        from.iter().filter(lacks).map(|stage| stage.stage.clone()).collect()
    };
    let mut differences = Differences {
        first: run_name(first),
        second: run_name(second),
        only_first: missing(&left, &right),
        only_second: missing(&right, &left),
        without_result: Vec::new(),
        same: 0,
        stages: Vec::new(),
    };
    for new in &right {
        let Some(old) = left.iter().find(|old| old.stage == new.stage) else { continue };
        if old.outputs.is_empty() != new.outputs.is_empty() {
            differences.without_result.push(new.stage.clone());
        }
        if old.key == new.key && old.key.is_some() {
            differences.same += 1;
            continue;
        }
        if !old.outputs.is_empty() && !new.outputs.is_empty() {
            differences.stages.push(stages(store, old, new)?);
        }
    }
    Ok(differences)
}

/// Compares two stages that have results: of two runs, or of one.
///
/// # Errors
/// `Environment` when a record or a stored artifact cannot be read.
pub fn stages(store: &Store, old: &StageOutputs, new: &StageOutputs) -> Result<StageDifference> {
    let fields = match (old.key, new.key) {
        (Some(old_key), Some(new_key)) => plan::recorded_differences(store, &old_key, &new_key)?,
        _ => None,
    };
    let mut difference = StageDifference {
        stage: new.stage.clone(),
        kind: new.kind.clone(),
        fields,
        same_outputs: true,
        outputs: Vec::new(),
    };
    for output in &new.outputs {
        let Some(before) = old.outputs.iter().find(|before| before.port == output.port) else { continue };
        if before.digest == output.digest {
            continue;
        }
        difference.same_outputs = false;
        let both = Both { store, old: before, new: output };
        let detail = match Media::from_name(&output.media).filter(|_| before.media == output.media) {
            Some(Media::Mask) => Some(Detail::Mask(artifacts::mask(&both)?)),
            Some(Media::HeadScoreSummary) => Some(Detail::HeadSummary(artifacts::summary(&both)?)),
            Some(Media::HeadScores) => Some(Detail::Heads(artifacts::heads(&both)?)),
            Some(Media::Pairs) => Some(Detail::Pairs(artifacts::pairs(&both)?)),
            Some(Media::ScoreSummary) => {
                let examples = examples(store, old, new)?;
                Some(Detail::Metrics(metrics::compare(&both, examples.as_ref())?))
            }
            _ => None,
        };
        difference.outputs.push(OutputDifference { port: output.port.clone(), media: output.media.clone(), detail });
    }
    Ok(difference)
}

/// The examples behind a stage's metrics in both runs, where it has them.
fn examples(store: &Store, old: &StageOutputs, new: &StageOutputs) -> Result<Option<[Rows; 2]>> {
    let of = |stage: &StageOutputs| {
        let output = stage.outputs.iter().find(|output| output.media == Media::ExampleScores.name());
        output.map(|output| read(store, output)).transpose()
    };
    Ok(of(old)?.zip(of(new)?).map(|(old, new)| [old, new]))
}

/// A table as JSON objects.
type Rows = Vec<Map<String, Value>>;

/// One output of one stage in both runs.
struct Both<'a> {
    store: &'a Store,
    old: &'a Output,
    new: &'a Output,
}

impl Both<'_> {
    /// What both tables come to, taken in some rows at a time.
    fn streamed<T: Default>(&self, take: impl Fn(&RecordBatch, &mut T) -> Result<()>) -> Result<[T; 2]> {
        let read = |output: &Output| {
            let readable = match self.store.read(output)? {
                Reading::Ready(readable) => readable,
                Reading::Lost(reason) => return Err(lost(&reason)),
            };
            let mut taken = T::default();
            let (_, batches) = table::batches(readable.path())?;
            batches.into_iter().try_for_each(|batch| take(&batch?, &mut taken))?;
            Ok(taken)
        };
        Ok([read(self.old)?, read(self.new)?])
    }

    /// The rows of both tables.
    fn rows(&self) -> Result<[Rows; 2]> {
        Ok([read(self.store, self.old)?, read(self.store, self.new)?])
    }
}

fn read(store: &Store, output: &Output) -> Result<Rows> {
    match store.read(output)? {
        Reading::Ready(readable) => rows(&table::read_any(readable.path())?),
        Reading::Lost(reason) => Err(lost(&reason)),
    }
}
