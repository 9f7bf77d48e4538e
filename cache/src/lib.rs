//! Content digests, the local content-addressed store, and stores elsewhere to exchange results with.
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
mod remote;
mod sharing;
mod store;
mod tree;

pub use digest::{Digest, DigestKind, InvalidDigest, Key};
pub use error::{CacheError, CacheResult, Fault};
pub use lock::KeyLock;
pub use memo::{Expected, Memo};
pub use record::{Form, Output, Provenance, Record};
pub use remote::{Access, Remote};
pub use store::{
    Area, Check, Claim, Collected, CollectedResume, CollectedRows, Committed, Durability, InUse, Inventory, Limits,
    Lookup, MissReason, Options, Packed, Problem, Published, Pulled, Pushed, Readable, Reading, RecordsThere, Removed,
    ResumeFacts, Roots, RowMap, RowMapFacts, RowsCheck, RowsMoved, RunFile, Staging, Store, Stored, Unfinished,
    Unpacked, Verify,
};
pub use tree::{Manifest, TreeEntry};
