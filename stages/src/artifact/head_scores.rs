//! Retrieval scores of a model's heads: the table artifact, and either of its two file forms read alike.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, AsArray, Float64Array, Float64Builder, ListBuilder, RecordBatch, UInt32Array};
use arrow::datatypes::{DataType, Field, Float64Type, UInt32Type};
use retmask_model::heads::Head;

use super::{Media, published_scores, schema, table};
use crate::contract::{Input, StageError, StageResult};

/// Scores of all heads of one model: a full rectangle of layers x heads, every head with the same number
/// of counted trials.
#[derive(Debug, Clone, PartialEq)]
pub struct HeadScores {
    layers: usize,
    heads: usize,
    /// Counted trials of each head, in order of layer, then head; each in trial order.
    trials: Vec<Vec<f64>>,
}

impl HeadScores {
    /// Takes scores per head in any order and checks that they are those of one whole model.
    ///
    /// # Errors
    /// A message naming the head that is missing, given twice, or whose list is ragged or not finite and
    /// non-negative.
    pub fn from_rows(mut rows: Vec<(Head, Vec<f64>)>) -> Result<Self, String> {
        rows.sort_by_key(|(head, _)| *head);
        if let Some(pair) = rows.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(format!("head {} is given twice", pair[0].0));
        }
        let Some((last, first_trials)) = rows.last().map(|(head, _)| *head).zip(rows.first().map(|row| row.1.len()))
        else {
            return Err("there is no head in it".into());
        };
        let heads = rows.iter().map(|(head, _)| head.head as usize + 1).max().unwrap_or(0);
        let layers = last.layer as usize + 1;
        // The rows are sorted and distinct: the first that is not where it would stand in a full rectangle
        // shows which head is missing before it.
        for (index, (head, trials)) in rows.iter().enumerate() {
            let expected = Head { layer: (index / heads) as u32, head: (index % heads) as u32 };
            if *head != expected {
                return Err(format!(
                    "head {expected} is missing: the heads go up to layer {} and head {}, so all from 0-0 to {}-{} \
                     must be there",
                    last.layer,
                    heads - 1,
                    last.layer,
                    heads - 1
                ));
            }
            if trials.len() != first_trials {
                return Err(format!(
                    "head {head} has {} trials, but head 0-0 has {first_trials}: every head needs the same trials",
                    trials.len()
                ));
            }
            if let Some(position) = trials.iter().position(|score| !score.is_finite() || *score < 0.0) {
                return Err(format!(
                    "head {head}, trial {}: the score {} is not a finite number of at least 0",
                    position + 1,
                    trials[position]
                ));
            }
        }
        if rows.len() as u64 != layers as u64 * heads as u64 {
            let index = rows.len();
            return Err(format!("head {}-{} is missing", index / heads, index % heads));
        }
        Ok(Self { layers, heads, trials: rows.into_iter().map(|(_, trials)| trials).collect() })
    }

    /// Number of layers.
    pub fn layers(&self) -> usize {
        self.layers
    }

    /// Number of heads in each layer.
    pub fn heads_per_layer(&self) -> usize {
        self.heads
    }

    /// Number of counted trials behind every score.
    pub fn counted(&self) -> usize {
        self.trials.first().map_or(0, Vec::len)
    }

    /// All heads in order of layer, then head, each with its counted trials.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (Head, &[f64])> + '_ {
        self.trials.iter().enumerate().map(|(index, trials)| {
            (Head { layer: (index / self.heads) as u32, head: (index % self.heads) as u32 }, trials.as_slice())
        })
    }

    /// The retrieval score of every head: the mean of its counted trials, 0 when none counted. In order of
    /// layer, then head.
    pub fn means(&self) -> Vec<f64> {
        self.trials
            .iter()
            .map(|trials| if trials.is_empty() { 0.0 } else { trials.iter().sum::<f64>() / trials.len() as f64 })
            .collect()
    }
}

/// Writes the table.
///
/// # Errors
/// `Environment` when the file cannot be written.
pub fn write(path: &Path, scores: &HeadScores) -> StageResult<()> {
    let layers = UInt32Array::from_iter_values(scores.iter().map(|(head, _)| head.layer));
    let heads = UInt32Array::from_iter_values(scores.iter().map(|(head, _)| head.head));
    let item = Field::new("item", DataType::Float64, false);
    let mut trial_scores = ListBuilder::new(Float64Builder::new()).with_field(item);
    for (_, trials) in scores.iter() {
        trial_scores.values().append_slice(trials);
        trial_scores.append(true);
    }
    let schema = schema::of(Media::HeadScores).ok_or_else(|| StageError::internal("head scores have no schema"))?;
    let batch = RecordBatch::try_new(
        Arc::new(schema),
        vec![
            Arc::new(layers),
            Arc::new(heads),
            Arc::new(Float64Array::from(scores.means())),
            Arc::new(trial_scores.finish()),
        ],
    )
    .map_err(|error| StageError::internal(format!("head scores do not fit their schema: {error}")))?;
    table::write(path, Media::HeadScores, &batch)
}

/// Reads a head-score artifact in either form: the table, or the published JSON.
///
/// # Errors
/// `Input` naming the file and the head at fault.
pub fn read(input: &Input) -> StageResult<HeadScores> {
    match input.media {
        Media::PublishedScores => published_scores::read(&input.path),
        Media::HeadScores => read_table(&input.path),
        other => Err(StageError::internal(format!("{} does not hold head scores", other.name()))),
    }
}

fn read_table(path: &Path) -> StageResult<HeadScores> {
    let schema = schema::of(Media::HeadScores).ok_or_else(|| StageError::internal("head scores have no schema"))?;
    let batch = table::read(path, &schema)?;
    let missing = |name: &str| StageError::input(format!("{}: column `{name}` has an empty cell", path.display()));
    let full =
        |name: &str| batch.column_by_name(name).filter(|array| array.null_count() == 0).ok_or_else(|| missing(name));
    let layers = full("layer")?.as_primitive::<UInt32Type>();
    let heads = full("head")?.as_primitive::<UInt32Type>();
    let lists = full("trial_scores")?.as_list::<i32>();
    let mut rows = Vec::with_capacity(batch.num_rows());
    for row in 0..batch.num_rows() {
        let trials = lists.value(row);
        if trials.null_count() > 0 {
            return Err(missing("trial_scores"));
        }
        let head = Head { layer: layers.value(row), head: heads.value(row) };
        rows.push((head, trials.as_primitive::<Float64Type>().values().to_vec()));
    }
    HeadScores::from_rows(rows).map_err(|problem| StageError::input(format!("{}: {problem}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(layers: u32, heads: u32, trials: usize) -> Vec<(Head, Vec<f64>)> {
        (0..layers)
            .flat_map(|layer| (0..heads).map(move |head| Head { layer, head }))
            .map(|head| (head, vec![f64::from(head.layer) + 0.25; trials]))
            .collect()
    }

    #[test]
    fn a_table_reads_back_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("scores");
        let mut shuffled = rows(3, 2, 4);
        shuffled.reverse();
        let scores = HeadScores::from_rows(shuffled).unwrap();
        write(&path, &scores).unwrap();
        let again = read(&Input { media: Media::HeadScores, path }).unwrap();
        assert_eq!(again, scores);
        assert_eq!((again.layers(), again.heads_per_layer(), again.counted()), (3, 2, 4));
        assert_eq!(again.means(), [0.25, 0.25, 1.25, 1.25, 2.25, 2.25]);
    }

    #[test]
    fn what_is_not_one_whole_model_is_refused_by_the_head_at_fault() {
        let refused = |change: fn(&mut Vec<(Head, Vec<f64>)>)| {
            let mut rows = rows(2, 2, 2);
            change(&mut rows);
            HeadScores::from_rows(rows).unwrap_err()
        };
        assert!(refused(|rows| rows[1].0 = rows[0].0).contains("0-0 is given twice"));
        assert!(refused(|rows| drop(rows.remove(1))).contains("0-1 is missing"));
        assert!(refused(|rows| drop(rows.remove(3))).contains("1-1 is missing"));
        assert!(refused(|rows| rows[2].1.truncate(1)).contains("head 1-0 has 1 trials"));
        assert!(refused(|rows| rows[3].1[1] = f64::NAN).contains("head 1-1, trial 2"));
        assert!(refused(|rows| rows[0].1[0] = -0.5).contains("head 0-0, trial 1"));
        assert!(refused(Vec::clear).contains("no head"));
        // A lone far-away head must neither allocate its rectangle nor overflow.
        let far = vec![(Head { layer: u32::MAX, head: u32::MAX }, vec![0.0])];
        assert!(HeadScores::from_rows(far).unwrap_err().contains("0-0 is missing"));
    }
}
