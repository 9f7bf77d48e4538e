//! The answer in a response, apart from the thoughts of models that think aloud.

/// What opens and closes the thoughts of Qwen3 and Olmo-3.
pub const OPENING: &str = "<think>";
const CLOSING: &str = "</think>";

/// The response without its thoughts and without white space around it. Empty when the thoughts did not end.
/// `opened` says that the prompt itself opened them.
pub fn answer(response: &str, opened: bool) -> &str {
    let begun = opened || response.trim_start().starts_with(OPENING);
    match response.split_once(CLOSING) {
        Some((_, answer)) if begun => answer.trim(),
        None if begun => "",
        _ => response.trim(),
    }
}

#[cfg(test)]
mod tests {
    use super::answer;

    #[test]
    fn thoughts_are_kept_apart() {
        assert_eq!(answer(" Four.\n", false), "Four.");
        assert_eq!(answer("<think>\nTwo and two\n</think>\n\nFour.", false), "Four.");
        assert_eq!(answer("Two and two\n</think>\n\nFour.", true), "Four.");
        assert_eq!(answer("<think>\nTwo and", false), "");
        assert_eq!(answer("Two and", true), "");
        // A response about the tags is not a thought.
        assert_eq!(answer("The tag </think> ends it.", false), "The tag </think> ends it.");
    }
}
