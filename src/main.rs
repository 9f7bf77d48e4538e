//! The program: reads pipelines, plans and runs them, shows what they made.

mod cli;
mod diff;
mod error;
mod explain;
mod hub;
mod lineage;
mod memory;
mod output;
mod pipeline;
mod plan;
mod run;
mod show;
mod sizes;

/// Tensors come and go with every operation; the system allocator would hand large ones back to the kernel
/// each time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long the allocator keeps pages that were freed, in milliseconds. Its own 10 give buffers of one pass over the weights
/// back to the kernel before the next pass wants them, and the kernel clears them again: a tenth of the time of training,
/// whose steps take seconds.
const PAGES_KEPT: std::ffi::c_long = 30_000;
/// `mi_option_purge_delay`, which the bindings do not name.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;

fn main() -> std::process::ExitCode {
    // SAFETY: an option of the allocator, set before any thread is started.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, PAGES_KEPT) };
    let code = cli::main();
    // Otherwise it would give back every page by itself before the process ends, which gives back all at once.
    // SAFETY: as above; other threads may be there and read the option, which is atomic.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, -1) };
    code
}
