//! Responses that end in a loop.

/// So many whole copies of a piece and the beginning of another are a loop, if they have so many characters together.
const COPIES: usize = 3;
const CHARACTERS: usize = 60;

/// Whether a text ends in one piece said over and over; the last copy may be cut off.
pub fn ends_in_a_loop(text: &str) -> bool {
    let characters: Vec<char> = text.trim_end().chars().collect();
    let count = characters.len();
    (1..=count / COPIES).any(|period| {
        let repeated = (period..count).rev().take_while(|&at| characters[at] == characters[at - period]).count();
        period + repeated >= CHARACTERS && period + repeated > COPIES * period
    })
}

#[cfg(test)]
mod tests {
    use super::ends_in_a_loop;

    #[test]
    fn loops_are_told_from_texts_that_repeat_a_little() {
        let line = "The answer is that the key is under the mat.\n";
        assert!(ends_in_a_loop(&format!("Well. {}", line.repeat(4))));
        assert!(ends_in_a_loop(&format!("{}The answer is", line.repeat(4))), "the last copy is cut off");
        assert!(!ends_in_a_loop(&format!("{}So it is done, and nobody asks again.", line.repeat(4))), "it found out");
        assert!(!ends_in_a_loop(&line.repeat(3)));
        assert!(ends_in_a_loop(&"ha ".repeat(30)));
        assert!(!ends_in_a_loop("Ha ha ha ha ha!"));
        assert!(!ends_in_a_loop(""));
        let poem = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen";
        assert!(!ends_in_a_loop(poem));
    }
}
