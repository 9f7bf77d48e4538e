//! Between text and tokens: tokenizer, chat template, end tokens.

pub mod assets;
mod stream;

use std::ops::Range;
use std::sync::OnceLock;

use hf_chat_template::{ChatTemplate, FixedClock, Message, RenderInput};
use tokenizers::Tokenizer;

pub use self::assets::TextAssets;
pub use self::stream::TextStream;
use crate::{ModelError, ModelResult};

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatMessage {
    pub role: String,
    pub content: String,
}

/// Tokenizer and chat template of one model.
pub struct TextCodec {
    tokenizer: Tokenizer,
    /// The same tokenizer, blind to special tokens; made when first needed.
    literal: OnceLock<Tokenizer>,
    template: Option<ChatTemplate>,
    end_tokens: Vec<u32>,
}

impl TextCodec {
    /// Builds the codec from a model's text files.
    ///
    /// # Errors
    /// `Input` when the tokenizer or the template is malformed.
    pub fn new(assets: &TextAssets) -> ModelResult<Self> {
        let mut tokenizer = Tokenizer::from_bytes(assets.tokenizer.as_bytes())
            .map_err(|error| ModelError::input(format!("the tokenizer (tokenizer.json) is malformed: {error}")))?;
        // Some files carry the truncation and padding of their training; they must not cut our texts.
        tokenizer
            .with_truncation(None)
            .map_err(|error| ModelError::internal(format!("tokenizer settings: {error}")))?;
        tokenizer.with_padding(None);
        let template = match &assets.chat_template {
            None => None,
            Some(source) => Some(build_template(source, assets.tokenizer_config.as_deref())?),
        };
        Ok(Self { tokenizer, literal: OnceLock::new(), template, end_tokens: assets.end_tokens.clone() })
    }

    /// Token ids of `text`; `add_special` adds what the tokenizer's post-processor adds (BOS). Special-token
    /// spellings inside `text` become special tokens: callers pass rendered templates or their own text.
    /// That is what transformers does with a rendered template, spellings inside a user's turn included.
    pub fn encode(&self, text: &str, add_special: bool) -> ModelResult<Vec<u32>> {
        let encoding = self.tokenizer.encode_fast(text, add_special).map_err(encoding_failed)?;
        Ok(encoding.get_ids().to_vec())
    }

    /// As [`encode`](Self::encode), but special-token spellings stay plain text: for text of others that must
    /// not reach the model as control tokens.
    pub fn encode_literal(&self, text: &str) -> ModelResult<Vec<u32>> {
        let literal = self.literal.get_or_init(|| {
            let mut tokenizer = self.tokenizer.clone();
            tokenizer.set_encode_special_tokens(true);
            tokenizer
        });
        let encoding = literal.encode_fast(text, false).map_err(encoding_failed)?;
        Ok(encoding.get_ids().to_vec())
    }

    /// As [`encode`](Self::encode), with each token's byte range in `text`. Tokens that hold part of a character
    /// have the range of the whole character; tokens that stand for no text have an empty range.
    pub fn encode_with_offsets(&self, text: &str, add_special: bool) -> ModelResult<Vec<(u32, Range<usize>)>> {
        let encoding = self.tokenizer.encode(text, add_special).map_err(encoding_failed)?;
        let ranges = encoding.get_offsets().iter().map(|&(start, end)| start..end);
        Ok(encoding.get_ids().iter().copied().zip(ranges).collect())
    }

    /// Text of `ids`; `skip_special` leaves special tokens out. Ids the tokenizer has no token for (a padded
    /// vocabulary) stand for no text; bytes that are not UTF-8 become U+FFFD, as in transformers.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> ModelResult<String> {
        self.tokenizer
            .decode(ids, skip_special)
            .map_err(|error| ModelError::internal(format!("tokens could not be decoded: {error}")))
    }

    /// Text of tokens as they come, special tokens left out.
    pub fn stream(&self) -> TextStream<'_> {
        TextStream::new(self)
    }

    /// Whether the model has a chat template.
    pub fn has_chat_template(&self) -> bool {
        self.template.is_some()
    }

    /// Renders a conversation as transformers would; `thinking` is passed as `enable_thinking` where given.
    /// The date is left to the template's own default, so that prompts do not change from day to day.
    ///
    /// # Errors
    /// `Input` when the model has no template, or the template refuses the conversation.
    pub fn render_chat(
        &self,
        messages: &[ChatMessage],
        add_generation_prompt: bool,
        thinking: Option<bool>,
    ) -> ModelResult<String> {
        let template = self
            .template
            .as_ref()
            .ok_or_else(|| ModelError::input("the model has no chat template").with_hint("use an instruct model"))?;
        let mut input = RenderInput {
            messages: messages.iter().map(|message| Message::new(&message.role, &message.content)).collect(),
            add_generation_prompt,
            ..RenderInput::default()
        };
        if let Some(thinking) = thinking {
            input.extra.insert("enable_thinking".into(), thinking.into());
        }
        template
            .render(&input)
            .map_err(|error| ModelError::input(format!("the chat template refuses the conversation: {error}")))
    }

    /// Ids that end a generation (generation_config's list, else the configuration's, else the tokenizer's).
    pub fn end_tokens(&self) -> &[u32] {
        &self.end_tokens
    }

    /// The id of a token by its exact vocabulary spelling (e.g. `.` or `<0x0A>`).
    pub fn token_id(&self, token: &str) -> Option<u32> {
        self.tokenizer.token_to_id(token)
    }
}

fn build_template(source: &str, tokenizer_config: Option<&str>) -> ModelResult<ChatTemplate> {
    let bad = |error: &dyn std::fmt::Display| ModelError::input(format!("the chat template is malformed: {error}"));
    let mut builder = ChatTemplate::builder(source);
    if let Some(config) = tokenizer_config {
        let config = serde_json::from_str(config)
            .map_err(|error| ModelError::input(format!("tokenizer_config.json is malformed: {error}")))?;
        builder = builder.special_tokens_from(&config);
    }
    // Templates that ask for today's date get the one Llama's templates fall back to, on every day.
    let clock = FixedClock::from_ymd(2024, 7, 26).ok_or_else(|| ModelError::internal("2024-07-26 is no date"))?;
    builder.clock(clock).build().map_err(|error| bad(&error))
}

fn encoding_failed(error: tokenizers::Error) -> ModelError {
    ModelError::input(format!("the text cannot be tokenised: {error}"))
}
