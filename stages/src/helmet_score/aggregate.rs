//! Means with intervals: per dataset and metric, and per category as HELMET defines it.

use std::collections::BTreeMap;

use super::ExampleScore;
use crate::helmet::category::{self, CATEGORIES, Category};
use crate::metrics::bootstrap::{Bootstrap, Interval, Observation};

/// One row of the summary; values from 0 to 100.
#[derive(Debug, Clone, PartialEq)]
pub struct SummaryRow {
    pub category: &'static str,
    /// Empty for a category's own row.
    pub dataset: String,
    pub length: u32,
    pub metric: &'static str,
    /// Whether HELMET reports this number.
    pub primary: bool,
    pub interval: Interval,
    pub examples: u32,
}

/// The metric of a category's own row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mean {
    /// Over everything HELMET averages in this category.
    Whole,
    /// Over what was evaluated, which is less: not HELMET's number, and never `primary`.
    Partial,
}

impl Mean {
    /// The word used in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Whole => "mean",
            Self::Partial => "partial_mean",
        }
    }
}

/// Scores of one (length, dataset, metric), in example order.
type Groups<'a> = BTreeMap<(u32, &'a str, &'static str), Vec<Observation<'a>>>;

/// The name that stands where a category does in the row of HELMET's average.
pub const AVERAGE: &str = "Average";

/// Means over the scores: for each length and category of which anything was scored, a row per dataset and
/// metric, then the category's own row; and for each length of which all of HELMET was scored, its average.
pub fn aggregate(scores: &[ExampleScore], resamples: usize, seed: u64) -> Vec<SummaryRow> {
    let mut groups = Groups::new();
    // Metrics in the order in which the datasets name them.
    let mut metrics: BTreeMap<(u32, &str), Vec<&'static str>> = BTreeMap::new();
    for score in scores {
        let key = (score.length, score.dataset.as_str(), score.metric);
        let values = groups.entry(key).or_default();
        if values.is_empty() {
            metrics.entry((score.length, score.dataset.as_str())).or_default().push(score.metric);
        }
        values.push(Observation { cluster: &score.cluster, value: 100.0 * score.value });
    }
    let mut lengths: Vec<u32> = scores.iter().map(|score| score.length).collect();
    lengths.sort_unstable();
    lengths.dedup();
    let mut rows = Vec::new();
    for length in lengths {
        for category in CATEGORIES {
            let mut datasets: Vec<&str> = category.measures.iter().map(|(dataset, _)| *dataset).collect();
            datasets.dedup();
            for dataset in datasets {
                for &metric in metrics.get(&(length, dataset)).map_or(&[][..], Vec::as_slice) {
                    let values = &groups[&(length, dataset, metric)];
                    // One stream per dataset: its metrics are resampled by the same draws.
                    let name = format!("{dataset} {length}");
                    if let Some(interval) = (Bootstrap { resamples, seed, name: &name }).mean(values) {
                        let primary = category.measures.contains(&(dataset, metric));
                        let examples = values.len() as u32;
                        let (category, dataset) = (category.name, dataset.to_owned());
                        rows.push(SummaryRow { category, dataset, length, metric, primary, interval, examples });
                    }
                }
            }
            rows.extend(category_row(category, length, &groups, resamples, seed));
        }
        rows.extend(average_row(length, &groups, resamples, seed));
    }
    debug_assert!(scores.iter().all(|score| category::of(&score.dataset).is_some()));
    rows
}

fn category_row(
    category: &Category,
    length: u32,
    groups: &Groups<'_>,
    resamples: usize,
    seed: u64,
) -> Option<SummaryRow> {
    let scored: Vec<&[Observation<'_>]> = category
        .measures
        .iter()
        .filter_map(|&(dataset, metric)| groups.get(&(length, dataset, metric)).map(Vec::as_slice))
        .collect();
    let name = format!("{} {length}", category.name);
    let interval = (Bootstrap { resamples, seed, name: &name }).mean_of_means(&scored)?;
    let mean = if scored.len() == category.measures.len() { Mean::Whole } else { Mean::Partial };
    Some(SummaryRow {
        category: category.name,
        dataset: String::new(),
        length,
        metric: mean.name(),
        primary: mean == Mean::Whole,
        interval,
        examples: examples(category, length, groups),
    })
}

/// HELMET's average, the unweighted mean of its categories' means; none where any number in it is missing.
fn average_row(length: u32, groups: &Groups<'_>, resamples: usize, seed: u64) -> Option<SummaryRow> {
    let scored = |category: &Category| -> Option<Vec<&[Observation<'_>]>> {
        let values = |&(dataset, metric)| groups.get(&(length, dataset, metric)).map(Vec::as_slice);
        category.measures.iter().map(values).collect()
    };
    let categories: Vec<Vec<&[Observation<'_>]>> = CATEGORIES.iter().map(scored).collect::<Option<_>>()?;
    let name = format!("{AVERAGE} {length}");
    let interval = (Bootstrap { resamples, seed, name: &name }).mean_of_categories(&categories)?;
    Some(SummaryRow {
        category: AVERAGE,
        dataset: String::new(),
        length,
        metric: Mean::Whole.name(),
        primary: true,
        interval,
        examples: CATEGORIES.iter().map(|category| examples(category, length, groups)).sum(),
    })
}

/// Examples behind a category's row; a dataset with several numbers counts once.
fn examples(category: &Category, length: u32, groups: &Groups<'_>) -> u32 {
    let mut per_dataset: BTreeMap<&str, usize> = BTreeMap::new();
    for &(dataset, metric) in category.measures {
        if let Some(values) = groups.get(&(length, dataset, metric)) {
            per_dataset.insert(dataset, values.len());
        }
    }
    per_dataset.values().map(|&count| count as u32).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scores(dataset: &str, metric: &'static str, length: u32, values: &[f64]) -> Vec<ExampleScore> {
        let row = |(example, &value): (usize, &f64)| ExampleScore {
            dataset: dataset.into(),
            length,
            example: example as u32,
            cluster: example.to_string(),
            metric,
            value,
        };
        values.iter().enumerate().map(row).collect()
    }

    fn recall(length: u32) -> Vec<ExampleScore> {
        [
            scores("ruler_niah_mv", "ruler_recall", length, &[0.5, 0.5]),
            scores("json_kv", "exact_match", length, &[0.0; 4]),
            scores("json_kv", "substring_exact_match", length, &[1.0, 0.0, 0.0, 0.0]),
            scores("ruler_niah_mk_2", "ruler_recall", length, &[1.0]),
            scores("ruler_niah_mk_3", "ruler_recall", length, &[0.0]),
        ]
        .concat()
    }

    #[test]
    fn a_category_is_the_mean_of_its_datasets_reported_metrics() {
        let rows = aggregate(&recall(1024), 2_000, 1);
        let shape: Vec<(&str, &str, bool, f64, u32)> = rows
            .iter()
            .map(|row| (row.dataset.as_str(), row.metric, row.primary, row.interval.value, row.examples))
            .collect();
        let expected = [
            ("json_kv", "exact_match", false, 0.0, 4),
            ("json_kv", "substring_exact_match", true, 25.0, 4),
            ("ruler_niah_mk_2", "ruler_recall", true, 100.0, 1),
            ("ruler_niah_mk_3", "ruler_recall", true, 0.0, 1),
            ("ruler_niah_mv", "ruler_recall", true, 50.0, 2),
            ("", "mean", true, (25.0 + 100.0 + 0.0 + 50.0) / 4.0, 8),
        ];
        assert_eq!(shape, expected);
        assert!(rows.iter().all(|row| row.category == "Recall" && row.length == 1024));
    }

    #[test]
    fn a_category_with_a_missing_dataset_says_so() {
        let two = [recall(512), recall(1024)].concat();
        let short: Vec<ExampleScore> =
            two.into_iter().filter(|score| score.length == 1024 || score.dataset != "json_kv").collect();
        let rows = aggregate(&short, 2_000, 1);
        let own: Vec<(u32, &str, bool, f64)> = rows
            .iter()
            .filter(|row| row.dataset.is_empty())
            .map(|row| (row.length, row.metric, row.primary, row.interval.value))
            .collect();
        assert_eq!(own, [(512, "partial_mean", false, 50.0), (1024, "mean", true, 43.75)]);
    }

    #[test]
    fn the_order_of_the_scores_changes_nothing_but_ties_of_rounding() {
        let mut reversed = recall(1024);
        reversed.reverse();
        let (forth, back) = (aggregate(&recall(1024), 2_000, 1), aggregate(&reversed, 2_000, 1));
        let values = |rows: &[SummaryRow]| {
            let mut values: Vec<(String, &str, f64)> =
                rows.iter().map(|row| (row.dataset.clone(), row.metric, row.interval.value)).collect();
            values.sort_by(|left, right| (&left.0, left.1).cmp(&(&right.0, right.1)));
            values
        };
        assert_eq!(values(&forth), values(&back));
    }

    #[test]
    fn the_average_is_of_the_categories_and_only_where_all_was_scored() {
        // In category c every number is c / 10.
        let all: Vec<ExampleScore> = CATEGORIES
            .iter()
            .enumerate()
            .flat_map(|(place, category)| {
                let value = place as f64 / 10.0;
                category.measures.iter().flat_map(move |&(dataset, metric)| scores(dataset, metric, 512, &[value]))
            })
            .collect();
        let average = |scores: &[ExampleScore]| {
            aggregate(scores, 2_000, 1).into_iter().find(|row| row.category == AVERAGE).map(|row| row.interval.value)
        };
        assert!((average(&all).unwrap() - 30.0).abs() < 1e-9);
        assert_eq!(average(&all[1..]), None);
    }
}
