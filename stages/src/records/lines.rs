//! JSONL: one record per line.

use std::io::{BufRead, Read};
use std::path::Path;

use serde_json::Value;

use super::Add;
use crate::contract::{StageError, StageResult};

/// The longest line that is read. A conversation of a million tokens fits.
const MAX_LINE: u64 = 16 << 20;

/// Calls `add` for every line that is not blank.
///
/// # Errors
/// `Input` for a line that is too long and for a damaged gzip stream; whatever `add` returns.
pub fn read(path: &Path, reader: &mut dyn BufRead, add: &mut Add<'_>) -> StageResult<()> {
    let mut line = Vec::new();
    for number in 1u64.. {
        let fault = |problem: String| StageError::input(format!("{}, line {number}: {problem}", path.display()));
        line.clear();
        let count = reader.take(MAX_LINE + 1).read_until(b'\n', &mut line).map_err(|error| match error.kind() {
            // What the gzip decoder says of damaged or truncated data.
            std::io::ErrorKind::InvalidInput | std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof => {
                fault(format!("the compressed data is damaged: {error}"))
            }
            _ => StageError::io("read", path, &error),
        })?;
        if count == 0 {
            break;
        }
        if count as u64 > MAX_LINE {
            return Err(fault(format!("the line is longer than {} MiB", MAX_LINE >> 20)));
        }
        let place = format_args!("line {number}");
        let text = match std::str::from_utf8(&line) {
            Ok(text) => text,
            Err(error) => {
                add(&place, Err(fault(format!("not UTF-8 text: {error}"))))?;
                continue;
            }
        };
        // Editors on Windows start a file with a byte order mark.
        let text = if number == 1 { text.trim_start_matches('\u{feff}') } else { text };
        if text.trim().is_empty() {
            continue;
        }
        let record: Result<Value, StageError> = serde_json::from_str(text).map_err(|error| {
            // The parser counts lines within this one: only the column says something.
            let message = error.to_string();
            let reason = message.split(" at line ").next().unwrap_or(&message).to_owned();
            fault(format!("not JSON: {reason} at column {}", error.column()))
                .with_hint("a file of this kind holds one JSON object per line")
        });
        add(&place, record.as_ref().map_err(Clone::clone))?;
    }
    Ok(())
}
