//! Finding the answer in what a model wrote.

use super::trim;

/// What follows the first occurrence of `prefix` (any case, anywhere) on its line; without one, the first line.
/// One more prefix in front is removed; white space around goes. A newline right after the prefix leaves "".
pub fn parse_output<'a>(output: &'a str, prefix: &str) -> &'a str {
    let start = find_any_case(output, prefix).map_or(0, |(_, end)| end);
    let rest = &output[start..];
    let line = trim(&rest[..rest.find('\n').unwrap_or(rest.len())]);
    trim(match find_any_case(line, prefix) {
        Some((0, end)) => &line[end..],
        _ => line,
    })
}

/// The byte range of the first occurrence of an ASCII `pattern`, ignoring case.
fn find_any_case(text: &str, pattern: &str) -> Option<(usize, usize)> {
    text.char_indices().find_map(|(start, _)| {
        let mut rest = text[start..].char_indices();
        for wanted in pattern.chars() {
            let (_, found) = rest.next()?;
            if fold(found) != fold(wanted) {
                return None;
            }
        }
        Some((start, start + rest.offset()))
    })
}

/// One-character case folding as Python's `re.IGNORECASE` does for ASCII patterns: the long s, the Kelvin sign
/// and the Turkish i's count as their ASCII letters.
fn fold(character: char) -> char {
    match character {
        'ſ' => 's',
        '\u{212a}' => 'k',
        'ı' | 'İ' => 'i',
        other => other.to_ascii_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_answer_is_the_rest_of_the_line_of_the_first_prefix() {
        assert_eq!(parse_output("Well, ANSWER: an owl \nAnswer: a bee", "Answer:"), "an owl");
        assert_eq!(parse_output("an owl\na bee", "Answer:"), "an owl");
        assert_eq!(parse_output("Answer: answer: owl", "Answer:"), "owl");
        assert_eq!(parse_output("Answer:\nowl", "Answer:"), "");
        assert_eq!(parse_output("é Anſwer: owl", "Answer:"), "owl");
        assert_eq!(parse_output("Answer", "Answer:"), "Answer");
    }

    proptest! {
        #[test]
        fn the_answer_is_trimmed_and_on_one_line(text in "[aAnswer: \n\téſ]*") {
            let parsed = parse_output(&text, "Answer:");
            prop_assert!(!parsed.contains('\n'));
            prop_assert_eq!(trim(parsed), parsed);
            prop_assert!(text.contains(parsed));
        }
    }
}
