//! Between text and tokens: tokenizer, chat template, end tokens.

pub mod assets;
mod chat;
mod clean_up;
mod stream;

use std::ops::Range;

use tokenizers::{
    Model, NormalizedString, Normalizer, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer, Tokenizer,
};

pub use self::assets::TextAssets;
pub use self::chat::RenderedChat;
use self::chat::{Piece, Template};
pub use self::clean_up::clean_up_spaces;
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
    template: Option<Template>,
    end_tokens: Vec<u32>,
    end_of_sequence: Option<u32>,
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
            Some(source) => Some(Template::new(source, assets.tokenizer_config.as_deref(), &tokenizer)?),
        };
        let stated = assets.stated_end_of_sequence()?;
        let end_of_sequence = stated.and_then(|token| tokenizer.token_to_id(&token));
        let end_of_sequence = end_of_sequence.or_else(|| assets.end_tokens.first().copied());
        Ok(Self { tokenizer, template, end_tokens: assets.end_tokens.clone(), end_of_sequence })
    }

    /// Checks that an embedding of `rows` rows has one for every id: tokens of the tokenizer and end tokens.
    ///
    /// # Errors
    /// `Input` naming the highest id that has none.
    pub(crate) fn check_ids(&self, rows: usize) -> ModelResult<()> {
        let vocabulary = self.tokenizer.get_vocab(true);
        if let Some((token, id)) = vocabulary.iter().max_by_key(|(_, id)| **id).filter(|(_, id)| **id as usize >= rows)
        {
            return Err(ModelError::input(format!(
                "the tokenizer has the token {token:?} with the id {id}, but the embedding has only {rows} rows"
            ))
            .with_hint("tokenizer and weights belong to different models, or the embedding was not resized"));
        }
        match self.end_tokens.iter().find(|id| **id as usize >= rows) {
            Some(id) => Err(ModelError::input(format!(
                "the end token {id} (`eos_token_id`) is outside of the embedding, which has {rows} rows"
            ))),
            None => Ok(()),
        }
    }

    /// Token ids of `text`; `add_special` adds what the tokenizer's post-processor adds (BOS). Special-token
    /// spellings inside `text` become special tokens: conversations go through [`encode_chat`](Self::encode_chat).
    pub fn encode(&self, text: &str, add_special: bool) -> ModelResult<Vec<u32>> {
        let encoding = self.tokenizer.encode_fast(text, add_special).map_err(encoding_failed)?;
        Ok(encoding.get_ids().to_vec())
    }

    /// As [`encode`](Self::encode), but no added token is recognised, special or not: for text of others that must
    /// not reach the model as control tokens.
    pub fn encode_literal(&self, text: &str) -> ModelResult<Vec<u32>> {
        let mut normalized = NormalizedString::from(text);
        if let Some(normalizer) = self.tokenizer.get_normalizer() {
            normalizer.normalize(&mut normalized).map_err(encoding_failed)?;
        }
        let mut split = PreTokenizedString::from(normalized);
        if let Some(pre_tokenizer) = self.tokenizer.get_pre_tokenizer() {
            pre_tokenizer.pre_tokenize(&mut split).map_err(encoding_failed)?;
        }
        let mut ids = Vec::new();
        for (part, _, _) in split.get_splits(OffsetReferential::Normalized, OffsetType::None) {
            let tokens = self.tokenizer.get_model().tokenize(part).map_err(encoding_failed)?;
            ids.extend(tokens.into_iter().map(|token| token.id));
        }
        Ok(ids)
    }

    /// Token ids of a rendered conversation. Control tokens the template wrote become tokens; those spelt out in a
    /// message become plain text, as with `sanitize_control_tokens` of transformers. Control tokens are the special
    /// tokens and the added tokens that the template spells out.
    ///
    /// # Errors
    /// `Input` when a spelling cannot be kept from becoming its token.
    pub fn encode_chat(&self, chat: &RenderedChat) -> ModelResult<Vec<u32>> {
        let pieces = match &self.template {
            Some(template) => chat.pieces(&template.control_tokens),
            None => vec![],
        };
        let [Piece::Text(first), others @ ..] = pieces.as_slice() else {
            return Err(ModelError::internal("a conversation was rendered by another codec"));
        };
        let mut ids = self.encode(first, false)?;
        for piece in others {
            match *piece {
                Piece::Text(text) => ids.extend(self.encode_inside(text, |text| self.encode(text, false))?),
                Piece::Spelled(text) => {
                    let spelled = self.encode_inside(text, |text| self.encode_literal(text))?;
                    if self.token_id(text).is_some_and(|token| spelled.contains(&token)) {
                        return Err(ModelError::input(format!(
                            "the text {text:?} in a message cannot be told from the control token: \
                             the tokenizer makes that token of plain text"
                        )));
                    }
                    ids.extend(spelled);
                }
            }
        }
        Ok(ids)
    }

    /// Ids of a text that does not stand at the start: encoded behind a newline, because some tokenizers put a space
    /// before the first word.
    fn encode_inside(&self, text: &str, encode: impl Fn(&str) -> ModelResult<Vec<u32>>) -> ModelResult<Vec<u32>> {
        if text.is_empty() {
            return Ok(Vec::new());
        }
        let newline = self.encode("\n", false)?;
        let mut ids = encode(&format!("\n{text}"))?;
        if !ids.starts_with(&newline) {
            return encode(text);
        }
        ids.drain(..newline.len());
        Ok(ids)
    }

    /// As [`encode`](Self::encode), with each token's byte range in `text`. Tokens that hold part of a character
    /// have the range of the whole character; tokens that stand for no text have an empty range.
    pub fn encode_with_offsets(&self, text: &str, add_special: bool) -> ModelResult<Vec<(u32, Range<usize>)>> {
        let encoding = self.tokenizer.encode(text, add_special).map_err(encoding_failed)?;
        let ranges = encoding.get_offsets().iter().map(|&(start, end)| start..end);
        Ok(encoding.get_ids().iter().copied().zip(ranges).collect())
    }

    /// Text of `ids`; `skip_special` leaves special tokens out. Ids the tokenizer has no token for (a padded
    /// vocabulary) stand for no text; bytes that are not UTF-8 become U+FFFD, as in transformers. Spaces stay as they
    /// are, whatever `clean_up_tokenization_spaces` says: transformers 5 ignores it for byte-pair tokenizers, because
    /// text would not survive. [`clean_up_spaces`] does what transformers 4 did.
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
    ) -> ModelResult<RenderedChat> {
        self.template
            .as_ref()
            .ok_or_else(|| ModelError::input("the model has no chat template").with_hint("use an instruct model"))?
            .render(messages, add_generation_prompt, thinking)
    }

    /// Ids that end a generation (generation_config's list, else the configuration's, else the tokenizer's).
    pub fn end_tokens(&self) -> &[u32] {
        &self.end_tokens
    }

    /// The tokenizer's own end-of-sequence token (`eos_token` of tokenizer_config.json), else the first of
    /// [`end_tokens`](Self::end_tokens). Llama-3.1 lists three end tokens, and this is not the first of them.
    pub fn end_of_sequence(&self) -> Option<u32> {
        self.end_of_sequence
    }

    /// The id of a token by its exact vocabulary spelling (e.g. `.` or `<0x0A>`).
    pub fn token_id(&self, token: &str) -> Option<u32> {
        self.tokenizer.token_to_id(token)
    }
}

fn encoding_failed(error: tokenizers::Error) -> ModelError {
    ModelError::input(format!("the text cannot be tokenised: {error}"))
}
