//! What an artifact is: its media name with a version, and its form on disk.

/// How an artifact lies on disk, and so how it is digested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// One Parquet file; digest `l3` over schema and rows in order.
    Table,
    /// A folder; digest `t3` over its manifest.
    Tree,
    /// One file of another kind; digest `b3` over its bytes.
    File,
    /// A single file or a folder, whichever it is (model sources: a GGUF file or a Hugging Face folder).
    FileOrTree,
}

/// The type of an artifact. The version grows when the meaning or the schema changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Media {
    /// A model: a GGUF file, or a folder with config.json, safetensors and tokenizer.json.
    Model,
    /// `needles.jsonl` and one haystack folder `part1/`, `part2/`, … per needle.
    Needles,
    /// Instructions as JSONL, JSONL.gz or Parquet.
    Instructions,
    /// A folder with HELMET's data files.
    HelmetData,
    /// The wording of evaluation prompts: JSON `{"dataset": {"part": text}}`.
    PromptTemplates,
    /// A folder of the prompts of HELMET's judge, a text file per question.
    JudgePrompts,
    /// A folder of Punkt's parameters of a language, as NLTK's `punkt_tab` has them.
    PunktParameters,
    /// Examples of an evaluation of general abilities: JSONL, JSONL.gz, Parquet or CSV, or a folder of such files.
    EvaluationSet,
    /// A tokenizer.json.
    Tokenizer,
    /// A published head-score file: JSON `{"layer-head": [score per trial]}`.
    PublishedScores,
    /// Preference pairs as JSONL, JSONL.gz or Parquet.
    PreferenceSet,
    /// A row per head: retrieval score, per-trial scores.
    HeadScores,
    /// One row: trials, counted trials, Gini coefficient of the scores.
    HeadScoreSummary,
    /// A row per needle trial.
    Trials,
    /// A row per masked head: (layer, head).
    Mask,
    /// A row per preference pair.
    Pairs,
    /// A row per sampled response: what it was, and what became of it.
    Responses,
    /// A row per count of a sampling: instructions, responses, pairs.
    SamplingCounts,
    /// A row per pair: log-probability sums under the reference model.
    ReferenceLogprobs,
    /// A row per optimiser step.
    TrainingMetrics,
    /// A row per measurement of the loss on trained or held-out pairs.
    TrainingEvaluation,
    /// A row per pair: margins before and after training.
    PairMargins,
    /// A row per evaluation example: prompt facts and raw output.
    Predictions,
    /// A row per evaluation example and metric.
    ExampleScores,
    /// A row per dataset and metric: mean and confidence interval.
    ScoreSummary,
    /// A row per thing to know of scores: what was not scored, whose wording the prompts had.
    ScoreNotes,
    /// A row per example of an evaluation of general abilities: what the model said.
    GeneralAnswers,
    /// A row per such example and metric.
    GeneralScores,
    /// A row per task and metric: mean and confidence interval.
    GeneralSummary,
    /// A self-contained HTML page.
    ReportPage,
    /// A row per line of a report's headline table, as text.
    ReportSummary,
    /// Any file, for programs.
    File,
    /// Any folder, for programs.
    Folder,
}

impl Media {
    /// Every media, for error messages and documentation.
    pub const ALL: &[Self] = &[
        Self::Model,
        Self::Needles,
        Self::Instructions,
        Self::HelmetData,
        Self::PromptTemplates,
        Self::JudgePrompts,
        Self::PunktParameters,
        Self::EvaluationSet,
        Self::Tokenizer,
        Self::PublishedScores,
        Self::PreferenceSet,
        Self::HeadScores,
        Self::HeadScoreSummary,
        Self::Trials,
        Self::Mask,
        Self::Pairs,
        Self::Responses,
        Self::SamplingCounts,
        Self::ReferenceLogprobs,
        Self::TrainingMetrics,
        Self::TrainingEvaluation,
        Self::PairMargins,
        Self::Predictions,
        Self::ExampleScores,
        Self::ScoreSummary,
        Self::ScoreNotes,
        Self::GeneralAnswers,
        Self::GeneralScores,
        Self::GeneralSummary,
        Self::ReportPage,
        Self::ReportSummary,
        Self::File,
        Self::Folder,
    ];

    /// The name with its version, as it stands in keys and records.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Model => "retmask/model;v1",
            Self::Needles => "retmask/needles;v1",
            Self::Instructions => "retmask/instructions;v1",
            Self::HelmetData => "retmask/helmet-data;v1",
            Self::PromptTemplates => "retmask/prompt-templates;v1",
            Self::JudgePrompts => "retmask/judge-prompts;v1",
            Self::PunktParameters => "retmask/punkt-parameters;v1",
            Self::EvaluationSet => "retmask/evaluation-set;v1",
            Self::Tokenizer => "retmask/tokenizer;v1",
            Self::PublishedScores => "retmask/published-scores;v1",
            Self::PreferenceSet => "retmask/preference-set;v1",
            Self::HeadScores => "retmask/head-scores;v1",
            Self::HeadScoreSummary => "retmask/head-score-summary;v1",
            Self::Trials => "retmask/trials;v1",
            Self::Mask => "retmask/mask;v1",
            Self::Pairs => "retmask/pairs;v1",
            Self::Responses => "retmask/responses;v1",
            Self::SamplingCounts => "retmask/sampling-counts;v1",
            Self::ReferenceLogprobs => "retmask/reference-logprobs;v1",
            Self::TrainingMetrics => "retmask/training-metrics;v1",
            Self::TrainingEvaluation => "retmask/training-evaluation;v1",
            Self::PairMargins => "retmask/pair-margins;v1",
            Self::Predictions => "retmask/predictions;v1",
            Self::ExampleScores => "retmask/example-scores;v1",
            Self::ScoreSummary => "retmask/score-summary;v1",
            Self::ScoreNotes => "retmask/score-notes;v1",
            Self::GeneralAnswers => "retmask/general-answers;v1",
            Self::GeneralScores => "retmask/general-scores;v1",
            Self::GeneralSummary => "retmask/general-summary;v1",
            Self::ReportPage => "retmask/report-page;v1",
            Self::ReportSummary => "retmask/report-summary;v1",
            Self::File => "retmask/file;v1",
            Self::Folder => "retmask/folder;v1",
        }
    }

    /// The form on disk.
    pub const fn form(self) -> Form {
        match self {
            Self::Model | Self::EvaluationSet => Form::FileOrTree,
            Self::Needles | Self::HelmetData | Self::JudgePrompts | Self::PunktParameters | Self::Folder => Form::Tree,
            Self::Instructions
            | Self::PromptTemplates
            | Self::Tokenizer
            | Self::PublishedScores
            | Self::PreferenceSet
            | Self::ReportPage
            | Self::File => Form::File,
            _ => Form::Table,
        }
    }

    /// The media with this name, if there is one.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|media| media.name() == name)
    }
}
