//! Services beside the program, asked over HTTP one JSON request at a time.
//!
//! Which model answers decides a result, not where it runs: an address stands in the environment or in a pipeline, and in no
//! key and no artifact; what opens it stands in the environment alone.

mod address;
pub mod chat;
mod client;
mod pool;
mod server;
pub mod verdict;

pub use address::{Address, Secret};
pub use client::{Client, Failure};
pub use pool::{WORKERS, ask_all, ask_some};
pub use server::{Engine, Requests, Server, check_concurrency};
