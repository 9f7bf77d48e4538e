//! Kind `report`: one self-contained HTML page and a short text table of what the method did.
//!
//! Both are made from the inputs only: no path, time, host or setting of the run stands in them, so that
//! equal results give equal pages. Every input is optional; what is absent leaves its section out.

mod columns;
mod evaluation;
mod findings;
mod format;
mod head_changes;
mod heads;
mod needles;
mod notes;
mod page;
mod pairs;
mod summary;
mod terminal;
mod training;

use std::path::Path;

use retmask_model::Numerics;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::artifact::{Media, table};
use crate::contract::{
    Arity, Context, InputPort, Inputs, Kind, OutputPort, Outputs, ParameterError, StageError, StageResult,
};

pub use terminal::terminal_table;

/// What a report shows beyond its inputs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Parameters {
    /// The heading of the page.
    pub title: String,
    /// The label at port `evaluation` that the others are compared with.
    pub baseline: String,
    /// How many preference pairs are shown in full, spread evenly over the table.
    pub pairs: u32,
    /// How many characters of each prompt and response are shown.
    pub characters: u32,
    /// Seed of the paired bootstrap.
    pub seed: u64,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            title: "Retrieval heads, masked and trained".into(),
            baseline: "base".into(),
            pairs: 4,
            characters: 1_200,
            seed: 42,
        }
    }
}

/// The stage kind.
pub struct Report;

const fn input(name: &'static str, media: &'static [Media], summary: &'static str) -> InputPort {
    InputPort { name, media, arity: Arity::Optional, summary }
}

const fn labelled(name: &'static str, media: &'static [Media], summary: &'static str) -> InputPort {
    InputPort { name, media, arity: Arity::Labelled, summary }
}

impl Kind for Report {
    type Parameters = Parameters;

    const NAME: &'static str = "report";
    const EPOCH: u32 = 1;
    const SUMMARY: &'static str = "one self-contained HTML page and a short table of what the method did";
    const INPUTS: &'static [InputPort] = &[
        input("scores", &[Media::HeadScores], "retrieval scores of all heads"),
        input("head-summary", &[Media::HeadScoreSummary], "trials counted and the Gini coefficient of the scores"),
        input(
            "trained-scores",
            &[Media::HeadScores],
            "scores of the trained model, compared with `scores` head by head",
        ),
        input("trained-head-summary", &[Media::HeadScoreSummary], "their Gini coefficient"),
        input("mask", &[Media::Mask], "the masked heads"),
        input("trials", &[Media::Trials], "needle trials of the base model"),
        input("masked-trials", &[Media::Trials], "the same trials with the mask"),
        input("trained-trials", &[Media::Trials], "the same trials of the trained model"),
        input("pairs", &[Media::Pairs], "preference pairs"),
        input("training", &[Media::TrainingMetrics], "metrics of every optimiser step"),
        input("margins", &[Media::PairMargins], "preference margins after training"),
        labelled("evaluation", &[Media::ScoreSummary], "evaluation scores by label, e.g. base, masked, trained"),
        labelled(
            "examples",
            &[Media::ExampleScores],
            "the examples behind them by the same labels, for paired intervals",
        ),
        labelled("notes", &[Media::ScoreNotes], "what has to be known of them, by the same labels"),
    ];
    const OUTPUTS: &'static [OutputPort] = &[
        OutputPort { name: "page", media: Media::ReportPage, summary: "the page, one HTML file" },
        OutputPort { name: "summary", media: Media::ReportSummary, summary: "the headline numbers as text" },
    ];

    fn numerics(_parameters: &Self::Parameters) -> Option<Numerics> {
        None
    }

    fn validate(parameters: &Parameters) -> Result<(), ParameterError> {
        if parameters.title.trim().is_empty() || parameters.title.chars().count() > 200 {
            return Err(ParameterError::new("title", "must have 1 to 200 characters"));
        }
        if parameters.baseline.is_empty() {
            return Err(ParameterError::new("baseline", "must name a label of port `evaluation`"));
        }
        if parameters.pairs > 100 {
            return Err(ParameterError::new(
                "pairs",
                format!("{} pairs are too many for a page; at most 100", parameters.pairs),
            ));
        }
        if !(40..=20_000).contains(&parameters.characters) {
            return Err(ParameterError::new("characters", "must be from 40 to 20000"));
        }
        Ok(())
    }

    fn run(parameters: &Parameters, inputs: &Inputs, outputs: &Outputs, context: &Context) -> StageResult<()> {
        context.progress().phase("report", "parts", 3);
        let findings = findings::Findings::gather(parameters, inputs)?;
        context.progress().advance(1);
        context.check_cancelled()?;
        write(&outputs.path("page"), &page::render(&parameters.title, &findings)?)?;
        context.progress().advance(1);
        context.check_cancelled()?;
        table::write(&outputs.path("summary"), Media::ReportSummary, &summary::batch(&findings)?)?;
        context.progress().advance(1);
        Ok(())
    }
}

fn write(path: &Path, text: &str) -> StageResult<()> {
    std::fs::write(path, text).map_err(|error| StageError::io("write", path, &error))
}
