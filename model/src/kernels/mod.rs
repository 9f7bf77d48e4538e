//! The arithmetic of the decoder on plain f32 slices.
//!
//! Every output element is a sum in an order fixed by its own indices: a matrix product adds k in ascending
//! order with fused multiply-add, attention walks keys in tiles fixed by absolute position. So the bits of a
//! row do not depend on the rows beside it, on the number of threads, or on the instruction set
//! (AVX-512, AVX2 with FMA, and portable code are tested against each other).

pub mod attention;
pub mod bf16;
pub mod elementwise;
pub mod matmul;
pub mod normalise;
pub mod rotary;
pub(crate) mod simd;
pub(crate) mod team;
mod written;

pub use simd::InstructionSet;
pub(crate) use written::zeros;
