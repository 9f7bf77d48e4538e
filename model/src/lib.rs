//! One decoder that scores, generates, trains and evaluates.
//!
//! This crate knows models, tokens and heads; it knows nothing of stages, pipelines or caches.

pub mod checkpoint;
pub mod continuations;
pub mod decoder;
pub mod embedded;
pub mod entailment;
pub mod error;
pub mod flops;
pub mod generate;
pub mod heads;
pub mod kernels;
pub mod logprobs;
pub mod machine;
mod numerics;
mod ops;
pub mod random;
pub mod spec;
pub mod text;
pub mod train;

pub use error::{Fault, ModelError, ModelResult};
pub use numerics::Numerics;
