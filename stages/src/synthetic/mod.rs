//! `synthetic`: generated needles, haystacks and instructions, for runs that need no data of others.
//!
//! Everything is made of held-out words (see [`language`]), which the embedded model was not trained on.

pub mod instructions;
pub mod language;
pub mod text;

use std::fs;
use std::path::Path;

use retmask_model::Numerics;
use retmask_model::random::Stream;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use self::language::Split;
use self::text::Needle;
use crate::artifact::Media;
use crate::contract::{Context, InputPort, Inputs, Kind, OutputPort, Outputs, ParameterError, StageError, StageResult};

/// Parameters of `synthetic`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Parameters {
    /// Seed of all draws.
    pub seed: u64,
    /// How many needles, each with its own haystack.
    pub needles: u32,
    /// Words in a needle's value. The needle must be found again in the prompt by nine tenths of its tokens,
    /// and its first token changes with the space before it, so that six words are the least.
    pub value_words: u32,
    /// Tokens of a haystack, by the embedded model's tokenizer.
    pub haystack_tokens: u32,
    /// How many instructions.
    pub instructions: u32,
}

impl Default for Parameters {
    fn default() -> Self {
        Self { seed: 1, needles: 6, value_words: 7, haystack_tokens: 2_000, instructions: 64 }
    }
}

/// Bounds that keep a typing error from filling the disk.
const MOST_NEEDLES: u32 = 1_000;
const MOST_HAYSTACK_TOKENS: u32 = 1_000_000;
const MOST_INSTRUCTIONS: u32 = 1_000_000;

/// The stage kind.
pub struct Synthetic;

impl Kind for Synthetic {
    type Parameters = Parameters;

    const NAME: &'static str = "synthetic";
    const EPOCH: u32 = 1;
    const SUMMARY: &'static str = "Generate needles, haystacks and instructions of made-up words";
    const INPUTS: &'static [InputPort] = &[];
    const OUTPUTS: &'static [OutputPort] = &[
        OutputPort {
            name: "needles",
            media: Media::Needles,
            summary: "Needles with questions, and a haystack for each",
        },
        OutputPort {
            name: "instructions",
            media: Media::Instructions,
            summary: "Instructions whose right answer is a copy of something in the prompt",
        },
    ];

    fn numerics(_parameters: &Self::Parameters) -> Option<Numerics> {
        None
    }

    fn validate(parameters: &Parameters) -> Result<(), ParameterError> {
        let within = |field: &str, value: u32, low: u32, high: u32| {
            if (low..=high).contains(&value) {
                Ok(())
            } else {
                Err(ParameterError::new(field, format!("{value} is out of range; expected {low} to {high}")))
            }
        };
        within("needles", parameters.needles, 1, MOST_NEEDLES)?;
        within("value-words", parameters.value_words, 6, 12)?;
        within("haystack-tokens", parameters.haystack_tokens, 16, MOST_HAYSTACK_TOKENS)?;
        within("instructions", parameters.instructions, 1, MOST_INSTRUCTIONS)
    }

    fn run(parameters: &Parameters, _inputs: &Inputs, outputs: &Outputs, context: &Context) -> StageResult<()> {
        let folder = outputs.path("needles");
        create_folder(&folder)?;
        context.progress().phase("generate", "needles", u64::from(parameters.needles));
        let mut lines = String::new();
        for index in 0..parameters.needles {
            context.check_cancelled()?;
            let mut stream = Stream::derive(parameters.seed, &[b"needle", &index.to_le_bytes()]);
            let needle = Needle::draw(&mut stream, Split::HeldOut, parameters.value_words as usize);
            let line = json!({
                "needle": needle.sentence(),
                "question": needle.question(),
                "real_needle": needle.real_needle(),
            });
            lines.push_str(&format!("{line}\n"));
            let part = folder.join(format!("part{}", index + 1));
            create_folder(&part)?;
            let haystack = text::passage(&mut stream, Split::HeldOut, parameters.haystack_tokens as usize, &[]);
            // The copies of a repeated haystack are joined as they are; the space keeps sentences apart.
            write(&part.join("haystack.txt"), &format!("{haystack} "))?;
            context.progress().advance(1);
        }
        write(&folder.join("needles.jsonl"), &lines)?;

        let mut lines = String::new();
        for index in 0..parameters.instructions {
            let mut stream = Stream::derive(parameters.seed, &[b"instruction", &index.to_le_bytes()]);
            let instruction = instructions::draw(&mut stream, Split::HeldOut);
            lines.push_str(&format!("{}\n", json!({ "prompt": instruction.prompt })));
        }
        write(&outputs.path("instructions"), &lines)
    }
}

fn create_folder(path: &Path) -> StageResult<()> {
    fs::create_dir(path).map_err(|error| StageError::io("create the folder", path, &error))
}

fn write(path: &Path, text: &str) -> StageResult<()> {
    fs::write(path, text).map_err(|error| StageError::io("write", path, &error))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::contract::{Cancel, SilentProgress};

    fn run(parameters: &Parameters) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let context = Context::new(Arc::new(SilentProgress), Cancel::default(), folder.path());
        Synthetic::run(parameters, &Inputs::default(), &Outputs::new(folder.path()), &context).unwrap();
        folder
    }

    #[test]
    fn every_word_of_the_language_is_held_out() {
        let folder = run(&Parameters { needles: 2, instructions: 50, ..Parameters::default() });
        let mut words = 0;
        for file in
            ["needles/needles.jsonl", "needles/part1/haystack.txt", "needles/part2/haystack.txt", "instructions"]
        {
            let text = fs::read_to_string(folder.path().join(file)).unwrap();
            // `needle`, `question` and `prompt` are field names; `note` is a word of the prompts.
            for word in text.split(|letter: char| !letter.is_ascii_alphabetic()).filter(|word| language::is_word(word))
            {
                if word != "note" {
                    assert_eq!(language::split_of(word), Split::HeldOut, "{word}");
                    words += 1;
                }
            }
        }
        assert!(words > 1_000, "{words}");
    }

    #[test]
    fn the_same_seed_gives_the_same_text_and_another_seed_another() {
        let text = |seed| {
            let folder = run(&Parameters { seed, ..Parameters::default() });
            fs::read_to_string(folder.path().join("instructions")).unwrap()
        };
        assert_eq!(text(1), text(1));
        assert_ne!(text(1), text(2));
    }

    #[test]
    fn needles_stand_in_no_haystack_and_lines_are_json() {
        let folder = run(&Parameters::default());
        let lines = fs::read_to_string(folder.path().join("needles/needles.jsonl")).unwrap();
        assert_eq!(lines.lines().count(), 6);
        for (index, line) in lines.lines().enumerate() {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            let haystack = folder.path().join(format!("needles/part{}/haystack.txt", index + 1));
            let haystack = fs::read_to_string(haystack).unwrap();
            assert!(!haystack.contains(line["real_needle"].as_str().unwrap()));
            assert!(line["needle"].as_str().unwrap().ends_with(line["real_needle"].as_str().unwrap()));
        }
    }
}
