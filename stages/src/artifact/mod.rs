//! The artifact types that flow along the edges of a pipeline, and how tables are written and digested.

pub mod head_scores;
pub mod mask;
mod media;
pub mod pairs;
pub mod published_scores;
pub mod schema;
pub mod table;

pub use media::{Form, Media};
