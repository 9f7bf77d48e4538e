//! From the two sides' responses to preference pairs.

use std::fmt;

use retmask_model::generate::StopReason;

use super::Parameters;
use super::prompts::Prompt;
use super::repetition::ends_in_a_loop;
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
    /// A response was cut off, and such pairs are not wanted.
    pub truncated: usize,
    /// A response ends in a loop, and such pairs are not wanted.
    pub repeated: usize,
}

/// How many responses, [chosen, rejected], have a flaw; whether it keeps them from becoming a pair or not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Flags {
    pub responses: usize,
    pub truncated: [usize; 2],
    pub repeated: [usize; 2],
}

impl fmt::Display for Flags {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { responses, truncated: [chosen_cut, rejected_cut], repeated: [chosen_loops, rejected_loops] } = self;
        write!(
            formatter,
            "{responses} a side: cut off at `max-new-tokens`: {chosen_cut} chosen, {rejected_cut} rejected; ending in a \
             loop: {chosen_loops} chosen, {rejected_loops} rejected"
        )
    }
}

impl fmt::Display for Dropped {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} with an empty response, {} with two identical ones", self.empty, self.identical)?;
        for (count, what) in [(self.truncated, "cut off"), (self.repeated, "ending in a loop")] {
            if count > 0 {
                write!(formatter, ", {count} with a response {what}")?;
            }
        }
        Ok(())
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
/// A pair is dropped when there is no response, either one is empty, or both are identical; and where that is asked for,
/// when either was cut off or ends in a loop.
pub fn pair(prompts: &[Prompt], parameters: &Parameters, sides: Vec<(Answer, Answer)>) -> (Vec<Pair>, Dropped, Flags) {
    let places = prompts.iter().flat_map(|prompt| (0..parameters.samples).map(move |sample| (prompt, sample)));
    let mut pairs = Vec::new();
    let (mut dropped, mut flags) = (Dropped::default(), Flags::default());
    for ((prompt, sample_index), sides) in places.zip(sides) {
        let (Answer::Given { prompt_tokens, response: chosen }, Answer::Given { response: rejected, .. }) = sides
        else {
            dropped.too_long += 1;
            continue;
        };
        let truncated = [&chosen, &rejected].map(|response| response.stop == StopReason::Length.name());
        let repeated = [&chosen, &rejected].map(|response| ends_in_a_loop(&response.text));
        flags.responses += 1;
        for side in 0..2 {
            flags.truncated[side] += usize::from(truncated[side]);
            flags.repeated[side] += usize::from(repeated[side]);
        }
        if chosen.text.is_empty() || rejected.text.is_empty() {
            dropped.empty += 1;
        } else if chosen.text == rejected.text {
            dropped.identical += 1;
        } else if parameters.drop_truncated && truncated.contains(&true) {
            dropped.truncated += 1;
        } else if parameters.drop_repeated && repeated.contains(&true) {
            dropped.repeated += 1;
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
    (pairs, dropped, flags)
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
        let parameters = Parameters { samples: 2, ..Parameters::default() };
        let (pairs, dropped, _) = pair(&[prompt(1), prompt(2), prompt(3), prompt(4)], &parameters, sides);
        assert_eq!(dropped, Dropped { too_long: 2, empty: 2, identical: 1, ..Dropped::default() });
        let kept: Vec<(&str, u32)> = pairs.iter().map(|pair| (pair.chosen.text.as_str(), pair.sample_index)).collect();
        assert_eq!(kept, [("a", 0), ("c", 0), ("e", 1)]);
        assert_ne!(pairs[1].row_id, pairs[2].row_id);
        assert_eq!(pairs[2].row_id, row_id(&prompt(3), 1));
    }

    #[test]
    fn what_was_cut_off_or_loops_is_counted_and_dropped_when_that_is_asked_for() {
        let answer = |text: &str, stop| Answer::Given {
            prompt_tokens: 2,
            response: Response { text: text.into(), tokens: 3, stop },
        };
        let prompts = [1, 2, 3].map(|digest| Prompt { messages: Vec::new(), digest: [digest; 32] });
        let repeating = "over and over ".repeat(9);
        let sides = vec![
            (answer("a", "stop"), answer("b", "length")),
            (answer("c", "stop-string"), answer(&repeating, "length")),
            (answer(&repeating, "stop"), answer("e", "stop")),
        ];
        let of = |drop_truncated, drop_repeated| {
            let parameters = Parameters { drop_truncated, drop_repeated, ..Parameters::default() };
            let (pairs, dropped, flags) = pair(&prompts, &parameters, sides.clone());
            assert_eq!(flags, Flags { responses: 3, truncated: [0, 2], repeated: [1, 1] });
            (pairs.len(), dropped.truncated, dropped.repeated)
        };
        assert_eq!(of(false, false), (3, 0, 0));
        assert_eq!(of(true, false), (1, 2, 0));
        assert_eq!(of(false, true), (1, 0, 2));
        assert_eq!(of(true, true), (0, 2, 1));
    }
}
