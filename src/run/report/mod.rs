//! Reporters: bars on a terminal, plain lines elsewhere, JSON lines for programs.

mod bars;
mod json;
mod lines;
mod text;

pub use bars::Bars;
pub use json::JsonLines;
pub use lines::{Lines, pace};
pub use text::{bytes, duration};
