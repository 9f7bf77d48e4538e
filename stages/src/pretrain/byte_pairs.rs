//! The byte-pair vocabulary of the embedded model, built from rules instead of counted: every byte, every
//! syllable with and without a space before it, every pair of digits, and the words of the prompts.
//!
//! Any text encodes, since the alphabet is all 256 bytes. Text is first cut by the rule of GPT-2's
//! byte-level tokenizer, then merges apply in the order of their rank (Sennrich et al. 2016).

use std::collections::BTreeMap;

use crate::synthetic::language;

/// Spellings that never come out of text: end of sequence, turn start, turn end.
pub const SPECIAL_TOKENS: [&str; 3] = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];

/// Vocabulary in id order and merges in rank order, both in the printable spelling of bytes.
#[derive(Debug, Clone)]
pub struct BytePairs {
    tokens: Vec<String>,
    ids: BTreeMap<String, u32>,
    merges: Vec<(String, String)>,
    ranks: BTreeMap<(String, String), usize>,
}

impl BytePairs {
    /// Builds the vocabulary; `words` are kept whole (with their leading space where they have one), except
    /// those made of syllables only, which would shadow words of the language.
    pub fn build(words: &[&str]) -> Self {
        let mut pairs = Self { tokens: Vec::new(), ids: BTreeMap::new(), merges: Vec::new(), ranks: BTreeMap::new() };
        for special in SPECIAL_TOKENS {
            pairs.token(special.to_string());
        }
        for byte in 0..=u8::MAX {
            pairs.token(printable(byte).to_string());
        }
        for consonant in language::CONSONANTS {
            for vowel in language::VOWELS {
                pairs.merge(&consonant.to_string(), &vowel.to_string());
            }
        }
        for syllable in language::syllables() {
            pairs.merge(&space(), &syllable);
        }
        for first in '0'..='9' {
            for second in '0'..='9' {
                pairs.merge(&first.to_string(), &second.to_string());
            }
        }
        for word in words {
            pairs.keep_whole(word);
        }
        pairs
    }

    /// Tokens in the order of their ids, the special ones first.
    pub fn tokens(&self) -> &[String] {
        &self.tokens
    }

    /// Merges in the order they apply.
    pub fn merges(&self) -> &[(String, String)] {
        &self.merges
    }

    fn token(&mut self, spelling: String) {
        if !self.ids.contains_key(&spelling) {
            self.ids.insert(spelling.clone(), self.tokens.len() as u32);
            self.tokens.push(spelling);
        }
    }

    fn merge(&mut self, left: &str, right: &str) {
        let pair = (left.to_string(), right.to_string());
        if !self.ranks.contains_key(&pair) {
            self.ranks.insert(pair.clone(), self.merges.len());
            self.merges.push(pair);
            self.token(format!("{left}{right}"));
        }
    }

    /// Splits a spelling as the tokenizer will with the merges so far.
    fn pieces(&self, word: &str) -> Vec<String> {
        let mut pieces: Vec<String> = word.bytes().map(|byte| printable(byte).to_string()).collect();
        loop {
            let best = pieces
                .windows(2)
                .enumerate()
                .filter_map(|(at, pair)| self.ranks.get(&(pair[0].clone(), pair[1].clone())).map(|rank| (*rank, at)))
                .min();
            let Some((_, at)) = best else { return pieces };
            let right = pieces.remove(at + 1);
            pieces[at].push_str(&right);
        }
    }

    /// Adds the merges that make `word` one token. They grow from its last piece that is no syllable, so that
    /// none of them applies inside a word of the language, which is syllables throughout.
    fn keep_whole(&mut self, word: &str) {
        let mut pieces = self.pieces(word);
        let is_syllable = |piece: &String| {
            let bare = piece.strip_prefix(&space()).unwrap_or(piece);
            bare.is_empty() || language::syllables().any(|syllable| syllable == bare)
        };
        let Some(mut core) = pieces.iter().rposition(|piece| !is_syllable(piece)) else { return };
        while pieces.len() > 1 {
            let left = if core > 0 { core - 1 } else { core };
            self.merge(&pieces[left].clone(), &pieces[left + 1].clone());
            let right = pieces.remove(left + 1);
            pieces[left].push_str(&right);
            core = left;
        }
    }
}

/// The printable spelling of a space.
fn space() -> String {
    printable(b' ').to_string()
}

/// GPT-2's printable spelling of a byte: printable Latin-1 stands for itself, the others for the code points
/// from 256 on, in byte order.
fn printable(byte: u8) -> char {
    let stands_for_itself = |byte: u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    if stands_for_itself(byte) {
        return char::from(byte);
    }
    let index = (0..byte).filter(|&earlier| !stands_for_itself(earlier)).count() as u32;
    char::from_u32(256 + index).unwrap_or(char::REPLACEMENT_CHARACTER)
}

#[cfg(test)]
mod tests {
    use super::*;
    use retmask_model::random::Stream;

    #[test]
    fn bytes_have_the_spellings_of_gpt2() {
        assert_eq!(printable(b'A'), 'A');
        assert_eq!(printable(b' '), 'Ġ');
        assert_eq!(printable(b'\n'), 'Ċ');
        let distinct: std::collections::BTreeSet<char> = (0..=u8::MAX).map(printable).collect();
        assert_eq!(distinct.len(), 256);
    }

    #[test]
    fn kept_words_are_one_token_and_words_of_the_language_are_their_syllables() {
        let words = [" content", "Question", " of", " the", "book", " these", "Answer", " value", "assistant"];
        let pairs = BytePairs::build(&words);
        for word in words {
            assert_eq!(pairs.pieces(word).len(), 1, "{word}: {:?}", pairs.pieces(word));
        }
        let mut stream = Stream::derive(3, &[b"byte pairs"]);
        for _ in 0..2_000 {
            for split in [language::Split::Training, language::Split::HeldOut] {
                let word = language::word(&mut stream, split);
                assert_eq!(pairs.pieces(&word).len(), word.len() / 2, "{word}");
                assert_eq!(pairs.pieces(&format!(" {word}")).len(), word.len() / 2, "{word}");
            }
        }
    }
}
