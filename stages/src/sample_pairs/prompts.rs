//! From instructions to templated prompts that fit the model.

use retmask_model::random::Stream;
use retmask_model::text::{ChatMessage, TextCodec};

use super::{Parameters, Subset};
use crate::contract::StageResult;

/// An instruction ready to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    /// The turns before the response.
    pub messages: Vec<ChatMessage>,
    /// Token ids of the templated turns, with the opening of the response.
    pub tokens: Vec<u32>,
    /// Whether the template itself opens the model's thoughts.
    pub opens_thoughts: bool,
    /// Names this prompt's random streams and rows.
    pub digest: [u8; 32],
}

/// The prompts asked for, in file order, and how many instructions were left out because they are too long for
/// `window` tokens with their response.
///
/// # Errors
/// What the chat template or the tokenizer says; whatever `each` returns, which is called after every prompt.
pub fn build(
    parameters: &Parameters,
    codec: &TextCodec,
    instructions: &[String],
    window: usize,
    mut each: impl FnMut() -> StageResult<()>,
) -> StageResult<(Vec<Prompt>, usize)> {
    let limit = parameters.limit.map_or(usize::MAX, |limit| limit as usize);
    let mut prompts: Vec<(usize, Prompt)> = Vec::new();
    let mut too_long = 0;
    for index in order(parameters, instructions.len()) {
        if prompts.len() >= limit {
            break;
        }
        let prompt = template(parameters, codec, &instructions[index])?;
        if prompt.tokens.len() + parameters.max_new_tokens as usize > window {
            too_long += 1;
        } else {
            prompts.push((index, prompt));
        }
        each()?;
    }
    prompts.sort_by_key(|(index, _)| *index);
    Ok((prompts.into_iter().map(|(_, prompt)| prompt).collect(), too_long))
}

/// The order in which instructions are taken until there are enough.
fn order(parameters: &Parameters, count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    if parameters.subset == Subset::Random {
        Stream::derive(parameters.seed, &[b"sample-pairs", b"subset"]).shuffle(&mut order);
    }
    order
}

fn template(parameters: &Parameters, codec: &TextCodec, instruction: &str) -> StageResult<Prompt> {
    let turn = |role: &str, content: &str| ChatMessage { role: role.into(), content: content.into() };
    let mut messages: Vec<ChatMessage> = parameters.system.iter().map(|system| turn("system", system)).collect();
    messages.push(turn("user", instruction));
    let chat = codec.render_chat(&messages, true, parameters.thinking)?;
    Ok(Prompt {
        tokens: codec.encode_chat(&chat)?,
        opens_thoughts: chat.text().trim_end().ends_with(super::answer::OPENING),
        digest: digest(&messages),
        messages,
    })
}

/// A digest of the conversation, each text framed by its length.
fn digest(messages: &[ChatMessage]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key("retmask 2026-11 prompt v1");
    for text in messages.iter().flat_map(|message| [&message.role, &message.content]) {
        hasher.update(&(text.len() as u64).to_le_bytes());
        hasher.update(text.as_bytes());
    }
    *hasher.finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_random_subset_is_seeded() {
        let random = |seed| order(&Parameters { subset: Subset::Random, seed, ..Parameters::default() }, 50);
        assert_eq!(random(1), random(1));
        assert_ne!(random(1), random(2));
        let mut sorted = random(1);
        sorted.sort_unstable();
        assert_eq!(sorted, order(&Parameters::default(), 50));
    }

    #[test]
    fn a_digest_tells_texts_apart_by_their_borders() {
        let turn = |role: &str, content: &str| ChatMessage { role: role.into(), content: content.into() };
        assert_eq!(digest(&[turn("user", "ab")]), digest(&[turn("user", "ab")]));
        assert_ne!(digest(&[turn("user", "ab")]), digest(&[turn("usera", "b")]));
        assert_ne!(digest(&[turn("user", "ab")]), digest(&[turn("system", ""), turn("user", "ab")]));
    }
}
