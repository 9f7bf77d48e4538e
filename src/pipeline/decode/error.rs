//! Why a node could not be decoded: the place, and what was expected, in words a reader of the file knows.

use std::fmt;

use serde::de::{self, Expected, Unexpected};

use super::super::tree::{Entry, Node, shorten};
use super::super::{Diagnostic, Place, names};

/// Why a node could not be decoded, and where.
#[derive(Debug)]
pub struct DecodeError {
    message: String,
    pub(super) help: Vec<String>,
    /// Where; set by the innermost value the error passes on its way out.
    place: Option<(Place, Option<Place>)>,
    /// Keys from the outermost map to the fault.
    path: Vec<String>,
    /// An unresolved reference: its fault has been reported.
    silent: bool,
}

impl DecodeError {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), help: Vec::new(), place: None, path: Vec::new(), silent: false }
    }

    pub(super) fn wrong_type(node: &Node, expected: &str) -> Self {
        let mut error = Self::new(format!("expected {expected}, found {}", node.describe()));
        error.silent = node.is_unresolved();
        error.at(node)
    }

    pub(super) fn at(mut self, node: &Node) -> Self {
        self.place.get_or_insert((node.place, node.used));
        self
    }

    pub(super) fn at_key(mut self, entry: &Entry) -> Self {
        self.place.get_or_insert((entry.key_place, None));
        self
    }

    pub(super) fn below(mut self, entry: &Entry) -> Self {
        self.path.insert(0, entry.key.clone());
        self
    }

    /// The key of the outermost map in which the fault is; `None` when it is in no single one.
    pub fn outermost_key(&self) -> Option<&str> {
        self.path.first().map(String::as_str)
    }

    /// The fault for people; `whole` is the place of the decoded node. `None` when it was reported before.
    pub fn into_diagnostic(self, whole: Place) -> Option<Diagnostic> {
        if self.silent {
            return None;
        }
        let (place, used) = self.place.unwrap_or((whole, None));
        let message =
            if self.path.is_empty() { self.message } else { format!("`{}`: {}", self.path.join("."), self.message) };
        let mut diagnostic = Diagnostic::new(place, message);
        if let Some(used) = used {
            diagnostic = diagnostic.note(used, "used here");
        }
        diagnostic.help = self.help;
        Some(diagnostic)
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for DecodeError {}

impl de::Error for DecodeError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(message.to_string())
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(format!("expected {}, found {}", words_of(expected), words_of_unexpected(found)))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn invalid_length(length: usize, expected: &dyn Expected) -> Self {
        Self::new(format!("expected {}, found {length}", words_of(expected)))
    }

    fn unknown_variant(variant: &str, known: &'static [&'static str]) -> Self {
        let mut error = Self::new(format!("`{}` is not one of the allowed values", shorten(variant)));
        error.help = names::suggest(variant, "allowed values", known.iter().copied());
        error
    }

    fn unknown_field(field: &str, known: &'static [&'static str]) -> Self {
        let mut error = Self::new("there is no such parameter");
        error.help = names::suggest(field, "valid names", known.iter().copied());
        error
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(format!("`{field}` is missing, and it has no default"))
    }

    fn duplicate_field(field: &'static str) -> Self {
        Self::new(format!("`{field}` stands twice"))
    }
}

/// serde's word for a type, in words a reader of the file knows.
pub(super) fn words_of(expected: &dyn Expected) -> String {
    let text = expected.to_string();
    let range = |low: i128, high: u128| format!("a whole number from {low} to {high}");
    match text.as_str() {
        "u8" => range(0, u8::MAX.into()),
        "u16" => range(0, u16::MAX.into()),
        "u32" => range(0, u32::MAX.into()),
        "u64" | "usize" => "a whole number, 0 or larger".into(),
        "a nonzero u8" | "a nonzero u16" | "a nonzero u32" | "a nonzero u64" | "a nonzero usize" => {
            "a whole number, 1 or larger".into()
        }
        "i8" => range(i8::MIN.into(), i8::MAX as u128),
        "i16" => range(i16::MIN.into(), i16::MAX as u128),
        "i32" => range(i32::MIN.into(), i32::MAX as u128),
        "i64" | "isize" => "a whole number".into(),
        "f32" | "f64" => "a number".into(),
        "a boolean" => "`true` or `false`".into(),
        "a string" | "string" | "a borrowed string" => "text".into(),
        "a character" => "one character".into(),
        "a sequence" => "a list".into(),
        "variant identifier" => "the name of a variant".into(),
        other if other.starts_with("struct ") || other == "a map" => "a map".into(),
        other if other.starts_with("enum ") => "a name, or a map with one key".into(),
        other => other.replace("sequence", "list"),
    }
}

fn words_of_unexpected(found: Unexpected<'_>) -> String {
    match found {
        Unexpected::Bool(value) => format!("`{value}`"),
        Unexpected::Unsigned(value) => format!("the number {value}"),
        Unexpected::Signed(value) => format!("the number {value}"),
        Unexpected::Float(value) => format!("the number {value}"),
        Unexpected::Str(text) => format!("the text `{}`", shorten(text)),
        Unexpected::Unit | Unexpected::Option => "nothing".into(),
        Unexpected::Seq => "a list".into(),
        Unexpected::Map => "a map".into(),
        other => other.to_string(),
    }
}
