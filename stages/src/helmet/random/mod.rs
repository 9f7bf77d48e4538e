//! The random generators HELMET draws with, bit for bit: its data are chosen by seeds, so the same rows come
//! out only from the same generators.

mod numpy;
mod python;
mod seed;

pub use numpy::permutation;
pub use python::PythonRandom;
pub use seed::text_seed;
