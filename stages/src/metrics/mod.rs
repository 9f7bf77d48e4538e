//! Text metrics and intervals, as HELMET and the head-score protocol define them. No model, no files.

mod answer;
pub mod bootstrap;
pub mod citations;
mod normalize;
mod parse;
pub mod punkt;
pub mod ranking;
mod rouge;

pub use answer::{exact_match, f1, substring_exact_match};
pub use normalize::normalize;
pub(crate) use normalize::trim;
pub use parse::parse_output;
pub use rouge::{RougeRecallAndF1, rouge_l_and_l_sum, rouge1_recall};
