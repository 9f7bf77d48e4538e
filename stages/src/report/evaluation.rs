//! Evaluation scores of several models side by side, with paired intervals of their differences.
//!
//! The averages are HELMET's: a category is the unweighted mean of its measures, the average the unweighted
//! mean of its categories, each length on its own.

use std::collections::{BTreeMap, BTreeSet};

use super::columns::Columns;
use super::notes;
use crate::contract::{StageError, StageResult};
use crate::metrics::bootstrap::{Bootstrap, Interval, Observation, RESAMPLES, Scored, paired_difference};

/// How far a score may lie from the mean of its examples (0 to 100): both are f64 means of the same values,
/// summed in unlike orders, so anything above rounding is another set of examples.
const SAME_MEAN: f64 = 1e-6;

/// A score from 0 to 100 with its 95 % interval, where one is known.
#[derive(Debug, Clone, Copy)]
pub(super) struct Score {
    pub value: f64,
    pub interval: Option<(f64, f64)>,
}

/// What a row of the comparison is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Subject {
    /// One dataset at one length under the metric that is reported for it.
    Measure { dataset: String, length: u32, metric: String, examples: u32 },
    /// The mean of a category's measures at one length.
    Category { name: String, length: u32 },
    /// The mean of the categories: at one length, or over all lengths.
    Average { length: Option<u32> },
}

/// One row: a score per label, and the difference to the baseline.
pub(super) struct Row {
    pub subject: Subject,
    pub scores: Vec<Option<Score>>,
    /// Label minus baseline with its paired 95 % interval; absent for the baseline itself and without examples.
    pub differences: Vec<Option<Interval>>,
    /// What has to be known of it.
    pub notes: Vec<String>,
}

/// The comparison, in reading order: measures under their category, then the averages.
pub(super) struct Evaluation {
    pub labels: Vec<String>,
    pub baseline: usize,
    pub rows: Vec<Row>,
    /// Whether any difference has a paired interval.
    pub paired: bool,
    /// Whether a category's own row says that it is not HELMET's whole mean (not `primary`).
    pub partial: bool,
}

/// A dataset at a length under one metric.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Measure {
    category: String,
    dataset: String,
    length: u32,
    metric: String,
}

/// One example's value under a measure.
struct Example {
    example: u32,
    cluster: String,
    value: f64,
}

/// The scores of one label.
#[derive(Default)]
struct Summary {
    /// Measures in the order of the table.
    order: Vec<Measure>,
    measures: BTreeMap<Measure, (Score, u32)>,
    /// Intervals of the categories' own rows by (category, length).
    categories: BTreeMap<(String, u32), Score>,
    /// Whether one of them is over fewer measures than HELMET averages.
    partial: bool,
    examples: BTreeMap<Measure, Vec<Example>>,
}

impl Summary {
    fn read(table: &Columns) -> StageResult<Self> {
        let (categories, datasets) = (table.texts("category")?, table.texts("dataset")?);
        let (metrics, lengths) = (table.texts("metric")?, table.counts("length")?);
        let (primary, examples) = (table.flags("primary")?, table.counts("examples")?);
        let values = table.numbers_within("value", 0.0, 100.0)?;
        let (low, high) = (table.numbers_within("low", 0.0, 100.0)?, table.numbers_within("high", 0.0, 100.0)?);
        let mut summary = Self::default();
        for row in 0..table.rows() {
            if low[row] > high[row] {
                return Err(table.wrong(row, "low", format!("{} lies above `high` {}", low[row], high[row])));
            }
            let score = Score { value: values[row], interval: Some((low[row], high[row])) };
            let repeated = if datasets[row].is_empty() {
                summary.partial |= !primary[row];
                summary.categories.insert((categories[row].clone(), lengths[row]), score).is_some()
            } else if primary[row] {
                let measure = Measure {
                    category: categories[row].clone(),
                    dataset: datasets[row].clone(),
                    length: lengths[row],
                    metric: metrics[row].clone(),
                };
                summary.order.push(measure.clone());
                summary.measures.insert(measure, (score, examples[row])).is_some()
            } else {
                false
            };
            if repeated {
                return Err(table.wrong(
                    row,
                    "dataset",
                    "the same category, dataset, length and metric stand there twice",
                ));
            }
        }
        if summary.measures.is_empty() {
            return Err(table.refuse("the table has no dataset with a primary metric"));
        }
        Ok(summary)
    }

    /// Adds the examples behind the primary measures.
    fn read_examples(&mut self, table: &Columns) -> StageResult<()> {
        let (datasets, metrics) = (table.texts("dataset")?, table.texts("metric")?);
        let (lengths, numbers) = (table.counts("length")?, table.counts("example")?);
        let clusters = table.texts("cluster")?;
        let values = table.numbers_within("value", 0.0, 1.0)?;
        let by_name: BTreeMap<(&str, u32, &str), &Measure> = self
            .measures
            .keys()
            .map(|measure| ((measure.dataset.as_str(), measure.length, measure.metric.as_str()), measure))
            .collect();
        let mut examples: BTreeMap<Measure, Vec<Example>> = BTreeMap::new();
        for row in 0..table.rows() {
            // Metrics that are not reported are in the table too.
            if let Some(&measure) = by_name.get(&(datasets[row].as_str(), lengths[row], metrics[row].as_str())) {
                let example = Example { example: numbers[row], cluster: clusters[row].clone(), value: values[row] };
                examples.entry(measure.clone()).or_default().push(example);
            }
        }
        for (measure, (score, _)) in &self.measures {
            let rows = examples.get(measure).map_or(&[][..], Vec::as_slice);
            let name = format!("{} at length {} under {}", measure.dataset, measure.length, measure.metric);
            if rows.is_empty() {
                return Err(table.refuse(format!("there are no examples of {name}, which port `evaluation` scores")));
            }
            let mean = 100.0 * rows.iter().map(|example| example.value).sum::<f64>() / rows.len() as f64;
            if (mean - score.value).abs() > SAME_MEAN {
                let why = format!(
                    "the examples of {name} have mean {mean:.4}, but port `evaluation` says {:.4}",
                    score.value
                );
                return Err(table.refuse(why).with_hint("the same label must name the same model at both ports"));
            }
        }
        self.examples = examples;
        Ok(())
    }
}

impl Evaluation {
    /// Compares the labels at ports `evaluation` and `examples` with `baseline`; `noted` is what stands at port `notes`.
    ///
    /// # Errors
    /// `Input` when the tables contradict each other or the baseline is not among the labels.
    pub fn read(
        summaries: &[(String, Columns)],
        examples: &[(String, Columns)],
        noted: &[(String, Columns)],
        baseline: &str,
        seed: u64,
    ) -> StageResult<Option<Self>> {
        let labels: Vec<String> = summaries.iter().map(|(label, _)| label.clone()).collect();
        if let Some((label, _)) = examples.iter().find(|(label, _)| !labels.contains(label)) {
            return Err(StageError::input(format!("port `examples`: label `{label}` is not at port `evaluation`")));
        }
        if let Some((label, _)) = noted.iter().find(|(label, _)| !labels.contains(label)) {
            return Err(StageError::input(format!("port `notes`: label `{label}` is not at port `evaluation`")));
        }
        if labels.is_empty() {
            return Ok(None);
        }
        let Some(baseline) = labels.iter().position(|label| label == baseline) else {
            return Err(StageError::input(format!(
                "port `evaluation`: the baseline `{baseline}` is not among the labels {}",
                labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ")
            ))
            .with_hint("name the label to compare with in the parameter `baseline`"));
        };
        let mut read = Vec::with_capacity(labels.len());
        for (label, table) in summaries {
            let mut summary = Summary::read(table)?;
            if let Some((_, table)) = examples.iter().find(|(other, _)| other == label) {
                summary.read_examples(table)?;
            }
            read.push(summary);
        }
        let mut rows = Comparison { labels: &labels, summaries: &read, baseline, seed }.rows()?;
        notes::place(&mut rows, noted, &labels)?;
        let paired = rows.iter().any(|row| row.differences.iter().any(Option::is_some));
        let partial = read.iter().any(|summary| summary.partial);
        Ok(Some(Self { labels, baseline, rows, paired, partial }))
    }

    /// The row to quote: the average over everything that was evaluated.
    pub fn overall(&self) -> Option<&Row> {
        self.rows.last().filter(|row| matches!(row.subject, Subject::Average { .. }))
    }
}

/// All labels' scores while the rows are made.
struct Comparison<'a> {
    labels: &'a [String],
    summaries: &'a [Summary],
    baseline: usize,
    seed: u64,
}

impl Comparison<'_> {
    fn rows(&self) -> StageResult<Vec<Row>> {
        let mut order: Vec<&Measure> = Vec::new();
        let mut seen = BTreeSet::new();
        order.extend(self.summaries.iter().flat_map(|summary| &summary.order).filter(|measure| seen.insert(*measure)));
        let mut categories: Vec<&str> = Vec::new();
        for measure in &order {
            if !categories.contains(&measure.category.as_str()) {
                categories.push(&measure.category);
            }
        }
        let lengths: BTreeSet<u32> = order.iter().map(|measure| measure.length).collect();
        let mut rows = Vec::new();
        for category in categories {
            let members: Vec<&Measure> = order.iter().copied().filter(|measure| measure.category == category).collect();
            for &measure in &members {
                rows.push(self.measure_row(measure)?);
            }
            for &length in &lengths {
                let here: Vec<&Measure> = members.iter().copied().filter(|measure| measure.length == length).collect();
                if !here.is_empty() {
                    let subject = Subject::Category { name: category.to_owned(), length };
                    rows.push(self.mean_row(subject, &here)?);
                }
            }
        }
        for &length in &lengths {
            let here: Vec<&Measure> = order.iter().copied().filter(|measure| measure.length == length).collect();
            rows.push(self.mean_row(Subject::Average { length: Some(length) }, &here)?);
        }
        if lengths.len() > 1 {
            rows.push(self.mean_row(Subject::Average { length: None }, &order)?);
        }
        Ok(rows)
    }

    fn measure_row(&self, measure: &Measure) -> StageResult<Row> {
        let found: Vec<Option<&(Score, u32)>> =
            self.summaries.iter().map(|summary| summary.measures.get(measure)).collect();
        let subject = Subject::Measure {
            dataset: measure.dataset.clone(),
            length: measure.length,
            metric: measure.metric.clone(),
            examples: found.iter().flatten().map(|(_, examples)| *examples).max().unwrap_or_default(),
        };
        let scores = found.iter().map(|found| found.map(|(score, _)| *score)).collect();
        Ok(Row { subject, scores, differences: self.differences(&[measure])?, notes: Vec::new() })
    }

    /// A category or an average: only for labels that have every measure, for a mean over fewer is no such mean.
    fn mean_row(&self, subject: Subject, measures: &[&Measure]) -> StageResult<Row> {
        let weights = weights(measures);
        let mut scores = Vec::with_capacity(self.summaries.len());
        for (summary, label) in self.summaries.iter().zip(self.labels) {
            let values: Option<Vec<f64>> =
                measures.iter().map(|measure| summary.measures.get(*measure).map(|(score, _)| score.value)).collect();
            let Some(values) = values else {
                scores.push(None);
                continue;
            };
            let value = values.iter().zip(&weights).map(|(value, weight)| value * weight).sum::<f64>();
            let own_row = match &subject {
                Subject::Category { name, length } => summary.categories.get(&(name.clone(), *length)),
                _ => None,
            };
            if let Some(own) = own_row.filter(|own| (own.value - value).abs() > SAME_MEAN) {
                return Err(StageError::input(format!(
                    "port `evaluation`, label `{label}`: the row of category {} says {:.4}, but its datasets have mean {value:.4}",
                    measures[0].category, own.value
                )));
            }
            let interval = match own_row {
                Some(own) => own.interval,
                None => self.interval(summary, measures, &weights, label),
            };
            scores.push(Some(Score { value, interval }));
        }
        Ok(Row { subject, scores, differences: self.differences(measures)?, notes: Vec::new() })
    }

    /// The bootstrap interval of a weighted mean of measures; absent without examples.
    fn interval(&self, summary: &Summary, measures: &[&Measure], weights: &[f64], label: &str) -> Option<(f64, f64)> {
        let groups: Option<Vec<Vec<Observation<'_>>>> = measures
            .iter()
            .zip(weights)
            .map(|(measure, weight)| {
                let rows = summary.examples.get(*measure)?.iter();
                let scale = 100.0 * weight * measures.len() as f64;
                Some(rows.map(|row| Observation { cluster: &row.cluster, value: scale * row.value }).collect())
            })
            .collect();
        let groups = groups?;
        let groups: Vec<&[Observation<'_>]> = groups.iter().map(Vec::as_slice).collect();
        let interval = self.bootstrap(label).mean_of_means(&groups)?;
        Some((interval.low, interval.high))
    }

    fn differences(&self, measures: &[&Measure]) -> StageResult<Vec<Option<Interval>>> {
        let weights = weights(measures);
        let first = scored(&self.summaries[self.baseline], measures, &weights);
        self.summaries
            .iter()
            .enumerate()
            .map(|(index, summary)| {
                let (Some(first), Some(second)) = (&first, scored(summary, measures, &weights)) else {
                    return Ok(None);
                };
                if index == self.baseline {
                    return Ok(None);
                }
                let difference = paired_difference(&rows(first), &rows(&second), self.bootstrap("difference"));
                difference.map(Some).map_err(|error| {
                    let (base, other) = (&self.labels[self.baseline], &self.labels[index]);
                    StageError::input(format!("port `examples`, labels `{base}` and `{other}`: {error}"))
                })
            })
            .collect()
    }

    fn bootstrap<'n>(&self, name: &'n str) -> Bootstrap<'n> {
        Bootstrap { resamples: RESAMPLES, seed: self.seed, name }
    }
}

/// A measure's examples under a name of its own, scaled for the mean they go into.
struct Group<'a> {
    name: String,
    length: u32,
    scale: f64,
    examples: &'a [Example],
}

/// The examples of all measures; `None` when one has none.
fn scored<'a>(summary: &'a Summary, measures: &[&Measure], weights: &[f64]) -> Option<Vec<Group<'a>>> {
    measures
        .iter()
        .zip(weights)
        .map(|(measure, weight)| {
            Some(Group {
                name: format!("{} ({})", measure.dataset, measure.metric),
                length: measure.length,
                // `paired_difference` weighs groups equally; the factor turns that into our weights, in points.
                scale: 100.0 * weight * measures.len() as f64,
                examples: summary.examples.get(*measure)?,
            })
        })
        .collect()
}

fn rows<'a>(groups: &'a [Group<'a>]) -> Vec<Scored<'a>> {
    groups
        .iter()
        .flat_map(|group| {
            group.examples.iter().map(|row| Scored {
                dataset: &group.name,
                length: group.length,
                example: row.example,
                cluster: &row.cluster,
                value: group.scale * row.value,
            })
        })
        .collect()
}

/// The weight of each measure in the mean over lengths of the mean over categories of the mean over measures.
fn weights(measures: &[&Measure]) -> Vec<f64> {
    let lengths: BTreeSet<u32> = measures.iter().map(|measure| measure.length).collect();
    let mut members: BTreeMap<(u32, &str), usize> = BTreeMap::new();
    for measure in measures {
        *members.entry((measure.length, &measure.category)).or_default() += 1;
    }
    measures
        .iter()
        .map(|measure| {
            let categories = members.keys().filter(|(length, _)| *length == measure.length).count();
            let size = members[&(measure.length, measure.category.as_str())];
            1.0 / (lengths.len() * categories * size) as f64
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measure(category: &str, dataset: &str, length: u32) -> Measure {
        Measure { category: category.into(), dataset: dataset.into(), length, metric: "exact_match".into() }
    }

    #[test]
    fn weights_are_those_of_nested_unweighted_means() {
        let measures =
            [measure("Recall", "a", 1), measure("Recall", "b", 1), measure("ICL", "c", 1), measure("ICL", "c", 2)];
        let measures: Vec<&Measure> = measures.iter().collect();
        // Length 1: two categories, the first with two members; length 2: one measure alone.
        assert_eq!(weights(&measures), [0.125, 0.125, 0.25, 0.5]);
    }
}
