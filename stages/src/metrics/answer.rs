//! Metrics of short answers, after normalisation.

use std::collections::BTreeMap;

use super::normalize;

/// Whether prediction and gold are the same after normalisation: 1 or 0.
pub fn exact_match(prediction: &str, gold: &str) -> f64 {
    f64::from(u8::from(normalize(prediction) == normalize(gold)))
}

/// Whether the normalised gold occurs in the normalised prediction, across word boundaries too: 1 or 0.
/// A gold that normalises to nothing always occurs.
pub fn substring_exact_match(prediction: &str, gold: &str) -> f64 {
    f64::from(u8::from(normalize(prediction).contains(&normalize(gold))))
}

/// F1 over the multisets of normalised words, from 0 to 1; 0 if either side is exactly yes, no or noanswer and
/// they differ.
pub fn f1(prediction: &str, gold: &str) -> f64 {
    let (prediction, gold) = (normalize(prediction), normalize(gold));
    let closed = |text: &str| matches!(text, "yes" | "no" | "noanswer");
    if prediction != gold && (closed(&prediction) || closed(&gold)) {
        return 0.0;
    }
    let mut left: BTreeMap<&str, usize> = BTreeMap::new();
    let mut gold_words = 0usize;
    for word in gold.split_whitespace() {
        *left.entry(word).or_default() += 1;
        gold_words += 1;
    }
    let (mut prediction_words, mut common) = (0usize, 0usize);
    for word in prediction.split_whitespace() {
        prediction_words += 1;
        if let Some(count) = left.get_mut(word)
            && *count > 0
        {
            *count -= 1;
            common += 1;
        }
    }
    if common == 0 {
        return 0.0;
    }
    let precision = common as f64 / prediction_words as f64;
    let recall = common as f64 / gold_words as f64;
    2.0 * precision * recall / (precision + recall)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f1_counts_repeated_words_once_each() {
        // Common words: two of four predicted, two of three gold.
        assert_eq!(f1("red red blue sky", "red sky tonight"), 2.0 * 0.5 * (2.0 / 3.0) / (0.5 + 2.0 / 3.0));
        assert_eq!(f1("", "red"), 0.0);
        assert_eq!(f1("", ""), 0.0);
    }

    #[test]
    fn closed_answers_match_whole_or_not_at_all() {
        assert_eq!(f1("yes indeed", "yes"), 0.0);
        assert_eq!(f1("no", "no way"), 0.0);
        assert_eq!(f1("Yes.", "yes"), 1.0);
    }

    #[test]
    fn substring_matches_ignore_word_boundaries_and_empty_golds_always_match() {
        assert_eq!(substring_exact_match("It was 1984 there", "984"), 1.0);
        assert_eq!(substring_exact_match("anything", "The"), 1.0);
        assert_eq!(substring_exact_match("owl", "owls"), 0.0);
        assert_eq!(exact_match("The owl!", "owl"), 1.0);
        assert_eq!(exact_match("owl", "owls"), 0.0);
    }
}
