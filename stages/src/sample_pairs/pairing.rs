//! From the two sides' responses to preference pairs.

use std::fmt;

use super::prompts::Prompt;
use super::side::Answer;
use crate::artifact::pairs::Pair;

/// Pairs that were dropped, and why.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Dropped {
    /// The prompt leaves no room for a response.
    pub too_long: usize,
    /// The chosen or the rejected response has no text.
    pub empty: usize,
    /// Both responses are the same text.
    pub identical: usize,
}

impl fmt::Display for Dropped {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} with an empty response, {} with two identical ones", self.empty, self.identical)
    }
}

/// A digest of the prompt and the sample index, in hexadecimal.
pub fn row_id(prompt: &Prompt, sample: u32) -> String {
    let mut hasher = blake3::Hasher::new_derive_key("retmask 2026-11 pair row v1");
    hasher.update(&prompt.digest);
    hasher.update(&sample.to_le_bytes());
    hasher.finalize().to_hex().to_string()
}

/// Pairs the responses: `sides` holds (chosen, rejected) for every prompt and, within it, every sample.
/// A pair is dropped when there is no response, either one is empty, or both are identical.
pub fn pair(prompts: &[Prompt], samples: u32, sides: Vec<(Answer, Answer)>) -> (Vec<Pair>, Dropped) {
    let places = prompts.iter().flat_map(|prompt| (0..samples).map(move |sample| (prompt, sample)));
    let mut pairs = Vec::new();
    let mut dropped = Dropped::default();
    for ((prompt, sample_index), sides) in places.zip(sides) {
        let (Answer::Given { prompt_tokens, response: chosen }, Answer::Given { response: rejected, .. }) = sides
        else {
            dropped.too_long += 1;
            continue;
        };
        if chosen.text.is_empty() || rejected.text.is_empty() {
            dropped.empty += 1;
        } else if chosen.text == rejected.text {
            dropped.identical += 1;
        } else {
            pairs.push(Pair {
                row_id: row_id(prompt, sample_index),
                prompt: prompt.messages.clone(),
                chosen,
                rejected,
                sample_index,
                prompt_tokens,
            });
        }
    }
    (pairs, dropped)
}

#[cfg(test)]
mod tests {
    use retmask_model::text::ChatMessage;

    use super::*;
    use crate::artifact::pairs::Response;

    fn given(text: &str) -> Answer {
        Answer::Given { prompt_tokens: 2, response: Response { text: text.into(), tokens: 3, stop: "stop" } }
    }

    #[test]
    fn empty_and_identical_pairs_are_dropped_and_counted() {
        let prompt = |digest| Prompt {
            messages: vec![ChatMessage { role: "user".into(), content: "?".into() }],
            digest: [digest; 32],
        };
        let sides = [("a", "b"), ("", "b"), ("a", ""), ("a", "a"), ("c", "d"), ("e", "f")];
        let mut sides = sides.map(|(chosen, rejected)| (given(chosen), given(rejected))).to_vec();
        sides.extend([
            (Answer::TooLong { prompt_tokens: 9 }, given("g")),
            (given("g"), Answer::TooLong { prompt_tokens: 9 }),
        ]);
        let (pairs, dropped) = pair(&[prompt(1), prompt(2), prompt(3), prompt(4)], 2, sides);
        assert_eq!(dropped, Dropped { too_long: 2, empty: 2, identical: 1 });
        let kept: Vec<(&str, u32)> = pairs.iter().map(|pair| (pair.chosen.text.as_str(), pair.sample_index)).collect();
        assert_eq!(kept, [("a", 0), ("c", 0), ("e", 1)]);
        assert_ne!(pairs[1].row_id, pairs[2].row_id);
        assert_eq!(pairs[2].row_id, row_id(&prompt(3), 1));
    }
}
