//! The artifact types that flow along the edges of a pipeline, and how tables are written and digested.

pub mod head_scores;
pub mod mask;
mod media;
pub mod pair_margins;
pub mod pairs;
pub mod predictions;
pub mod published_scores;
pub mod punkt_parameters;
pub mod reference_logprobs;
pub mod responses;
pub mod sampling_counts;
pub mod schema;
pub mod table;
pub mod training_evaluation;
pub mod training_metrics;

pub use media::{Form, Media};
