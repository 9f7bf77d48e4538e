//! TREC question classification (Li and Roth 2002), by its 6 coarse or its 50 fine classes.

use super::in_context::{InContext, Labelled, Rows};
use crate::contract::StageResult;
use crate::helmet::data::{DataFile, DataFolder};

/// The coarse classes.
pub const ICL_TREC_COARSE: InContext = InContext {
    name: "icl_trec_coarse",
    files: &["trec/train_5500.label", "trec/TREC_10.label", "label_names/trec_coarse.txt"],
    shots: [400, 800, 1600, 3300, 6600],
    read: |data, _seed| read(data, "label_names/trec_coarse.txt", |label| label.split(':').next().unwrap_or(label)),
};

/// The fine classes.
pub const ICL_TREC_FINE: InContext = InContext {
    name: "icl_trec_fine",
    files: &["trec/train_5500.label", "trec/TREC_10.label", "label_names/trec_fine.txt"],
    shots: [400, 800, 1600, 3200, 6400],
    read: |data, _seed| read(data, "label_names/trec_fine.txt", |label| label),
};

fn read(data: &DataFolder, names: &str, class: fn(&str) -> &str) -> StageResult<Rows> {
    let names = data.read(names)?.list()?;
    let rows = |file: &str| labelled(&data.read(file)?, &names, class);
    Ok(Rows { classes: names.len(), train: rows("trec/train_5500.label")?, test: rows("trec/TREC_10.label")? })
}

/// Lines `COARSE:fine text`. The published training file holds one stray byte 0xF0, which stands for a space.
fn labelled(file: &DataFile, names: &[String], class: fn(&str) -> &str) -> StageResult<Vec<Labelled>> {
    let bytes: Vec<u8> = file.bytes().iter().map(|&byte| if byte == 0xf0 { b' ' } else { byte }).collect();
    let text = String::from_utf8(bytes).map_err(|error| file.refuse(format!("not UTF-8: {error}")))?;
    let row = |(number, line): (usize, &str)| {
        let (label, text) = line
            .trim()
            .split_once(' ')
            .ok_or_else(|| file.wrong(number + 1, "expected `COARSE:fine`, a space and a question"))?;
        let name = class(label);
        let class = names
            .iter()
            .position(|known| known == name)
            .ok_or_else(|| file.wrong(number + 1, format!("the class `{name}` is not among the label names")))?;
        Ok(Labelled { text: text.to_owned(), class })
    };
    text.lines().enumerate().map(row).collect()
}
