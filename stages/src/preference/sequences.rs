//! From a pair to two token sequences and the tokens whose log-probabilities count.

use retmask_model::text::{ChatMessage, RenderedChat, TextCodec};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::PreferencePair;
use crate::contract::{ParameterError, StageError, StageResult};

/// Which end of a sequence that is too long stays.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Truncation {
    #[default]
    KeepEnd,
    KeepStart,
}

/// Whose details are followed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Compatibility {
    /// The response is the templated conversation minus the templated prompt, end-of-turn token included.
    #[default]
    None,
    /// One more end-of-sequence token after every response, counted in the sums, as TRL 0.24 does.
    #[serde(rename = "trl-0.24")]
    Trl024,
}

/// How pairs become sequences. The defaults are those the paper's trainer ran with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct TruncationParameters {
    /// Prompt tokens kept, the last ones; 0 keeps all.
    pub max_prompt_length: usize,
    /// Tokens of prompt and response together; 0 keeps all.
    pub max_length: usize,
    /// Which end of a longer sequence stays.
    pub keep: Truncation,
    /// Whose details of pair building are followed.
    pub compat: Compatibility,
}

impl Default for TruncationParameters {
    fn default() -> Self {
        Self { max_prompt_length: 512, max_length: 1_024, keep: Truncation::KeepEnd, compat: Compatibility::None }
    }
}

impl TruncationParameters {
    /// Refuses a total that could not hold a prompt token and a response token.
    pub fn check(&self) -> Result<(), ParameterError> {
        if self.max_length == 1 {
            return Err(ParameterError::new("max-length", "a sequence needs at least 2 tokens; 0 means no limit"));
        }
        Ok(())
    }
}

/// A prompt with one response: its tokens and where the response starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Side {
    pub ids: Vec<u32>,
    /// Index of the first response token; at least 1.
    pub response_start: usize,
}

impl Side {
    /// Tokens whose log-probabilities are summed.
    pub fn response_tokens(&self) -> usize {
        self.ids.len() - self.response_start
    }
}

/// Both sides of a pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PairTokens {
    pub chosen: Side,
    pub rejected: Side,
}

/// Tokenises pairs: prompt and response apart, then joined and cut.
///
/// # Errors
/// `Input` naming the row when the model has no chat template, a response does not extend its prompt's text, or
/// nothing of a response is left after cutting.
pub fn tokenise(
    pairs: &[PreferencePair],
    codec: &TextCodec,
    truncation: &TruncationParameters,
) -> StageResult<Vec<PairTokens>> {
    if !codec.has_chat_template() {
        return Err(StageError::input("the model has no chat template; pairs are conversations and need one"));
    }
    pairs
        .iter()
        .enumerate()
        .map(|(row, pair)| {
            let name = |side: &str| format!("pair {row} ({}), {side}", pair.row_id);
            let prompt_chat = codec.render_chat(&pair.prompt, true, None)?;
            let prompt = codec.encode_chat(&prompt_chat)?;
            let side = |side: &str, response: &[ChatMessage]| {
                join(codec, truncation, pair, &prompt_chat, &prompt, response)
                    .map_err(|error| StageError { message: format!("{}: {}", name(side), error.message), ..error })
            };
            Ok(PairTokens { chosen: side("chosen", &pair.chosen)?, rejected: side("rejected", &pair.rejected)? })
        })
        .collect()
}

fn join(
    codec: &TextCodec,
    truncation: &TruncationParameters,
    pair: &PreferencePair,
    prompt_chat: &RenderedChat,
    prompt: &[u32],
    response: &[ChatMessage],
) -> StageResult<Side> {
    let conversation: Vec<ChatMessage> = pair.prompt.iter().chain(response).cloned().collect();
    let whole = codec.render_chat(&conversation, false, None)?;
    let response_chat = whole.strip_prefix(prompt_chat).ok_or_else(|| {
        StageError::input("the templated conversation does not start with its templated prompt")
            .with_hint("this chat template rewrites earlier turns; such pairs cannot be trained on")
    })?;
    let mut response = codec.encode_chat(&response_chat)?;
    if truncation.compat == Compatibility::Trl024 {
        let end = codec.end_of_sequence();
        response.push(end.ok_or_else(|| StageError::input("the model names no end-of-sequence token"))?);
    }
    let kept = match truncation.max_prompt_length {
        0 => prompt,
        limit => &prompt[prompt.len().saturating_sub(limit)..],
    };
    let mut ids = [kept, &response].concat();
    let mut response_start = kept.len();
    if truncation.max_length != 0 && ids.len() > truncation.max_length {
        match truncation.keep {
            Truncation::KeepStart => ids.truncate(truncation.max_length),
            Truncation::KeepEnd => {
                let cut = ids.len() - truncation.max_length;
                ids.drain(..cut);
                response_start = response_start.saturating_sub(cut);
            }
        }
    }
    // The first token of a sequence has nothing before it to be predicted from.
    let response_start = response_start.max(1);
    if response_start >= ids.len() {
        return Err(StageError::input("nothing of the response is left after cutting to `max-length`"));
    }
    Ok(Side { ids, response_start })
}
