//! What the embedded model is trained on: generated texts in which something must be copied from further up.
//! The loss counts the copied parts only; what is random cannot be predicted and is not scored.

use std::ops::Range;

use retmask_model::random::Stream;

use super::parameters::Mixture;
use crate::synthetic::instructions;
use crate::synthetic::language::{self, Split};
use crate::synthetic::text::{self, Needle};

/// A text and the byte ranges of it that are learned.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Example {
    pub text: String,
    pub scored: Vec<Range<usize>>,
}

impl Example {
    fn given(&mut self, text: &str) {
        self.text.push_str(text);
    }

    fn learned(&mut self, text: &str) {
        let start = self.text.len();
        self.text.push_str(text);
        self.scored.push(start..self.text.len());
    }

    /// A user turn and the learned reply, in the model's chat template.
    fn chat(prompt: &str, reply: &str) -> Self {
        let mut example = Self::default();
        example.given(&format!("<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n"));
        example.learned(&format!("{reply}<|im_end|>"));
        example
    }
}

/// An example of about `tokens` tokens, of words that are not held out.
pub fn draw(stream: &mut Stream, mixture: Mixture, tokens: usize) -> Example {
    if mixture == Mixture::Repeats {
        return repeats(stream, tokens);
    }
    match stream.below(20) {
        0..=9 => needle(stream, tokens),
        10..=11 => key_values(stream, tokens),
        12..=13 => special_numbers(stream, tokens),
        14..=15 => instruction(stream),
        _ => repeats(stream, tokens),
    }
}

/// What a random piece of text is made of.
#[derive(Debug, Clone, Copy)]
enum Material {
    Words,
    Hexadecimal,
    Printable,
}

fn piece(stream: &mut Stream, material: Material) -> String {
    match material {
        Material::Words => language::word(stream, Split::Training),
        Material::Hexadecimal => hexadecimal(stream, 8),
        Material::Printable => (0..3).map(|_| char::from(b'!' + stream.below(94) as u8)).collect(),
    }
}

fn hexadecimal(stream: &mut Stream, digits: usize) -> String {
    (0..digits).map(|_| char::from(b"0123456789abcdef"[stream.below(16)])).collect()
}

/// Phrases from a small pool in random order, with other words between some of them; in a phrase that has
/// been there before, all after its first piece is learned.
fn repeats(stream: &mut Stream, tokens: usize) -> Example {
    let (material, tokens_per_piece) = match stream.below(5) {
        0 => (Material::Hexadecimal, 6),
        1 => (Material::Printable, 3),
        _ => (Material::Words, 2),
    };
    let pool: Vec<Vec<String>> = (0..1 + stream.below((tokens / 40).max(1)))
        .map(|_| {
            let tokens = 5 + stream.below(16);
            (0..(tokens / tokens_per_piece).max(2)).map(|_| piece(stream, material)).collect()
        })
        .collect();
    let mut seen = vec![false; pool.len()];
    let mut example = Example::default();
    let mut filled = 0;
    while filled < tokens {
        if stream.below(5) == 0 {
            for _ in 0..1 + stream.below(3) {
                example.given(&format!(" {}", piece(stream, material)));
                filled += tokens_per_piece;
            }
            continue;
        }
        let index = stream.below(pool.len());
        let (first, rest) = (&pool[index][0], pool[index][1..].join(" "));
        example.given(&format!(" {first}"));
        if seen[index] {
            example.learned(&format!(" {rest}"))
        } else {
            example.given(&format!(" {rest}"))
        }
        seen[index] = true;
        filled += tokens_per_piece * pool[index].len();
    }
    example
}

/// Tokens of the needle prompt besides the passage and the needles.
const NEEDLE_PROMPT_TOKENS: usize = 40;

/// A needle among fillers and up to three other needles, some of which share its attribute or its owner, in
/// the prompt of `score-heads`.
fn needle(stream: &mut Stream, tokens: usize) -> Example {
    let words = 3 + stream.below(6);
    let needle = Needle::draw(stream, Split::Training, words);
    let mut sentences = vec![needle.sentence()];
    if tokens > 120 {
        for _ in 0..stream.below(4) {
            let words = 3 + stream.below(5);
            let mut other = Needle::draw(stream, Split::Training, words);
            match stream.below(4) {
                0 => other.attribute.clone_from(&needle.attribute),
                1 => other.owner.clone_from(&needle.owner),
                _ => {}
            }
            sentences.push(other.sentence());
        }
    }
    let taken = NEEDLE_PROMPT_TOKENS
        + text::token_estimate(&needle.sentence())
        + sentences.iter().map(|sentence| text::token_estimate(sentence)).sum::<usize>();
    let mut passage = text::passage(stream, Split::Training, tokens.saturating_sub(taken).max(8), &sentences);
    // Inserted token by token, a needle follows the sentence before it without a space, and at the end of a
    // haystack it follows a sentence that was cut.
    let sentence = needle.sentence();
    match stream.below(4) {
        0 => {}
        1 => {
            passage = passage.replacen(&format!(" {sentence}"), "", 1);
            if !passage.contains(&sentence) {
                // Cut between words, or after a word's first syllable: what is left of a word must be no word.
                let cut = passage.rfind(' ').unwrap_or(0);
                let word = passage.split_off(cut);
                if stream.below(2) == 0 {
                    passage.push_str(&word[..word.len().min(3)]);
                }
                passage.push_str(&sentence);
            }
        }
        _ => passage = passage.replacen(&format!(" {sentence}"), &sentence, 1),
    }
    let prompt =
        format!("<book>{passage}</book>\nBased on the content of the book, Question: {}\nAnswer:", needle.question());
    Example::chat(&prompt, &needle.sentence())
}

fn uuid(stream: &mut Stream) -> String {
    let groups: Vec<String> = [8, 4, 4, 4, 12].into_iter().map(|digits| hexadecimal(stream, digits)).collect();
    groups.join("-")
}

/// A JSON object and questions for the values of some of its keys, as a plain text without turns.
fn key_values(stream: &mut Stream, tokens: usize) -> Example {
    let identifiers = tokens >= 250 && stream.below(2) == 0;
    let tokens_per_pair = if identifiers { 70 } else { 18 };
    let indent = ["    ", " "][stream.below(2)];
    let text = |stream: &mut Stream| {
        if identifiers {
            uuid(stream)
        } else {
            let count = 1 + stream.below(3);
            language::phrase(stream, Split::Training, count)
        }
    };
    let count = (tokens.saturating_sub(30) / tokens_per_pair).saturating_sub(2).max(2);
    let pairs: Vec<(String, String)> = (0..count).map(|_| (text(stream), text(stream))).collect();
    let lines: Vec<String> = pairs.iter().map(|(key, value)| format!("{indent}\"{key}\": \"{value}\"")).collect();
    let mut example = Example::default();
    example.given(&format!(
        "JSON data:\n{{\n{}\n}}\n\nExtract the value corresponding to the specified key in the JSON object below.\n",
        lines.join(",\n")
    ));
    let questions = if tokens >= 250 && !identifiers { 3 } else { 1 };
    for _ in 0..questions {
        let (key, value) = &pairs[stream.below(pairs.len())];
        example.given(&format!("\nKey: {key}\nCorresponding value:"));
        example.learned(&format!(" {value}\n"));
    }
    example
}

/// Lines that give numbers to keys, and a question for one of them, as a plain text without turns.
fn special_numbers(stream: &mut Stream, tokens: usize) -> Example {
    let count = (tokens.saturating_sub(50) / 22).max(2);
    let pairs: Vec<(String, String)> = (0..count)
        .map(|_| {
            let key =
                format!("{}-{}", language::word(stream, Split::Training), language::word(stream, Split::Training));
            (key, (1_000_000 + stream.below(9_000_000)).to_string())
        })
        .collect();
    let (key, number) = &pairs[stream.below(pairs.len())];
    let lines: Vec<String> =
        pairs.iter().map(|(key, number)| format!("One of the special magic numbers for {key} is: {number}.")).collect();
    let mut example = Example::default();
    example.given(&format!(
        "A special magic number is hidden within the following text. Make sure to memorize it. \
         I will quiz you about the number afterwards.\n{}\n\
         What is the special magic number for {key} mentioned in the provided text?\n\
         The special magic number for {key} mentioned in the provided text is",
        lines.join("\n")
    ));
    example.learned(&format!(" {number}.\n"));
    example
}

fn instruction(stream: &mut Stream) -> Example {
    let instruction = instructions::draw(stream, Split::Training);
    Example::chat(&instruction.prompt, &instruction.answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn learned_text_has_been_there_before() {
        let mut stream = Stream::derive(5, &[b"tasks"]);
        for mixture in [Mixture::Repeats, Mixture::All] {
            for _ in 0..300 {
                let example = draw(&mut stream, mixture, 200);
                for range in &example.scored {
                    let learned =
                        example.text[range.clone()].trim().trim_end_matches("<|im_end|>").trim_end_matches('.');
                    assert!(example.text[..range.start].contains(learned), "`{learned}` is new in {}", example.text);
                }
            }
        }
    }

    #[test]
    fn no_held_out_word_is_trained_on() {
        let mut stream = Stream::derive(6, &[b"tasks"]);
        // Words of the prompts that happen to be words of the language are on either side.
        let prompt_words = ["memorize", "data", "sure", "note"];
        for _ in 0..500 {
            let example = draw(&mut stream, Mixture::All, 150);
            for word in example.text.split(|letter: char| !letter.is_ascii_alphanumeric()) {
                if language::is_word(word) && !prompt_words.contains(&word) {
                    assert_eq!(language::split_of(word), Split::Training, "{word} in {}", example.text);
                }
            }
        }
    }
}
