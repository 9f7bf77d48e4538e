//! Punkt's parameters of a language: a folder of NLTK's files.

use std::path::Path;

use crate::contract::{StageError, StageResult};
use crate::metrics::punkt::{FILES, Punkt};

/// The largest file; NLTK's have 240 KB.
const LARGEST: u64 = 64 << 20;

/// Reads the parameters.
///
/// # Errors
/// `Input` when a file is missing or malformed, with its line.
pub fn read(folder: &Path) -> StageResult<Punkt> {
    let read = |file: &str| {
        let path = folder.join(file);
        let size = std::fs::metadata(&path).map_err(|error| StageError::io("read", &path, &error))?.len();
        if size > LARGEST {
            return Err(StageError::input(format!("{}: larger than any language's parameters", path.display())));
        }
        std::fs::read_to_string(&path).map_err(|error| StageError::io("read", &path, &error))
    };
    let [abbreviations, collocations, starters, contexts] = FILES;
    let texts = [read(abbreviations)?, read(collocations)?, read(starters)?, read(contexts)?];
    Punkt::from_texts([&texts[0], &texts[1], &texts[2], &texts[3]])
        .map_err(|(file, line, why)| StageError::input(format!("{}:{line}: {why}", folder.join(FILES[file]).display())))
}
