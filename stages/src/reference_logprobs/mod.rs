//! `reference-logprobs`: how likely each response is under the model before training.

use retmask_model::checkpoint::Checkpoint;
use retmask_model::decoder::Decoder;
use retmask_model::logprobs::token_logprobs;
use retmask_model::{ModelError, ModelResult, Numerics};

use crate::artifact::Media;
use crate::artifact::reference_logprobs::{ReferenceRow, write};
use crate::contract::{Arity, Context, InputPort, Inputs, Kind, OutputPort, Outputs, ParameterError, StageResult};
use crate::preference::{self, PairTokens, PreferencePair, Side, TruncationParameters};

/// The stage kind.
pub struct ReferenceLogprobs;

impl Kind for ReferenceLogprobs {
    type Parameters = TruncationParameters;

    const NAME: &'static str = "reference-logprobs";
    const EPOCH: u32 = 2;
    const SUMMARY: &'static str = "Sum the log-probabilities of both responses of each pair under the reference model";
    const INPUTS: &'static [InputPort] = &[
        InputPort { name: "model", media: &[Media::Model], arity: Arity::One, summary: "The reference model" },
        InputPort {
            name: "pairs",
            media: &[Media::Pairs, Media::PreferenceSet],
            arity: Arity::One,
            summary: "The preference pairs: made by sample-pairs, or a ready-made set",
        },
    ];
    const OUTPUTS: &'static [OutputPort] =
        &[OutputPort { name: "logprobs", media: Media::ReferenceLogprobs, summary: "A row per pair" }];

    /// That of `dpo`, whose first step would not start at ln 2 otherwise.
    fn numerics(_parameters: &Self::Parameters) -> Option<Numerics> {
        Some(Numerics::F32)
    }

    fn validate(parameters: &TruncationParameters) -> Result<(), ParameterError> {
        parameters.check()
    }

    fn run(
        parameters: &TruncationParameters,
        inputs: &Inputs,
        outputs: &Outputs,
        context: &Context,
    ) -> StageResult<()> {
        let checkpoint = Checkpoint::open(&inputs.one("model")?.path)?;
        let pairs = preference::read(inputs.one("pairs")?)?;
        let tokens = preference::tokenise(&pairs, &checkpoint.text_codec()?, parameters)?;
        context.progress().phase("load the model", "models", 1);
        let decoder = Decoder::load(&checkpoint, Numerics::F32)?;
        context.progress().advance(1);
        let sums = pair_sums(&decoder, &tokens, context)?;
        write(&outputs.path("logprobs"), &rows(&pairs, &tokens, &sums))
    }
}

/// Sums over the response tokens of [chosen, rejected] of each pair, in f64.
///
/// # Errors
/// As [`token_logprobs`]; `Interrupted` when the user asks to stop.
pub(crate) fn pair_sums(decoder: &Decoder, pairs: &[PairTokens], context: &Context) -> StageResult<Vec<[f64; 2]>> {
    let sides: Vec<&Side> = pairs.iter().flat_map(|pair| [&pair.chosen, &pair.rejected]).collect();
    let ids: Vec<&[u32]> = sides.iter().map(|side| side.ids.as_slice()).collect();
    let total: usize = ids.iter().map(|ids| ids.len()).sum();
    context.progress().phase("log-probabilities", "tokens", total as u64);
    let logprobs = token_logprobs(decoder, None, &ids, &mut |tokens| -> ModelResult<()> {
        context.progress().advance(tokens as u64);
        context.progress().tokens(tokens as u64);
        if context.cancel().is_cancelled() { Err(ModelError::interrupted()) } else { Ok(()) }
    })?;
    let sums: Vec<f64> = sides
        .iter()
        .zip(&logprobs)
        // The log-probability of token i stands at place i - 1.
        .map(|(side, logprobs)| logprobs[side.response_start - 1..].iter().sum())
        .collect();
    Ok(sums.chunks_exact(2).map(|pair| [pair[0], pair[1]]).collect())
}

fn rows(pairs: &[PreferencePair], tokens: &[PairTokens], sums: &[[f64; 2]]) -> Vec<ReferenceRow> {
    pairs
        .iter()
        .zip(tokens)
        .zip(sums)
        .map(|((pair, tokens), &[chosen, rejected])| ReferenceRow {
            row_id: pair.row_id.clone(),
            sample_index: pair.sample_index,
            chosen,
            rejected,
            chosen_tokens: tokens.chosen.response_tokens() as u32,
            rejected_tokens: tokens.rejected.response_tokens() as u32,
        })
        .collect()
}
