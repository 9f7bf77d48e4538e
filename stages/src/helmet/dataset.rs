//! What a dataset is: records -> prompts -> post-processing -> metrics, one small module each.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::data::{DataFolder, HELMET_HINT, HINT};
use super::golds::GoldForm;
use super::prompt::Room;
use super::template::{Fields, Template};
use super::tokens::Tokens;
use crate::contract::{StageError, StageResult};

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
    pub facts: Map<String, Value>,
}

/// Where the records of sets that can be generated come from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Records {
    /// Made here, for the model's tokenizer and any length.
    #[default]
    Generated,
    /// Read from HELMET's own files, which there are at its five lengths.
    Benchmark,
}

/// What a dataset is asked for.
pub struct Request<'a> {
    pub room: Room,
    /// At most so many examples; for sets that ask a question several times, so many questions.
    pub samples: usize,
    pub seed: u64,
    /// Demonstrations of the in-context sets, instead of the number HELMET takes at this length.
    pub shots: Option<usize>,
    pub records: Records,
    pub template: &'a Template<'a>,
    /// The model's tokenizer.
    pub tokens: &'a dyn Tokens,
    /// The tokenizer that decides how long a document is and where its first cut falls.
    pub length_tokens: &'a dyn Tokens,
    /// HELMET's data files, where they were given.
    pub data: Option<&'a DataFolder>,
    /// Called between examples; an error ends the work.
    pub check: &'a (dyn Fn() -> StageResult<()> + Sync),
}

impl<'a> Request<'a> {
    /// The data files.
    ///
    /// # Errors
    /// `Input` when none were given.
    pub fn data(&self, dataset: &str) -> StageResult<&'a DataFolder> {
        self.data.ok_or_else(|| StageError::input(format!("{dataset} needs HELMET's data at port `data`")))
    }
}

/// What a model wrote for one example.
#[derive(Debug, Clone, Copy)]
pub struct Answered<'a> {
    /// The assistant prefix, where it stood in the prompt, and what the model wrote after it.
    pub output: &'a str,
    pub answers: &'a [String],
    pub facts: &'a Map<String, Value>,
}

/// A metric's name and its value for one example, from 0 to 1.
pub type MetricValue = (&'static str, f64);

/// The metrics of an answer, or what is wrong with its facts.
pub type Scored = Result<Vec<MetricValue>, String>;

/// Scores that need a model beside the evaluated one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outside {
    /// Whether cited documents entail what is said: the recall and the precision of citations. Statements are the
    /// sentences of the answer, or its items between commas, each behind the question.
    Citations { items: bool },
    /// Fluency and correctness of an answer.
    JudgedAnswer,
    /// Fluency, recall and precision of a summary; of a book, or of anything else.
    JudgedSummary { book: bool },
}

impl Outside {
    /// The metrics it gives.
    pub const fn metrics(self) -> &'static [&'static str] {
        match self {
            Self::Citations { .. } => &["citation_rec", "citation_prec"],
            Self::JudgedAnswer => &["gpt-4-score"],
            Self::JudgedSummary { .. } => &["gpt-4-f1"],
        }
    }

    /// What they are not scored without.
    pub const fn needs(self) -> &'static str {
        match self {
            Self::Citations { .. } => "an entailment model",
            Self::JudgedAnswer | Self::JudgedSummary { .. } => "a judge",
        }
    }
}

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

    /// Whether HELMET asks instruction-tuned models through their chat template.
    fn chat(&self) -> bool {
        false
    }

    /// The files it reads at a length, relative to the data folder; none when it is generated.
    ///
    /// # Errors
    /// `Input` when there are no such files for the length.
    fn files(&self, length: usize, records: Records) -> StageResult<Vec<String>>;

    /// Whether it reads any file.
    fn needs_data(&self, records: Records) -> bool {
        // A length without files is refused where the files are asked for.
        self.files(super::lengths::LENGTHS[0], records).is_ok_and(|files| !files.is_empty())
    }

    /// How to get the files.
    fn hint(&self) -> &'static str {
        if self.name().starts_with("icl_") { HINT } else { HELMET_HINT }
    }

    /// Whether its documents are cut to a length by `length_tokens`, before anything is cut by the model's tokenizer.
    fn cuts_documents(&self) -> bool {
        false
    }

    /// The examples, in a fixed order that depends on the request alone.
    ///
    /// # Errors
    /// `Input` when data files are missing or malformed, or the length is too short.
    fn examples(&self, request: &Request<'_>) -> StageResult<Vec<Example>>;

    /// What is right, by the names that a row of the set gives it.
    fn golds(&self) -> GoldForm {
        GoldForm::Answers(&[])
    }

    /// The metrics of one answer; the same names for every example.
    ///
    /// # Errors
    /// What is missing or malformed in the facts.
    fn score(&self, answered: Answered<'_>) -> Scored;

    /// What it is scored by besides.
    fn outside(&self) -> Option<Outside> {
        None
    }
}

/// All datasets there are, in the order of HELMET's categories.
pub const ALL: &[&dyn Dataset] = &[
    &super::datasets::JsonKv,
    &super::datasets::RULER_NIAH_MK_2,
    &super::datasets::RULER_NIAH_MK_3,
    &super::datasets::RULER_NIAH_MV,
    &super::datasets::KILT_NQ,
    &super::datasets::KILT_TRIVIAQA,
    &super::datasets::KILT_HOTPOTQA,
    &super::datasets::KILT_POPQA,
    &super::datasets::ALCE_ASQA,
    &super::datasets::ALCE_QAMPARI,
    &super::datasets::MsMarcoRerank,
    &super::datasets::NarrativeQa,
    &super::datasets::INFBENCH_QA,
    &super::datasets::INFBENCH_CHOICE,
    &super::datasets::INFBENCH_SUM,
    &super::datasets::MultiLexSum,
    &super::datasets::ICL_TREC_COARSE,
    &super::datasets::ICL_TREC_FINE,
    &super::datasets::ICL_BANKING77,
    &super::datasets::ICL_CLINIC150,
    &super::datasets::ICL_NLU,
];

/// The dataset of this name.
pub fn by_name(name: &str) -> Option<&'static dyn Dataset> {
    ALL.iter().copied().find(|dataset| dataset.name() == name)
}

/// A set as it is named to be scored.
#[derive(Clone, Copy)]
pub struct Named {
    /// The dataset whose rule scores it.
    pub dataset: &'static dyn Dataset,
    /// Whether it is that dataset; the others are in HELMET's configurations, but in none of its categories.
    pub in_category: bool,
}

/// Sets of HELMET's configurations that are in none of its categories, and the dataset with the same rule.
const OUTSIDE_CATEGORIES: &[(&str, &str)] = &[
    ("alce_asqa_nocite", "alce_asqa"),
    ("alce_qampari_nocite", "alce_qampari"),
    ("kilt_popqa", "kilt_popqa_3"),
    ("ruler_cwe", "ruler_niah_mv"),
    ("ruler_fwe", "ruler_niah_mv"),
    ("ruler_niah_mk_1", "ruler_niah_mv"),
    ("ruler_niah_mq", "ruler_niah_mv"),
    ("ruler_niah_s_1", "ruler_niah_mv"),
    ("ruler_niah_s_2", "ruler_niah_mv"),
    ("ruler_niah_s_3", "ruler_niah_mv"),
    ("ruler_qa_1", "kilt_nq"),
    ("ruler_qa_2", "kilt_nq"),
    ("ruler_vt", "ruler_niah_mv"),
];

/// The set of a name as HELMET's configurations write it, where the number of documents, tokens or shots may
/// stand behind it: `alce_asqa_30`, `icl_trec_fine_400shot_balance`.
pub fn by_config_name(name: &str) -> Option<Named> {
    let exact = |name: &str| {
        let known = by_name(name).map(|dataset| Named { dataset, in_category: true });
        known.or_else(|| {
            let (_, like) = OUTSIDE_CATEGORIES.iter().find(|(known, _)| *known == name)?;
            by_name(like).map(|dataset| Named { dataset, in_category: false })
        })
    };
    exact(name).or_else(|| exact(without_size(name)?))
}

/// A name without the size behind it; `None` where none stands there.
pub fn without_size(name: &str) -> Option<&str> {
    let name = name.strip_suffix("_balance").unwrap_or(name);
    let (set, size) = name.strip_suffix("shot").unwrap_or(name).rsplit_once('_')?;
    (!size.is_empty() && size.bytes().all(|byte| byte.is_ascii_digit())).then_some(set)
}

/// The names of all datasets, for messages.
pub fn names() -> String {
    ALL.iter().map(|dataset| dataset.name()).collect::<Vec<_>>().join(", ")
}
