//! `helmet`: prompts of the HELMET benchmark -> a model's predictions.
//!
//! HELMET (Yen et al. 2024, arXiv 2410.02694) measures long-context use in seven categories. Scoring is a kind
//! of its own (`helmet-score`), so that a change of a metric re-runs no model; both share the datasets here.

pub mod category;
pub mod checkout;
mod data;
pub mod dataset;
pub mod datasets;
pub mod golds;
pub mod lengths;
mod parameters;
mod prompt;
mod questions;
pub mod random;
mod run;
pub mod score;
mod server;
mod size;
pub mod template;
pub mod tokens;

pub use data::DataFolder;
pub use dataset::Records;
pub use parameters::{ChatTemplate, Parameters};
pub use prompt::{Form, Prompt, Room, prepare, render};
pub use questions::{BENCHMARKS, CUT_BY, GENERATED, MODELS, RECORDS, THOUGHTS, WORDING};
pub use run::Helmet;
