//! Citations in answers, and answers that are lists, as ALCE scores them (Gao et al. 2023).

use std::collections::BTreeSet;

use super::normalize::{is_digit, is_space};
use super::{normalize, trim};

/// An output as ALCE reads it: runs of newlines are one space, the end mark of chat templates goes.
pub fn normal_output(output: &str) -> String {
    let lines: Vec<&str> = output.split('\n').collect();
    let mut joined = String::with_capacity(output.len());
    for (place, line) in lines.iter().enumerate() {
        // A run of newlines gives one space, wherever it stands.
        if place > 0 && (!line.is_empty() || place + 1 == lines.len()) {
            joined.push(' ');
        }
        joined.push_str(line);
    }
    joined.replace("<|im_end|>", "")
}

/// A text without its citations: `[1`, with a space before it, bars after a space, and every closing bracket go.
pub fn without_citations(text: &str) -> String {
    without_marks(&without_marks(text, true), false).replace(" |", "").replace(']', "")
}

/// Removes every `[digits`, or every ` [digits`.
fn without_marks(text: &str, with_space: bool) -> String {
    let letters: Vec<char> = text.chars().collect();
    let mut kept = String::with_capacity(text.len());
    let mut place = 0;
    while place < letters.len() {
        let bracket = place + usize::from(with_space);
        let opens = (!with_space || letters[place] == ' ') && letters.get(bracket) == Some(&'[');
        let digits = if opens { digits(&letters[bracket + 1..]) } else { 0 };
        if digits > 0 {
            place = bracket + 1 + digits;
        } else {
            kept.push(letters[place]);
            place += 1;
        }
    }
    kept
}

fn digits(letters: &[char]) -> usize {
    letters.iter().take_while(|&&letter| is_digit(letter)).count()
}

/// The numbers behind `[`, as written. Numbers beyond `u64` are all one number that no document has.
pub fn citations(text: &str) -> Vec<u64> {
    let letters: Vec<char> = text.chars().collect();
    let mut found = Vec::new();
    for (place, _) in letters.iter().enumerate().filter(|&(_, &letter)| letter == '[') {
        let count = digits(&letters[place + 1..]);
        if count > 0 {
            let number: String = letters[place + 1..place + 1 + count].iter().collect();
            found.push(number.parse().unwrap_or(u64::MAX));
        }
    }
    found
}

/// The items of an answer that is a list between commas: trailing white space, then full stops, then commas go.
pub fn items(output: &str) -> Vec<&str> {
    let text = output.trim_end_matches(is_space).trim_end_matches('.').trim_end_matches(',');
    text.split(',').map(trim).collect()
}

/// How a list answers a question with several golds, each with its aliases.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ListScores {
    /// Items that are an alias of a gold, of all items.
    pub precision: f64,
    /// Golds that are among the items, of all golds.
    pub recall: f64,
    /// The same where five golds are enough.
    pub recall_of_five: f64,
}

/// Scores of an output without citations; golds are lists of aliases, and at least one.
pub fn list_scores(output: &str, golds: &[Vec<String>]) -> ListScores {
    let predicted: Vec<String> = items(output).into_iter().map(normalize).filter(|item| !item.is_empty()).collect();
    let golds: Vec<Vec<String>> =
        golds.iter().map(|aliases| aliases.iter().map(|alias| normalize(alias)).collect()).collect();
    let aliases: BTreeSet<&String> = golds.iter().flatten().collect();
    let known = predicted.iter().filter(|item| aliases.contains(item)).count();
    let items: BTreeSet<&String> = predicted.iter().collect();
    let hits = golds.iter().filter(|aliases| aliases.iter().any(|alias| items.contains(alias))).count();
    let share = |part: usize, whole: usize| if whole == 0 { 0.0 } else { part as f64 / whole as f64 };
    ListScores {
        precision: share(known, predicted.len()),
        recall: share(hits, golds.len()),
        recall_of_five: share(hits.min(5), golds.len().min(5)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newlines_become_one_space() {
        assert_eq!(normal_output("a\n\n\nb\nc<|im_end|>"), "a b c");
        assert_eq!(normal_output("\n\na\n\n"), " a ");
        assert_eq!(normal_output("a"), "a");
    }

    #[test]
    fn citations_are_numbers_behind_a_bracket() {
        assert_eq!(citations("Owls [2][13, 4] fly [x] [99999999999999999999]"), [2, 13, u64::MAX]);
        assert_eq!(without_citations("Owls [2][13] fly | far [x]."), "Owls fly far [x.");
    }

    #[test]
    fn a_list_counts_golds_up_to_five() {
        let golds: Vec<Vec<String>> = ["a1", "b1", "c1", "d1", "e1", "f1"].map(|gold| vec![gold.to_owned()]).to_vec();
        let scores = list_scores("A1, b1, owl, b1., ", &golds);
        assert_eq!(scores, ListScores { precision: 3.0 / 4.0, recall: 2.0 / 6.0, recall_of_five: 2.0 / 5.0 });
        assert_eq!(list_scores("", &golds).precision, 0.0);
    }
}
