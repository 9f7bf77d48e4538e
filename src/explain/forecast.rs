//! What making a result will cost, by what the nearest results cost.

use retmask_cache::Record;
use serde::Serialize;

/// Time and space of results like the one that is to be made.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Forecast {
    /// The median of the wall times.
    pub seconds: f64,
    pub least_seconds: f64,
    pub most_seconds: f64,
    /// The median of the sizes of all outputs together.
    pub bytes: u64,
    /// How many results it is taken from.
    pub results: usize,
    /// Stages for which there is no result to tell from; what is said is without them.
    pub unknown: usize,
}

impl Forecast {
    /// From results, at least one, that are all equally near.
    pub fn of(records: &[&Record]) -> Self {
        let mut times: Vec<f64> = records.iter().map(|record| seconds(record)).collect();
        times.sort_unstable_by(f64::total_cmp);
        let mut sizes: Vec<u64> = records.iter().map(|record| bytes(record)).collect();
        sizes.sort_unstable();
        Self {
            seconds: middle(&times),
            least_seconds: times.first().copied().unwrap_or_default(),
            most_seconds: times.last().copied().unwrap_or_default(),
            bytes: middle(&sizes),
            results: records.len(),
            unknown: 0,
        }
    }

    /// This and then another, which may not be known.
    pub fn and(self, other: Option<Self>) -> Self {
        let Some(other) = other else { return Self { unknown: self.unknown + 1, ..self } };
        Self {
            seconds: self.seconds + other.seconds,
            least_seconds: self.least_seconds + other.least_seconds,
            most_seconds: self.most_seconds + other.most_seconds,
            bytes: self.bytes.saturating_add(other.bytes),
            results: self.results + other.results,
            unknown: self.unknown + other.unknown,
        }
    }
}

/// The median, of an even number the lower of the two; of none the default.
fn middle<T: Copy + Default>(sorted: &[T]) -> T {
    sorted.get(sorted.len().saturating_sub(1) / 2).copied().unwrap_or_default()
}

/// How long making a result took.
pub fn seconds(record: &Record) -> f64 {
    record.provenance.duration_milliseconds as f64 / 1000.0
}

/// How much all outputs of a result take.
pub fn bytes(record: &Record) -> u64 {
    record.outputs.iter().fold(0, |sum, output| sum.saturating_add(output.size))
}

#[cfg(test)]
mod tests {
    use super::{Forecast, middle};

    #[test]
    fn the_middle_of_results() {
        assert_eq!([middle(&[3]), middle(&[1, 5]), middle(&[1, 5, 9]), middle::<i32>(&[])], [3, 1, 5, 0]);
    }

    #[test]
    fn forecasts_add_up_and_count_what_is_not_known() {
        let one = Forecast { seconds: 2.0, least_seconds: 1.0, most_seconds: 4.0, bytes: 10, results: 3, unknown: 0 };
        let both = one.clone().and(None).and(Some(one));
        let expected =
            Forecast { seconds: 4.0, least_seconds: 2.0, most_seconds: 8.0, bytes: 20, results: 6, unknown: 1 };
        assert_eq!(both, expected);
    }
}
