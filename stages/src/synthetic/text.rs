//! Generated text: sentences without meaning, needles to find among them, and questions about needles.

use retmask_model::random::Stream;

use super::language::{self, Split};

/// Words of English that fillers are mixed with, so that they are no sign of a needle.
const FUNCTION_WORDS: [&str; 8] = ["the", "of", "is", "and", "in", "on", "was", "for"];

/// A sentence of four to nine words, one in eight a function word, the others drawn from `lexicon` or, where
/// there is none, from the whole language.
pub fn filler_sentence(stream: &mut Stream, split: Split, lexicon: Option<&[String]>) -> String {
    let count = 4 + stream.below(6);
    let mut words = Vec::with_capacity(count);
    for _ in 0..count {
        words.push(if stream.below(8) == 0 {
            FUNCTION_WORDS[stream.below(FUNCTION_WORDS.len())].to_string()
        } else {
            match lexicon {
                Some(lexicon) if !lexicon.is_empty() => lexicon[stream.below(lexicon.len())].clone(),
                _ => language::word(stream, split),
            }
        });
    }
    format!("{}.", words.join(" "))
}

/// A fact that stands in one sentence: an attribute of an owner, and its value of several words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needle {
    pub attribute: String,
    pub owner: String,
    /// Words joined by spaces.
    pub value: String,
}

impl Needle {
    /// A needle whose value has `words` words.
    pub fn draw(stream: &mut Stream, split: Split, words: usize) -> Self {
        Self {
            attribute: language::word(stream, split),
            owner: language::word(stream, split),
            value: language::phrase(stream, split, words),
        }
    }

    /// The sentence put into a text, and the answer to [`Self::question`].
    pub fn sentence(&self) -> String {
        format!("The {} of {} is {}.", self.attribute, self.owner, self.value)
    }

    /// The question whose answer is the sentence.
    pub fn question(&self) -> String {
        format!("What is the {} of {}?", self.attribute, self.owner)
    }

    /// What must be found: the value and its full stop.
    pub fn real_needle(&self) -> String {
        format!("{}.", self.value)
    }
}

/// A text of filler sentences of about `tokens` tokens, with other sentences at random places.
pub fn passage(stream: &mut Stream, split: Split, tokens: usize, inserted: &[String]) -> String {
    let lexicon: Option<Vec<String>> =
        (stream.below(3) == 0).then(|| (0..30).map(|_| language::word(stream, split)).collect());
    let mut sentences = Vec::new();
    let mut filled = 0;
    while filled < tokens {
        let sentence = filler_sentence(stream, split, lexicon.as_deref());
        filled += token_estimate(&sentence);
        sentences.push(sentence);
    }
    for sentence in inserted {
        sentences.insert(stream.below(sentences.len() + 1), sentence.clone());
    }
    sentences.join(" ")
}

/// Tokens a text of the language takes: a token per syllable, per other word and per full stop. Exact for
/// generated sentences (the embedded model's tokenizer is tested to agree), an estimate for anything else.
pub fn token_estimate(text: &str) -> usize {
    text.split_whitespace()
        .map(|word| {
            let bare = word.trim_end_matches(['.', '?', ',', ':']);
            let marks = word.len() - bare.len();
            marks + if language::is_word(bare) { bare.len() / 2 } else { 1 }
        })
        .sum()
}
