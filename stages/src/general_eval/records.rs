//! Files of examples as their publishers have them: JSON Lines (also gzipped), Parquet, CSV.

use std::fmt::Display;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::contract::{StageError, StageResult};
use crate::records::{self, Columns, csv};

/// The largest CSV file that is read; MMLU's have some hundred kilobytes.
const LARGEST: u64 = 256 << 20;

/// One example as it stands in its file.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// File and line or row, for messages.
    pub place: String,
    /// The file's name without extension.
    pub file: String,
    pub fields: Map<String, Value>,
}

impl Record {
    /// What is wrong with a field.
    pub fn wrong(&self, field: &str, why: impl Display) -> StageError {
        StageError::input(format!("{}: field `{field}`: {why}", self.place))
    }

    /// A text that is there.
    ///
    /// # Errors
    /// `Input` when it is missing or no text.
    pub fn text(&self, field: &str) -> StageResult<&str> {
        match self.fields.get(field) {
            Some(Value::String(text)) => Ok(text),
            Some(_) => Err(self.wrong(field, "expected a text")),
            None => {
                let names: Vec<&str> = self.fields.keys().map(String::as_str).collect();
                Err(self.wrong(field, format!("is missing; the record has {}", names.join(", "))))
            }
        }
    }
}

/// All records of a file, in their order. A CSV file without one of `header` in its first line has these columns.
///
/// # Errors
/// `Input` with the place of a record that is malformed; a file without a record.
pub fn read(path: &Path, header: &[&str]) -> StageResult<Vec<Record>> {
    let file = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().to_owned();
    let failed = |error: &std::io::Error| StageError::io("read", path, error);
    let mut magic = [0; 4];
    let mut opened = File::open(path).map_err(|error| failed(&error))?;
    let size = opened.metadata().map_err(|error| failed(&error))?.len();
    let parquet = size >= 4 && opened.read_exact(&mut magic).is_ok() && magic == *b"PAR1";
    let is_csv = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv"));
    let found = if !parquet && (is_csv || (!header.is_empty() && magic[0] != b'{' && magic[..2] != [0x1f, 0x8b])) {
        if size > LARGEST {
            return Err(StageError::input(format!("{}: larger than {} MiB", path.display(), LARGEST >> 20)));
        }
        of_csv(path, &file, header)?
    } else {
        of_records(path, &file)?
    };
    if found.is_empty() {
        return Err(StageError::input(format!("{} holds no record", path.display())));
    }
    Ok(found)
}

/// The files of a folder's split: `SPLIT/*.csv` as MMLU's archive has them, or `SPLIT-*.parquet` as the hub does; by
/// name. Empty when there are none.
///
/// # Errors
/// `Environment` when the folder cannot be read.
pub fn split(folder: &Path, split: &str) -> StageResult<Vec<PathBuf>> {
    let list = |folder: &Path| -> StageResult<Vec<PathBuf>> {
        let entries = std::fs::read_dir(folder).map_err(|error| StageError::io("read the folder", folder, &error))?;
        entries
            .map(|entry| Ok(entry.map_err(|error| StageError::io("read the folder", folder, &error))?.path()))
            .collect()
    };
    let named = |path: &PathBuf, begins: &str, ends: &str| {
        path.file_name()
            .and_then(|name| name.to_str())
            .is_some_and(|name| name.starts_with(begins) && name.ends_with(ends))
    };
    let mut files = if folder.join(split).is_dir() {
        list(&folder.join(split))?.into_iter().filter(|path| named(path, "", ".csv")).collect::<Vec<_>>()
    } else {
        list(folder)?.into_iter().filter(|path| named(path, &format!("{split}-"), ".parquet")).collect()
    };
    files.sort();
    Ok(files)
}

fn of_records(path: &Path, file: &str) -> StageResult<Vec<Record>> {
    let mut found = Vec::new();
    records::read(path, Columns::All, &mut |place, record| {
        let place = format!("{}, {place}", path.display());
        match record? {
            Value::Object(fields) => found.push(Record { place, file: file.into(), fields: fields.clone() }),
            _ => return Err(StageError::input(format!("{place}: expected a JSON object"))),
        }
        Ok(())
    })?;
    Ok(found)
}

fn of_csv(path: &Path, file: &str, header: &[&str]) -> StageResult<Vec<Record>> {
    let text = std::fs::read_to_string(path).map_err(|error| StageError::io("read", path, &error))?;
    let refuse = |line: usize, why: String| StageError::input(format!("{}, line {line}: {why}", path.display()));
    let mut rows = csv::records(&text, csv::COMMAS).map_err(|(line, why)| refuse(line, why))?.into_iter().peekable();
    let has_header = rows
        .peek()
        .is_some_and(|row| header.iter().all(|name| row.fields.iter().any(|field| field.eq_ignore_ascii_case(name))));
    let names: Vec<String> = match has_header {
        true => {
            let row = rows.next().map(|row| row.fields).unwrap_or_default();
            let known = |field: String| {
                let name = header.iter().find(|name| field.eq_ignore_ascii_case(name));
                name.map_or(field.clone(), |name| (*name).to_owned())
            };
            row.into_iter().map(known).collect()
        }
        false => header.iter().map(|&name| name.to_owned()).collect(),
    };
    let record = |row: csv::Record| {
        if row.fields.len() != names.len() {
            let why = format!("{} fields; expected {}: {}", row.fields.len(), names.len(), names.join(", "));
            return Err(refuse(row.line, why));
        }
        let fields = names.iter().cloned().zip(row.fields.into_iter().map(Value::String)).collect();
        Ok(Record { place: format!("{}, line {}", path.display(), row.line), file: file.into(), fields })
    };
    rows.map(record).collect()
}
