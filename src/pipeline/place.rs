//! Where something was written: which text, from which byte to which.

use std::ops::Range;
use std::sync::Arc;

/// A range of bytes of one of the texts a pipeline is made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Which text: an index into [`Texts`].
    pub text: u32,
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

/// The texts a pipeline is made from: the file, those it extends, then one per override on the command line.
#[derive(Debug, Clone, Default)]
pub struct Texts {
    list: Vec<(String, Arc<str>)>,
    files: usize,
}

impl Texts {
    /// Adds a text under the name that stands in messages, and gives its index.
    pub fn add(&mut self, name: impl Into<String>, content: impl Into<Arc<str>>) -> u32 {
        self.list.push((name.into(), content.into()));
        (self.list.len() - 1) as u32
    }

    /// Adds a file. Files come before all other texts.
    pub fn add_file(&mut self, name: impl Into<String>, content: impl Into<Arc<str>>) -> u32 {
        self.files += 1;
        self.add(name, content)
    }

    /// The content of every file: the pipeline's own, then each that is extended.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        self.list[..self.files].iter().map(|(_, content)| content.as_ref())
    }

    /// The name of the first text: the pipeline file.
    pub fn main_name(&self) -> &str {
        self.list.first().map_or("", |(name, _)| name)
    }

    /// The name of a place's text.
    pub fn name(&self, place: Place) -> &str {
        &self.list[place.text as usize].0
    }

    /// The whole text of a place.
    pub fn content(&self, place: Place) -> &str {
        &self.list[place.text as usize].1
    }

    /// The part of the place on its first line, as a byte range of its text; never empty inside a line.
    pub fn first_line(&self, place: Place) -> Range<usize> {
        let content = self.content(place);
        let start = (place.start as usize).min(content.len());
        let end = (place.end as usize).clamp(start, content.len());
        let line_end = content[start..end].find(['\n', '\r']).map_or(end, |length| start + length);
        start..line_end
    }

    /// Line and column of the first byte, both from 1, columns in characters.
    pub fn line_and_column(&self, place: Place) -> (usize, usize) {
        let content = self.content(place);
        let before = &content[..(place.start as usize).min(content.len())];
        let line_start = before.rfind('\n').map_or(0, |position| position + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }
}
