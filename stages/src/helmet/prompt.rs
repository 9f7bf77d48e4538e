//! From an example to token ids: rendering, and HELMET's cut of the context to the length.

use super::dataset::Example;
use super::template::{Fields, Template};
use super::tokens::Tokens;
use crate::contract::{StageError, StageResult};

/// How many tokens there are room for.
#[derive(Debug, Clone, Copy)]
pub struct Room {
    /// The length of prompt and answer together that the benchmark asks for.
    pub length: usize,
    /// Tokens kept for the answer.
    pub new_tokens: usize,
    /// The longest sequence of the model.
    pub window: usize,
}

impl Room {
    /// Tokens the prompt may have.
    ///
    /// # Errors
    /// `Input` when the answer alone fills the length.
    pub fn prompt(&self) -> StageResult<usize> {
        self.length.checked_sub(self.new_tokens).filter(|&room| room > 0).ok_or_else(|| {
            StageError::input(format!(
                "`length: {}` leaves no room for a prompt beside an answer of {} tokens",
                self.length, self.new_tokens
            ))
        })
    }
}

/// How an example is put to the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Plain text that ends in the assistant prefix.
    Completion,
    /// The user's part as a turn of the model's chat template; the assistant prefix is left out. `thinking` goes to
    /// templates that know it.
    Chat { thinking: Option<bool> },
}

/// A prompt ready to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    pub ids: Vec<u32>,
    /// The rendered assistant prefix: the end of the prompt, put back before what the model writes. Empty in a chat.
    pub prefix: String,
}

/// Renders an example without a chat template: the user's part, the joiner, the assistant prefix. No space at
/// the end.
pub fn render(template: &Template<'_>, fields: &Fields) -> StageResult<(String, String)> {
    let prefix = template.render("assistant_prefix", fields)?;
    let user = template.render("user_template", fields)?;
    Ok((format!("{user}{}{prefix}", template.part("nonchat_joiner")?), prefix))
}

/// The prompt of an example, cut to its room.
///
/// A prompt of more tokens than there is room for loses that many from the end of `context` alone, once: as in
/// HELMET, the cut text may come out a few tokens off. Only where prompt and answer would not fit the model's
/// window is it cut again.
///
/// # Errors
/// `Input` when the rest of the prompt alone is too long.
pub fn prepare(
    template: &Template<'_>,
    example: &Example,
    room: Room,
    form: Form,
    tokens: &dyn Tokens,
) -> StageResult<Prompt> {
    let (mut ids, prefix) = encoded(template, &example.fields, form, tokens)?;
    let mut fields = None;
    let mut excess = ids.len().saturating_sub(room.prompt()?);
    while excess > 0 {
        let fields = fields.get_or_insert_with(|| example.fields.clone());
        let context = fields.get_mut("context").ok_or_else(|| too_long(ids.len(), room))?;
        let starts = tokens.starts(context)?;
        let kept = starts.len().checked_sub(excess).map(|token| starts[token]).filter(|&end| end < context.len());
        context.truncate(floor_char_boundary(context, kept.ok_or_else(|| too_long(ids.len(), room))?));
        ids = encoded(template, fields, form, tokens)?.0;
        excess = (ids.len() + room.new_tokens).saturating_sub(room.window);
    }
    Ok(Prompt { ids, prefix })
}

/// The token ids and the assistant prefix at their end.
fn encoded(
    template: &Template<'_>,
    fields: &Fields,
    form: Form,
    tokens: &dyn Tokens,
) -> StageResult<(Vec<u32>, String)> {
    match form {
        Form::Completion => {
            let (text, prefix) = render(template, fields)?;
            Ok((tokens.encode(&text)?, prefix))
        }
        Form::Chat { thinking } => {
            Ok((tokens.chat(&template.render("user_template", fields)?, thinking)?, String::new()))
        }
    }
}

fn floor_char_boundary(text: &str, place: usize) -> usize {
    (0..=place.min(text.len())).rev().find(|&place| text.is_char_boundary(place)).unwrap_or(0)
}

fn too_long(tokens: usize, room: Room) -> StageError {
    StageError::input(format!(
        "the prompt has {tokens} tokens, and even without its context it does not fit `length: {}` beside an answer \
         of {} tokens",
        room.length, room.new_tokens
    ))
    .with_hint("raise `length`")
}

#[cfg(test)]
mod tests {
    use super::super::template::Templates;
    use super::super::tokens::Words;
    use super::*;
    use proptest::prelude::*;

    const TEMPLATE: &str = r#"{"d": {"user_template": "Read on.\n{context}\nAsk {question}",
        "assistant_prefix": "Answer {question}:", "nonchat_joiner": "\n"}}"#;

    fn example(context: &str) -> Example {
        let fields = Fields::from([("context", context.into()), ("question", "q".into())]);
        Example { fields, answers: vec!["a".into()], cluster: "c".into(), ..Example::default() }
    }

    fn prepared(words: usize, room: Room) -> StageResult<Prompt> {
        let context: Vec<String> = (0..words).map(|word| format!("w{word}")).collect();
        let templates = Templates::from_json(TEMPLATE, "t").unwrap();
        prepare(&templates.of("d").unwrap(), &example(&context.join(" ")), room, Form::Completion, &Words)
    }

    #[test]
    fn the_prompt_is_user_part_joiner_and_prefix() {
        let templates = Templates::from_json(TEMPLATE, "t").unwrap();
        let (text, prefix) = render(&templates.of("d").unwrap(), &example("x y").fields).unwrap();
        assert_eq!(text, "Read on.\nx y\nAsk q\nAnswer q:");
        assert_eq!(prefix, "Answer q:");
    }

    #[test]
    fn a_chat_holds_the_users_part_alone() {
        let templates = Templates::from_json(TEMPLATE, "t").unwrap();
        let room = Room { length: 15, new_tokens: 3, window: 100 };
        let chat = |context| {
            prepare(&templates.of("d").unwrap(), &example(context), room, Form::Chat { thinking: None }, &Words)
                .unwrap()
        };
        // The token in front, "user:", "Read", "on.", x, "Ask", "q", "assistant:".
        assert_eq!((chat("x").ids.len(), chat("x").prefix.as_str()), (8, ""));
        assert_eq!(chat("a b c d e f g h i").ids.len(), 12);
    }

    #[test]
    fn only_the_end_of_the_context_is_cut() {
        // Beside the context: the token in front, "Read", "on.", "Ask", "q", "Answer", "q:".
        let room = Room { length: 20, new_tokens: 3, window: 100 };
        assert_eq!(prepared(10, room).unwrap().ids.len(), 17);
        assert_eq!(prepared(11, room).unwrap().ids.len(), 17);
        assert_eq!(prepared(500, room).unwrap().ids.len(), 17);
        assert_eq!(prepared(3, room).unwrap().ids.len(), 10);
    }

    #[test]
    fn a_prompt_whose_fixed_part_is_too_long_is_refused() {
        let error = prepared(5, Room { length: 8, new_tokens: 3, window: 100 }).unwrap_err();
        assert!(error.message.contains("even without its context it does not fit `length: 8`"), "{}", error.message);
        let error = prepared(5, Room { length: 3, new_tokens: 3, window: 100 }).unwrap_err();
        assert!(error.message.contains("leaves no room for a prompt"), "{}", error.message);
    }

    proptest! {
        #[test]
        fn prompts_never_exceed_their_room(words in 0usize..200, length in 30usize..100) {
            let room = Room { length, new_tokens: 10, window: length };
            prop_assert!(prepared(words, room).unwrap().ids.len() + 10 <= length);
        }
    }
}
