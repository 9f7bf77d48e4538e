//! Punkt (Kiss and Strunk 2006): sentences of a text, by what a language's parameters know of abbreviations,
//! collocations and words that begin sentences. As NLTK's `sent_tokenize` decides.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::normalize::{is_digit, is_space, is_word};

/// What was learned of a language.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Punkt {
    abbreviations: BTreeSet<String>,
    collocations: BTreeSet<(String, String)>,
    starters: BTreeSet<String>,
    /// In which case and where in a sentence a word was seen.
    contexts: BTreeMap<String, u32>,
}

/// The four files of NLTK's `punkt_tab`, in the order in which [`Punkt::from_texts`] takes them.
pub const FILES: [&str; 4] = ["abbrev_types.txt", "collocations.tab", "sent_starters.txt", "ortho_context.tab"];

/// Seen with a capital: at the start of a sentence, inside, or where is not known.
const UPPER: u32 = 1 << 1 | UPPER_INSIDE | 1 << 3;
const UPPER_INSIDE: u32 = 1 << 2;
/// Seen with a small letter.
const LOWER: u32 = LOWER_AT_START | 1 << 5 | 1 << 6;
const LOWER_AT_START: u32 = 1 << 4;

const ENDS: [char; 3] = ['.', '?', '!'];

/// Whether a word begins a sentence, as far as its case tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Starts {
    Yes,
    No,
    Unknown,
}

/// A word of a text and what is decided about it.
struct Token {
    text: Vec<char>,
    /// Lower case, numbers alike.
    kind: String,
    ends_sentence: bool,
    abbreviation: bool,
    ellipsis: bool,
}

impl Punkt {
    /// Reads the texts of [`FILES`].
    ///
    /// # Errors
    /// The place in `FILES`, the line from 1, and what is wrong there.
    pub fn from_texts(texts: [&str; 4]) -> Result<Self, (usize, usize, String)> {
        let lines = |file: usize| texts[file].lines().enumerate().filter(|(_, line)| !line.is_empty());
        let pair = |file: usize, number: usize, line: &str| {
            let pair = line.split_once('\t').map(|(left, right)| (left.to_owned(), right.to_owned()));
            pair.ok_or_else(|| (file, number + 1, "expected two columns with a tab between them".to_owned()))
        };
        let mut punkt = Self {
            abbreviations: lines(0).map(|(_, line)| line.to_owned()).collect(),
            starters: lines(2).map(|(_, line)| line.to_owned()).collect(),
            ..Self::default()
        };
        for (number, line) in lines(1) {
            punkt.collocations.insert(pair(1, number, line)?);
        }
        for (number, line) in lines(3) {
            let (word, flags) = pair(3, number, line)?;
            let flags = flags.parse().map_err(|_| (3, number + 1, format!("`{flags}` is not a number of flags")))?;
            punkt.contexts.insert(word, flags);
        }
        Ok(punkt)
    }

    /// The sentences of a text in their order, without the white space between them.
    pub fn sentences(&self, text: &str) -> Vec<String> {
        let text: Vec<char> = text.chars().collect();
        let mut sentences = Vec::new();
        let slices = self.slices(&text);
        let mut realigned = 0;
        for (place, slice) in slices.iter().enumerate() {
            let start = slice.start + realigned;
            let closing = slices.get(place + 1).and_then(|next| closing(&text[next.start.min(next.end)..next.end]));
            let end = match (closing, slices.get(place + 1)) {
                (Some((marks, taken)), Some(next)) => {
                    realigned = taken;
                    next.start + marks
                }
                _ => {
                    realigned = 0;
                    slice.end
                }
            };
            if closing.is_some() || start < end {
                sentences.push(text[start.min(end)..end].iter().collect());
            }
        }
        sentences
    }

    /// Where sentences stand, before closing marks are moved to the sentence they close.
    fn slices(&self, text: &[char]) -> Vec<Range<usize>> {
        let mut slices = Vec::new();
        let mut start = 0;
        for candidate in candidates(text) {
            if self.breaks(&text[candidate.context.clone()]) {
                slices.push(start..candidate.end);
                start = candidate.next;
            }
        }
        let end = text.iter().rposition(|&letter| !is_space(letter)).map_or(0, |last| last + 1);
        slices.push(start..end);
        slices
    }

    /// Whether a sentence ends inside a text, before its last word.
    fn breaks(&self, text: &[char]) -> bool {
        let mut tokens: Vec<Token> =
            text.split(|&letter| letter == '\n').flat_map(words).map(|word| self.token(word)).collect();
        for place in 0..tokens.len().saturating_sub(1) {
            let (before, after) = tokens.split_at_mut(place + 1);
            self.decide(&mut before[place], &after[0]);
        }
        tokens.iter().rev().skip(1).any(|token| token.ends_sentence)
    }

    /// A word with what its form alone decides.
    fn token(&self, text: &[char]) -> Token {
        let lower: String = text.iter().collect::<String>().to_lowercase();
        let kind = if is_number(&lower) { "##number##".to_owned() } else { lower.clone() };
        let mut token = Token { text: text.to_vec(), kind, ends_sentence: false, abbreviation: false, ellipsis: false };
        if text.len() == 1 && ENDS.contains(&text[0]) {
            token.ends_sentence = true;
        } else if text.len() > 1 && text.iter().all(|&letter| letter == '.') {
            token.ellipsis = true;
        } else if text.ends_with(&['.']) && !text.ends_with(&['.', '.']) {
            let word = lower.strip_suffix('.').unwrap_or(&lower);
            let last = word.rsplit('-').next().unwrap_or(word);
            token.abbreviation = self.abbreviations.contains(word) || self.abbreviations.contains(last);
            token.ends_sentence = !token.abbreviation;
        }
        token
    }

    /// Decides again about a word that ends in a full stop, by the word after it.
    fn decide(&self, token: &mut Token, next: &Token) {
        if !token.text.ends_with(&['.']) {
            return;
        }
        let kind = without_period(&token.kind).to_owned();
        let next_kind = if next.ends_sentence { without_period(&next.kind) } else { &next.kind };
        let abbreviate = |token: &mut Token| (token.ends_sentence, token.abbreviation) = (false, true);
        if self.collocations.contains(&(kind.clone(), next_kind.to_owned())) {
            return abbreviate(token);
        }
        let initial = token.text.len() == 2 && is_word(token.text[0]) && !is_digit(token.text[0]);
        let next_upper = next.text.first().is_some_and(|letter| letter.is_uppercase());
        let starts = self.starts(next, next_kind);
        if (token.abbreviation || token.ellipsis)
            && !initial
            && (starts == Starts::Yes || (next_upper && self.starters.contains(next_kind)))
        {
            token.ends_sentence = true;
            return;
        }
        let always_upper = self.contexts.get(next_kind).is_none_or(|seen| seen & LOWER == 0);
        if (initial || kind == "##number##")
            && (starts == Starts::No || (starts == Starts::Unknown && initial && next_upper && always_upper))
        {
            abbreviate(token);
        }
    }

    fn starts(&self, token: &Token, kind: &str) -> Starts {
        if token.text.len() == 1 && matches!(token.text[0], ';' | ':' | ',' | '.' | '!' | '?') {
            return Starts::No;
        }
        let seen = self.contexts.get(kind).copied().unwrap_or(0);
        let Some(first) = token.text.first() else { return Starts::Unknown };
        if first.is_uppercase() && seen & LOWER != 0 && seen & UPPER_INSIDE == 0 {
            return Starts::Yes;
        }
        if first.is_lowercase() && (seen & UPPER != 0 || seen & LOWER_AT_START == 0) {
            return Starts::No;
        }
        Starts::Unknown
    }
}

fn without_period(kind: &str) -> &str {
    kind.strip_suffix('.').filter(|rest| !rest.is_empty()).unwrap_or(kind)
}

/// A sign, a point or comma, a digit, then digits, points, commas and hyphens.
fn is_number(text: &str) -> bool {
    let rest = text.strip_prefix('-').unwrap_or(text);
    let rest = rest.strip_prefix(['.', ',']).unwrap_or(rest);
    let mut letters = rest.chars();
    letters.next().is_some_and(is_digit) && letters.all(|letter| is_digit(letter) || matches!(letter, ',' | '.' | '-'))
}

/// Characters that end a word wherever they stand.
fn is_separate(letter: char) -> bool {
    matches!(letter, ')' | '"' | ';' | '}' | ']' | '*' | ':' | '@' | '\'' | '(' | '{' | '[' | '?' | '!')
        || matches!(letter, '\u{2018}' | '\u{2019}' | '\u{201c}' | '\u{201d}' | '\u{ab}' | '\u{bb}')
}

/// A place where a sentence may end.
struct Candidate {
    /// The word before it to the word after it.
    context: Range<usize>,
    /// Behind the mark.
    end: usize,
    /// Where the next sentence would begin.
    next: usize,
}

/// All places where a sentence may end: a mark with a word or a separate character behind it. Of marks in one word
/// the last counts.
fn candidates(text: &[char]) -> Vec<Candidate> {
    let mut found = Vec::new();
    let mut word = 0..0;
    let mut previous: Option<Candidate> = None;
    for mark in (0..text.len()).filter(|&place| ENDS.contains(&text[place])) {
        let end = mark + 1;
        let Some(&after) = text.get(end) else { continue };
        let (next, context_end) = if is_separate(after) {
            (end, end + 1)
        } else if is_space(after) {
            let length = |from: usize, belongs: &dyn Fn(char) -> bool| {
                text[from..].iter().take_while(|&&letter| belongs(letter)).count()
            };
            let next = end + length(end, &is_space);
            let word = length(next, &|letter| !is_space(letter));
            if word == 0 {
                continue;
            }
            (next, next + word)
        } else {
            continue;
        };
        // The white space right behind the previous word does not count, as in NLTK.
        let space = text[word.end..mark].iter().rposition(|letter| " \t\n\r\u{b}\u{c}".contains(*letter));
        let start = space.filter(|&place| place > 0).map_or(word.start, |place| word.end + place + 1);
        if let Some(candidate) = previous.take().filter(|_| word.end <= start) {
            found.push(candidate);
        }
        word = start..mark;
        previous = Some(Candidate { context: start..context_end, end, next });
    }
    found.extend(previous);
    found
}

/// Closing quotes and brackets at the start of a sentence that belong to the one before: how many, and how much is
/// taken with the white space behind them.
fn closing(text: &[char]) -> Option<(usize, usize)> {
    let closes = |letter: char| {
        matches!(letter, '"' | '\'' | ')' | ']' | '}' | '\u{2018}' | '\u{2019}' | '\u{201c}' | '\u{201d}')
            || matches!(letter, '\u{ab}' | '\u{bb}')
    };
    let marks = text.iter().take_while(|&&letter| closes(letter)).count();
    let rest = &text[marks..];
    let spaces = rest.iter().take_while(|&&letter| is_space(letter)).count();
    (marks > 0 && (spaces > 0 || rest.is_empty() || rest.starts_with(&['-', '-']))).then_some((marks, marks + spaces))
}

/// The words of a line: runs of hyphens and full stops, words up to what separates them, and single characters.
fn words(line: &[char]) -> Vec<&[char]> {
    let mut words = Vec::new();
    let mut place = 0;
    while place < line.len() {
        if is_space(line[place]) {
            place += 1;
            continue;
        }
        let rest = &line[place..];
        let length = match run(rest) {
            0 if begins_word(rest[0]) => (1..rest.len()).find(|&end| ends_word(&rest[end..])).unwrap_or(rest.len()),
            0 => 1,
            length => length,
        };
        words.push(&rest[..length]);
        place += length;
    }
    words
}

/// The length of a run of hyphens, of full stops, or of full stops with single spaces between them.
fn run(text: &[char]) -> usize {
    let same = |mark: char| text.iter().take_while(|&&letter| letter == mark).count();
    let (hyphens, stops) = (same('-'), same('.'));
    if hyphens > 1 || stops > 1 {
        return hyphens.max(stops);
    }
    let pairs = text.chunks(2).take_while(|pair| pair.len() == 2 && pair[0] == '.' && is_space(pair[1])).count();
    // The last pair may give its full stop back to end the run.
    match pairs {
        0 | 1 => 0,
        _ if text.get(2 * pairs) == Some(&'.') => 2 * pairs + 1,
        2 => 0,
        _ => 2 * pairs - 1,
    }
}

fn begins_word(letter: char) -> bool {
    !matches!(letter, '(' | '"' | '`' | '{' | '[' | ':' | ';' | '&' | '#' | '*' | '@' | ')' | '}' | ']' | '-' | ',')
}

fn ends_word(rest: &[char]) -> bool {
    let ends =
        |rest: &[char]| rest.first().is_none_or(|&letter| is_space(letter) || is_separate(letter)) || run(rest) > 0;
    ends(rest) || (rest[0] == ',' && ends(&rest[1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn punkt() -> Punkt {
        let contexts = "the\t56\nsmith\t8\nhowever\t18\n";
        Punkt::from_texts(["dr\nu.s\n", "##number##\tpepper\n", "however\n", contexts]).unwrap()
    }

    #[test]
    fn abbreviations_and_initials_do_not_end_sentences() {
        let sentences = |text: &str| punkt().sentences(text);
        assert_eq!(sentences("Dr. Smith came. He left!  Why? "), ["Dr. Smith came.", "He left!", "Why?"]);
        assert_eq!(sentences("It was J. Smith. The end."), ["It was J. Smith.", "The end."]);
        assert_eq!(sentences("In the U.S. However, it rained."), ["In the U.S.", "However, it rained."]);
        assert_eq!(sentences("No. 7. pepper"), ["No.", "7. pepper"]);
        assert_eq!(sentences("no end"), ["no end"]);
        assert_eq!(sentences("  "), Vec::<String>::new());
    }

    #[test]
    fn closing_marks_stay_with_their_sentence() {
        assert_eq!(punkt().sentences("(He came.) She left."), ["(He came.)", "She left."]);
        assert_eq!(punkt().sentences("Wow!!! \"Yes.\" So."), ["Wow!!!", "\"Yes.\"", "So."]);
    }

    #[test]
    fn malformed_parameters_are_named() {
        assert_eq!(Punkt::from_texts(["", "a b\n", "", ""]).unwrap_err().0, 1);
        assert_eq!(Punkt::from_texts(["", "", "", "a\t1\nb\tx\n"]).unwrap_err().1, 2);
    }
}
