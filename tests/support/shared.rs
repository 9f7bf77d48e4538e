//! Data from outside the repository.

use std::path::{Path, PathBuf};

/// A file or folder of the shared data: below `RETMASK_SHARED`, else below `shared` beside the repository.
/// A test that was asked for and has no data fails with this message; it never passes.
pub fn shared(path: &str) -> PathBuf {
    let root = std::env::var_os("RETMASK_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared"), PathBuf::from);
    let full = root.join(path);
    assert!(full.exists(), "{} is missing: set RETMASK_SHARED to the folder of the shared data", full.display());
    full
}
