//! Files of records as their publishers have them: JSONL, JSONL.gz or Parquet, told apart by their first bytes; and CSV.

pub mod csv;
mod lines;
mod parquet_file;

use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;
use serde_json::Value;

use crate::contract::{StageError, StageResult};

/// Takes the place and value of a record, or what is wrong with a line that holds none.
pub type Add<'a> = dyn FnMut(&dyn fmt::Display, StageResult<&Value>) -> StageResult<()> + 'a;

/// What is read of a Parquet file.
#[derive(Debug, Clone, Copy)]
pub enum Columns<'a> {
    /// All that stand for a JSON value; others are left out, and a record that needs one says so.
    All,
    /// These, as far as they are there. One of another type is an error.
    Named(&'a [&'a str]),
}

/// Calls `add` for every record. `columns` are those of a Parquet file.
///
/// # Errors
/// `Input` for a file that is none of the three, naming the line or column; whatever `add` returns.
pub fn read(path: &Path, columns: Columns<'_>, add: &mut Add<'_>) -> StageResult<()> {
    let failed = |error: &std::io::Error| StageError::io("read", path, error);
    let mut file = File::open(path).map_err(|error| failed(&error))?;
    let mut magic = Vec::new();
    (&mut file).take(4).read_to_end(&mut magic).map_err(|error| failed(&error))?;
    file.rewind().map_err(|error| failed(&error))?;
    if magic == *b"PAR1" {
        return parquet_file::read(path, file, columns, add);
    }
    let plain = BufReader::new(file);
    let mut reader: Box<dyn BufRead> = match magic.as_slice() {
        [0x1f, 0x8b, ..] => Box::new(BufReader::new(MultiGzDecoder::new(plain))),
        _ => Box::new(plain),
    };
    lines::read(path, &mut *reader, add)
}
