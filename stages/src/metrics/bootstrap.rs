//! Percentile bootstrap over clusters (Efron 1979): rows that are not independent, such as one question asked
//! at six depths, are drawn together.

use std::collections::BTreeMap;

use retmask_model::random::Stream;

/// A value of one row and the independent unit it belongs to.
#[derive(Debug, Clone, PartialEq)]
pub struct Observation<'a> {
    pub cluster: &'a str,
    pub value: f64,
}

/// A statistic with its 95 % interval, in the unit of the values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    pub value: f64,
    pub low: f64,
    pub high: f64,
}

/// How often to draw, and from which stream: the same settings and rows give the same bits everywhere.
#[derive(Debug, Clone, Copy)]
pub struct Bootstrap<'a> {
    pub resamples: usize,
    pub seed: u64,
    /// What the interval is of; part of the stream's name.
    pub name: &'a str,
}

/// Number of draws with which the ends of a 95 % interval are steady to about a twentieth of its width.
pub const RESAMPLES: usize = 2_000;

/// The sum and the number of rows of one cluster.
type Cluster = (f64, usize);

impl Bootstrap<'_> {
    /// The mean over all rows. `None` without rows.
    pub fn mean(&self, rows: &[Observation<'_>]) -> Option<Interval> {
        self.mean_of_means(&[rows])
    }

    /// The unweighted mean of the groups' means, each group resampled on its own: a category's mean over its
    /// datasets. `None` when there is no group or one has no rows.
    pub fn mean_of_means(&self, groups: &[&[Observation<'_>]]) -> Option<Interval> {
        self.mean_of_categories(&[groups.to_vec()])
    }

    /// The unweighted mean of the categories' means, each the unweighted mean of its groups' means; every group is
    /// resampled on its own. `None` when a category has no group, a group no rows, or there is no category.
    pub fn mean_of_categories(&self, categories: &[Vec<&[Observation<'_>]>]) -> Option<Interval> {
        let empty = |groups: &Vec<&[Observation<'_>]>| groups.is_empty() || groups.iter().any(|rows| rows.is_empty());
        if categories.is_empty() || categories.iter().any(empty) {
            return None;
        }
        let categories: Vec<Vec<Vec<Cluster>>> =
            categories.iter().map(|groups| groups.iter().map(|rows| clusters(rows)).collect()).collect();
        let statistic = |group_mean: &mut dyn FnMut(&[Cluster]) -> f64| {
            let means = categories
                .iter()
                .map(|groups| groups.iter().map(|group| group_mean(group)).sum::<f64>() / groups.len() as f64);
            means.sum::<f64>() / categories.len() as f64
        };
        let value = statistic(&mut |group| mean(group.iter().copied()));
        let mut stream = Stream::derive(self.seed, &[b"bootstrap", self.name.as_bytes()]);
        let mut draws: Vec<f64> = (0..self.resamples.max(1))
            .map(|_| statistic(&mut |group| mean((0..group.len()).map(|_| group[stream.below(group.len())]))))
            .collect();
        draws.sort_by(f64::total_cmp);
        Some(Interval { value, low: quantile(&draws, 0.025), high: quantile(&draws, 0.975) })
    }
}

/// Rows gathered by cluster, in order of first appearance.
fn clusters(rows: &[Observation<'_>]) -> Vec<Cluster> {
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    let mut clusters: Vec<Cluster> = Vec::new();
    for row in rows {
        let place = *places.entry(row.cluster).or_insert_with(|| {
            clusters.push((0.0, 0));
            clusters.len() - 1
        });
        clusters[place].0 += row.value;
        clusters[place].1 += 1;
    }
    clusters
}

fn mean(clusters: impl Iterator<Item = Cluster>) -> f64 {
    let (sum, rows) = clusters.fold((0.0, 0), |(sum, rows), (more, count)| (sum + more, rows + count));
    sum / rows as f64
}

/// The quantile of sorted values, linear between neighbours.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = share * (sorted.len() - 1) as f64;
    let below = place.floor() as usize;
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + (sorted[above] - sorted[below]) * (place - below as f64)
}

/// One system's score of one example, as [`paired_difference`] takes it.
#[derive(Debug, Clone, PartialEq)]
pub struct Scored<'a> {
    /// What makes the example the same in both systems: dataset, length, number.
    pub dataset: &'a str,
    pub length: u32,
    pub example: u32,
    pub cluster: &'a str,
    pub value: f64,
}

/// Why two systems' scores cannot be paired.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PairingError {
    #[error("there is nothing to compare")]
    Empty,
    #[error("example {example} of {dataset} at length {length} is scored twice in one system")]
    Repeated { dataset: String, length: u32, example: u32 },
    #[error("example {example} of {dataset} at length {length} is scored in one system only")]
    Unmatched { dataset: String, length: u32, example: u32 },
    #[error(
        "example {example} of {dataset} at length {length} is in cluster `{first}` of one system and `{second}` of the other"
    )]
    OtherCluster { dataset: String, length: u32, example: u32, first: String, second: String },
}

/// The difference `second - first` of two systems over the same examples, with its paired 95 % interval: both
/// systems are resampled by the same clusters. Over several (dataset, length) groups it is the difference of
/// the unweighted means of the groups' means.
///
/// # Errors
/// When the systems were not scored on exactly the same examples: a pair with a missing half says nothing.
pub fn paired_difference(
    first: &[Scored<'_>],
    second: &[Scored<'_>],
    bootstrap: Bootstrap<'_>,
) -> Result<Interval, PairingError> {
    let groups = differences(first, second)?;
    let groups: Vec<&[Observation<'_>]> = groups.values().map(Vec::as_slice).collect();
    bootstrap.mean_of_means(&groups).ok_or(PairingError::Empty)
}

/// The differences `second - first` example by example, by (dataset, length).
///
/// # Errors
/// As [`paired_difference`], but for nothing to compare.
pub fn differences<'a>(
    first: &[Scored<'a>],
    second: &[Scored<'a>],
) -> Result<BTreeMap<(&'a str, u32), Vec<Observation<'a>>>, PairingError> {
    let (first, second) = (by_example(first)?, by_example(second)?);
    let mut groups: BTreeMap<(&str, u32), Vec<Observation<'_>>> = BTreeMap::new();
    let lonely = first.keys().find(|key| !second.contains_key(*key));
    if let Some(&(dataset, length, example)) = lonely.or_else(|| second.keys().find(|key| !first.contains_key(*key))) {
        return Err(PairingError::Unmatched { dataset: dataset.into(), length, example });
    }
    for ((&(dataset, length, example), one), other) in first.iter().zip(second.values()) {
        if one.cluster != other.cluster {
            let (first, second) = (one.cluster.into(), other.cluster.into());
            return Err(PairingError::OtherCluster { dataset: dataset.into(), length, example, first, second });
        }
        let difference = Observation { cluster: one.cluster, value: other.value - one.value };
        groups.entry((dataset, length)).or_default().push(difference);
    }
    Ok(groups)
}

type ByExample<'a, 'b> = BTreeMap<(&'a str, u32, u32), &'b Scored<'a>>;

fn by_example<'a, 'b>(rows: &'b [Scored<'a>]) -> Result<ByExample<'a, 'b>, PairingError> {
    let mut keyed = BTreeMap::new();
    for row in rows {
        if keyed.insert((row.dataset, row.length, row.example), row).is_some() {
            let (length, example) = (row.length, row.example);
            return Err(PairingError::Repeated { dataset: row.dataset.into(), length, example });
        }
    }
    Ok(keyed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SETTINGS: Bootstrap<'static> = Bootstrap { resamples: RESAMPLES, seed: 7, name: "test" };

    fn rows<'a>(values: &[(&'a str, f64)]) -> Vec<Observation<'a>> {
        values.iter().map(|&(cluster, value)| Observation { cluster, value }).collect()
    }

    fn scored<'a>(dataset: &'a str, values: &[(&'a str, f64)]) -> Vec<Scored<'a>> {
        let row = |(example, &(cluster, value)): (usize, &(&'a str, f64))| Scored {
            dataset,
            length: 1024,
            example: example as u32,
            cluster,
            value,
        };
        values.iter().enumerate().map(row).collect()
    }

    #[test]
    fn the_interval_is_that_of_the_binomial_for_independent_rows() {
        let names: Vec<String> = (0..400).map(|row| row.to_string()).collect();
        let values: Vec<(&str, f64)> =
            names.iter().enumerate().map(|(row, name)| (name.as_str(), f64::from(u8::from(row % 4 == 0)))).collect();
        let interval = SETTINGS.mean(&rows(&values)).unwrap();
        assert_eq!(interval.value, 0.25);
        // Normal approximation: 1.96 * sqrt(0.25 * 0.75 / 400) = 0.0424; the ends of 2,000 draws wander by
        // about a tenth of that.
        assert!((interval.low - (0.25 - 0.0424)).abs() < 0.006, "{interval:?}");
        assert!((interval.high - (0.25 + 0.0424)).abs() < 0.006, "{interval:?}");
    }

    #[test]
    fn rows_of_one_cluster_are_drawn_together() {
        let names: Vec<String> = (0..40).map(|row| row.to_string()).collect();
        let value = |row: usize| f64::from(u8::from(row.is_multiple_of(2)));
        let once: Vec<(&str, f64)> = (0..40).map(|row| (names[row].as_str(), value(row))).collect();
        let six_times: Vec<(&str, f64)> = (0..240).map(|row| (names[row / 6].as_str(), value(row / 6))).collect();
        // Six copies of each row carry no more than one: the same draws give the same interval.
        assert_eq!(SETTINGS.mean(&rows(&once)), SETTINGS.mean(&rows(&six_times)));
        assert_eq!(SETTINGS.mean(&[]), None);
        let one = SETTINGS.mean(&rows(&[("a", 0.5), ("a", 1.0)])).unwrap();
        assert_eq!(one, Interval { value: 0.75, low: 0.75, high: 0.75 });
    }

    #[test]
    fn a_mean_of_means_weighs_groups_equally() {
        let (small, large) = (rows(&[("a", 1.0)]), rows(&[("a", 0.0), ("b", 0.0), ("c", 0.0)]));
        let interval = SETTINGS.mean_of_means(&[&small, &large]).unwrap();
        assert_eq!(interval, Interval { value: 0.5, low: 0.5, high: 0.5 });
        assert_eq!(SETTINGS.mean_of_means(&[&small, &[]]), None);
    }

    #[test]
    fn pairing_removes_what_both_systems_share() {
        let names: Vec<String> = (0..50).map(|row| row.to_string()).collect();
        let base: Vec<(&str, f64)> = (0..50).map(|row| (names[row].as_str(), row as f64 / 64.0)).collect();
        let better: Vec<(&str, f64)> = base.iter().map(|&(name, value)| (name, value + 0.25)).collect();
        let difference = paired_difference(&scored("d", &base), &scored("d", &better), SETTINGS).unwrap();
        assert_eq!(difference, Interval { value: 0.25, low: 0.25, high: 0.25 });
    }

    #[test]
    fn systems_scored_on_other_examples_are_refused() {
        let two = scored("d", &[("a", 1.0), ("b", 0.0)]);
        let one = scored("d", &[("a", 1.0)]);
        let unmatched = PairingError::Unmatched { dataset: "d".into(), length: 1024, example: 1 };
        assert_eq!(paired_difference(&one, &two, SETTINGS), Err(unmatched.clone()));
        assert_eq!(paired_difference(&two, &one, SETTINGS), Err(unmatched));
        assert_eq!(paired_difference(&[], &[], SETTINGS), Err(PairingError::Empty));
        let other = scored("d", &[("b", 1.0)]);
        assert!(matches!(paired_difference(&one, &other, SETTINGS), Err(PairingError::OtherCluster { .. })));
        let twice = [one.clone(), one.clone()].concat();
        assert!(matches!(paired_difference(&twice, &one, SETTINGS), Err(PairingError::Repeated { .. })));
    }

    proptest! {
        #[test]
        fn the_interval_lies_within_the_values(values in prop::collection::vec(0.0..1.0f64, 1..30)) {
            let names: Vec<String> = (0..values.len()).map(|row| (row / 2).to_string()).collect();
            let rows: Vec<Observation<'_>> =
                names.iter().zip(&values).map(|(cluster, &value)| Observation { cluster, value }).collect();
            let interval = Bootstrap { resamples: 100, ..SETTINGS }.mean(&rows).unwrap();
            let least = values.iter().copied().fold(f64::INFINITY, f64::min);
            let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            // Rounding of a sum of at most 30 values below 1.
            prop_assert!(least - 1e-12 <= interval.low && interval.low <= interval.high);
            prop_assert!(interval.high <= most + 1e-12);
            prop_assert!(least - 1e-12 <= interval.value && interval.value <= most + 1e-12);
        }
    }
}
