//! Locks that the kernel releases when their holder dies.

use std::fs::File;

/// Single flight: while it is held, no other process or thread holds the lock of the same key.
#[derive(Debug)]
pub struct KeyLock {
    _file: File,
}

/// While a shared one is held, nothing is collected; an exclusive one is held by the collector alone.
#[derive(Debug)]
pub struct UseLock {
    _file: File,
}
