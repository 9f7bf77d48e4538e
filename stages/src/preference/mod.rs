//! Preference pairs as token sequences: what `reference-logprobs` and `dpo` both do to pairs, so that the
//! policy and the reference are judged on the same tokens.

mod read;
mod sequences;
mod set;

pub use read::{PreferencePair, read};
pub use sequences::{Compatibility, PairTokens, Side, Truncation, TruncationParameters, tokenise};
