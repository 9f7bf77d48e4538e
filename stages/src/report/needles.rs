//! Needle recall by context length and depth, for the base, the masked and the trained model.

use std::collections::{BTreeMap, BTreeSet};

use super::columns::Columns;
use crate::contract::{StageError, StageResult};
use crate::metrics::bootstrap::{Bootstrap, Interval, RESAMPLES, Scored, paired_difference};

/// The most cells of one grid; the full needle tool has 40 lengths x 35 depths.
const MOST_CELLS: usize = 10_000;

/// What one trial is: needle, context length in tokens, depth in percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub needle: u32,
    pub length: u32,
    pub depth: u32,
}

/// The trials of one model.
pub(super) struct Series {
    pub label: &'static str,
    pub counted: usize,
    /// ROUGE-1 recall from 0 to 1.
    recall: BTreeMap<Place, f64>,
}

impl Series {
    /// Reads a table of trials.
    ///
    /// # Errors
    /// `Input` when it is empty, a place of the grid stands twice, or a recall is not from 0 to 1.
    pub fn read(label: &'static str, table: &Columns) -> StageResult<Self> {
        let (needles, lengths, depths) =
            (table.counts("needle")?, table.counts("context_length")?, table.counts("depth")?);
        let values = table.numbers_within("rouge1_recall", 0.0, 1.0)?;
        let counted = table.flags("counted")?.into_iter().filter(|&counted| counted).count();
        if values.is_empty() {
            return Err(table.refuse("the table has no trials"));
        }
        let mut recall = BTreeMap::new();
        for (row, value) in values.into_iter().enumerate() {
            let place = Place { needle: needles[row], length: lengths[row], depth: depths[row] };
            if place.depth > 100 {
                return Err(table.wrong(row, "depth", format!("{} is more than 100 percent", place.depth)));
            }
            if recall.insert(place, value).is_some() {
                let why = format!(
                    "needle {} at length {} and depth {} stands there twice",
                    place.needle, place.length, place.depth
                );
                return Err(table.wrong(row, "needle", why));
            }
        }
        Ok(Self { label, counted, recall })
    }

    /// The number of trials.
    pub fn trials(&self) -> usize {
        self.recall.len()
    }

    /// Mean recall over all trials.
    pub fn mean(&self) -> f64 {
        self.recall.values().sum::<f64>() / self.recall.len() as f64
    }

    /// Recall of one needle at a place of the grid, or the mean over the needles tried there.
    pub fn cell(&self, needle: Option<&u32>, length: u32, depth: u32, needles: &[u32]) -> Option<f64> {
        let wanted = needle.map_or(needles, std::slice::from_ref);
        let found: Vec<f64> =
            wanted.iter().filter_map(|&needle| self.recall.get(&Place { needle, length, depth }).copied()).collect();
        (!found.is_empty()).then(|| found.iter().sum::<f64>() / found.len() as f64)
    }
}

/// The trials of up to three models on one pair of axes.
pub(super) struct Needles {
    pub needles: Vec<u32>,
    pub lengths: Vec<u32>,
    pub depths: Vec<u32>,
    pub series: Vec<Series>,
    /// Difference of each series to the first.
    pub differences: Vec<Option<Interval>>,
}

impl Needles {
    /// Lays several series on shared axes.
    ///
    /// # Errors
    /// `Input` when the grid would be too large to draw.
    pub fn new(series: Vec<Series>, seed: u64) -> StageResult<Self> {
        let axis = |of: fn(Place) -> u32| -> Vec<u32> {
            let values: BTreeSet<u32> =
                series.iter().flat_map(|series| series.recall.keys().map(|&place| of(place))).collect();
            values.into_iter().collect()
        };
        let (needles, lengths, depths) =
            (axis(|place| place.needle), axis(|place| place.length), axis(|place| place.depth));
        if lengths.len() * depths.len() > MOST_CELLS {
            return Err(StageError::input(format!(
                "the trials lie at {} lengths x {} depths; a needle grid of more than {MOST_CELLS} cells is not drawn",
                lengths.len(),
                depths.len()
            )));
        }
        let differences = differences(&series, seed)?;
        Ok(Self { needles, lengths, depths, series, differences })
    }
}

/// The difference in mean recall of each series to the first, with its paired 95 % interval over trials;
/// `None` for the first.
///
/// # Errors
/// `Input` when a series was not tried at the same places as the first.
fn differences(series: &[Series], seed: u64) -> StageResult<Vec<Option<Interval>>> {
    let Some(base) = series.first() else { return Ok(Vec::new()) };
    let names: Vec<String> = base.recall.keys().map(|place| format!("{place:?}")).collect();
    let scored = |series: &Series| -> Vec<Scored<'_>> {
        let row = |(index, &value): (usize, &f64)| Scored {
            dataset: "needles",
            length: 0,
            example: index as u32,
            cluster: &names[index],
            value,
        };
        series.recall.values().enumerate().map(row).collect()
    };
    let mut differences = vec![None];
    for series in &series[1..] {
        if !base.recall.keys().eq(series.recall.keys()) {
            return Err(StageError::input(format!(
                "the {} trials and the {} trials are not of the same needles, lengths and depths",
                base.label, series.label
            )));
        }
        let bootstrap = Bootstrap { resamples: RESAMPLES, seed, name: "needle recall" };
        let difference = paired_difference(&scored(base), &scored(series), bootstrap)
            .map_err(|error| StageError::internal(format!("pairing the needle trials: {error}")))?;
        differences.push(Some(difference));
    }
    Ok(differences)
}
