//! Instructions whose right answer is a copy of something in the prompt.

use retmask_model::random::Stream;

use super::language::{self, Split};
use super::text::{self, Needle};

/// An instruction and its right answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instruction {
    pub prompt: String,
    pub answer: String,
}

/// A random instruction: to repeat words, to answer from a short text, or to say what a note says.
pub fn draw(stream: &mut Stream, split: Split) -> Instruction {
    match stream.below(3) {
        0 => {
            let count = 4 + stream.below(5);
            let words = language::phrase(stream, split, count);
            Instruction { prompt: format!("Repeat these words: {words}."), answer: format!("{words}.") }
        }
        1 => {
            let words = 3 + stream.below(4);
            let needle = Needle::draw(stream, split, words);
            let tokens = 10 + stream.below(50);
            let passage = text::passage(stream, split, tokens, &[needle.sentence()]);
            Instruction {
                prompt: format!("{passage}\nQuestion: {}\nAnswer:", needle.question()),
                answer: needle.sentence(),
            }
        }
        _ => {
            let notes: Vec<(String, String)> = (0..2 + stream.below(3))
                .map(|_| {
                    let count = 3 + stream.below(3);
                    (language::word(stream, split), language::phrase(stream, split, count))
                })
                .collect();
            let (name, words) = &notes[stream.below(notes.len())];
            let lines: Vec<String> =
                notes.iter().map(|(name, words)| format!("The note {name} says {words}.")).collect();
            Instruction {
                prompt: format!("{}\nWhat does the note {name} say?", lines.join("\n")),
                answer: format!("The note {name} says {words}."),
            }
        }
    }
}
