//! How likely texts are: their negative log-likelihood, per token and per byte.

use super::records::Record;
use crate::contract::StageResult;

/// A part of a text's tokens that goes through the model at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    pub tokens: Vec<u32>,
    /// Tokens from this place on are scored here; those before it were scored in the window before.
    pub first: usize,
}

/// The text of a record: `text`, or `content`.
///
/// # Errors
/// `Input` when there is none, or it is empty.
pub fn text(record: &Record) -> StageResult<&str> {
    let field =
        if record.fields.contains_key("content") && !record.fields.contains_key("text") { "content" } else { "text" };
    let text = record.text(field)?;
    if text.is_empty() {
        return Err(record.wrong(field, "is empty"));
    }
    Ok(text)
}

/// Windows of `length` tokens whose starts lie `stride` tokens apart, so that every token but the first is scored once:
/// in the first window that has it.
pub fn windows(tokens: &[u32], length: usize, stride: usize) -> Vec<Window> {
    let mut windows = Vec::new();
    let (mut start, mut scored) = (0, 1);
    while scored < tokens.len() {
        let end = tokens.len().min(start + length);
        windows.push(Window { tokens: tokens[start..end].to_vec(), first: scored - start });
        scored = end;
        start += stride;
    }
    windows
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_short_text_is_one_window() {
        assert_eq!(windows(&[7, 8, 9], 4, 2), [Window { tokens: vec![7, 8, 9], first: 1 }]);
        assert!(windows(&[7], 4, 2).is_empty());
    }

    proptest! {
        #[test]
        fn every_token_but_the_first_is_scored_once(count in 2usize..60, length in 2usize..20, cut in 1usize..19) {
            let stride = cut.min(length - 1);
            let tokens: Vec<u32> = (0..count as u32).collect();
            let windows = windows(&tokens, length, stride);
            let scored: Vec<u32> =
                windows.iter().flat_map(|window| window.tokens[window.first..].iter().copied()).collect();
            prop_assert_eq!(&scored, &tokens[1..]);
            prop_assert!(windows.iter().all(|window| window.tokens.len() <= length && window.first >= 1));
            // Behind the first window, a token has at least so many before it.
            prop_assert!(windows[1..].iter().all(|window| window.first >= length - stride));
        }
    }
}
