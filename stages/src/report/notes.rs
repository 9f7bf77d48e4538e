//! What has to be known of scores, beside them: what was not scored, whose words the prompts had.

use std::collections::BTreeMap;

use super::columns::Columns;
use super::evaluation::{Row, Subject};
use crate::contract::StageResult;

/// A note's dataset and its text with the metric in front, and the labels that it is about.
type Said = BTreeMap<(String, String), Vec<String>>;

/// Puts the notes at port `notes` into the rows they are about: those on a dataset with a row of its own into it, others
/// into their category's.
///
/// # Errors
/// `Input` when a table is malformed.
pub(super) fn place(rows: &mut [Row], tables: &[(String, Columns)], labels: &[String]) -> StageResult<()> {
    let mut said: BTreeMap<(String, u32), Said> = BTreeMap::new();
    for (label, table) in tables {
        let (categories, datasets) = (table.texts("category")?, table.texts("dataset")?);
        let (metrics, lengths, notes) = (table.texts("metric")?, table.counts("length")?, table.texts("note")?);
        for row in 0..table.rows() {
            let text = match metrics[row].as_str() {
                "" => notes[row].clone(),
                metric => format!("{}: {}", metric.replace('_', " "), notes[row]),
            };
            let of_category = said.entry((categories[row].clone(), lengths[row])).or_default();
            let who = of_category.entry((datasets[row].clone(), text)).or_default();
            if !who.contains(label) {
                who.push(label.clone());
            }
        }
    }
    let with_rows: Vec<(String, u32)> = rows
        .iter()
        .filter_map(|row| match &row.subject {
            Subject::Measure { dataset, length, .. } => Some((dataset.clone(), *length)),
            _ => None,
        })
        .collect();
    // Only where the notes are of some of the labels are these named.
    let written = |text: &str, who: &[String]| {
        if who.len() == labels.len() { text.to_owned() } else { format!("{text} ({})", who.join(", ")) }
    };
    for row in rows {
        match &row.subject {
            Subject::Measure { dataset, length, .. } => {
                let about = said.iter().filter(|((_, at), _)| at == length).flat_map(|(_, said)| said);
                let about = about.filter(|((of, _), _)| of == dataset);
                row.notes = about.map(|((_, text), who)| written(text, who)).collect();
            }
            Subject::Category { name, length } => {
                let about = said.get(&(name.clone(), *length)).into_iter().flatten();
                let about = about.filter(|((of, _), _)| !with_rows.contains(&(of.clone(), *length)));
                row.notes = about.map(|((dataset, text), who)| format!("{dataset}: {}", written(text, who))).collect();
            }
            Subject::Average { .. } => {}
        }
    }
    Ok(())
}
