//! The answer in a response, apart from the thoughts of models that think aloud.

use retmask_model::text::RenderedChat;

/// What opens and closes the thoughts of Qwen3 and Olmo-3.
const OPENING: &str = "<think>";
const CLOSING: &str = "</think>";

/// Whether the template itself opens the thoughts of the response to come.
pub fn opens_thoughts(chat: &RenderedChat) -> bool {
    chat.text().trim_end().ends_with(OPENING)
}

/// The thoughts of a response, where there are any, and the rest, without white space around either. The rest is empty
/// when the thoughts did not end. `opened` says that the prompt itself opened them.
pub fn split(response: &str, opened: bool) -> (Option<&str>, &str) {
    let response = response.trim();
    let (begun, rest) = match response.strip_prefix(OPENING) {
        Some(rest) => (true, rest),
        None => (opened, response),
    };
    match rest.split_once(CLOSING) {
        Some((thoughts, answer)) if begun => (Some(thoughts.trim()), answer.trim()),
        None if begun => (Some(rest.trim()), ""),
        _ => (None, response),
    }
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn thoughts_are_kept_apart() {
        assert_eq!(split(" Four.\n", false), (None, "Four."));
        assert_eq!(split("<think>\nTwo and two\n</think>\n\nFour.", false), (Some("Two and two"), "Four."));
        assert_eq!(split("Two and two\n</think>\n\nFour.", true), (Some("Two and two"), "Four."));
        assert_eq!(split("<think>\nTwo and", false), (Some("Two and"), ""));
        assert_eq!(split("Two and", true), (Some("Two and"), ""));
        // Told not to think, templates open and close the thoughts in the prompt, or models in the response.
        assert_eq!(split("<think>\n\n</think>\n\nFour.", false), (Some(""), "Four."));
        // A response about the tags is not a thought.
        assert_eq!(split("The tag </think> ends it.", false), (None, "The tag </think> ends it."));
    }
}
