//! Conversations through a model's chat template, with the control tokens of the messages told apart from those
//! of the template.

use std::panic::{AssertUnwindSafe, catch_unwind};

use hf_chat_template::{ChatTemplate, FixedClock, Message, RenderInput};
use serde_json::Value;
use tokenizers::Tokenizer;

use super::ChatMessage;
use crate::{ModelError, ModelResult};

/// Stand around a control token that came from a message; characters of a private area, as in transformers.
const MARK_START: char = '\u{f0000}';
const MARK_END: char = '\u{f0001}';

/// A conversation as the template renders it.
///
/// Control tokens spelt out in a message are told apart from those the template writes: [`TextCodec::encode_chat`]
/// makes tokens of the latter only. Two characters of the private use area (U+F0000, U+F0001) serve for that and are
/// dropped from messages.
///
/// [`TextCodec::encode_chat`]: super::TextCodec::encode_chat
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenderedChat {
    marked: String,
}

/// A stretch of a rendered conversation.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'text> {
    /// Whatever the template wrote, and ordinary text of messages.
    Text(&'text str),
    /// A control token's spelling in a message.
    Spelled(&'text str),
}

impl RenderedChat {
    /// The text as it reads.
    pub fn text(&self) -> String {
        self.marked.replace([MARK_START, MARK_END], "")
    }

    /// What follows `prefix`, if this begins with it.
    pub fn strip_prefix(&self, prefix: &Self) -> Option<Self> {
        self.marked.strip_prefix(prefix.marked.as_str()).map(|rest| Self { marked: rest.to_owned() })
    }

    /// The longest text that this and `other` both begin with.
    pub fn common_prefix(&self, other: &Self) -> Self {
        let pairs = self.marked.chars().zip(other.marked.chars());
        let length = pairs.take_while(|(one, other)| one == other).map(|(one, _)| one.len_utf8()).sum();
        Self { marked: self.marked[..length].to_owned() }
    }

    /// The pieces in order, split at every mark. A template that takes texts apart can leave a mark alone; it only
    /// separates.
    pub(super) fn pieces(&self, control_tokens: &ControlTokens) -> Vec<Piece<'_>> {
        let mut pieces = Vec::new();
        let mut rest = self.marked.as_str();
        while let Some(place) = rest.find([MARK_START, MARK_END]) {
            pieces.push(Piece::Text(&rest[..place]));
            let after = rest[place..].strip_prefix(MARK_START);
            let spelled = after.and_then(|after| {
                control_tokens
                    .all_at(after)
                    .find_map(|token| after[token.len()..].strip_prefix(MARK_END).map(|rest| (token.len(), rest)))
            });
            match (after, spelled) {
                (Some(after), Some((length, following))) => {
                    pieces.push(Piece::Spelled(&after[..length]));
                    rest = following;
                }
                _ => rest = &rest[place + MARK_START.len_utf8()..],
            }
        }
        pieces.push(Piece::Text(rest));
        pieces
    }
}

/// The tokens by which a template structures a conversation.
#[derive(Debug)]
pub(super) struct ControlTokens {
    /// The longest first, so that a token wins over one it begins with.
    longest_first: Vec<String>,
}

impl ControlTokens {
    /// Special tokens, and other added tokens that the template spells out (`<think>`, `<tool_call>`).
    pub fn of(tokenizer: &Tokenizer, template: &str) -> Self {
        let added = tokenizer.get_added_tokens_decoder();
        let mut tokens: Vec<String> = added
            .into_values()
            .filter(|token| {
                let spelled_out = template.contains(&token.content) && !token.content.trim().is_empty();
                !token.content.is_empty() && (token.special || spelled_out)
            })
            .map(|token| token.content)
            .collect();
        tokens.sort_by(|one, other| other.len().cmp(&one.len()).then_with(|| one.cmp(other)));
        Self { longest_first: tokens }
    }

    /// Those that `text` begins with, the longest first.
    fn all_at<'this>(&'this self, text: &'this str) -> impl Iterator<Item = &'this String> {
        self.longest_first.iter().filter(move |token| text.starts_with(token.as_str()))
    }

    /// A message's text with its control tokens marked.
    fn mark(&self, text: &str) -> String {
        let mut marked = String::with_capacity(text.len());
        let text = text.replace([MARK_START, MARK_END], "");
        let mut rest = text.as_str();
        while let Some(character) = rest.chars().next() {
            let length = match self.all_at(rest).next() {
                Some(token) => {
                    marked.push(MARK_START);
                    marked.push_str(token);
                    marked.push(MARK_END);
                    token.len()
                }
                None => {
                    marked.push(character);
                    character.len_utf8()
                }
            };
            rest = &rest[length..];
        }
        marked
    }

    /// Whether `text` may hold one: cheap, and right when it says no.
    fn may_be_in(&self, text: &str) -> bool {
        text.contains([MARK_START, MARK_END]) || self.longest_first.iter().any(|token| text.contains(token.as_str()))
    }
}

/// A chat template ready to render.
pub(super) struct Template {
    template: ChatTemplate,
    pub control_tokens: ControlTokens,
}

impl Template {
    /// Compiles a template; the special tokens it may name come from tokenizer_config.json.
    ///
    /// # Errors
    /// `Input` when template or configuration are malformed.
    pub fn new(source: &str, tokenizer_config: Option<&str>, tokenizer: &Tokenizer) -> ModelResult<Self> {
        let mut builder = ChatTemplate::builder(source);
        if let Some(config) = tokenizer_config {
            let config = serde_json::from_str(config)
                .map_err(|error| ModelError::input(format!("tokenizer_config.json is malformed: {error}")))?;
            builder = builder.special_tokens_from(&config);
        }
        // Templates that ask for today's date get the one Llama's templates fall back to, on every day.
        let clock = FixedClock::from_ymd(2024, 7, 26).ok_or_else(|| ModelError::internal("2024-07-26 is no date"))?;
        let template = builder
            .clock(clock)
            .build()
            .map_err(|error| ModelError::input(format!("the chat template is malformed: {error}")))?;
        Ok(Self { template, control_tokens: ControlTokens::of(tokenizer, source) })
    }

    /// As [`TextCodec::render_chat`](super::TextCodec::render_chat).
    pub fn render(
        &self,
        messages: &[ChatMessage],
        add_generation_prompt: bool,
        thinking: Option<bool>,
    ) -> ModelResult<RenderedChat> {
        let message = |message: &ChatMessage| match self.control_tokens.may_be_in(&message.content) {
            true => Message::new(&message.role, self.control_tokens.mark(&message.content)),
            false => Message::new(&message.role, &message.content),
        };
        let mut input = RenderInput {
            messages: messages.iter().map(message).collect(),
            add_generation_prompt,
            ..RenderInput::default()
        };
        // transformers passes both, and templates ask whether they are none.
        input.extra.insert("tools".into(), Value::Null);
        input.extra.insert("documents".into(), Value::Null);
        if let Some(thinking) = thinking {
            input.extra.insert("enable_thinking".into(), thinking.into());
        }
        // The engine panics on some templates (a reversed slice of an empty text in minijinja 2.24), and templates come
        // with models: what they do must end no run. Rendering changes nothing that could be left half-done.
        match catch_unwind(AssertUnwindSafe(|| self.template.render(&input))) {
            Ok(Ok(marked)) => Ok(RenderedChat { marked }),
            Ok(Err(error)) => Err(ModelError::input(format!("the chat template refuses the conversation: {error}"))),
            Err(_) => Err(ModelError::input("the chat template cannot be rendered: the template engine fails on it")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens() -> ControlTokens {
        ControlTokens { longest_first: vec!["<|end|>".into(), "<s>".into(), "<".into()] }
    }

    #[test]
    fn marked_texts_come_apart_where_they_were_marked() {
        let tokens = tokens();
        let marked = tokens.mark("a<|end|>b<s<s>");
        let chat = RenderedChat { marked: format!("<s>{marked}<|end|>") };
        assert_eq!(chat.text(), "<s>a<|end|>b<s<s><|end|>");
        let expected = [
            Piece::Text("<s>a"),
            Piece::Spelled("<|end|>"),
            Piece::Text("b"),
            Piece::Spelled("<"),
            Piece::Text("s"),
            Piece::Spelled("<s>"),
            Piece::Text("<|end|>"),
        ];
        assert_eq!(chat.pieces(&tokens), expected);
    }

    #[test]
    fn marks_cannot_be_forged_and_lone_ones_only_separate() {
        let tokens = tokens();
        let forged = format!("{MARK_START}<s>{MARK_END}");
        assert_eq!(tokens.mark(&forged), forged, "taken out, and put back around the token");
        assert_eq!(tokens.mark(&format!("{MARK_START}a{MARK_END}")), "a");
        let chat = RenderedChat { marked: format!("a{MARK_START}b{MARK_END}<s>") };
        assert_eq!(chat.pieces(&tokens), [Piece::Text("a"), Piece::Text("b"), Piece::Text("<s>")]);
    }
}
