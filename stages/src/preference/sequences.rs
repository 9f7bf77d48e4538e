//! From a pair to two token sequences and the tokens whose log-probabilities count.

use retmask_model::text::{ChatMessage, RenderedChat, TextCodec};
use retmask_model::train::TrainingSequence;
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

    /// What the model reads, with the response's tokens scored.
    pub fn training_sequence(&self) -> TrainingSequence {
        let scored = (0..self.ids.len()).map(|position| position >= self.response_start).collect();
        TrainingSequence { ids: self.ids.clone(), scored, masked_heads: None }
    }
}

/// Both sides of a pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PairTokens {
    pub chosen: Side,
    pub rejected: Side,
}

impl PairTokens {
    /// Tokens whose log-probabilities are summed, of [chosen, rejected].
    pub fn response_tokens(&self) -> [usize; 2] {
        [self.chosen.response_tokens(), self.rejected.response_tokens()]
    }
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
            let prompt = PromptChat::render(codec, &pair.prompt)?;
            let whole = |side: &str, response: &[ChatMessage]| {
                let conversation: Vec<ChatMessage> = pair.prompt.iter().chain(response).cloned().collect();
                let whole = codec.render_chat(&conversation, false, None)?;
                if prompt.is_continued_by(&whole) {
                    return Ok(whole);
                }
                let message =
                    format!("{}: the templated conversation does not start with its templated prompt", name(side));
                Err(StageError::input(message)
                    .with_hint("this chat template rewrites earlier turns; such pairs cannot be trained on"))
            };
            let (chosen, rejected) = (whole("chosen", &pair.chosen)?, whole("rejected", &pair.rejected)?);
            let prompt = prompt.opened.common_prefix(&chosen).common_prefix(&rejected);
            let prompt_ids = codec.encode_chat(&prompt)?;
            let side = |side: &str, whole: &RenderedChat| {
                join(codec, truncation, &prompt, &prompt_ids, whole)
                    .map_err(|error| StageError { message: format!("{}: {}", name(side), error.message), ..error })
            };
            Ok(PairTokens { chosen: side("chosen", &chosen)?, rejected: side("rejected", &rejected)? })
        })
        .collect()
}

/// The turns before a response.
struct PromptChat {
    /// With what opens the response.
    opened: RenderedChat,
    /// Without it.
    closed: RenderedChat,
}

impl PromptChat {
    fn render(codec: &TextCodec, turns: &[ChatMessage]) -> StageResult<Self> {
        let (opened, closed) = (codec.render_chat(turns, true, None)?, codec.render_chat(turns, false, None)?);
        Ok(Self { opened, closed })
    }

    /// Whether a conversation begins with these turns. Templates that open the thoughts of a new response
    /// (`<think>`) do not do so in front of one that is there; then the prompt ends where the two part, as in TRL.
    fn is_continued_by(&self, whole: &RenderedChat) -> bool {
        let begins = |chat: &RenderedChat, prefix: &RenderedChat| chat.strip_prefix(prefix).is_some();
        begins(whole, &self.opened) || (begins(&self.opened, &self.closed) && begins(whole, &self.closed))
    }
}

fn join(
    codec: &TextCodec,
    truncation: &TruncationParameters,
    prompt_chat: &RenderedChat,
    prompt: &[u32],
    whole: &RenderedChat,
) -> StageResult<Side> {
    let response_chat = whole
        .strip_prefix(prompt_chat)
        .ok_or_else(|| StageError::internal("a common beginning is none of what it is common to"))?;
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

#[cfg(test)]
mod tests {
    use retmask_model::text::TextAssets;

    use super::*;
    use crate::pretrain::tokenizer::text_assets;

    /// Turns as in ChatML; a new response is opened with `opening`.
    fn codec(opening: &str) -> TextCodec {
        let template = format!(
            "{{% for turn in messages %}}<|im_start|>{{{{ turn.role }}}}\n{{{{ turn.content }}}}<|im_end|>\n{{% endfor %}}\
             {{% if add_generation_prompt %}}<|im_start|>assistant\n{opening}{{% endif %}}"
        );
        let assets = text_assets(1024).unwrap();
        TextCodec::new(&TextAssets { chat_template: Some(template), ..assets }).unwrap()
    }

    fn pair(chosen: &str, rejected: &str) -> PreferencePair {
        let turn = |role: &str, content: &str| vec![ChatMessage { role: role.into(), content: content.into() }];
        PreferencePair {
            row_id: "r".into(),
            sample_index: 0,
            prompt: turn("user", "Say ta."),
            chosen: turn("assistant", chosen),
            rejected: turn("assistant", rejected),
        }
    }

    #[test]
    fn a_prompt_ends_where_the_response_begins_even_if_the_template_opens_thoughts() {
        for opening in ["", "<think>"] {
            let codec = codec(opening);
            let pairs = tokenise(&[pair("ta", "ko")], &codec, &TruncationParameters::default()).unwrap();
            for (side, response) in [(&pairs[0].chosen, "ta"), (&pairs[0].rejected, "ko")] {
                let text = |ids: &[u32]| codec.decode(ids, false).unwrap();
                let (prompt, answer) = side.ids.split_at(side.response_start);
                assert_eq!(text(prompt), "<|im_start|>user\nSay ta.<|im_end|>\n<|im_start|>assistant\n");
                assert_eq!(text(answer), format!("{response}<|im_end|>\n"));
            }
        }
    }

    #[test]
    fn control_tokens_in_a_pair_are_text() {
        let codec = codec("");
        let end = codec.token_id("<|im_end|>").unwrap();
        let pairs = tokenise(&[pair("ta<|im_end|>ko", "ko")], &codec, &TruncationParameters::default()).unwrap();
        let ends = |side: &Side| side.ids.iter().filter(|id| **id == end).count();
        assert_eq!((ends(&pairs[0].chosen), ends(&pairs[0].rejected)), (2, 2), "one per turn");
    }
}
