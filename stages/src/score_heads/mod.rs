//! `score-heads`: how much every attention head copies a needle out of a haystack.

mod gini;

pub use gini::gini;
