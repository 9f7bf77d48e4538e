//! Artifacts of runs, looked at: addressed by stage, read from the store, shown as tables, lists or text.

mod item;
mod json_rows;
mod summary;
mod table;

pub use item::{Item, find, find_stage, lost};
pub use json_rows::{json_lines, rows};
pub use summary::headline;
pub use table::{View, table};
