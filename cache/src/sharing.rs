//! Folders that several users share: whose group may write to them says that it may write to all that lies in them.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::Mode;

use crate::{CacheError, CacheResult};

/// When the group of `root` may write to it, everything that this process makes from now on can be read and written by
/// its group, whatever the umask was; that is how git's shared repositories work, too. Of others' rights nothing
/// changes. Says whether it is so.
pub(crate) fn follow(root: &Path) -> CacheResult<bool> {
    let metadata = fs::metadata(root).map_err(|error| CacheError::store_io("read", root, &error))?;
    let shared = metadata.mode() & Mode::WGRP.bits() != 0;
    if shared {
        // It can only be read by being set.
        let own = rustix::process::umask(Mode::RWXG | Mode::RWXO);
        rustix::process::umask(own - Mode::RWXG);
    }
    Ok(shared)
}
