//! Faults of a pipeline file, each with its place.

use super::{Place, Texts};

/// One fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// What is wrong, in one line.
    pub message: String,
    /// Where.
    pub place: Place,
    /// A few words under the marked text; may be empty.
    pub label: String,
    /// Other places that matter, each with a few words.
    pub notes: Vec<(Place, String)>,
    /// What would be right.
    pub help: Vec<String>,
}

impl Diagnostic {
    /// A fault at a place.
    pub fn new(place: Place, message: impl Into<String>) -> Self {
        Self { message: message.into(), place, label: String::new(), notes: Vec::new(), help: Vec::new() }
    }

    /// Adds words under the marked text.
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// Adds another place that matters.
    pub fn note(mut self, place: Place, text: impl Into<String>) -> Self {
        self.notes.push((place, text.into()));
        self
    }

    /// Adds what would be right.
    pub fn help(mut self, text: impl Into<String>) -> Self {
        self.help.push(text.into());
        self
    }
}

/// The faults of one pipeline in file order, with the texts their places are in.
#[derive(Debug, Clone)]
pub struct Diagnostics {
    pub texts: Texts,
    pub list: Vec<Diagnostic>,
}

impl Diagnostics {
    /// The faults in the order of their places: the file first, then the command line.
    pub fn new(texts: Texts, mut list: Vec<Diagnostic>) -> Self {
        list.sort_by_key(|diagnostic| diagnostic.place);
        Self { texts, list }
    }
}
