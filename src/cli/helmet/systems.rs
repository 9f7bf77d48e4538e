//! What runs have scored: the results of `helmet-score` stages, put together to systems.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use retmask_cache::{Output, Reading, Store};
use retmask_stages::artifact::{Media, table};
use retmask_stages::metrics::bootstrap::Scored;
use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::pipeline::suggest;
use crate::run::{StageOutputs, find_run, run_folders, run_name, stages_of};
use crate::show::{lost, rows};

/// A number of a system: of a dataset under a metric, of a category, or the average.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub length: u32,
    pub category: String,
    /// Empty for a category's own number.
    pub dataset: String,
    /// Empty for a category's own number.
    pub metric: String,
}

/// A mean from 0 to 100 with its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Number {
    pub value: f64,
    pub low: f64,
    pub high: f64,
    /// Whether it is what HELMET reports, and not a mean over a part of it.
    pub whole: bool,
    pub examples: u64,
}

/// One example under one metric, from 0 to 1.
#[derive(Debug, Clone)]
pub struct Example {
    dataset: String,
    length: u32,
    example: u32,
    cluster: String,
    metric: String,
    value: f64,
}

/// Something that has to be known of the numbers of a dataset.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Note {
    pub length: u32,
    pub category: String,
    pub dataset: String,
    pub metric: String,
    pub note: String,
}

/// What was scored of one model, at all lengths.
#[derive(Debug, Default)]
pub struct System {
    pub label: String,
    pub numbers: BTreeMap<Place, Number>,
    pub notes: Vec<Note>,
    examples: Vec<Example>,
}

impl System {
    /// The examples of some measures at a length, each measure under a name of its own, in points.
    pub fn examples<'a>(&'a self, measures: &'a [(Place, String)]) -> Vec<Scored<'a>> {
        let of = |(place, name): &'a (Place, String)| {
            let here = move |example: &&Example| {
                example.dataset == place.dataset && example.metric == place.metric && example.length == place.length
            };
            self.examples.iter().filter(here).map(move |example| Scored {
                dataset: name,
                length: place.length,
                example: example.example,
                cluster: &example.cluster,
                value: 100.0 * example.value,
            })
        };
        measures.iter().flat_map(of).collect()
    }

    fn add(&mut self, store: &Store, stage: &StageOutputs) -> Result<()> {
        let output = |media: Media| stage.outputs.iter().find(|output| output.media == media.name());
        let summary = output(Media::ScoreSummary).map(|output| read(store, output)).transpose()?.unwrap_or_default();
        let summary = summary.iter().map(|row| Row { stage: &stage.stage, row });
        for row in summary {
            let dataset = row.text("dataset")?;
            let primary = row.truth("primary")?;
            if !primary && !dataset.is_empty() {
                continue;
            }
            let metric = if dataset.is_empty() { String::new() } else { row.text("metric")? };
            let place = Place { length: row.count("length")?, category: row.text("category")?, dataset, metric };
            let number = Number {
                value: row.real("value")?,
                low: row.real("low")?,
                high: row.real("high")?,
                whole: primary,
                examples: row.count("examples")?.into(),
            };
            if self.numbers.insert(place.clone(), number).is_some() {
                let Place { length, category, dataset, .. } = place;
                let name = if dataset.is_empty() { category } else { dataset };
                return Err(Error::input(format!("{} has {name} at length {length} twice", self.label))
                    .with_hint("name the stages one by one: `retmask helmet table LABEL=STAGE@RUN ...`"));
            }
        }
        let examples = output(Media::ExampleScores).map(|output| read(store, output)).transpose()?.unwrap_or_default();
        for row in &examples {
            let row = Row { stage: &stage.stage, row };
            self.examples.push(Example {
                dataset: row.text("dataset")?,
                length: row.count("length")?,
                example: row.count("example")?,
                cluster: row.text("cluster")?,
                metric: row.text("metric")?,
                value: row.real("value")?,
            });
        }
        let notes = output(Media::ScoreNotes).map(|output| read(store, output)).transpose()?.unwrap_or_default();
        for row in &notes {
            let row = Row { stage: &stage.stage, row };
            self.notes.push(Note {
                length: row.count("length")?,
                category: row.text("category")?,
                dataset: row.text("dataset")?,
                metric: row.text("metric")?,
                note: row.text("note")?,
            });
        }
        Ok(())
    }
}

/// A row of a stored table.
pub struct Row<'a> {
    pub stage: &'a str,
    pub row: &'a Map<String, Value>,
}

impl Row<'_> {
    fn value<T>(&self, column: &str, read: impl Fn(&Value) -> Option<T>) -> Result<T> {
        self.row.get(column).and_then(read).ok_or_else(|| {
            Error::input(format!("the scores of stage `{}` have no usable column `{column}`", self.stage))
                .with_hint("they were made by another version; run the pipeline again")
        })
    }

    pub fn text(&self, column: &str) -> Result<String> {
        self.value(column, |value| value.as_str().map(str::to_owned))
    }

    pub fn count(&self, column: &str) -> Result<u32> {
        self.value(column, |value| value.as_u64().and_then(|count| u32::try_from(count).ok()))
    }

    pub fn real(&self, column: &str) -> Result<f64> {
        self.value(column, Value::as_f64)
    }

    /// A number that may be missing.
    pub fn optional_real(&self, column: &str) -> Result<Option<f64>> {
        self.value(column, |value| if value.is_null() { Some(None) } else { value.as_f64().map(Some) })
    }

    fn truth(&self, column: &str) -> Result<bool> {
        self.value(column, Value::as_bool)
    }
}

/// The rows of a stored table.
///
/// # Errors
/// `Environment` when it is lost.
pub fn read(store: &Store, output: &Output) -> Result<Vec<Map<String, Value>>> {
    match store.read(output)? {
        Reading::Ready(readable) => rows(&table::read_any(readable.path())?),
        Reading::Lost(reason) => Err(lost(&reason)),
    }
}

/// The systems that the arguments name, in their order: runs, or stages of runs, each with a label in front or not.
///
/// # Errors
/// `Input` when there is no such run or stage, or it has scored nothing; `Environment` when a result is lost.
pub fn systems(store: &Store, arguments: &[String]) -> Result<Vec<System>> {
    let of = |(label, stages): (String, Vec<StageOutputs>)| {
        let mut system = System { label, ..System::default() };
        stages.iter().try_for_each(|stage| system.add(store, stage))?;
        Ok(system)
    };
    named_stages(store, arguments, Media::ScoreSummary, "helmet-score")?.into_iter().map(of).collect()
}

/// The stages that the arguments name, those of one system together, with its label. They are of this kind and have an
/// output of this media.
///
/// # Errors
/// `Input` when there is no such run or stage, or it has no such output.
pub fn named_stages(
    store: &Store,
    arguments: &[String],
    media: Media,
    kind: &str,
) -> Result<Vec<(String, Vec<StageOutputs>)>> {
    let runs = run_folders(store)?;
    let mut systems: Vec<(String, Vec<StageOutputs>)> = Vec::new();
    for argument in arguments {
        let (label, address) = split_label(argument);
        let is_run = address == "latest" || runs.iter().any(|folder| run_name(folder) == address);
        let (stage, run) = match address.rsplit_once('@') {
            _ if is_run => (None, Some(address)),
            Some((stage, run)) => (Some(stage), Some(run)),
            None => (Some(address), None),
        };
        let folder = find_run(store, &runs, run)?;
        let found = scored(folder, stage, media, kind)?;
        let groups = grouped(found);
        let many = groups.len() > 1;
        for (name, stages) in groups {
            let label = match label {
                Some(label) if many => format!("{label} {name}"),
                Some(label) => label.to_owned(),
                None => name,
            };
            let taken = |label: &str| systems.iter().any(|(known, _)| known == label);
            let label = if taken(&label) { format!("{label}@{}", run_name(folder)) } else { label };
            if taken(&label) {
                return Err(Error::input(format!("two systems are called `{label}`"))
                    .with_hint("put a name of your own in front: LABEL=RUN"));
            }
            systems.push((label, stages));
        }
    }
    Ok(systems)
}

/// `LABEL=…` in front of an address; an equals sign in the brackets of an instance is none.
fn split_label(argument: &str) -> (Option<&str>, &str) {
    match argument.split_once('=') {
        Some((label, address)) if !label.is_empty() && !label.contains('[') => (Some(label), address),
        _ => (None, argument),
    }
}

/// The stages of a run that have an output of this media; of one name, where it is given: the stage, or all its instances.
fn scored(folder: &Path, stage: Option<&str>, media: Media, kind: &str) -> Result<Vec<StageOutputs>> {
    let run = run_name(folder);
    let is_scored = |stage: &StageOutputs| stage.outputs.iter().any(|output| output.media == media.name());
    let all: Vec<StageOutputs> = stages_of(folder)?.into_iter().filter(is_scored).collect();
    if all.is_empty() {
        return Err(Error::input(format!("run {run} has no result of a {kind} stage")));
    }
    let Some(wanted) = stage else { return Ok(all) };
    let named = |stage: &&StageOutputs| {
        stage.stage == wanted || stage.stage.strip_prefix(wanted).is_some_and(|rest| rest.starts_with('['))
    };
    let found: Vec<StageOutputs> = all.iter().filter(named).cloned().collect();
    if found.is_empty() {
        let names = all.iter().map(|stage| stage.stage.as_str());
        return Err(Error::input(format!("run {run} has no scores of a stage `{wanted}`"))
            .with_hint(suggest(wanted, &format!("its {kind} stages with a result"), names).join("; ")));
    }
    Ok(found)
}

/// Stages that differ in a matrix axis `length` alone are one system; its name is theirs without that axis.
fn grouped(stages: Vec<StageOutputs>) -> Vec<(String, Vec<StageOutputs>)> {
    let mut groups: Vec<(String, Vec<StageOutputs>)> = Vec::new();
    for stage in stages {
        let name = without_axis(&stage.stage, "length");
        match groups.iter_mut().find(|(known, _)| *known == name) {
            Some((_, stages)) => stages.push(stage),
            None => groups.push((name, vec![stage])),
        }
    }
    groups
}

/// `score[length=8k,mask=random]` without the axis.
fn without_axis(name: &str, axis: &str) -> String {
    let Some((stage, points)) = name.strip_suffix(']').and_then(|name| name.split_once('[')) else {
        return name.to_owned();
    };
    let is_axis = |point: &&str| point.split_once('=').is_some_and(|(name, _)| name == axis);
    let rest: Vec<&str> = points.split(',').filter(|point| !is_axis(point)).collect();
    if rest.is_empty() { stage.to_owned() } else { format!("{stage}[{}]", rest.join(",")) }
}

/// The lengths at which anything was scored.
pub fn lengths(systems: &[System]) -> Vec<u32> {
    let lengths = systems.iter().flat_map(|system| system.numbers.keys().map(|place| place.length));
    lengths.collect::<BTreeSet<u32>>().into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_and_axes() {
        assert_eq!(split_label("retmask=score[training=a]@2026"), (Some("retmask"), "score[training=a]@2026"));
        assert_eq!(split_label("score[training=a]"), (None, "score[training=a]"));
        assert_eq!(split_label("latest"), (None, "latest"));
        assert_eq!(without_axis("score[length=8k]", "length"), "score");
        assert_eq!(without_axis("score[mask=a,length=8k]", "length"), "score[mask=a]");
        assert_eq!(without_axis("score", "length"), "score");
    }
}
