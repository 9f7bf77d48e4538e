//! What this stage asks of a tokenizer.

use std::path::Path;

use retmask_model::text::{ChatMessage, TextAssets, TextCodec};

use crate::contract::{StageError, StageResult};

/// Tokens of texts, with the special tokens the model expects in front (BOS).
pub trait Tokens: Sync {
    /// The token ids of a text.
    fn encode(&self, text: &str) -> StageResult<Vec<u32>>;

    /// The byte at which each token begins in the text, special tokens included (at 0).
    fn starts(&self, text: &str) -> StageResult<Vec<usize>>;

    /// The byte behind each token in the text, special tokens included (at 0).
    fn ends(&self, text: &str) -> StageResult<Vec<usize>>;

    /// The token ids of a conversation of one user turn, up to where the assistant begins. `thinking` goes to templates
    /// that know it.
    fn chat(&self, user: &str, thinking: Option<bool>) -> StageResult<Vec<u32>>;

    /// How many tokens a text has.
    fn count(&self, text: &str) -> StageResult<usize> {
        Ok(self.encode(text)?.len())
    }
}

impl Tokens for TextCodec {
    fn encode(&self, text: &str) -> StageResult<Vec<u32>> {
        Ok(TextCodec::encode(self, text, true)?)
    }

    fn starts(&self, text: &str) -> StageResult<Vec<usize>> {
        Ok(self.encode_with_offsets(text, true)?.into_iter().map(|(_, range)| range.start).collect())
    }

    fn ends(&self, text: &str) -> StageResult<Vec<usize>> {
        Ok(self.encode_with_offsets(text, true)?.into_iter().map(|(_, range)| range.end).collect())
    }

    fn chat(&self, user: &str, thinking: Option<bool>) -> StageResult<Vec<u32>> {
        let message = ChatMessage { role: "user".into(), content: user.into() };
        let rendered = self.render_chat(&[message], true, thinking)?;
        Ok(self.encode_chat(&rendered)?)
    }
}

/// The tokenizer in a `tokenizer.json`, without a chat template.
///
/// # Errors
/// `Input` when it is malformed.
pub fn tokenizer(path: &Path) -> StageResult<TextCodec> {
    let text = std::fs::read_to_string(path).map_err(|error| StageError::io("read", path, &error))?;
    let assets = TextAssets {
        tokenizer: text,
        tokenizer_config: None,
        chat_template: None,
        generation_config: None,
        begin_token: None,
        end_tokens: Vec::new(),
        padding_token: None,
    };
    TextCodec::new(&assets).map_err(|error| {
        let error = StageError::from(error);
        StageError { message: format!("{}: {}", path.display(), error.message), ..error }
    })
}

/// A tokenizer for tests: a token before the text, then one per word with the space or newline before it.
#[cfg(test)]
pub(crate) struct Words;

#[cfg(test)]
impl Tokens for Words {
    fn encode(&self, text: &str) -> StageResult<Vec<u32>> {
        Ok(vec![0; self.starts(text)?.len()])
    }

    fn starts(&self, text: &str) -> StageResult<Vec<usize>> {
        let separator = |letter: char| letter == ' ' || letter == '\n';
        let mut starts = vec![0];
        let mut previous = None;
        for (place, letter) in text.char_indices() {
            if previous.is_none() || (separator(letter) && !previous.is_some_and(separator)) {
                starts.push(place);
            }
            previous = Some(letter);
        }
        Ok(starts)
    }

    fn ends(&self, text: &str) -> StageResult<Vec<usize>> {
        let mut ends = self.starts(text)?.split_off(1);
        ends.push(text.len());
        Ok(ends)
    }

    fn chat(&self, user: &str, _thinking: Option<bool>) -> StageResult<Vec<u32>> {
        self.encode(&format!("user: {user} assistant:"))
    }
}
