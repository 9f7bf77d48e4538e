//! How the kernel gives memory to this process.
//!
//! Where it may, Linux backs memory with pages of 2 MiB, and clears each as soon as its first byte is touched. Large tensors
//! gain by it. A command that reads a few hundred records would spend half its time on clearing what it never uses, and
//! several times the memory.

use std::sync::Once;

/// From now on memory comes in small pages.
pub fn keep_small() {
    huge_pages(false);
}

/// From now on memory may come in huge pages again, for this process and those it starts.
pub fn let_grow() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| huge_pages(true));
}

fn huge_pages(allowed: bool) {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        // A kernel without them has nothing to be told.
        let _ = nix::sys::prctl::set_thp_disable(!allowed);
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let _ = allowed;
}
