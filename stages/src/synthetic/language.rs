//! The generated language: words of two or three syllables, told apart into training and held-out words
//! by a hash of the word, so that no list has to be kept and no word can be on both sides.

use retmask_model::random::Stream;

/// A syllable is a consonant and a vowel.
pub const CONSONANTS: [char; 20] =
    ['b', 'c', 'd', 'f', 'g', 'h', 'j', 'k', 'l', 'm', 'n', 'p', 'r', 's', 't', 'v', 'w', 'x', 'y', 'z'];
pub const VOWELS: [char; 5] = ['a', 'e', 'i', 'o', 'u'];

/// Domain of the hash that holds words out.
const SPLIT_CONTEXT: &str = "retmask 2026-11 held-out words of the generated language v1";

/// Which words a text is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Split {
    /// Three words in four: pre-training sees these only.
    Training,
    /// One word in four: everything measured or trained on after pre-training is made of these.
    HeldOut,
}

/// The side a word is on.
pub fn split_of(word: &str) -> Split {
    let mut hasher = blake3::Hasher::new_derive_key(SPLIT_CONTEXT);
    hasher.update(word.as_bytes());
    if hasher.finalize().as_bytes()[0] < 64 { Split::HeldOut } else { Split::Training }
}

/// All syllables in a fixed order.
pub fn syllables() -> impl Iterator<Item = String> {
    CONSONANTS.iter().flat_map(|consonant| VOWELS.iter().map(move |vowel| format!("{consonant}{vowel}")))
}

/// A random word of this side: two syllables in three cases of five, else three.
pub fn word(stream: &mut Stream, split: Split) -> String {
    loop {
        let count = if stream.below(5) < 3 { 2 } else { 3 };
        let mut word = String::with_capacity(2 * count);
        for _ in 0..count {
            word.push(CONSONANTS[stream.below(CONSONANTS.len())]);
            word.push(VOWELS[stream.below(VOWELS.len())]);
        }
        if split_of(&word) == split {
            return word;
        }
    }
}

/// `count` random words of this side, joined by spaces.
pub fn phrase(stream: &mut Stream, split: Split, count: usize) -> String {
    let words: Vec<String> = (0..count).map(|_| word(stream, split)).collect();
    words.join(" ")
}

/// Whether `text` is a word of the language, of either side.
pub fn is_word(text: &str) -> bool {
    let letters: Vec<char> = text.chars().collect();
    matches!(letters.len(), 4 | 6)
        && letters.chunks_exact(2).all(|pair| CONSONANTS.contains(&pair[0]) && VOWELS.contains(&pair[1]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_on_the_side_it_was_drawn_for() {
        let mut stream = Stream::derive(1, &[b"language"]);
        for split in [Split::Training, Split::HeldOut] {
            for _ in 0..500 {
                let word = word(&mut stream, split);
                assert!(is_word(&word), "{word}");
                assert_eq!(split_of(&word), split, "{word}");
            }
        }
    }

    #[test]
    fn a_quarter_of_the_words_is_held_out() {
        let two: Vec<String> =
            syllables().flat_map(|first| syllables().map(move |second| format!("{first}{second}"))).collect();
        assert_eq!(two.len(), 10_000);
        let held_out = two.iter().filter(|word| split_of(word) == Split::HeldOut).count();
        // Binomial(10000, 1/4): standard deviation 43; five of them.
        assert!((2285..=2715).contains(&held_out), "{held_out}");
    }

    #[test]
    fn text_of_other_kinds_is_no_word() {
        for text in ["", "ba", "bako1", "Bako", "book", "bakobako", "is"] {
            assert!(!is_word(text), "{text}");
        }
    }
}
