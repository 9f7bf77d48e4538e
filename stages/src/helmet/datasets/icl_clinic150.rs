//! CLINC150 "plus": intents of assistants' users, and questions out of scope (Larson et al. 2019).

use std::collections::BTreeMap;

use super::in_context::{InContext, Labelled, Rows};
use crate::contract::StageResult;
use crate::helmet::data::DataFolder;

const FILE: &str = "clinc150/data_oos_plus.json";

/// 150 intents and one for what is out of scope; HELMET tests on the validation rows.
pub const ICL_CLINIC150: InContext = InContext {
    name: "icl_clinic150",
    files: &[FILE, "label_names/clinc150.txt"],
    shots: [440, 880, 1750, 3525, 7050],
    read,
};

fn read(data: &DataFolder, _seed: u64) -> StageResult<Rows> {
    let names = data.read("label_names/clinc150.txt")?.list()?;
    let file = data.read(FILE)?;
    let splits: BTreeMap<String, Vec<(String, String)>> = serde_json::from_slice(file.bytes())
        .map_err(|error| file.refuse(format!("expected {{split: [[text, intent], ...]}}: {error}")))?;
    let rows = |split: &str| {
        let rows = splits.get(split).ok_or_else(|| file.refuse(format!("the split `{split}` is missing")))?;
        let labelled = |(row, (text, intent)): (usize, &(String, String))| {
            let class = names
                .iter()
                .position(|known| known == intent)
                .ok_or_else(|| file.refuse(format!("{split}, row {row}: `{intent}` is not among the label names")))?;
            Ok(Labelled { text: text.clone(), class })
        };
        rows.iter().enumerate().map(labelled).collect::<StageResult<Vec<_>>>()
    };
    let train = [rows("train")?, rows("oos_train")?].concat();
    let test = [rows("val")?, rows("oos_val")?].concat();
    Ok(Rows { classes: names.len(), train, test })
}
