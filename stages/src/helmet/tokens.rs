//! What this stage asks of a tokenizer.

use retmask_model::text::TextCodec;

use crate::contract::StageResult;

/// Tokens of texts, with the special tokens the model expects in front (BOS).
pub trait Tokens: Sync {
    /// The token ids of a text.
    fn encode(&self, text: &str) -> StageResult<Vec<u32>>;

    /// The byte at which each token begins in the text, special tokens included (at 0).
    fn starts(&self, text: &str) -> StageResult<Vec<usize>>;

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
}
