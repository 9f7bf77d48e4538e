//! How metrics differ, with the paired interval of the difference where the examples are there.

use std::collections::BTreeMap;

use retmask_stages::metrics::bootstrap::{Bootstrap, RESAMPLES, Scored, paired_difference};
use serde::Serialize;
use serde_json::{Map, Value};

use super::{Both, Rows};
use crate::error::Result;

/// Seed of the resampling behind the intervals of differences.
const SEED: u64 = 42;

/// One metric in both runs, 0 to 100.
#[derive(Debug, Serialize)]
pub struct Metric {
    pub category: String,
    /// Empty for a category's own row.
    pub dataset: String,
    pub length: u64,
    pub metric: String,
    /// Whether HELMET reports this number.
    pub primary: bool,
    /// Value, lower and upper end of its 95 % interval in the first run; `None` where it has no such row.
    pub old: Option<[f64; 3]>,
    /// The same of the second run.
    pub new: Option<[f64; 3]>,
    /// Second minus first, with the 95 % interval of the paired bootstrap over the same examples; `None` for
    /// categories, and where the runs did not score the same examples.
    pub difference: Option<[f64; 3]>,
}

type Place = (String, String, u64, String);

/// Compares two tables of metrics. `examples` are the scores behind them.
pub fn compare(both: &Both<'_>, examples: Option<&[Rows; 2]>) -> Result<Vec<Metric>> {
    let [old, new] = both.rows()?;
    Ok(join(&old, &new, examples))
}

fn join(old: &Rows, new: &Rows, examples: Option<&[Rows; 2]>) -> Vec<Metric> {
    let by_place = |rows: &Rows| -> BTreeMap<Place, ([f64; 3], bool)> {
        let facts = |row: &Map<String, Value>| {
            let interval = ["value", "low", "high"].map(|column| real(row, column));
            (interval, row.get("primary").and_then(Value::as_bool).unwrap_or_default())
        };
        rows.iter().map(|row| (place(row), facts(row))).collect()
    };
    let (old, new) = (by_place(old), by_place(new));
    let mut places: Vec<&Place> = old.keys().chain(new.keys()).collect();
    places.sort();
    places.dedup();
    let metric = |place: &Place| {
        let (category, dataset, length, metric) = place.clone();
        let (first, second) = (old.get(place), new.get(place));
        let difference = examples
            .filter(|_| first.is_some() && second.is_some() && !dataset.is_empty())
            .and_then(|[old, new]| paired(old, new, &dataset, length, &metric));
        let primary = first.or(second).is_some_and(|(_, primary)| *primary);
        let (old, new) = (first.map(|(value, _)| *value), second.map(|(value, _)| *value));
        Metric { category, dataset, length, metric, primary, old, new, difference }
    };
    places.into_iter().map(metric).collect()
}

fn place(row: &Map<String, Value>) -> Place {
    let text = |column: &str| row.get(column).and_then(Value::as_str).unwrap_or_default().to_owned();
    let length = row.get("length").and_then(Value::as_u64).unwrap_or_default();
    (text("category"), text("dataset"), length, text("metric"))
}

fn real(row: &Map<String, Value>, column: &str) -> f64 {
    row.get(column).and_then(Value::as_f64).unwrap_or(f64::NAN)
}

fn paired(old: &Rows, new: &Rows, dataset: &str, length: u64, metric: &str) -> Option<[f64; 3]> {
    let name = format!("{dataset} {length} {metric}");
    let bootstrap = Bootstrap { resamples: RESAMPLES, seed: SEED, name: &name };
    let [old, new] = [old, new].map(|rows| scored(rows, dataset, length, metric));
    let interval = paired_difference(&old, &new, bootstrap).ok()?;
    // Examples are scored from 0 to 1.
    Some([interval.value, interval.low, interval.high].map(|value| 100.0 * value))
}

fn scored<'a>(rows: &'a Rows, dataset: &'a str, length: u64, metric: &str) -> Vec<Scored<'a>> {
    let number = |row: &Map<String, Value>, column: &str| row.get(column).and_then(Value::as_u64);
    rows.iter()
        .filter(|row| {
            let is = |column: &str, wanted: &str| row.get(column).and_then(Value::as_str) == Some(wanted);
            is("dataset", dataset) && is("metric", metric) && number(row, "length") == Some(length)
        })
        .filter_map(|row| {
            Some(Scored {
                dataset,
                length: u32::try_from(length).ok()?,
                example: u32::try_from(number(row, "example")?).ok()?,
                cluster: row.get("cluster")?.as_str()?,
                value: row.get("value")?.as_f64()?,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rows(values: &[Value]) -> Rows {
        values.iter().map(|value| value.as_object().unwrap().clone()).collect()
    }

    #[test]
    fn differences_are_paired_by_example() {
        let summary = |value: f64| {
            let row = |dataset: &str| {
                json!({"category": "Recall", "dataset": dataset, "length": 640, "metric": "em", "primary": true,
                    "value": value, "low": value - 1.0, "high": value + 1.0, "examples": 4})
            };
            rows(&[row(""), row("kv")])
        };
        let examples = |values: [f64; 4]| {
            let row = |(index, value): (usize, f64)| {
                json!({"dataset": "kv", "length": 640, "example": index, "cluster": index.to_string(), "metric": "em",
                    "value": value})
            };
            rows(&values.into_iter().enumerate().map(row).collect::<Vec<_>>())
        };
        let both = [examples([0.0, 0.0, 1.0, 1.0]), examples([1.0, 1.0, 1.0, 1.0])];
        let metrics = join(&summary(50.0), &summary(100.0), Some(&both));
        assert_eq!(metrics.len(), 2);
        assert_eq!(metrics[0].difference, None, "a category has several datasets");
        let [value, low, high] = metrics[1].difference.unwrap();
        assert!((value - 50.0).abs() < 1e-9 && low >= 0.0 && high <= 100.0 && low < high, "{value} {low} {high}");
        assert_eq!((metrics[1].old, metrics[1].new), (Some([50.0, 49.0, 51.0]), Some([100.0, 99.0, 101.0])));
        // Other examples are not compared pair by pair.
        let mut fewer = both;
        fewer[1].pop();
        assert_eq!(join(&summary(50.0), &summary(100.0), Some(&fewer))[1].difference, None);
    }
}
