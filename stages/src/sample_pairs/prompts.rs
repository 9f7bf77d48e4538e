//! From instructions to prompts.

use rayon::prelude::*;
use retmask_model::random::Stream;
use retmask_model::text::{ChatMessage, TextCodec};

use super::answer::opens_thoughts;
use super::{Parameters, Subset};
use crate::contract::StageResult;

/// An instruction in its conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompt {
    /// The turns before the response.
    pub messages: Vec<ChatMessage>,
    /// Names this prompt's random streams and rows.
    pub digest: [u8; 32],
}

/// A prompt as a model reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Templated {
    /// Token ids of the templated turns, with the opening of the response.
    pub tokens: Vec<u32>,
    /// Whether the template itself opens the model's thoughts.
    pub opens_thoughts: bool,
}

/// The prompts asked for, in file order, and how many were left out because they do not fit, as `fits` says. Without a
/// limit nobody is asked: all are taken.
///
/// # Errors
/// Whatever `fits` and `each` return; `each` is called after every prompt.
pub fn build(
    parameters: &Parameters,
    instructions: Vec<Vec<ChatMessage>>,
    mut fits: impl FnMut(&Prompt) -> StageResult<bool>,
    mut each: impl FnMut() -> StageResult<()>,
) -> StageResult<(Vec<Prompt>, usize)> {
    let Some(limit) = parameters.limit else {
        let prompts = instructions.into_par_iter().map(|instruction| prompt(parameters, instruction));
        return Ok((prompts.collect(), 0));
    };
    let mut prompts: Vec<(usize, Prompt)> = Vec::new();
    let mut left_out = 0;
    for index in order(parameters, instructions.len()) {
        if prompts.len() >= limit as usize {
            break;
        }
        let prompt = prompt(parameters, instructions[index].clone());
        if fits(&prompt)? {
            prompts.push((index, prompt));
        } else {
            left_out += 1;
        }
        each()?;
    }
    prompts.sort_by_key(|(index, _)| *index);
    Ok((prompts.into_iter().map(|(_, prompt)| prompt).collect(), left_out))
}

/// The order in which instructions are taken until there are enough.
fn order(parameters: &Parameters, count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    if parameters.subset == Subset::Random {
        Stream::derive(parameters.seed, &[b"sample-pairs", b"subset"]).shuffle(&mut order);
    }
    order
}

/// The turns, behind the system turn that was asked for; a conversation's own gives way to it.
fn prompt(parameters: &Parameters, mut turns: Vec<ChatMessage>) -> Prompt {
    if let Some(system) = &parameters.system {
        turns.retain(|turn| turn.role != "system");
        turns.insert(0, ChatMessage { role: "system".into(), content: system.clone() });
    }
    Prompt { digest: digest(&turns), messages: turns }
}

/// Puts a prompt through the model's chat template.
///
/// # Errors
/// What the chat template or the tokenizer says.
pub fn template(parameters: &Parameters, codec: &TextCodec, prompt: &Prompt) -> StageResult<Templated> {
    let chat = codec.render_chat(&prompt.messages, true, parameters.thinking)?;
    Ok(Templated { tokens: codec.encode_chat(&chat)?, opens_thoughts: opens_thoughts(&chat) })
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
    fn a_limit_counts_prompts_that_fit() {
        let turn = |content: &str| vec![ChatMessage { role: "user".into(), content: content.into() }];
        let instructions: Vec<Vec<ChatMessage>> = ["a", "long", "b", "c"].map(turn).to_vec();
        let parameters = Parameters { limit: Some(2), ..Parameters::default() };
        let fits = |prompt: &Prompt| Ok(prompt.messages[0].content.len() < 4);
        let (prompts, left_out) = build(&parameters, instructions.clone(), fits, || Ok(())).unwrap();
        let taken: Vec<&str> = prompts.iter().map(|prompt| prompt.messages[0].content.as_str()).collect();
        assert_eq!((taken, left_out), (vec!["a", "b"], 1));
        let all = build(&Parameters::default(), instructions, |_| unreachable!("nobody is asked"), || Ok(())).unwrap();
        assert_eq!((all.0.len(), all.1), (4, 0));
    }

    #[test]
    fn a_system_turn_that_is_asked_for_takes_the_place_of_a_conversations_own() {
        let turn = |role: &str, content: &str| ChatMessage { role: role.into(), content: content.into() };
        let turns = || vec![turn("system", "theirs"), turn("user", "a"), turn("assistant", "b"), turn("user", "c")];
        assert_eq!(prompt(&Parameters::default(), turns()).messages, turns());
        let parameters = Parameters { system: Some("ours".into()), ..Parameters::default() };
        let expected = [vec![turn("system", "ours")], turns()[1..].to_vec()].concat();
        assert_eq!(prompt(&parameters, turns()).messages, expected);
    }

    #[test]
    fn a_digest_tells_texts_apart_by_their_borders() {
        let turn = |role: &str, content: &str| ChatMessage { role: role.into(), content: content.into() };
        assert_eq!(digest(&[turn("user", "ab")]), digest(&[turn("user", "ab")]));
        assert_ne!(digest(&[turn("user", "ab")]), digest(&[turn("usera", "b")]));
        assert_ne!(digest(&[turn("user", "ab")]), digest(&[turn("system", ""), turn("user", "ab")]));
    }
}
