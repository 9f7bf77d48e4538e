//! A tokenizer for tests of prompts.
#![allow(dead_code, reason = "every test file takes what it needs")]

use retmask_stages::contract::StageResult;
use retmask_stages::helmet::tokens::Tokens;

/// A token in front, then one per three characters, about as byte-pair encodings have on keys and numbers.
pub struct Triples;

impl Tokens for Triples {
    fn encode(&self, text: &str) -> StageResult<Vec<u32>> {
        Ok(vec![0; self.starts(text)?.len()])
    }

    fn starts(&self, text: &str) -> StageResult<Vec<usize>> {
        Ok(std::iter::once(0).chain(text.char_indices().step_by(3).map(|(place, _)| place)).collect())
    }

    fn ends(&self, text: &str) -> StageResult<Vec<usize>> {
        let mut ends = self.starts(text)?.split_off(1);
        ends.push(text.len());
        Ok(ends)
    }

    fn chat(&self, user: &str, _thinking: Option<bool>) -> StageResult<Vec<u32>> {
        self.encode(user)
    }
}
