//! The normalisation of answers used since SQuAD (Rajpurkar et al. 2016), with Python's notions of case,
//! space and word boundary.

use icu_properties::CodePointMapData;
use icu_properties::props::{GeneralCategory, GeneralCategoryGroup};

/// Lower-cases, deletes ASCII punctuation without inserting spaces, replaces the whole words a/an/the by a
/// space, and collapses white space. Other punctuation stays.
pub fn normalize(text: &str) -> String {
    let lower = text.to_lowercase();
    let letters: Vec<char> = lower.chars().filter(|character| !character.is_ascii_punctuation()).collect();
    let without_articles = remove_articles(&letters);
    let mut normalized = String::with_capacity(without_articles.len());
    for word in without_articles.split(is_space).filter(|word| !word.is_empty()) {
        if !normalized.is_empty() {
            normalized.push(' ');
        }
        normalized.push_str(word);
    }
    normalized
}

/// Python's `str.strip()`.
pub(crate) fn trim(text: &str) -> &str {
    text.trim_matches(is_space)
}

/// Python's `str.isspace` for one character: Unicode white space and the four ASCII separators.
pub(super) fn is_space(character: char) -> bool {
    character.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&character)
}

/// Python's `\w` for one character: a letter, a number, or the underscore. (Rust's `is_alphanumeric` also
/// takes combining vowel signs and circled letters.)
pub(super) fn is_word(character: char) -> bool {
    let category = CodePointMapData::<GeneralCategory>::new().get(character);
    character == '_'
        || GeneralCategoryGroup::Letter.contains(category)
        || GeneralCategoryGroup::Number.contains(category)
}

/// Python's `\d` for one character: a decimal digit of any script.
pub(super) fn is_digit(character: char) -> bool {
    CodePointMapData::<GeneralCategory>::new().get(character) == GeneralCategory::DecimalNumber
}

/// Replaces every run of word characters that is exactly an article by one space.
fn remove_articles(text: &[char]) -> String {
    let mut kept = String::with_capacity(text.len());
    for run in text.chunk_by(|&left, &right| is_word(left) == is_word(right)) {
        match run {
            ['a'] | ['a', 'n'] | ['t', 'h', 'e'] => kept.push(' '),
            other => kept.extend(other),
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn articles_go_as_whole_words_only_and_punctuation_leaves_no_gap() {
        assert_eq!(normalize("An  owl, the ant-hill & a bee."), "owl anthill bee");
        assert_eq!(normalize("The-a"), "thea");
        assert_eq!(normalize("a\u{a0}the\tan"), "");
        assert_eq!(normalize("“A” – the end"), "“ ” – end");
    }

    #[test]
    fn word_boundaries_are_pythons() {
        // A combining mark and a circled letter are no word characters in Python's `\w`; a superscript is.
        assert_eq!(normalize("a\u{301}"), "\u{301}");
        assert_eq!(normalize("aⓑ"), "ⓑ");
        assert_eq!(normalize("a²"), "a²");
        assert_eq!(normalize("x\u{1c}y"), "x y");
    }

    proptest! {
        #[test]
        fn normalising_leaves_no_upper_case_ascii_punctuation_or_double_space(text in "\\PC*") {
            let normalized = normalize(&text);
            let bad_letter = |letter: char| letter.is_ascii_uppercase() || letter.is_ascii_punctuation();
            prop_assert!(!normalized.chars().any(bad_letter));
            prop_assert!(!normalized.contains("  "));
            prop_assert_eq!(trim(&normalized), normalized.as_str());
        }
    }
}
