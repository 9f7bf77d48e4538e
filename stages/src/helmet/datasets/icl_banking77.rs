//! BANKING77: intents of bank customers (Casanueva et al. 2020).

use super::in_context::{InContext, Labelled, Rows};
use crate::contract::StageResult;
use crate::helmet::data::DataFolder;
use crate::records::csv::{COMMAS, records};

/// 77 intents.
pub const ICL_BANKING77: InContext = InContext {
    name: "icl_banking77",
    files: &["banking77/train.csv", "banking77/test.csv", "label_names/banking77.txt"],
    shots: [360, 720, 1450, 2900, 5900],
    read,
};

fn read(data: &DataFolder, _seed: u64) -> StageResult<Rows> {
    let names = data.read("label_names/banking77.txt")?.list()?;
    let rows = |name: &str| labelled(data, name, &names);
    Ok(Rows { classes: names.len(), train: rows("banking77/train.csv")?, test: rows("banking77/test.csv")? })
}

/// Records `text,category` below such a header.
fn labelled(data: &DataFolder, name: &str, names: &[String]) -> StageResult<Vec<Labelled>> {
    let file = data.read(name)?;
    let mut records = records(file.text()?, COMMAS).map_err(|(line, reason)| file.wrong(line, reason))?.into_iter();
    if records.next().is_none_or(|header| header.fields != ["text", "category"]) {
        return Err(file.wrong(1, "expected the header `text,category`"));
    }
    let row = |record: crate::records::csv::Record| {
        let [text, category]: [String; 2] = record
            .fields
            .try_into()
            .map_err(|fields: Vec<String>| file.wrong(record.line, format!("{} fields instead of 2", fields.len())))?;
        let class = names
            .iter()
            .position(|known| *known == category)
            .ok_or_else(|| file.wrong(record.line, format!("`{category}` is not among the label names")))?;
        Ok(Labelled { text, class })
    };
    records.map(row).collect()
}
