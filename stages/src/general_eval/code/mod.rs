//! Code problems (HumanEval; Chen et al. 2021, arXiv 2107.03374): a function's head is completed, and its tests run.

mod isolated;

use super::records::Record;
use crate::contract::StageResult;

pub use isolated::{Interpreter, Outcome};

/// A problem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The program up to where the answer begins.
    pub prompt: String,
    test: String,
    entry_point: String,
}

/// What ends an answer: something new at the beginning of a line.
pub const STOP: [&str; 5] = ["\nclass ", "\ndef ", "\n#", "\nif ", "\nprint("];

impl Problem {
    /// Reads a record: `prompt`, `test`, `entry_point`.
    ///
    /// # Errors
    /// `Input` with the field that is missing.
    pub fn read(record: &Record) -> StageResult<Self> {
        let entry_point = record.text("entry_point")?.to_owned();
        let is_name = entry_point.chars().all(|letter| letter.is_alphanumeric() || letter == '_');
        if entry_point.is_empty() || !is_name {
            return Err(record.wrong("entry_point", "is no name of a function"));
        }
        Ok(Self { prompt: record.text("prompt")?.to_owned(), test: record.text("test")?.to_owned(), entry_point })
    }

    /// The program that says `passed` at its end when the answer passes the tests.
    pub fn program(&self, answer: &str, passed: &str) -> String {
        let Self { prompt, test, entry_point } = self;
        format!("{prompt}{answer}\n\n{test}\n\ncheck({entry_point})\nprint({passed:?})\n")
    }
}
