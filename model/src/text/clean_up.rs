//! Spaces taken out of decoded text, as transformers 4 did.

/// What becomes of what, in this order (`clean_up_tokenization` of transformers).
const RULES: [(&str, &str); 10] = [
    (" .", "."),
    (" ?", "?"),
    (" !", "!"),
    (" ,", ","),
    (" ' ", "'"),
    (" n't", "n't"),
    (" 'm", "'m"),
    (" 's", "'s"),
    (" 've", "'ve"),
    (" 're", "'re"),
];

/// Decoded text as transformers 4 gave it where `clean_up_tokenization_spaces` was true, its default there: spaces
/// before punctuation and English contractions are gone. Made for tokenizers that lose spaces; on a byte-pair
/// tokenizer, which keeps them, it changes the text.
pub fn clean_up_spaces(text: &str) -> String {
    RULES.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

#[cfg(test)]
mod tests {
    use super::clean_up_spaces;

    #[test]
    fn spaces_before_punctuation_and_contractions_go() {
        assert_eq!(
            clean_up_spaces("Well , it 's n't so ! \u{201c}We 're off . . .\u{201d} he 've ' gone ' ?"),
            "Well, it'sn't so! \u{201c}We're off...\u{201d} he've'gone '?"
        );
        assert_eq!(clean_up_spaces("a.b, c 'd"), "a.b, c 'd");
    }
}
