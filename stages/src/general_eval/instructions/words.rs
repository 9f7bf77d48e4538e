//! Words, as NLTK tells them apart.

use std::sync::LazyLock;

use regex::Regex;

use crate::metrics::punkt::Punkt;

/// Runs of letters, digits and underscores.
pub fn count(text: &str) -> usize {
    let mut inside = false;
    let mut count = 0;
    for letter in text.chars() {
        let of_word = letter.is_alphanumeric() || letter == '_';
        count += usize::from(of_word && !inside);
        inside = of_word;
    }
    count
}

/// Whether there are letters with a case, all of them capital.
pub fn is_upper(text: &str) -> bool {
    !text.chars().any(char::is_lowercase) && text.chars().any(char::is_uppercase)
}

/// Whether there are letters with a case, none of them capital.
pub fn is_lower(text: &str) -> bool {
    !text.chars().any(char::is_uppercase) && text.chars().any(char::is_lowercase)
}

/// Where NLTK's rules put a space, in their order: pattern and what replaces it. First quotation marks that begin.
const BEGINNING: &[(&str, &str)] =
    &[("[«“‘„]|`+", " $0 "), (r#"^""#, "``"), ("``", " $0 "), (r#"([ (\[{<])("|'{2})"#, "$1 `` ")];
/// Punctuation.
const PUNCTUATION: &[(&str, &str)] = &[
    (r#"([^.])(\.)([\])}>"'»”’ ]*)\s*$"#, "$1 $2 $3 "),
    (r"([:,])([^\d])", " $1 $2"),
    (r"([:,])$", " $1 "),
    (r"\.{2,}", " $0 "),
    (r"[;@#$%&]", " $0 "),
    (r"[\u{2012}-\u{2015}]", " $0 "),
    (r#"([^.])(\.)([\])}>"']*)\s*$"#, "$1 $2$3 "),
    (r"[?!]", " $0 "),
    (r"([^'])' ", "$1 ' "),
    (r"\*", " $0 "),
    (r"[\]\[(){}<>]", " $0 "),
    ("--", " -- "),
];
/// Quotation marks that end, and contractions.
const ENDING: &[(&str, &str)] = &[
    ("[»”’]", " $0 "),
    ("''", " '' "),
    (r#"""#, " '' "),
    (r"\s+", " "),
    (r"([^' ])('[sS]|'[mM]|'[dD]|') ", "$1 $2 "),
    (r"([^' ])('ll|'LL|'re|'RE|'ve|'VE|n't|N'T) ", "$1 $2 "),
    (r"(?i)\b(can)(not)\b", " $1 $2 "),
    (r"(?i)\b(d)('ye)\b", " $1 $2 "),
    (r"(?i)\b(gim)(me)\b", " $1 $2 "),
    (r"(?i)\b(gon)(na)\b", " $1 $2 "),
    (r"(?i)\b(got)(ta)\b", " $1 $2 "),
    (r"(?i)\b(lem)(me)\b", " $1 $2 "),
    (r"(?i)\b(more)('n)\b", " $1 $2 "),
    (r"(?i)\b(wan)(na)\s", " $1 $2 "),
    (r"(?i) ('t)(is)\b", " $1 $2 "),
    (r"(?i) ('t)(was)\b", " $1 $2 "),
];
/// What may stand behind an apostrophe at the beginning of a word and belong to it.
const CLITICS: [&str; 8] = ["re", "ve", "ll", "m", "t", "s", "d", "n"];

type Rules = Vec<(Regex, &'static str)>;
static COMPILED: LazyLock<[Rules; 3]> = LazyLock::new(|| {
    let compiled = |rules: &[(&str, &'static str)]| -> Rules {
        rules.iter().filter_map(|(pattern, with)| Some((Regex::new(pattern).ok()?, *with))).collect()
    };
    [BEGINNING, PUNCTUATION, ENDING].map(compiled)
});

/// The words and marks of a text, sentence by sentence.
pub fn tokens(text: &str, punkt: &Punkt) -> Vec<String> {
    let applied = |text: String, rules: &Rules| {
        rules.iter().fold(text, |text, (pattern, with)| pattern.replace_all(&text, *with).into_owned())
    };
    let [beginning, punctuation, ending] = &*COMPILED;
    let mut found = Vec::new();
    for sentence in punkt.sentences(text) {
        let spaced = applied(apostrophes_apart(&applied(sentence, beginning)), punctuation);
        // The rules about what is behind a word expect a space at the ends.
        found.extend(applied(format!(" {spaced} "), ending).split_whitespace().map(str::to_owned));
    }
    found
}

/// A space behind apostrophes in front of words, unless they belong to a clitic.
fn apostrophes_apart(text: &str) -> String {
    let of_word = |letter: char| letter.is_alphanumeric() || letter == '_';
    let mut apart = String::with_capacity(text.len());
    for (place, letter) in text.char_indices() {
        apart.push(letter);
        if letter != '\'' || text[..place].chars().next_back().is_some_and(of_word) {
            continue;
        }
        let behind = &text[place + 1..];
        let word = &behind[..behind.find(|letter| !of_word(letter)).unwrap_or(behind.len())];
        if !word.is_empty() && !CLITICS.contains(&word.to_lowercase().as_str()) {
            apart.push(' ');
        }
    }
    apart
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_cases() {
        assert_eq!(count("It's a well-known 3_d fact."), 7);
        assert_eq!(
            [is_upper("WE 2"), is_upper("We"), is_upper("2 ."), is_lower("we 2"), is_lower("2")],
            [true, false, false, true, false]
        );
    }

    #[test]
    fn every_rule_is_a_pattern() {
        let all = [BEGINNING, PUNCTUATION, ENDING].concat();
        assert_eq!(COMPILED.iter().map(Vec::len).sum::<usize>(), all.len());
    }

    #[test]
    fn contractions_and_marks_stand_alone() {
        let of = |text| tokens(text, &Punkt::default()).join("|");
        assert_eq!(of("I'M SURE, you CAN'T."), "I|'M|SURE|,|you|CA|N'T|.");
        assert_eq!(of("I say 'Tis 't. (So.)"), "I|say|'|Tis|'t|.|(|So|.|)");
        assert_eq!(of("NASA's (new) 3,000 CANNOT -- \"GO\""), "NASA|'s|(|new|)|3,000|CAN|NOT|--|``|GO|''");
    }
}
