//! Services beside the program, asked over HTTP one JSON request at a time.
//!
//! Where a service is and what opens it stands in the environment, never in a pipeline or an artifact: which model
//! answers decides a result, not where it runs.

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
