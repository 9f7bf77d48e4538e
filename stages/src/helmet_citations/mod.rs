//! `helmet-citations`: whether the documents that an answer cites entail what it says, as ALCE checks it.
//!
//! Pairs of a premise and a hypothesis are put to an entailment model: one that is run here, or one behind an HTTP service
//! (`RETMASK_NLI_URL`, `RETMASK_NLI_TOKEN`): `{"model", "premise", "hypothesis"}` there, `{"entails": true or false}`
//! back. Every answer is kept by its pair.

mod entailment;
mod rounds;
mod run;
mod statements;

use retmask_model::Numerics;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::artifact::Media;
use crate::contract::{Arity, Context, InputPort, Inputs, Kind, OutputPort, Outputs, ParameterError, StageResult};

/// Parameters of `helmet-citations`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Parameters {
    /// The entailment model's name at the service, where one is asked.
    pub model: String,
    /// The class that says entailment, of an entailment model that is run here and does not name it.
    pub entailment_label: Option<u32>,
    /// The first so many citations of a statement count.
    pub citations: u32,
}

impl Default for Parameters {
    fn default() -> Self {
        Self { model: "google/t5_xxl_true_nli_mixture".into(), entailment_label: None, citations: 3 }
    }
}

/// The stage kind.
pub struct HelmetCitations;

impl Kind for HelmetCitations {
    type Parameters = Parameters;

    const NAME: &'static str = "helmet-citations";
    const EPOCH: u32 = 1;
    const SUMMARY: &'static str = "Check citations by an entailment model, for helmet-score";
    const INPUTS: &'static [InputPort] = &[
        InputPort {
            name: "predictions",
            media: &[Media::Predictions],
            arity: Arity::One,
            summary: "The answers; those of other datasets are passed over",
        },
        InputPort {
            name: "entailment-model",
            media: &[Media::Model],
            arity: Arity::Optional,
            summary: "An entailment model to run here, instead of asking a service",
        },
        InputPort {
            name: "punkt",
            media: &[Media::PunktParameters],
            arity: Arity::Optional,
            summary: "What Punkt knows of the language, for alce_asqa's sentences",
        },
    ];
    const OUTPUTS: &'static [OutputPort] = &[
        OutputPort { name: "scores", media: Media::ExampleScores, summary: "Two rows per checked answer" },
        OutputPort { name: "notes", media: Media::ScoreNotes, summary: "How many answers were not checked, and why" },
    ];

    fn numerics(_parameters: &Self::Parameters) -> Option<Numerics> {
        None
    }

    fn validate(parameters: &Parameters) -> Result<(), ParameterError> {
        if parameters.model.trim().is_empty() {
            return Err(ParameterError::new("model", "name the entailment model"));
        }
        if !(1..=100).contains(&parameters.citations) {
            return Err(ParameterError::new("citations", format!("{} is not between 1 and 100", parameters.citations)));
        }
        Ok(())
    }

    fn run(parameters: &Parameters, inputs: &Inputs, outputs: &Outputs, context: &Context) -> StageResult<()> {
        run::run(parameters, inputs, outputs, context)
    }
}
