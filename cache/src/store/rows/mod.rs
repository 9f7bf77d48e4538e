//! Results of single rows, kept under what each was made from.
//!
//! A *row map* holds the results of all rows that share everything but their content; its scope is a key over what they
//! share, a row's key one over its content. Both are the caller's. Results are bytes.
//!
//! ```text
//! rows/ab/<scope>/<64 digits>.rows                  a segment: immutable, mode 0444, named by its b3
//! rows/ab/<scope>/<host>.<pid>.<random>.open        the log of a writer, locked while the writer lives
//! rows/ab/<scope>/<host>.<pid>.<random>.claims      keys of the rows that this writer is about to make
//! rows/ab/<scope>/lock                              locked while files come and go; its mtime is the last use
//! ```
//!
//! A result is in the log, whole and with a checksum of its own, as soon as `put` returns: a killed process loses what it
//! had not put. When a writer is done, its log gets a sorted index and becomes a segment; the log of a dead writer is read
//! up to its torn end, and becomes a segment when the map is next opened. Nothing is ever changed in place. Segments
//! are facts, so those of other machines can be added by copying them; many small ones are merged.
//!
//! A file is the line `retmask-rows 1`, the scope's readable fields (u32 length, JSON, checksum), then frames: key (32
//! bytes), length (u32), checksum (16 bytes), result. A segment ends with its index (key, u64 offset, u32 length; sorted
//! by key) and a footer (`rowsdone`, u64 count, u64 offset of the index, digest of both and of the index). Numbers are
//! little-endian. Checksums are blake3 keyed by the scope, so a result served under another scope does not verify.

mod arrive;
mod care;
mod exchange;
mod file;
mod index;
mod log;
mod map;
mod rewrite;
mod segment;
mod source;

pub(super) use arrive::rows_in;
pub use care::{CollectedRows, RowMapFacts, RowsCheck};
pub use exchange::RowsMoved;
pub use map::{Claim, RowMap};

#[cfg(test)]
mod tests;
