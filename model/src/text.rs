//! Between text and tokens: tokenizer, chat template, end tokens (being built).

use crate::{ModelError, ModelResult};

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatMessage {
    pub role: String,
    pub content: String,
}

/// Tokenizer and chat template of one model.
pub struct TextCodec {}

impl TextCodec {
    /// Token ids of `text`; `add_special` adds what the tokenizer's post-processor adds (BOS). Special-token
    /// spellings inside `text` become special tokens: callers pass rendered templates or their own text.
    pub fn encode(&self, text: &str, add_special: bool) -> ModelResult<Vec<u32>> {
        let _ = (text, add_special);
        Err(ModelError::internal("the text codec is being built"))
    }

    /// As `encode`, with each token's byte range in `text`.
    pub fn encode_with_offsets(&self, text: &str, add_special: bool) -> ModelResult<Vec<(u32, std::ops::Range<usize>)>> {
        let _ = (text, add_special);
        Err(ModelError::internal("the text codec is being built"))
    }

    /// Text of `ids`; `skip_special` leaves special tokens out.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> ModelResult<String> {
        let _ = (ids, skip_special);
        Err(ModelError::internal("the text codec is being built"))
    }

    /// Whether the model has a chat template.
    pub fn has_chat_template(&self) -> bool {
        false
    }

    /// Renders a conversation as transformers would; `thinking` is passed as `enable_thinking` where given.
    pub fn render_chat(
        &self,
        messages: &[ChatMessage],
        add_generation_prompt: bool,
        thinking: Option<bool>,
    ) -> ModelResult<String> {
        let _ = (messages, add_generation_prompt, thinking);
        Err(ModelError::internal("the text codec is being built"))
    }

    /// Ids that end a generation (generation_config's list, else the configuration's, else the tokenizer's).
    pub fn end_tokens(&self) -> &[u32] {
        &[]
    }

    /// The id of a token by its exact vocabulary spelling (e.g. `.` or `<0x0A>`).
    pub fn token_id(&self, token: &str) -> Option<u32> {
        let _ = token;
        None
    }
}
