//! `reference-logprobs`: how likely each response is under the model before training.

use retmask_model::checkpoint::Checkpoint;
use retmask_model::decoder::Decoder;
use retmask_model::train::{TrainingSequence, scored_logprobs};
use retmask_model::{ModelError, ModelResult, Numerics};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::artifact::Media;
use crate::artifact::reference_logprobs::{ReferenceRow, write};
use crate::contract::{
    Arity, Context, InputPort, Inputs, Kind, OutputPort, Outputs, ParameterError, RowContent, RowKey, RowScope,
    StageResult,
};
use crate::preference::{self, Compatibility, PairTokens, PreferencePair, Side, Truncation, TruncationParameters};
use crate::rows::{Reader, Row, RowResult, Writer, work_through};

/// How pairs become sequences, and the arithmetic; those of the `dpo` that reads the result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Parameters {
    /// Prompt tokens kept, the last ones; 0 keeps all.
    pub max_prompt_length: usize,
    /// Tokens of prompt and response together; 0 keeps all.
    pub max_length: usize,
    /// Which end of a longer sequence stays.
    pub keep: Truncation,
    /// Whose details of pair building are followed.
    pub compat: Compatibility,
    /// The class of arithmetic: `f32`, or `bf16`, where linear layers read their inputs and weights in bf16.
    pub numerics: Numerics,
}

impl Default for Parameters {
    fn default() -> Self {
        let TruncationParameters { max_prompt_length, max_length, keep, compat } = TruncationParameters::default();
        Self { max_prompt_length, max_length, keep, compat, numerics: Numerics::F32 }
    }
}

impl Parameters {
    fn truncation(&self) -> TruncationParameters {
        let &Self { max_prompt_length, max_length, keep, compat, .. } = self;
        TruncationParameters { max_prompt_length, max_length, keep, compat }
    }
}

/// The stage kind.
pub struct ReferenceLogprobs;

impl Kind for ReferenceLogprobs {
    type Parameters = Parameters;

    const NAME: &'static str = "reference-logprobs";
    const EPOCH: u32 = 3;
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
    fn numerics(parameters: &Self::Parameters) -> Option<Numerics> {
        Some(parameters.numerics)
    }

    fn validate(parameters: &Parameters) -> Result<(), ParameterError> {
        parameters.truncation().check()
    }

    fn run(parameters: &Parameters, inputs: &Inputs, outputs: &Outputs, context: &Context) -> StageResult<()> {
        let checkpoint = Checkpoint::open(&inputs.one("model")?.path)?;
        let pairs = preference::read(inputs.one("pairs")?)?;
        let tokens = preference::tokenise(&pairs, &checkpoint.text_codec()?, &parameters.truncation())?;
        let sides: Vec<&Side> = tokens.iter().flat_map(|pair| [&pair.chosen, &pair.rejected]).collect();
        let rows: Vec<Row> = sides.iter().map(|side| Row { map: 0, key: key(side) }).collect();
        // How sequences are cut is in their tokens.
        let scope = RowScope { rows: "responses", inputs: &["model"], parameters: serde_json::Map::new() };
        let sums = work_through(context, vec![context.rows(&scope)?], &rows, &mut |missing, made| {
            context.progress().phase("load the model", "models", 1);
            let decoder = Decoder::load(&checkpoint, parameters.numerics)?;
            context.progress().advance(1);
            let missing_sides: Vec<&Side> = missing.iter().map(|row| sides[*row]).collect();
            side_sums(&decoder, &missing_sides, context, &mut |place, sum| made.done(missing[place], Sum(sum)))
        })?;
        let sums: Vec<[f64; 2]> = sums.chunks_exact(2).map(|pair| [pair[0].0, pair[1].0]).collect();
        write(&outputs.path("logprobs"), &rows_of(&pairs, &tokens, &sums, parameters.numerics))
    }
}

/// A row is a sequence and where its response starts.
fn key(side: &Side) -> RowKey {
    RowContent::default().tokens("tokens", &side.ids).number("response", side.response_start as u64).key()
}

/// The sum of a response's log-probabilities.
#[derive(Debug, Clone, Copy)]
struct Sum(f64);

impl RowResult for Sum {
    fn write(&self, bytes: &mut Writer) {
        bytes.real(self.0);
    }

    fn read(bytes: &mut Reader<'_>) -> Option<Self> {
        bytes.real().map(Self)
    }
}

/// Tokens after which sums are given: what a kill loses at most. Does not change any bit.
const BATCH_TOKENS: usize = 8_192;

/// Sums over the response tokens of each side, in f64; `found` is given each with its place as it is there.
fn side_sums(
    decoder: &Decoder,
    sides: &[&Side],
    context: &Context,
    found: &mut dyn FnMut(usize, f64) -> StageResult<()>,
) -> StageResult<()> {
    let total: usize = sides.iter().map(|side| side.ids.len()).sum();
    context.progress().phase("log-probabilities", "tokens", total as u64);
    let mut processed = |tokens: usize| -> ModelResult<()> {
        context.progress().advance(tokens as u64);
        context.progress().tokens(tokens as u64);
        if context.cancel().is_cancelled() { Err(ModelError::interrupted()) } else { Ok(()) }
    };
    let mut start = 0;
    while start < sides.len() {
        let (mut end, mut tokens) = (start, 0);
        while end < sides.len() && (end == start || tokens + sides[end].ids.len() <= BATCH_TOKENS) {
            tokens += sides[end].ids.len();
            end += 1;
        }
        let sequences: Vec<TrainingSequence> = sides[start..end].iter().map(|side| side.training_sequence()).collect();
        let logprobs = scored_logprobs(decoder, &sequences, &mut processed)?;
        for (place, logprobs) in (start..end).zip(&logprobs) {
            found(place, logprobs.iter().sum())?;
        }
        start = end;
    }
    Ok(())
}

/// Sums over the response tokens of [chosen, rejected] of each pair, in f64.
///
/// # Errors
/// As [`scored_logprobs`]; `Interrupted` when the user asks to stop.
pub(crate) fn pair_sums(decoder: &Decoder, pairs: &[PairTokens], context: &Context) -> StageResult<Vec<[f64; 2]>> {
    let sides: Vec<&Side> = pairs.iter().flat_map(|pair| [&pair.chosen, &pair.rejected]).collect();
    let mut sums = vec![0.0; sides.len()];
    side_sums(decoder, &sides, context, &mut |place, sum| {
        sums[place] = sum;
        Ok(())
    })?;
    Ok(sums.chunks_exact(2).map(|pair| [pair[0], pair[1]]).collect())
}

fn rows_of(
    pairs: &[PreferencePair],
    tokens: &[PairTokens],
    sums: &[[f64; 2]],
    numerics: Numerics,
) -> Vec<ReferenceRow> {
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
            numerics,
        })
        .collect()
}
