//! JSON Lines: an object a line, every fault with its line.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::error::{Error, Result};

/// An object and the line it stands in, counted from 1.
#[derive(Debug, Clone)]
pub struct Line {
    pub number: usize,
    pub row: Map<String, Value>,
}

/// A file being read; lines without anything on them are passed over.
pub struct Lines {
    path: PathBuf,
    reader: BufReader<File>,
    number: usize,
    buffer: Vec<u8>,
}

/// A line that holds no object.
#[derive(Debug)]
pub struct BadLine {
    pub number: usize,
    pub why: String,
}

impl Lines {
    /// Opens a file.
    ///
    /// # Errors
    /// `Input` when there is no such file, `Environment` when it cannot be read.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|error| unreadable(path, &error))?;
        let folder = file.metadata().is_ok_and(|facts| facts.is_dir());
        if folder {
            return Err(Error::input(format!("{} is a folder, not a file of JSON lines", path.display())));
        }
        let reader = BufReader::with_capacity(1 << 20, file);
        Ok(Self { path: path.to_owned(), reader, number: 0, buffer: Vec::new() })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The next line that holds anything; `None` at the end.
    ///
    /// # Errors
    /// `Environment` when the file cannot be read on.
    pub fn next(&mut self) -> Result<Option<std::result::Result<Line, BadLine>>> {
        loop {
            self.buffer.clear();
            let read = self.reader.read_until(b'\n', &mut self.buffer);
            if read.map_err(|error| unreadable(&self.path, &error))? == 0 {
                return Ok(None);
            }
            self.number += 1;
            let mark: &[u8] = if self.number == 1 { b"\xef\xbb\xbf" } else { b"" };
            let bytes = self.buffer.strip_prefix(mark).unwrap_or(&self.buffer).trim_ascii();
            if !bytes.is_empty() {
                let parsed = parse(bytes);
                return Ok(Some(match parsed {
                    Ok(row) => Ok(Line { number: self.number, row }),
                    Err(why) => Err(BadLine { number: self.number, why }),
                }));
            }
        }
    }
}

fn parse(bytes: &[u8]) -> std::result::Result<Map<String, Value>, String> {
    let text =
        std::str::from_utf8(bytes).map_err(|error| format!("not UTF-8 from byte {}", error.valid_up_to() + 1))?;
    match serde_json::from_str(text) {
        Ok(Value::Object(row)) => Ok(row),
        Ok(_) => Err("expected a JSON object".into()),
        Err(error) => {
            let message = error.to_string();
            let reason = message.rfind(" at line ").map_or(message.as_str(), |place| &message[..place]);
            Err(format!("not JSON at column {}: {reason}", error.column()))
        }
    }
}

fn unreadable(path: &Path, error: &std::io::Error) -> Error {
    let message = format!("cannot read {}: {error}", path.display());
    match error.kind() {
        std::io::ErrorKind::NotFound => Error::input(message),
        _ => Error::environment(message),
    }
}
