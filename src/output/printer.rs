//! The one way to standard output and standard error.

use std::io::{ErrorKind, IsTerminal, Write};

use anstyle::{AnsiColor, Style};
use retmask_stages::contract::Fault;
use serde_json::json;

use super::diagnostic;
use crate::error::{Error, Result};

/// When to write colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ColorChoice {
    /// On a terminal, unless NO_COLOR is set or TERM is `dumb`
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// Writes to the two standard streams. Cheap to copy.
#[derive(Debug, Clone, Copy)]
pub struct Printer {
    quiet: bool,
    json: bool,
    color_out: bool,
    color_error: bool,
}

impl Printer {
    /// A printer for the two streams as they are now.
    pub fn new(choice: ColorChoice, quiet: bool, json: bool) -> Self {
        let allowed = |terminal: bool| match choice {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => terminal && terminal_takes_color(),
        };
        Self {
            quiet,
            json,
            color_out: !json && allowed(std::io::stdout().is_terminal()),
            color_error: !json && allowed(std::io::stderr().is_terminal()),
        }
    }

    /// Whether machine-readable output was asked for.
    pub fn json(&self) -> bool {
        self.json
    }

    /// Whether only errors are to be said on standard error.
    pub fn quiet(&self) -> bool {
        self.quiet
    }

    /// Whether standard error takes colours.
    pub fn color_error(&self) -> bool {
        self.color_error
    }

    /// `text` in a style for standard output, or as it is where that takes no colours.
    pub fn paint(&self, style: Style, text: &str) -> String {
        if self.color_out { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }

    /// Writes data to standard output, and hands it over at once.
    ///
    /// # Errors
    /// `OutputClosed` when the reader is gone; `Environment` for any other failure (a full disk).
    pub fn data(&self, text: &str) -> Result<()> {
        let mut output = std::io::stdout().lock();
        output.write_all(text.as_bytes()).and_then(|()| output.flush()).map_err(|error| match error.kind() {
            ErrorKind::BrokenPipe => Error::OutputClosed,
            _ => Error::environment(format!("cannot write to standard output: {error}")),
        })
    }

    /// Says something to the person at the terminal, unless asked to be quiet.
    pub fn note(&self, text: &str) {
        if !self.quiet {
            write_error_stream(&format!("{text}\n"));
        }
    }

    /// Says that something deserves attention, unless asked to be quiet.
    pub fn warn(&self, text: &str) {
        if !self.quiet {
            let head = self.paint_error(AnsiColor::Yellow.on_default().bold(), "warning");
            write_error_stream(&format!("{head}: {text}\n"));
        }
    }

    /// Reports why the command failed: text for people, one JSON line with `--json`.
    pub fn error(&self, error: &Error) {
        if self.json && error.fault().is_some() {
            write_error_stream(&format!("{}\n", error_object(error)));
        } else {
            write_error_stream(&self.describe(error));
        }
    }

    /// An error as text for people; empty when nothing failed.
    pub fn describe(&self, error: &Error) -> String {
        let (fault, message, hint) = match error {
            Error::OutputClosed => return String::new(),
            Error::Pipeline(diagnostics) => return diagnostic::render(diagnostics, self.color_error),
            Error::Message { fault, message, hint } => (*fault, message, hint),
        };
        let head = match fault {
            Fault::Input | Fault::Environment => "error",
            Fault::Internal => "internal error",
            Fault::Interrupted => "stopped",
        };
        let head = self.paint_error(AnsiColor::Red.on_default().bold(), head);
        let mut text = format!("{head}: {}\n", visible(message));
        let report = "this is a bug in retmask; please report it with the command and this message";
        let report = matches!(fault, Fault::Internal).then_some(report);
        for line in hint.as_deref().into_iter().chain(report) {
            let head = self.paint_error(AnsiColor::Cyan.on_default().bold(), "help");
            text.push_str(&format!("  {head}: {}\n", visible(line)));
        }
        text
    }

    fn paint_error(&self, style: Style, text: &str) -> String {
        if self.color_error { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }
}

/// An error as one JSON object: `fault`, and `errors` with message, hint and, where known, file, line, column.
fn error_object(error: &Error) -> serde_json::Value {
    let fault = match error.fault() {
        None => "none",
        Some(Fault::Input) => "input",
        Some(Fault::Environment) => "environment",
        Some(Fault::Internal) => "internal",
        Some(Fault::Interrupted) => "interrupted",
    };
    let errors = match error {
        Error::OutputClosed => Vec::new(),
        Error::Message { message, hint, .. } => vec![json!({ "message": message, "hint": hint })],
        Error::Pipeline(diagnostics) => diagnostic::objects(diagnostics),
    };
    json!({ "fault": fault, "errors": errors })
}

/// https://no-color.org: any non-empty value of NO_COLOR.
fn terminal_takes_color() -> bool {
    let set = |variable: &str| std::env::var_os(variable).filter(|value| !value.is_empty());
    set("NO_COLOR").is_none() && set("TERM").is_none_or(|term| term != "dumb")
}

/// Control characters but line ends made visible: a message may quote what a file or a model wrote.
fn visible(text: &str) -> String {
    let harmless = |character: &char| !character.is_control() || *character == '\n';
    text.chars().map(|character| if harmless(&character) { character } else { '\u{fffd}' }).collect()
}

/// A failure to write here has nowhere to be reported.
fn write_error_stream(text: &str) {
    let mut stream = std::io::stderr().lock();
    let _ = stream.write_all(text.as_bytes()).and_then(|()| stream.flush());
}
