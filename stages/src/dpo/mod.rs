//! `dpo`: trains the model to prefer its own answers over those it gives with heads masked.

mod batches;
mod loss;
mod parameters;

pub use batches::Batches;
pub use loss::{DpoLoss, margin, statistic};
pub use parameters::{CheckpointType, Parameters, Schedule};

use std::collections::VecDeque;

use retmask_model::checkpoint::{self, Checkpoint};
use retmask_model::decoder::Decoder;
use retmask_model::spec::TensorShape;
use retmask_model::train::{BatchSource, StepReport, train};
use retmask_model::{ModelError, ModelResult, Numerics};

use crate::artifact::Media;
use crate::artifact::pair_margins::{self, MarginRow};
use crate::artifact::reference_logprobs::{self, ReferenceRow};
use crate::artifact::training_metrics::{self, PreferenceStatistics, StepRow};
use crate::contract::{
    Arity, Context, InputPort, Inputs, Kind, OutputPort, Outputs, ParameterError, StageError, StageResult,
};
use crate::preference::{self, PairTokens, PreferencePair};
use crate::reference_logprobs::pair_sums;

/// The stage kind.
pub struct Dpo;

impl Kind for Dpo {
    type Parameters = Parameters;

    const NAME: &'static str = "dpo";
    const EPOCH: u32 = 2;
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
            arity: Arity::One,
            summary: "Log-probabilities of the same pairs under the reference model, cut the same way",
        },
    ];
    const OUTPUTS: &'static [OutputPort] = &[
        OutputPort { name: "checkpoint", media: Media::Model, summary: "The trained model, a Hugging Face folder" },
        OutputPort { name: "metrics", media: Media::TrainingMetrics, summary: "A row per optimiser step" },
        OutputPort { name: "margins", media: Media::PairMargins, summary: "A row per pair, before and after" },
    ];

    fn numerics(_parameters: &Self::Parameters) -> Option<Numerics> {
        Some(Numerics::F32)
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
        let reference = matching_reference(&inputs.one("reference")?.path, &pairs, &tokens)?;
        // Pairs beyond both limits are neither trained on nor measured.
        let trained = (pairs.len() - parameters.held_out).min(parameters.training_pairs.unwrap_or(usize::MAX));
        let used: Vec<usize> = (0..trained).chain(pairs.len() - parameters.held_out..pairs.len()).collect();
        let pairs: Vec<PreferencePair> = used.iter().map(|&pair| pairs[pair].clone()).collect();
        let tokens: Vec<PairTokens> = used.iter().map(|&pair| tokens[pair].clone()).collect();
        let reference: Vec<[f64; 2]> = used.iter().map(|&pair| reference[pair]).collect();

        context.progress().phase("load the model", "models", 1);
        let decoder = Decoder::load_for_training(&opened)?;
        context.progress().advance(1);
        let mut batches = Batches::new(parameters, &tokens[..trained], &reference[..trained]);
        let steps = run_training(&decoder, &mut batches, parameters, context)?;
        let after = pair_sums(&decoder, &tokens, context)?;

        training_metrics::write(&outputs.path("metrics"), &steps)?;
        let rows =
            pairs.iter().zip(&reference).zip(&after).enumerate().map(|(row, ((pair, &before), &after))| MarginRow {
                row_id: pair.row_id.clone(),
                sample_index: pair.sample_index,
                held_out: row >= trained,
                before,
                after,
                margin_after: margin(parameters.beta, after, before),
            });
        pair_margins::write(&outputs.path("margins"), &rows.collect::<Vec<_>>())?;
        write_checkpoint(&outputs.path("checkpoint"), &opened, &decoder, parameters)
    }
}

/// The reference sums, after checking that they belong to these pairs and these tokens.
fn matching_reference(
    path: &std::path::Path,
    pairs: &[PreferencePair],
    tokens: &[PairTokens],
) -> StageResult<Vec<[f64; 2]>> {
    let rows = reference_logprobs::read(path)?;
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

fn run_training(
    decoder: &Decoder,
    batches: &mut Batches,
    parameters: &Parameters,
    context: &Context,
) -> StageResult<Vec<StepRow>> {
    let progress = context.progress();
    progress.phase("train", "steps", batches.steps() as u64);
    let mut epochs: VecDeque<f64> = (1..=batches.steps()).map(|step| batches.epoch_after(step)).collect();
    let mut rows = Vec::new();
    let mut observe = |report: &StepReport| -> ModelResult<()> {
        let epoch = epochs.pop_front().ok_or_else(|| ModelError::internal("more steps than planned"))?;
        let row = StepRow {
            step: report.step as u32,
            epoch,
            loss: report.loss,
            grad_norm: report.grad_norm,
            learning_rate: report.learning_rate,
            tokens: report.tokens,
            preference: Some(PreferenceStatistics {
                margin: report.statistics[statistic::MARGIN],
                accuracy: report.statistics[statistic::ACCURACY],
                chosen_logprob: report.statistics[statistic::CHOSEN_LOGPROB],
                rejected_logprob: report.statistics[statistic::REJECTED_LOGPROB],
            }),
        };
        progress.advance(1);
        progress.tokens(report.tokens);
        progress.log(&format!(
            "step {} of {}: loss {:.4}, margin {:.4}, accuracy {:.2}, gradient norm {:.3}, learning rate {:.2e}",
            report.step,
            epochs.len() + report.step,
            row.loss,
            report.statistics[statistic::MARGIN],
            report.statistics[statistic::ACCURACY],
            row.grad_norm,
            row.learning_rate
        ));
        rows.push(row);
        if context.cancel().is_cancelled() { Err(ModelError::interrupted()) } else { Ok(()) }
    };
    train(decoder, batches, parameters.learning_rate(), parameters.optimiser(), &mut observe)?;
    Ok(rows)
}

fn write_checkpoint(
    folder: &std::path::Path,
    opened: &Checkpoint,
    decoder: &Decoder,
    parameters: &Parameters,
) -> StageResult<()> {
    std::fs::create_dir_all(folder).map_err(|error| StageError::io("create", folder, &error))?;
    let assets = opened.text_assets()?;
    let mut values = |tensor: &TensorShape| decoder.values(&tensor.name);
    checkpoint::write(folder, opened.spec(), parameters.checkpoint.into(), &mut values, Some(&assets))?;
    Ok(())
}
