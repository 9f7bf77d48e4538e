//! Where the data of real-model tests lies.

use std::path::PathBuf;

fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The SmolLM2 file: `RETMASK_SMOLLM2`, or where `scripts/fetch-smollm2` puts it.
pub fn smollm2() -> PathBuf {
    let path = std::env::var_os("RETMASK_SMOLLM2")
        .map_or_else(|| repository().join("data/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"), PathBuf::from);
    assert!(path.is_file(), "{} is missing; scripts/fetch-smollm2 brings it", path.display());
    path
}

/// The folder of reference values: `RETMASK_SHARED`, or `shared` beside the repository.
pub fn shared() -> PathBuf {
    let path = std::env::var_os("RETMASK_SHARED").map_or_else(|| repository().join("../shared"), PathBuf::from);
    assert!(path.is_dir(), "{} is missing; RETMASK_SHARED names the folder of reference values", path.display());
    path
}
