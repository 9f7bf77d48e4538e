//! Rankings as models write them, and NDCG as trec_eval computes it.

use std::collections::{BTreeMap, BTreeSet};

use super::normalize::{is_digit, is_space};
use super::trim;

/// The ids of a ranking in their order, each once: the items of the longest chain of numbers between `>` (by
/// characters, the first of equals). Without any number the whole text is one id that nothing has.
pub fn parse_ranking(output: &str) -> Vec<String> {
    let bare: String = output.chars().filter(|letter| !matches!(letter, '[' | ']' | ':')).collect();
    let text: Vec<char> = bare.to_lowercase().replace("id", "").chars().collect();
    let mut longest = 0..0;
    let mut place = 0;
    while place < text.len() {
        let end = chain(&text, place);
        if end - place > longest.len() {
            longest = place..end;
        }
        place = end.max(place + 1);
    }
    let chosen: String = if longest.is_empty() { text.iter().collect() } else { text[longest].iter().collect() };
    let mut known = BTreeSet::new();
    chosen.split('>').map(trim).filter(|id| known.insert(*id)).map(str::to_owned).collect()
}

/// Where the chain `digits (> digits)*` that begins at `start` ends; `start` when none does.
fn chain(text: &[char], start: usize) -> usize {
    let run = |from: usize, belongs: fn(char) -> bool| {
        from + text[from..].iter().take_while(|&&letter| belongs(letter)).count()
    };
    let mut end = run(start, is_digit);
    while end > start {
        let arrow = run(end, is_space);
        if text.get(arrow) != Some(&'>') {
            break;
        }
        let digits = run(arrow + 1, is_space);
        let next = run(digits, is_digit);
        if next == digits {
            break;
        }
        end = next;
    }
    end
}

/// NDCG of the first `depth` ids: gains are the judged relevance, discounts log2(rank + 1), the ideal order is that
/// of all judged candidates. Ids that are no candidate take a rank and gain nothing. Rounded to five decimals, as
/// trec_eval's callers round it; 0 when nothing is relevant.
pub fn ndcg(ranking: &[String], judged: &[(String, u32)], depth: usize) -> f64 {
    let discounted = |gains: &mut dyn Iterator<Item = u32>| -> f64 {
        gains.take(depth).enumerate().map(|(rank, gain)| f64::from(gain) / libm::log2(rank as f64 + 2.0)).sum()
    };
    // The first judgment of a passage counts.
    let labels: BTreeMap<&str, u32> = judged.iter().rev().map(|(id, label)| (id.as_str(), *label)).collect();
    let gain = |id: &String| labels.get(id.as_str()).copied().unwrap_or(0);
    let mut ideal: Vec<u32> = judged.iter().map(|&(_, label)| label).collect();
    ideal.sort_unstable_by(|left, right| right.cmp(left));
    let best = discounted(&mut ideal.into_iter());
    if best == 0.0 {
        return 0.0;
    }
    rounded(discounted(&mut ranking.iter().map(gain)) / best)
}

/// Five decimals, as Python's `round` gives them: through the decimal digits, exact ties to even.
fn rounded(value: f64) -> f64 {
    format!("{value:.5}").parse().unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_chain_of_numbers_is_the_ranking() {
        assert_eq!(parse_ranking("Ranking: ID12 > [ID: 7]>12 >\n3, 1 > 2"), ["12", "7", "3"]);
        assert_eq!(parse_ranking("1 > 2\n99999999999"), ["99999999999"]);
        assert_eq!(parse_ranking("1 > x 22 > 3"), ["22", "3"]);
        assert_eq!(parse_ranking("None of them"), ["none of them"]);
        assert_eq!(parse_ranking(""), [""]);
    }

    #[test]
    fn unknown_ids_take_ranks_and_nothing_relevant_gives_nothing() {
        let judged = [("1".to_owned(), 3), ("2".to_owned(), 0), ("3".to_owned(), 1)];
        let ids = |ids: &[&str]| ids.iter().map(|&id| id.to_owned()).collect::<Vec<_>>();
        assert_eq!(ndcg(&ids(&["1", "3", "2"]), &judged, 10), 1.0);
        // Gains 0, 3, 1 at ranks 1 to 3 against 3, 1, 0.
        let expected = (3.0 / 3f64.log2() + 1.0 / 2.0) / (3.0 + 1.0 / 3f64.log2());
        assert!((ndcg(&ids(&["9", "1", "3"]), &judged, 10) - expected).abs() < 1e-5);
        assert_eq!(ndcg(&ids(&["9", "1"]), &judged, 1), 0.0);
        assert_eq!(ndcg(&ids(&["2"]), &[("2".to_owned(), 0)], 10), 0.0);
    }
}
