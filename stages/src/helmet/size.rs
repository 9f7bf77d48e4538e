//! How much generated material fills a prompt to its length.

use super::dataset::Example;
use super::prompt::{Room, render};
use super::template::Template;
use super::tokens::Tokens;
use crate::contract::{StageError, StageResult};

/// The example made of as many units (pairs, needles, sentences) as fit the room, at least `least`.
///
/// `make(units)` must grow with its units. Few sizes are tried: each guess is where the line through what was
/// measured meets the room.
///
/// # Errors
/// `Input` when not even `least` units fit.
pub fn fill(
    template: &Template<'_>,
    room: Room,
    tokens: &dyn Tokens,
    least: usize,
    make: impl Fn(usize) -> StageResult<Example>,
) -> StageResult<Example> {
    let limit = room.prompt()?;
    let measure = |units: usize| -> StageResult<(Example, usize)> {
        let example = make(units)?;
        let (text, _) = render(template, &example.fields)?;
        let count = tokens.count(&text)?;
        Ok((example, count))
    };
    let (mut best, count) = measure(least)?;
    if count > limit {
        return Err(StageError::input(format!(
            "`length: {}` is too short: the smallest prompt has {count} tokens, and the answer needs {}",
            room.length, room.new_tokens
        ))
        .with_hint(format!("raise `length` to at least {}", count + room.new_tokens)));
    }
    // `low` fits; `high`, once known, does not.
    let first = (least, count);
    let mut low = first;
    let mut high: Option<(usize, usize)> = None;
    let mut guess = 2 * least.max(4);
    loop {
        let (example, count) = measure(guess)?;
        if count <= limit {
            low = (guess, count);
            best = example;
        } else {
            high = Some((guess, count));
        }
        let room = limit - low.1;
        guess = match high {
            Some(high) if high.0 - low.0 == 1 => return Ok(best),
            Some(high) => low.0 + units_for(room, low, high).clamp(1, high.0 - low.0 - 1),
            // A growth of at most four times keeps a misjudged step from making a huge text.
            None => low.0 + units_for(room, first, low).clamp(1, 3 * low.0),
        };
    }
}

/// How many units take `room` tokens, at the rate between two measured sizes.
fn units_for(room: usize, small: (usize, usize), large: (usize, usize)) -> usize {
    let rate = large.1.saturating_sub(small.1) as f64 / (large.0 - small.0) as f64;
    // A unit has at least one token; a rate of nothing would come from a tokenizer that merges whole units.
    (room as f64 / rate.max(1.0)) as usize
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::super::template::{Fields, Templates};
    use super::super::tokens::Words;
    use super::*;
    use proptest::prelude::*;

    const TEMPLATE: &str =
        r#"{"d": {"user_template": "Read {context}", "assistant_prefix": "A", "nonchat_joiner": " "}}"#;

    /// Fills with units of 1 to 7 words; how many units came out, their tokens, and the sizes tried.
    fn filled(length: usize, least: usize) -> StageResult<(usize, usize, Vec<usize>)> {
        let templates = Templates::from_json(TEMPLATE, "t")?;
        let template = templates.of("d")?;
        let tried = RefCell::new(Vec::new());
        let example = fill(&template, Room { length, new_tokens: 5, window: length }, &Words, least, |units| {
            tried.borrow_mut().push(units);
            let words = (0..units).flat_map(|unit| vec![format!("u{unit}"); 1 + unit % 7]);
            let context = words.collect::<Vec<_>>().join(" ");
            Ok(Example { fields: Fields::from([("context", context)]), ..Example::default() })
        })?;
        let context = &example.fields["context"];
        let units = context.split(' ').filter(|word| !word.is_empty()).collect::<std::collections::BTreeSet<_>>();
        let (text, _) = render(&template, &example.fields)?;
        Ok((units.len(), Words.count(&text)?, tried.into_inner()))
    }

    #[test]
    fn few_sizes_are_tried() {
        let (_, tokens, tried) = filled(100_000, 3).unwrap();
        assert!(tokens + 5 <= 100_000 && tokens + 5 > 100_000 - 7, "{tokens}");
        // Three steps of growth by four would reach 512 units; the rest is the line.
        assert!(tried.len() <= 16, "{tried:?}");
    }

    #[test]
    fn a_length_below_the_smallest_prompt_is_refused_with_the_length_it_takes() {
        let error = filled(12, 4).unwrap_err();
        assert_eq!(
            error.message,
            "`length: 12` is too short: the smallest prompt has 13 tokens, and the answer needs 5"
        );
        assert_eq!(error.hint.as_deref(), Some("raise `length` to at least 18"));
    }

    proptest! {
        #[test]
        fn one_more_unit_would_not_fit(length in 30usize..3_000) {
            let (units, tokens, _) = filled(length, 1).unwrap();
            prop_assert!(tokens + 5 <= length);
            // The unit after the last has 1 + units % 7 words.
            prop_assert!(tokens + 5 + 1 + units % 7 > length);
        }
    }
}
