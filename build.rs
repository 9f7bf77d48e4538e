//! How the program is linked.

use std::env;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let target = |what: &str| env::var(format!("CARGO_CFG_TARGET_{what}")).unwrap_or_default();
    // A program that can lie anywhere begins with writing 130,000 addresses into 2.3 MB of its own tables, at every start:
    // half of the time of a command that does nothing. Lost is that its code lies at random addresses; the heap, stacks and
    // shared libraries still do.
    if target("OS") == "linux" && target("ENV") == "gnu" {
        println!("cargo:rustc-link-arg-bins=-no-pie");
    }
}
