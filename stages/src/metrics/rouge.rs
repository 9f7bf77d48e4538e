//! ROUGE as Google's `rouge_score` computes it, with its Porter stemmer.

use rougers::{RougeScorer, RougeType, Score, Tokenizer};

/// Recall and F-measure of one ROUGE variant, from 0 to 1.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct RougeRecallAndF1 {
    pub recall: f64,
    pub f1: f64,
}

/// ROUGE-1 recall with stemming, from 0 to 1: the share of the reference's words that the response contains,
/// repeated words counted as often as both have them. 0 when the reference has no word.
pub fn rouge1_recall(response: &str, reference: &str) -> f64 {
    score(&[RougeType::N(1)], response, reference, |scores| scores[0].recall)
}

/// ROUGE-L and ROUGE-Lsum (sentences end at newlines) with stemming, in this order.
pub fn rouge_l_and_l_sum(prediction: &str, reference: &str) -> [RougeRecallAndF1; 2] {
    score(&[RougeType::L, RougeType::LSum], prediction, reference, |scores| {
        [scores[0], scores[1]].map(|score| RougeRecallAndF1 { recall: score.recall, f1: score.fmeasure })
    })
}

fn score<T>(types: &[RougeType], prediction: &str, reference: &str, pick: impl Fn(&[Score]) -> T) -> T {
    let scorer = RougeScorer::with_tokenizer(types.to_vec(), Tokenizer::new(true))
        .unwrap_or_else(|error| unreachable!("the ROUGE variants named in this file exist: {error}"));
    let scores: Vec<Score> = scorer.score(reference, prediction).into_iter().map(|(_, score)| score).collect();
    pick(&scores)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recall_is_over_the_reference_and_stems_words() {
        // "walks" and "walked" share the stem "walk"; "owl" is missing.
        assert_eq!(rouge1_recall("He walked home, home!", "walks home owl home"), 0.75);
        assert_eq!(rouge1_recall("anything", ""), 0.0);
        assert_eq!(rouge1_recall("", "anything"), 0.0);
    }

    #[test]
    fn the_summary_level_variant_joins_lines_and_the_other_does_not() {
        let [whole, summary] = rouge_l_and_l_sum("bees hum\nowls sleep", "owls sleep\nbees hum");
        assert_eq!(whole, RougeRecallAndF1 { recall: 0.5, f1: 0.5 });
        assert_eq!(summary, RougeRecallAndF1 { recall: 1.0, f1: 1.0 });
    }
}
