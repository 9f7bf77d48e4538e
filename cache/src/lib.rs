//! Content digests and the local content-addressed store.
//!
//! Knows nothing of stages, pipelines or tables: it keeps files and folders under their digests, and records
//! that say under which key which of them belong together.

mod digest;
mod disk;
mod error;
mod failpoint;
mod hash;
mod lock;
mod memo;
mod record;
mod store;
mod tree;

pub use digest::{Digest, DigestKind, InvalidDigest, Key};
pub use error::{CacheError, CacheResult, Fault};
pub use lock::KeyLock;
pub use memo::{Expected, Memo};
pub use record::{Form, Output, Provenance, Record};
pub use store::{
    Area, Check, Claim, Collected, CollectedRows, Committed, Durability, InUse, Inventory, Limits, Lookup, MissReason, Options, Packed,
    Problem, Published, Readable, Reading, Removed, Roots, RowMap, RowMapFacts, RowsCheck, RunFile, Staging, Store,
    Stored, Unfinished, Unpacked, Verify,
};
pub use tree::{Manifest, TreeEntry};
