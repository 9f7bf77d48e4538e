//! The program: reads pipelines, plans and runs them, shows what they made.

mod cli;
mod diff;
mod error;
mod explain;
mod hub;
mod lineage;
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

fn main() -> std::process::ExitCode {
    cli::main()
}
