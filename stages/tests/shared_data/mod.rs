//! Where the data that is not part of the repository lies.

use std::path::PathBuf;

/// A file or folder of the shared data: below `RETMASK_SHARED`, or `../shared` beside the repository root.
///
/// # Panics
/// When it is not there: tests that need it are ignored unless asked for.
pub fn path(name: &str) -> PathBuf {
    let root = std::env::var_os("RETMASK_SHARED")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared")), PathBuf::from);
    let path = root.join("data").join(name);
    assert!(path.exists(), "{} is missing; set RETMASK_SHARED to the folder that holds data/{name}", path.display());
    path
}
