//! `retmask completions`: what a shell needs to complete commands and flags.

use clap_complete::Shell;

use super::Settings;
use crate::error::Result;

/// What `retmask completions` takes.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

/// Executes `retmask completions`.
///
/// # Errors
/// `Environment` when standard output cannot be written.
pub fn execute(arguments: &Arguments, settings: &Settings) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut super::command(), "retmask", &mut script);
    settings.printer.data(&String::from_utf8_lossy(&script))
}
