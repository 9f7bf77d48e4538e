//! A few preference pairs to read, cut to a readable size, with the place where they part.

use super::columns::Columns;
use crate::contract::StageResult;

/// How many words are emphasised from the first difference on.
const EMPHASISED_WORDS: usize = 8;

/// A response in three parts: the beginning both share, the first differing words, the rest.
pub(super) struct Response {
    pub shared: String,
    pub differing: String,
    pub rest: String,
    /// Characters left out at the end.
    pub left_out: usize,
    pub tokens: u32,
    pub stop: String,
}

/// One pair to read.
pub(super) struct Pair {
    /// The turns before the response: (role, content).
    pub prompt: Vec<(String, Excerpt)>,
    pub chosen: Response,
    pub rejected: Response,
}

/// The beginning of a text.
pub(super) struct Excerpt {
    pub text: String,
    /// Characters left out at the end.
    pub left_out: usize,
}

/// The pairs as a whole and some of them in full.
pub(super) struct Pairs {
    pub count: usize,
    pub mean_chosen_tokens: f64,
    pub mean_rejected_tokens: f64,
    pub read: Vec<Pair>,
}

impl Pairs {
    /// Reads the table and picks `wanted` pairs, evenly spread over its rows; texts are cut at `characters`.
    ///
    /// # Errors
    /// `Input` when there are no pairs.
    pub fn read(table: &Columns, wanted: usize, characters: usize) -> StageResult<Self> {
        let count = table.rows();
        if count == 0 {
            return Err(table.refuse("the table has no pairs"));
        }
        let (chosen_tokens, rejected_tokens) = (table.counts("chosen_tokens")?, table.counts("rejected_tokens")?);
        let (chosen_stop, rejected_stop) = (table.texts("chosen_stop")?, table.texts("rejected_stop")?);
        let wanted = wanted.min(count);
        let mut read = Vec::with_capacity(wanted);
        for row in (0..wanted).map(|index| index * count / wanted) {
            let prompt = table.conversation("prompt", row)?;
            let response = |column: &str| -> StageResult<String> {
                let turns = table.conversation(column, row)?;
                // The prompt may stand before the response, as in the authors' own files.
                turns
                    .into_iter()
                    .next_back()
                    .map(|(_, content)| content)
                    .ok_or_else(|| table.wrong(row, column, "the conversation has no turn"))
            };
            let (chosen, rejected) = (response("chosen")?, response("rejected")?);
            let parting = first_difference(&chosen, &rejected);
            read.push(Pair {
                prompt: prompt.into_iter().map(|(role, content)| (role, excerpt(&content, characters))).collect(),
                chosen: split(&chosen, parting, characters, chosen_tokens[row], &chosen_stop[row]),
                rejected: split(&rejected, parting, characters, rejected_tokens[row], &rejected_stop[row]),
            });
        }
        let mean = |tokens: &[u32]| tokens.iter().map(|&tokens| f64::from(tokens)).sum::<f64>() / count as f64;
        Ok(Self { count, mean_chosen_tokens: mean(&chosen_tokens), mean_rejected_tokens: mean(&rejected_tokens), read })
    }
}

/// The byte offset, equal in both texts, at the start of the first word that differs.
fn first_difference(left: &str, right: &str) -> usize {
    let common = left
        .char_indices()
        .zip(right.chars())
        .find(|((_, left), right)| left != right)
        .map_or(left.len().min(right.len()), |((index, _), _)| index);
    // Back to the start of the word that holds the difference, so that whole words are emphasised.
    left[..common]
        .char_indices()
        .rev()
        .find(|(_, character)| character.is_whitespace())
        .map_or(0, |(index, space)| index + space.len_utf8())
}

/// Cuts a text after `characters` characters.
fn excerpt(text: &str, characters: usize) -> Excerpt {
    match text.char_indices().nth(characters) {
        None => Excerpt { text: visible(text), left_out: 0 },
        Some((end, _)) => Excerpt { text: visible(&text[..end]), left_out: text[end..].chars().count() },
    }
}

fn split(text: &str, parting: usize, characters: usize, tokens: u32, stop: &str) -> Response {
    let end = text.char_indices().nth(characters).map_or(text.len(), |(end, _)| end);
    let parting = parting.min(end);
    let shown = &text[parting..end];
    let mut words = 0;
    let mut inside = false;
    let length = shown
        .char_indices()
        .find(|(_, character)| {
            let starts = !character.is_whitespace() && !inside;
            inside = !character.is_whitespace();
            words += usize::from(starts);
            words > EMPHASISED_WORDS
        })
        .map_or(shown.len(), |(index, _)| index);
    let differing = shown[..length].trim_end();
    Response {
        shared: visible(&text[..parting]),
        differing: visible(differing),
        rest: visible(&shown[differing.len()..]),
        left_out: text[end..].chars().count(),
        tokens,
        stop: stop.to_owned(),
    }
}

/// Control characters as their pictures, so that nothing is invisible on the page.
fn visible(text: &str) -> String {
    text.chars()
        .map(|character| match character {
            '\n' | '\t' => character,
            '\u{0}'..='\u{1f}' => char::from_u32(0x2400 + character as u32).unwrap_or(char::REPLACEMENT_CHARACTER),
            '\u{7f}' => '\u{2421}',
            other => other,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_differing_word_starts_at_a_word_boundary() {
        assert_eq!(first_difference("the red fox", "the rad fox"), 4);
        assert_eq!(first_difference("same", "same"), 0);
        assert_eq!(first_difference("one two", "one two three"), 4);
        assert_eq!(first_difference("äö ü", "äö u"), "äö ".len());
        assert_eq!(first_difference("", "x"), 0);
    }

    #[test]
    fn a_response_is_split_without_losing_or_adding_text() {
        let text = "a b c d e f g h i j k l m";
        let response = split(text, 4, 1000, 3, "end");
        assert_eq!(response.shared, "a b ");
        assert_eq!(response.differing, "c d e f g h i j");
        assert_eq!(format!("{}{}{}", response.shared, response.differing, response.rest), text);
        let cut = split(text, 4, 5, 3, "end");
        assert_eq!((cut.differing.as_str(), cut.rest.as_str(), cut.left_out), ("c", "", 20));
        let before = split(text, 10, 5, 3, "end");
        assert_eq!((before.shared.as_str(), before.differing.as_str()), ("a b c", ""));
    }

    #[test]
    fn control_characters_become_visible() {
        assert_eq!(visible("a\u{0}\u{1b}[31m\n"), "a␀␛[31m\n");
    }
}
