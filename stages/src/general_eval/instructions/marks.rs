//! Marks in texts: lists, highlights, sections, titles, and what stands between separators.

use regex::Regex;
use serde::de::IgnoredAny;

use crate::metrics::trim;

/// Matches of one of this module's own patterns, which do not overlap.
fn matches<'a>(pattern: &str, text: &'a str) -> Vec<&'a str> {
    // A pattern of this file; texts of others in it are escaped.
    Regex::new(pattern).map(|pattern| pattern.find_iter(text).map(|found| found.as_str()).collect()).unwrap_or_default()
}

/// Whether a word stands in a text, in any case, with no letter or digit at its side.
pub fn has_word(text: &str, word: &str) -> bool {
    !matches(&format!(r"(?i)\b{}\b", regex::escape(word)), text).is_empty()
}

/// Paragraphs between `***`; the first and the last may be empty and do not count then, others may not.
pub fn starred_paragraphs(text: &str) -> Option<usize> {
    let separators = Regex::new(r"\s?\*\*\*\s?").ok()?;
    let parts: Vec<&str> = separators.split(text).collect();
    let mut count = parts.len();
    for (place, part) in parts.iter().enumerate() {
        if trim(part).is_empty() {
            if place != 0 && place != parts.len() - 1 {
                return None;
            }
            count -= 1;
        }
    }
    Some(count)
}

/// How many paragraphs there are between empty lines, and the first word of the one with this number, counted from 1 with
/// empty ones; lower-case, without quotation marks in front and up to a punctuation mark.
pub fn first_word_of(text: &str, nth: usize) -> Option<(usize, String)> {
    let paragraphs: Vec<&str> = text.split("\n\n").collect();
    let count = paragraphs.iter().filter(|paragraph| !trim(paragraph).is_empty()).count();
    if nth > count {
        return None;
    }
    let word = paragraphs.get(nth - 1)?.split_whitespace().next()?;
    let word = word.trim_start_matches('\'').trim_start_matches('"');
    let end = word.find(['.', ',', '?', '!', '\'', '"']).unwrap_or(word.len());
    Some((count, word[..end].to_lowercase()))
}

/// Texts in square brackets, each on one line.
pub fn placeholders(text: &str) -> usize {
    matches(r"\[.*?\]", text).len()
}

/// Whether a line of a lower-case text has the marker of a postscript.
pub fn has_postscript(lower: &str, marker: &str) -> bool {
    let pattern = match marker {
        "P.P.S" => r"p\.\s?p\.\s?s".to_owned(),
        "P.S." => r"p\.\s?s\.".to_owned(),
        other => regex::escape(&other.to_lowercase()),
    };
    !matches(&pattern, lower).is_empty()
}

/// Lines that begin with a hyphen, or with one asterisk.
pub fn bullets(text: &str) -> usize {
    matches(r"(?m)^\s*\*[^*].*$", text).len() + matches(r"(?m)^\s*-.*$", text).len()
}

/// Parts between asterisks on one line, those between double ones counted on their own.
pub fn highlights(text: &str) -> usize {
    let filled = |marked: &&str| !trim(marked.trim_matches('*')).is_empty();
    let single = matches(r"\*[^\n*]*\*", text).iter().filter(|marked| filled(marked)).count();
    single + matches(r"\*\*[^\n*]*\*\*", text).iter().filter(|marked| filled(marked)).count()
}

/// Headings of a word and a number.
pub fn sections(text: &str, word: &str) -> usize {
    matches(&format!(r"\s?{}\s?\d+\s?", regex::escape(word)), text).len()
}

/// Whether a text is JSON, in a block of code or not.
pub fn is_json(text: &str) -> bool {
    let mut text = trim(text);
    for fence in ["```json", "```Json", "```JSON", "```"] {
        text = text.strip_prefix(fence).unwrap_or(text);
    }
    let text = trim(text.strip_suffix("```").unwrap_or(text));
    serde_json::from_str::<IgnoredAny>(text).is_ok()
}

/// Whether a line holds a title in double angular brackets.
pub fn has_title(text: &str) -> bool {
    let filled = |title: &&str| !trim(title.trim_start_matches('<').trim_end_matches('>')).is_empty();
    matches(r"<<[^\n]+>>", text).iter().any(filled)
}

/// Whether six asterisks stand between two texts that differ.
pub fn two_answers(text: &str) -> bool {
    let parts: Vec<&str> = text.split("******").map(trim).collect();
    let inner_empty =
        parts.iter().enumerate().any(|(place, part)| part.is_empty() && place != 0 && place != parts.len() - 1);
    let filled: Vec<&&str> = parts.iter().filter(|part| !part.is_empty()).collect();
    !inner_empty && filled.len() == 2 && filled[0] != filled[1]
}
