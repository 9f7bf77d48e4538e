//! Word problems whose answers end in a number (GSM8K; Cobbe et al. 2021, arXiv 2110.14168).

use super::records::Record;
use crate::contract::StageResult;

/// What stands before the number in the set's own answers.
const MARK: &str = "####";

/// A problem, its worked-out answer and the number at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub question: String,
    pub answer: String,
    pub number: String,
}

impl Problem {
    /// Reads a record: `question`, and `answer` with `#### NUMBER` at its end.
    ///
    /// # Errors
    /// `Input` with the field that is missing, or an answer without its number.
    pub fn read(record: &Record) -> StageResult<Self> {
        let answer = record.text("answer")?;
        let number = marked(answer).ok_or_else(|| record.wrong("answer", "has no number behind `####`"))?;
        Ok(Self { question: record.text("question")?.to_owned(), answer: answer.to_owned(), number })
    }
}

/// The number that an answer ends in, and that behind its mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Behind the mark, else the last one in the text.
    pub last: Option<String>,
    /// Behind the mark.
    pub marked: Option<String>,
}

/// The numbers of an answer.
pub fn found(answer: &str) -> Found {
    let marked = marked(answer);
    Found { last: marked.clone().or_else(|| numbers(answer).pop()), marked }
}

/// The number behind the first mark.
fn marked(text: &str) -> Option<String> {
    let (_, behind) = text.split_once(MARK)?;
    let line = behind.trim_start().lines().next()?;
    numbers(line).into_iter().next()
}

/// All numbers of a text in one spelling: no sign of currency, no commas, no zeros that say nothing.
fn numbers(text: &str) -> Vec<String> {
    let letters: Vec<char> = text.chars().collect();
    let digit = |place: usize| letters.get(place).is_some_and(char::is_ascii_digit);
    let mut found = Vec::new();
    let mut place = 0;
    while place < letters.len() {
        if !digit(place) {
            place += 1;
            continue;
        }
        // A minus sign belongs to it, unless it stands between two numbers or words: 5-3.
        let mut before = place;
        if before > 0 && letters[before - 1] == '$' {
            before -= 1;
        }
        let minus = before > 0
            && matches!(letters[before - 1], '-' | '\u{2212}')
            && !(before > 1 && (letters[before - 2].is_alphanumeric() || matches!(letters[before - 2], ')' | '%')));
        let (mut whole, mut part) = (String::new(), String::new());
        while digit(place) || (letters.get(place) == Some(&',') && (1..=3).all(|next| digit(place + next))) {
            if letters[place] != ',' {
                whole.push(letters[place]);
            }
            place += 1;
        }
        if letters.get(place) == Some(&'.') && digit(place + 1) {
            place += 1;
            while digit(place) {
                part.push(letters[place]);
                place += 1;
            }
        }
        let (whole, part) = (whole.trim_start_matches('0'), part.trim_end_matches('0'));
        let zero = whole.is_empty() && part.is_empty();
        let mut number = String::from(if minus && !zero { "-" } else { "" });
        number.push_str(if whole.is_empty() { "0" } else { whole });
        if !part.is_empty() {
            number.push('.');
            number.push_str(part);
        }
        found.push(number);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_one_spelling() {
        assert_eq!(
            numbers("$1,234.50, -3 and 5-3 or 007.0; 1,2 and -$4. x-1"),
            ["1234.5", "-3", "5", "3", "7", "1", "2", "-4", "1"]
        );
        assert_eq!(numbers("-0 0.50"), ["0", "0.5"]);
        assert!(numbers("none").is_empty());
    }

    #[test]
    fn the_mark_goes_before_the_last_number() {
        let of = |answer| {
            let found = found(answer);
            (found.last, found.marked)
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(of("2 + 2 = 4\n#### 4\n\nThat took 3 steps."), (some("4"), some("4")));
        assert_eq!(of("So there are 18.00 eggs."), (some("18"), None));
        assert_eq!(of("#### \nnothing 5"), (some("5"), some("5")));
        assert_eq!(of("many"), (None, None));
    }
}
