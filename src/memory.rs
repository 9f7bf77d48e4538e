//! How the kernel gives memory to this process.
//!
//! Where it may, Linux backs memory with pages of 2 MiB, and clears each as soon as its first byte is touched. Large tensors
//! gain by it. A command that reads a few hundred records would spend half its time on clearing what it never uses, and
//! several times the memory. So memory comes in small pages until something asks for more.

use std::sync::Once;

/// From now on memory may come in huge pages, for this process and those it starts.
pub fn let_grow() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| huge_pages(true));
}

/// Called with the program's other initialisers, before Rust's own first allocation: the allocator's first page would be a
/// huge one.
#[cfg(any(target_os = "linux", target_os = "android"))]
#[used]
// SAFETY: a section of pointers to functions without arguments that matter; this one makes a system call and nothing else.
#[unsafe(link_section = ".init_array")]
static KEEP_SMALL: extern "C" fn() = {
    extern "C" fn keep_small() {
        huge_pages(false);
    }
    keep_small
};

fn huge_pages(allowed: bool) {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        // A kernel without them has nothing to be told.
        let _ = nix::sys::prctl::set_thp_disable(!allowed);
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let _ = allowed;
}
