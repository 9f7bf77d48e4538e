//! The texts of one optimiser step, as tokens, with what is learned and which heads are dropped.

use retmask_model::random::Stream;
use retmask_model::text::TextCodec;
use retmask_model::train::{BatchSource, CrossEntropy, MicroBatch, TrainingSequence};
use retmask_model::{ModelError, ModelResult};

use super::parameters::{Parameters, Phase};
use super::tasks::{self, Example};

/// Tokens that go through the model together.
const MICRO_BATCH_TOKENS: usize = 4_096;
/// Texts shorter than this teach only how the prompt looks.
const SHORTEST: usize = 48;

/// The sequences of a step: at least `batch_tokens` tokens. The step's number and the seed decide all.
///
/// # Errors
/// `Internal` when a text does not fit the context length, which the bounds of the parameters exclude.
pub fn draw(
    parameters: &Parameters,
    phase: &Phase,
    step: u32,
    codec: &TextCodec,
) -> ModelResult<Vec<TrainingSequence>> {
    let mut sequences = Vec::new();
    let mut tokens = 0;
    for index in 0u32.. {
        if tokens >= phase.batch_tokens as usize {
            break;
        }
        let mut stream = Stream::derive(parameters.seed, &[b"text", &step.to_le_bytes(), &index.to_le_bytes()]);
        let longest = phase.sequence_tokens as usize;
        let shortest = (longest / 2).max(SHORTEST).min(longest);
        let length = shortest + stream.below(longest - shortest + 1);
        let example = tasks::draw(&mut stream, phase.mixture, length);
        let (ids, scored) = encode(&example, codec)?;
        if ids.len() > parameters.context_length as usize {
            return Err(ModelError::internal(format!(
                "a text of {} tokens was made for {length}; the context length is {}",
                ids.len(),
                parameters.context_length
            )));
        }
        // Phrases that did not come again leave nothing to learn.
        if !scored.contains(&true) {
            continue;
        }
        let dropped = (0..parameters.layers * parameters.heads).map(|index| {
            let probability = match (index / parameters.heads, index % parameters.heads) {
                (0, _) => parameters.head_dropout,
                (_, head) if head < parameters.matching_heads => 0.0,
                _ => phase.other_head_dropout,
            };
            stream.uniform() < probability
        });
        tokens += ids.len();
        sequences.push(TrainingSequence { ids, scored, masked_heads: Some(dropped.collect()) });
    }
    Ok(sequences)
}

/// The texts of all steps, made as they are needed.
pub struct Texts<'a> {
    parameters: &'a Parameters,
    codec: &'a TextCodec,
}

impl<'a> Texts<'a> {
    pub fn new(parameters: &'a Parameters, codec: &'a TextCodec) -> Self {
        Self { parameters, codec }
    }

    /// The phase a step (from 0) belongs to.
    fn phase(&self, step: usize) -> ModelResult<&'a Phase> {
        let mut end = 0;
        for phase in &self.parameters.phases {
            end += phase.steps as usize;
            if step < end {
                return Ok(phase);
            }
        }
        Err(ModelError::internal(format!("step {step} is after the last phase")))
    }
}

impl BatchSource for Texts<'_> {
    fn steps(&self) -> usize {
        self.parameters.steps() as usize
    }

    fn micro_batches(&mut self, step: usize) -> ModelResult<Vec<MicroBatch>> {
        let sequences = draw(self.parameters, self.phase(step)?, step as u32, self.codec)?;
        let step_tokens = sequences.iter().flat_map(|sequence| &sequence.scored).filter(|scored| **scored).count();
        let mut batches: Vec<MicroBatch> = Vec::new();
        let mut tokens = MICRO_BATCH_TOKENS;
        for sequence in sequences {
            if tokens >= MICRO_BATCH_TOKENS {
                tokens = 0;
                let name = format!("micro-batch {}", batches.len() + 1);
                let objective = Box::new(CrossEntropy { step_tokens });
                batches.push(MicroBatch { sequences: Vec::new(), objective, name });
            }
            tokens += sequence.ids.len();
            if let Some(batch) = batches.last_mut() {
                batch.sequences.push(sequence);
            }
        }
        Ok(batches)
    }
}

/// Tokens of an example, and which of them lie in what is learned.
fn encode(example: &Example, codec: &TextCodec) -> ModelResult<(Vec<u32>, Vec<bool>)> {
    let encoded = codec.encode_with_offsets(&example.text, false)?;
    let mut ranges = example.scored.iter().peekable();
    let mut ids = Vec::with_capacity(encoded.len());
    let mut scored = Vec::with_capacity(encoded.len());
    for (id, range) in encoded {
        while ranges.next_if(|learned| learned.end <= range.start).is_some() {}
        scored.push(ranges.peek().is_some_and(|learned| learned.start <= range.start && range.end <= learned.end));
        ids.push(id);
    }
    Ok((ids, scored))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pretrain::{Mixture, tokenizer};

    #[test]
    fn the_learned_tokens_spell_the_learned_text() {
        let codec = TextCodec::new(&tokenizer::text_assets(1_024).unwrap()).unwrap();
        for index in 0..200u32 {
            let mut stream = Stream::derive(2, &[b"batch test", &index.to_le_bytes()]);
            let example = tasks::draw(&mut stream, Mixture::All, 200);
            let (ids, scored) = encode(&example, &codec).unwrap();
            let learned: Vec<u32> = ids.iter().zip(&scored).filter(|(_, scored)| **scored).map(|(id, _)| *id).collect();
            let spelt: String = example.scored.iter().map(|range| &example.text[range.clone()]).collect();
            assert_eq!(codec.decode(&learned, false).unwrap(), spelt, "{}", example.text);
        }
    }

    #[test]
    fn a_step_depends_on_its_number_and_the_seed_only_and_fills_its_tokens() {
        let codec = TextCodec::new(&tokenizer::text_assets(1_024).unwrap()).unwrap();
        let parameters = Parameters::default();
        for phase in &parameters.phases {
            let first = draw(&parameters, phase, 7, &codec).unwrap();
            let facts = |sequences: &[TrainingSequence]| -> Vec<(Vec<u32>, Vec<bool>, Vec<bool>)> {
                let dropped = |sequence: &TrainingSequence| sequence.masked_heads.as_deref().unwrap().to_vec();
                sequences.iter().map(|one| (one.ids.clone(), one.scored.clone(), dropped(one))).collect()
            };
            assert_eq!(facts(&first), facts(&draw(&parameters, phase, 7, &codec).unwrap()));
            assert_ne!(facts(&first), facts(&draw(&parameters, phase, 8, &codec).unwrap()));
            let tokens: usize = first.iter().map(|sequence| sequence.ids.len()).sum();
            assert!(tokens >= phase.batch_tokens as usize);
            let longest = first.iter().map(|sequence| sequence.ids.len()).max().unwrap();
            assert!(
                longest <= phase.sequence_tokens as usize * 5 / 4 + 80,
                "{longest} tokens at {}",
                phase.sequence_tokens
            );
        }
    }
}
