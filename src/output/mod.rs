//! Everything the program says: data on standard output, everything else on standard error.

mod diagnostic;
mod printer;

pub use printer::{ColorChoice, Printer, error_object};
