//! From needles and a grid to the prompts of all trials.

use std::fmt;
use std::ops::Range;
use std::path::Path;

use retmask_model::ModelResult;
use retmask_model::text::{ChatMessage, TextCodec, clean_up_spaces};

use super::needles::{Needle, read_haystack, read_needles};
use super::{Parameters, Prompt, SentenceBreak, context, span};
use crate::contract::{StageError, StageResult};

/// Llama-2's two tokens for a full stop.
const LLAMA2_FULL_STOPS: [u32; 2] = [29_889, 869];

/// One needle at one length and depth, ready to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trial {
    /// The needle's line in `needles.jsonl`, from 0.
    pub needle: u32,
    /// In tokens.
    pub context_length: u32,
    /// In percent.
    pub depth: u32,
    /// The prompt's token ids, special tokens included.
    pub prompt: Vec<u32>,
    /// Where the needle stands in the prompt; `None` when it was not found in it.
    pub span: Option<Range<usize>>,
}

impl fmt::Display for Trial {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "the trial of needle {} at context length {} and depth {} %",
            self.needle, self.context_length, self.depth
        )
    }
}

/// The trials of a grid, by needle, then length, then depth; and the needles they refer to.
///
/// # Errors
/// `Input` when the folder is malformed, a needle asked for is not in it, or the model has no chat template
/// although one is needed. Whatever `each` returns; it is called after every trial.
pub fn build(
    parameters: &Parameters,
    codec: &TextCodec,
    folder: &Path,
    mut each: impl FnMut() -> StageResult<()>,
) -> StageResult<(Vec<Trial>, Vec<Needle>)> {
    if parameters.prompt == Prompt::Chat && !codec.has_chat_template() {
        return Err(StageError::input("the model has no chat template to put the question in")
            .with_hint("set `prompt: completion` for a base model"));
    }
    let needles = read_needles(folder)?;
    let chosen = choose(&parameters.needles, needles.len(), folder)?;
    let full_stops = match parameters.sentence_break {
        SentenceBreak::Tokenizer => codec.encode(".", false)?,
        SentenceBreak::Llama2 => LLAMA2_FULL_STOPS.to_vec(),
    };
    let lengths = parameters.context_lengths.points();
    let depths = parameters.depths.points();
    let longest = lengths.iter().copied().max().unwrap_or(0) as usize;
    let mut trials = Vec::with_capacity(chosen.len() * lengths.len() * depths.len());
    for index in chosen {
        let needle = &needles[index];
        let haystack = tokens_of(codec, read_haystack(folder, index)?, longest)?;
        let needle_tokens = codec.encode(&needle.needle, false)?;
        let answer_tokens = codec.encode(&needle.real_needle, false)?;
        for &context_length in &lengths {
            for &depth in &depths {
                let tokens = context::hide(
                    &haystack,
                    &needle_tokens,
                    context_length as usize,
                    depth,
                    parameters.buffer as usize,
                    &full_stops,
                );
                let context = decode(parameters, codec, &tokens)?;
                let prompt = prompt_tokens(parameters.prompt, codec, &context, &needle.question)?;
                let span = span::find(&prompt, &answer_tokens);
                trials.push(Trial { needle: index as u32, context_length, depth, prompt, span });
                each()?;
            }
        }
    }
    Ok((trials, needles))
}

/// Text of tokens as a trial reads it.
pub fn decode(parameters: &Parameters, codec: &TextCodec, tokens: &[u32]) -> ModelResult<String> {
    let text = codec.decode(tokens, true)?;
    Ok(if parameters.clean_up_spaces { clean_up_spaces(&text) } else { text })
}

/// The needles a grid uses: those asked for, or all.
fn choose(wanted: &[u32], available: usize, folder: &Path) -> StageResult<Vec<usize>> {
    if wanted.is_empty() {
        return Ok((0..available).collect());
    }
    if let Some(missing) = wanted.iter().find(|index| **index as usize >= available) {
        return Err(StageError::input(format!(
            "`needles` asks for needle {missing}, but {} holds {available}: 0 to {}",
            folder.join("needles.jsonl").display(),
            available - 1
        )));
    }
    Ok(wanted.iter().map(|index| *index as usize).collect())
}

/// The first `longest` tokens of a haystack, its text repeated until there are as many.
fn tokens_of(codec: &TextCodec, text: String, longest: usize) -> StageResult<Vec<u32>> {
    let mut repeated = text.clone();
    loop {
        let mut tokens = codec.encode(&repeated, false)?;
        if tokens.len() >= longest {
            tokens.truncate(longest);
            return Ok(tokens);
        }
        if tokens.is_empty() {
            return Err(StageError::input("the tokenizer makes no token of the haystack's text"));
        }
        // At least once more; more often where the tokens so far say that it takes more.
        let copies = repeated.len() / text.len();
        let more = (longest * copies).div_ceil(tokens.len()).max(copies + 1);
        repeated = text.repeat(more);
    }
}

/// The prompt's token ids: the question about the book, as a chat turn or as text to complete.
fn prompt_tokens(form: Prompt, codec: &TextCodec, context: &str, question: &str) -> StageResult<Vec<u32>> {
    let question = format!("Based on the content of the book, Question: {question}\nAnswer:");
    let tokens = match form {
        Prompt::Chat => {
            let turn = ChatMessage { role: "user".into(), content: format!("<book>{context}</book>\n{question}") };
            codec.encode_chat(&codec.render_chat(&[turn], true, Some(false))?)?
        }
        Prompt::Completion => codec.encode(&format!("{context}{question}"), true)?,
    };
    Ok(tokens)
}
