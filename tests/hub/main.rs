//! Sources from the Hugging Face hub on the real binary, against a local server that speaks its protocol.

#[path = "../support/mod.rs"]
mod support;

mod cached;
mod locked;
mod place;
mod refusals;
mod server;
mod sources;
mod transfers;
