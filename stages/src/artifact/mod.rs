//! The artifact types that flow along the edges of a pipeline, and how tables are written and digested.

mod media;
pub mod schema;
pub mod table;

pub use media::{Form, Media};
