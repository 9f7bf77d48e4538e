//! Scores by a model beside the evaluated one, read and held against the answers they are of.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::tables::{read_notes as note_rows, read_scores};
use super::{ExampleScore, Note};
use crate::artifact::predictions::Prediction;
use crate::contract::{StageError, StageResult};
use crate::helmet::{category, dataset};

/// The scores of a table.
///
/// # Errors
/// `Input` with the row that is of no answer of ours, stands there twice, or is not from 0 to 1.
pub fn read(path: &Path, predictions: &[Prediction]) -> StageResult<Vec<ExampleScore>> {
    let clusters: BTreeMap<(&str, u32, u32), &str> = predictions
        .iter()
        .map(|answer| ((answer.dataset.as_str(), answer.length, answer.example), answer.cluster.as_str()))
        .collect();
    let mut seen = BTreeSet::new();
    let mut scores = Vec::new();
    for (row, score) in read_scores(path)?.into_iter().enumerate() {
        let (dataset, length, example) = (score.dataset.as_str(), score.length, score.example);
        let refuse = |why: String| Err(StageError::input(format!("{}: row {row}: {why}", path.display())));
        let outside = dataset::by_name(dataset).and_then(|dataset| dataset.outside());
        let metrics = outside.map_or(&[][..], |outside| outside.metrics());
        let Some(metric) = metrics.iter().copied().find(|metric| *metric == score.metric) else {
            return refuse(format!("`{}` is no metric of {dataset} that another model gives", score.metric));
        };
        match clusters.get(&(dataset, length, example)) {
            Some(cluster) if *cluster == score.cluster => {}
            Some(_) => return refuse(format!("example {example} of {dataset} at length {length} is another question")),
            None => return refuse(format!("there is no answer to example {example} of {dataset} at length {length}")),
        }
        if !(0.0..=1.0).contains(&score.value) {
            return refuse(format!("the score {} is not from 0 to 1", score.value));
        }
        if !seen.insert((score.dataset.clone(), length, example, metric)) {
            return refuse(format!("example {example} of {dataset} at length {length} is scored twice"));
        }
        scores.push(ExampleScore {
            metric,
            dataset: score.dataset,
            length,
            example,
            cluster: score.cluster,
            value: score.value,
        });
    }
    Ok(scores)
}

/// The notes of a table.
///
/// # Errors
/// `Input` with the row that is about no dataset, or about a metric that it has not.
pub fn read_notes(path: &Path) -> StageResult<Vec<Note>> {
    let mut notes = Vec::new();
    for (row, note) in note_rows(path)?.into_iter().enumerate() {
        let refuse = |why: String| StageError::input(format!("{}: row {row}: {why}", path.display()));
        let dataset =
            dataset::by_name(&note.dataset).ok_or_else(|| refuse(format!("there is no dataset `{}`", note.dataset)))?;
        let known = dataset.outside().map_or(&[][..], |outside| outside.metrics());
        let metric = match note.metric.as_str() {
            "" => "",
            metric => known.iter().find(|known| **known == metric).ok_or_else(|| {
                refuse(format!("`{metric}` is no metric of {} that another model gives", note.dataset))
            })?,
        };
        notes.push(Note {
            category: category::of(dataset.name()).map_or("", |category| category.name),
            dataset: dataset.name(),
            length: note.length,
            metric,
            note: note.note,
        });
    }
    Ok(notes)
}
