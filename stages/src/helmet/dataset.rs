//! What a dataset is: records -> prompts -> post-processing -> metrics, one small module each.

use super::data::DataFolder;
use super::prompt::Room;
use super::template::{Fields, Template};
use super::tokens::Tokens;
use crate::contract::StageResult;

/// One evaluation example, before it is rendered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Example {
    /// What the templates may show; `context` is the part that is cut to the length.
    pub fields: Fields,
    /// The accepted answers.
    pub answers: Vec<String>,
    /// The independent unit for intervals: examples of one question belong together.
    pub cluster: String,
    /// A JSON object with what the metrics need besides the answers; empty where that is nothing.
    pub facts: serde_json::Map<String, serde_json::Value>,
}

/// What a dataset is asked for.
pub struct Request<'a> {
    pub room: Room,
    /// At most so many examples.
    pub samples: usize,
    pub seed: u64,
    /// Demonstrations of the in-context sets, instead of the number HELMET takes at this length.
    pub shots: Option<usize>,
    pub template: &'a Template<'a>,
    pub tokens: &'a dyn Tokens,
    /// HELMET's data files, where they were given.
    pub data: Option<&'a DataFolder>,
    /// Called between examples; an error ends the work.
    pub check: &'a (dyn Fn() -> StageResult<()> + Sync),
}

/// What a model wrote for one example.
#[derive(Debug, Clone, Copy)]
pub struct Answered<'a> {
    /// The assistant prefix and what the model wrote after it.
    pub output: &'a str,
    pub answers: &'a [String],
}

/// A metric's name and its value for one example, from 0 to 1.
pub type MetricValue = (&'static str, f64);

/// One dataset of the benchmark.
pub trait Dataset: Sync {
    /// HELMET's name of it.
    fn name(&self) -> &'static str;

    /// The longest answer, in tokens.
    fn max_new_tokens(&self) -> usize;

    /// How many examples HELMET takes.
    fn samples(&self) -> usize {
        100
    }

    /// The files it reads, relative to the data folder; none when it is generated.
    fn files(&self) -> &'static [&'static str] {
        &[]
    }

    /// The examples, in a fixed order that depends on the request alone.
    ///
    /// # Errors
    /// `Input` when data files are missing or malformed, or the length is too short.
    fn examples(&self, request: &Request<'_>) -> StageResult<Vec<Example>>;

    /// The metrics of one answer; the same names for every example.
    fn score(&self, answered: Answered<'_>) -> Vec<MetricValue>;
}

/// All datasets there are, in the order of HELMET's categories.
pub const ALL: &[&dyn Dataset] = &[
    &super::datasets::JsonKv,
    &super::datasets::RULER_NIAH_MK_2,
    &super::datasets::RULER_NIAH_MK_3,
    &super::datasets::RULER_NIAH_MV,
    &super::datasets::ICL_TREC_COARSE,
    &super::datasets::ICL_TREC_FINE,
    &super::datasets::ICL_BANKING77,
    &super::datasets::ICL_CLINIC150,
];

/// The dataset of this name.
pub fn by_name(name: &str) -> Option<&'static dyn Dataset> {
    ALL.iter().copied().find(|dataset| dataset.name() == name)
}

/// The names of all datasets, for messages.
pub fn names() -> String {
    ALL.iter().map(|dataset| dataset.name()).collect::<Vec<_>>().join(", ")
}
