//! `dpo`: trains the model to prefer its own answers over those it gives with heads masked.

mod batches;
mod loss;
mod parameters;
mod records;

pub use batches::{Batches, PairSet};
pub use loss::{Loss, PreferenceLoss, statistic};
pub use parameters::{Adapter, CheckpointType, Module, Parameters, Schedule, WeightDecayOn};

use retmask_model::Numerics;
use retmask_model::checkpoint::{self, Checkpoint};
use retmask_model::decoder::Decoder;
use retmask_model::spec::{ModelSpec, TensorShape};
use retmask_model::text::TextAssets;
use retmask_model::train::{StepReport, train};

use self::records::Records;
use crate::artifact::Media;
use crate::artifact::reference_logprobs::{self, ReferenceRow};
use crate::contract::{
    Arity, Context, InputPort, Inputs, Kind, OutputPort, Outputs, ParameterError, StageError, StageResult,
};
use crate::preference::{self, PairTokens, PreferencePair};
use crate::reference_logprobs::pair_sums;
use crate::training::TrainingLog;

/// The stage kind.
pub struct Dpo;

impl Kind for Dpo {
    type Parameters = Parameters;

    const NAME: &'static str = "dpo";
    const EPOCH: u32 = 4;
    const SUMMARY: &'static str = "Train the model on preference pairs by direct preference optimisation";
    const INPUTS: &'static [InputPort] = &[
        InputPort { name: "model", media: &[Media::Model], arity: Arity::One, summary: "The model to train" },
        InputPort {
            name: "pairs",
            media: &[Media::Pairs, Media::PreferenceSet],
            arity: Arity::One,
            summary: "The preference pairs: made by sample-pairs, or a ready-made set",
        },
        InputPort {
            name: "reference",
            media: &[Media::ReferenceLogprobs],
            arity: Arity::Optional,
            summary: "Log-probabilities of the same pairs under the reference model, cut the same way; when left out, \
                      the stage computes them with the model it trains",
        },
    ];
    const OUTPUTS: &'static [OutputPort] = &[
        OutputPort { name: "checkpoint", media: Media::Model, summary: "The trained model, a Hugging Face folder" },
        OutputPort { name: "metrics", media: Media::TrainingMetrics, summary: "A row per optimiser step" },
        OutputPort { name: "margins", media: Media::PairMargins, summary: "A row per pair, before and after" },
        OutputPort {
            name: "evaluation",
            media: Media::TrainingEvaluation,
            summary: "Loss, margin and accuracy of trained and held-out pairs, before, between and after",
        },
    ];

    fn numerics(parameters: &Self::Parameters) -> Option<Numerics> {
        Some(parameters.numerics)
    }

    fn validate(parameters: &Parameters) -> Result<(), ParameterError> {
        parameters.check()
    }

    fn run(parameters: &Parameters, inputs: &Inputs, outputs: &Outputs, context: &Context) -> StageResult<()> {
        let opened = Checkpoint::open(&inputs.one("model")?.path)?;
        let pairs = preference::read(inputs.one("pairs")?)?;
        if parameters.held_out >= pairs.len() {
            return Err(StageError::input(format!(
                "`held-out` keeps {} pairs out of training, but there are {}",
                parameters.held_out,
                pairs.len()
            ))
            .with_hint("lower `held-out`, or sample more pairs"));
        }
        let tokens = preference::tokenise(&pairs, &opened.text_codec()?, &parameters.truncation())?;
        let given = inputs
            .optional("reference")
            .map(|input| matching_reference(&input.path, &pairs, &tokens, parameters.numerics));
        let given = given.transpose()?;
        // Pairs beyond both limits are neither trained on nor measured.
        let trained = (pairs.len() - parameters.held_out).min(parameters.training_pairs.unwrap_or(usize::MAX));
        let first_held_out = pairs.len() - parameters.held_out;
        let used: Vec<usize> = (0..trained).chain(first_held_out..pairs.len()).collect();
        let pairs: Vec<PreferencePair> = used.iter().map(|&pair| pairs[pair].clone()).collect();
        let tokens: Vec<PairTokens> = used.iter().map(|&pair| tokens[pair].clone()).collect();
        let reference: Vec<[f64; 2]> = match given {
            Some(given) => used.iter().map(|&pair| given[pair]).collect(),
            None => pair_sums(&load(&opened, parameters.numerics, context)?, &tokens, context)?,
        };

        context.progress().phase("load the model for training", "models", 1);
        let decoder = Decoder::load_for_training(&opened, parameters.low_rank(), parameters.numerics)?;
        context.progress().advance(1);
        // The file's pages count as memory of this process while it is open.
        let (spec, assets) = (opened.spec().clone(), opened.text_assets()?);
        drop(opened);
        let set = |first_row, range: std::ops::Range<usize>| PairSet {
            first_row,
            pairs: &pairs[range.clone()],
            tokens: &tokens[range.clone()],
            reference: &reference[range],
        };
        let (trained, held_out) = (set(0, 0..trained), set(first_held_out, trained..used.len()));
        let mut batches = Batches::new(parameters, trained, held_out);
        let mut log = TrainingLog::new(context, batches.tokens(), parameters.numerics, &describe);
        let mut checkpoints = log.checkpoints();
        let reports = train(&decoder, &mut batches, parameters.training(), checkpoints.as_mut(), &mut log)?;
        let stored = outputs.path("checkpoint");
        write_checkpoint(&stored, &spec, &assets, &decoder, parameters.checkpoint)?;
        drop(decoder);

        // What is told of the trained model is measured on the weights that others will read: bf16 has rounded away
        // whatever of the training was smaller than its steps.
        let after = pair_sums(&load(&Checkpoint::open(&stored)?, parameters.numerics, context)?, &tokens, context)?;
        let records = Records { parameters, batches: &batches, trained, held_out, after: &after };
        records.write_metrics(&outputs.path("metrics"), &reports)?;
        records.write_margins(&outputs.path("margins"))?;
        records.write_evaluation(&outputs.path("evaluation"), &reports, context)
    }
}

fn load(checkpoint: &Checkpoint, numerics: Numerics, context: &Context) -> StageResult<Decoder> {
    context.progress().phase("load the model", "models", 1);
    let decoder = Decoder::load(checkpoint, numerics)?;
    context.progress().advance(1);
    Ok(decoder)
}

/// The preference part of a step's line.
fn describe(report: &StepReport) -> String {
    let text = |statistics: &[f64]| {
        format!("margin {:.4}, accuracy {:.2}", statistics[statistic::MARGIN], statistics[statistic::ACCURACY])
    };
    let held_out = report.evaluation.as_ref().map_or_else(String::new, |measured| {
        format!(" (held out: loss {:.4}, {})", measured.loss, text(&measured.statistics))
    });
    format!(", {}{held_out}", text(&report.statistics))
}

/// The reference sums, after checking that they belong to these pairs, these tokens and this class of arithmetic.
fn matching_reference(
    path: &std::path::Path,
    pairs: &[PreferencePair],
    tokens: &[PairTokens],
    numerics: Numerics,
) -> StageResult<Vec<[f64; 2]>> {
    let rows = reference_logprobs::read(path)?;
    if let Some(row) = rows.iter().find(|row| row.numerics != numerics) {
        let given = row.numerics;
        return Err(StageError::input(format!("the reference was computed in {given}, but training is in {numerics}"))
            .with_hint("give `reference-logprobs` and `dpo` the same `numerics`"));
    }
    if rows.len() != pairs.len() {
        let (found, expected) = (rows.len(), pairs.len());
        return Err(StageError::input(format!("the reference has {found} rows, but there are {expected} pairs")));
    }
    rows.iter()
        .zip(pairs)
        .zip(tokens)
        .enumerate()
        .map(|(index, ((row, pair), tokens))| sums(index, row, pair, tokens))
        .collect()
}

fn sums(index: usize, row: &ReferenceRow, pair: &PreferencePair, tokens: &PairTokens) -> StageResult<[f64; 2]> {
    if (&row.row_id, row.sample_index) != (&pair.row_id, pair.sample_index) {
        return Err(StageError::input(format!("row {index} of the reference belongs to another pair"))
            .with_hint("give `reference-logprobs` and `dpo` the same pairs"));
    }
    let expected = (tokens.chosen.response_tokens() as u32, tokens.rejected.response_tokens() as u32);
    if (row.chosen_tokens, row.rejected_tokens) != expected {
        return Err(StageError::input(format!("row {index} of the reference was summed over other tokens"))
            .with_hint("give `reference-logprobs` the same max-prompt-length, max-length, keep and compat"));
    }
    Ok([row.chosen, row.rejected])
}

fn write_checkpoint(
    folder: &std::path::Path,
    spec: &ModelSpec,
    assets: &TextAssets,
    decoder: &Decoder,
    stored: CheckpointType,
) -> StageResult<()> {
    std::fs::create_dir_all(folder).map_err(|error| StageError::io("create", folder, &error))?;
    let mut values = |tensor: &TensorShape| decoder.values(&tensor.name);
    checkpoint::write(folder, spec, stored.into(), &mut values, Some(assets))?;
    Ok(())
}
