//! Everything the program says: data on standard output, everything else on standard error.

mod diagnostic;
mod printer;
mod table;

pub use printer::{ColorChoice, Printer};
pub use table::{Align, Table};
