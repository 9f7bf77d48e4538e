//! Text of tokens as they come.

use super::TextCodec;
use crate::ModelResult;

/// Decodes one token after another; a character whose bytes are spread over tokens appears with the last of them.
pub struct TextStream<'codec> {
    codec: &'codec TextCodec,
    /// Tokens since the last given text, behind the ones that text came from: decoders may need a left neighbour.
    tokens: Vec<u32>,
    /// How many of `tokens` have been given as text.
    given: usize,
}

impl<'codec> TextStream<'codec> {
    pub(super) fn new(codec: &'codec TextCodec) -> Self {
        Self { codec, tokens: Vec::new(), given: 0 }
    }

    /// The text that became certain with this token; empty while a character is incomplete, and for special tokens.
    ///
    /// # Errors
    /// As [`TextCodec::decode`].
    pub fn push(&mut self, token: u32) -> ModelResult<String> {
        self.tokens.push(token);
        let text = self.pending()?;
        // The replacement character at the end may be a character still to be completed.
        if text.is_empty() || text.ends_with(char::REPLACEMENT_CHARACTER) {
            return Ok(String::new());
        }
        self.tokens.drain(..self.given);
        self.given = self.tokens.len();
        Ok(text)
    }

    /// What is left when no more tokens come.
    ///
    /// # Errors
    /// As [`TextCodec::decode`].
    pub fn finish(&mut self) -> ModelResult<String> {
        let text = self.pending()?;
        self.tokens.clear();
        self.given = 0;
        Ok(text)
    }

    fn pending(&self) -> ModelResult<String> {
        let before = self.codec.decode(&self.tokens[..self.given], true)?;
        let with = self.codec.decode(&self.tokens, true)?;
        Ok(with.strip_prefix(&before).unwrap_or(&with).to_owned())
    }
}
