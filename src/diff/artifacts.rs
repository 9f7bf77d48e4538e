//! How masks, scores of heads and preference pairs differ.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::{AsArray, RecordBatch};
use retmask_stages::artifact::table::value_digest;
use serde::Serialize;
use serde_json::{Map, Value};

use super::Both;
use crate::error::{Error, Result};

/// Heads by `layer-head`.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Mask {
    pub entered: Vec<String>,
    pub left: Vec<String>,
    /// How many are in both.
    pub kept: usize,
}

/// The summary of head scores, in both runs.
#[derive(Debug, Serialize)]
pub struct Summary {
    pub gini: [f64; 2],
    pub best_score: [f64; 2],
    pub counted: [u64; 2],
}

/// How the scores of heads differ.
#[derive(Debug, Serialize)]
pub struct Heads {
    /// How many heads have another score.
    pub changed: usize,
    /// The largest changes, largest first; of equal ones the lower head first.
    pub largest: Vec<HeadChange>,
}

/// One head's score in both runs.
#[derive(Debug, PartialEq, Serialize)]
pub struct HeadChange {
    pub head: String,
    pub scores: [f64; 2],
}

/// How two sets of pairs differ; a pair is known by its prompt and sample index.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Pairs {
    pub same: usize,
    /// The prompt is in both, and another answer is chosen.
    pub chosen_changed: Vec<String>,
    /// The prompt is in both, and another answer is rejected.
    pub rejected_changed: Vec<String>,
    pub added: Vec<String>,
    pub removed: Vec<String>,
}

/// How many heads are listed.
const LISTED: usize = 10;

type Head = (u64, u64);

fn head(row: &Map<String, Value>) -> Head {
    (whole(row, "layer"), whole(row, "head"))
}

fn spelled(head: Head) -> String {
    format!("{}-{}", head.0, head.1)
}

fn whole(row: &Map<String, Value>, column: &str) -> u64 {
    row.get(column).and_then(Value::as_u64).unwrap_or_default()
}

fn real(row: &Map<String, Value>, column: &str) -> f64 {
    row.get(column).and_then(Value::as_f64).unwrap_or(f64::NAN)
}

pub fn mask(both: &Both<'_>) -> Result<Mask> {
    let [old, new] = both.rows()?.map(|rows| rows.iter().map(head).collect::<BTreeSet<Head>>());
    let only = |these: &BTreeSet<Head>, those: &BTreeSet<Head>| these.difference(those).copied().map(spelled).collect();
    Ok(Mask { entered: only(&new, &old), left: only(&old, &new), kept: old.intersection(&new).count() })
}

pub fn summary(both: &Both<'_>) -> Result<Summary> {
    let rows = both.rows()?.map(|rows| rows.into_iter().next().unwrap_or_default());
    Ok(Summary {
        gini: rows.each_ref().map(|row| real(row, "gini")),
        best_score: rows.each_ref().map(|row| real(row, "best_score")),
        counted: rows.each_ref().map(|row| whole(row, "counted")),
    })
}

pub fn heads(both: &Both<'_>) -> Result<Heads> {
    Ok(changes(&both.rows()?.map(|rows| rows.iter().map(|row| (head(row), real(row, "score"))).collect())))
}

/// Heads that only one run has count with a score of 0 in the other.
fn changes([old, new]: &[BTreeMap<Head, f64>; 2]) -> Heads {
    let all: BTreeSet<Head> = old.keys().chain(new.keys()).copied().collect();
    let score = |scores: &BTreeMap<Head, f64>, head| scores.get(&head).copied().unwrap_or_default();
    let mut changed: Vec<(Head, [f64; 2])> =
        all.into_iter().map(|head| (head, [score(old, head), score(new, head)])).collect();
    changed.retain(|(_, [old, new])| old != new);
    changed.sort_by(|(_, left), (_, right)| (right[1] - right[0]).abs().total_cmp(&(left[1] - left[0]).abs()));
    let largest = changed.iter().take(LISTED).map(|&(head, scores)| HeadChange { head: spelled(head), scores });
    Heads { changed: changed.len(), largest: largest.collect() }
}

/// The answers of pairs, chosen and rejected, as digests by row id: hundreds of thousands of them are compared
/// without their texts in memory.
type Answers = BTreeMap<String, [[u8; 32]; 2]>;

pub fn pairs(both: &Both<'_>) -> Result<Pairs> {
    Ok(compare_pairs(&both.streamed(answers)?))
}

/// Adds the answers of some rows.
fn answers(rows: &RecordBatch, answers: &mut Answers) -> Result<()> {
    let column = |name: &str| {
        rows.column_by_name(name).ok_or_else(|| Error::environment(format!("a table of pairs has no column `{name}`")))
    };
    let (chosen, rejected) = (column("chosen")?, column("rejected")?);
    let ids = column("row_id")?;
    let ids = ids.as_string_opt::<i32>().ok_or_else(|| Error::environment("the row ids of pairs are no texts"))?;
    for row in 0..rows.num_rows() {
        let digests = [value_digest(chosen.as_ref(), row)?, value_digest(rejected.as_ref(), row)?];
        answers.insert(ids.value(row).to_owned(), digests);
    }
    Ok(())
}

fn compare_pairs([old, new]: &[Answers; 2]) -> Pairs {
    let mut pairs = Pairs { same: 0, chosen_changed: vec![], rejected_changed: vec![], added: vec![], removed: vec![] };
    for (id, answers) in new {
        let Some(before) = old.get(id) else {
            pairs.added.push(id.clone());
            continue;
        };
        let [chosen, rejected] = [0, 1].map(|side| before[side] != answers[side]);
        if chosen {
            pairs.chosen_changed.push(id.clone());
        }
        if rejected {
            pairs.rejected_changed.push(id.clone());
        }
        pairs.same += usize::from(!chosen && !rejected);
    }
    pairs.removed = old.keys().filter(|id| !new.contains_key(*id)).cloned().collect();
    pairs
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, StringArray};

    use super::*;

    #[test]
    fn the_largest_changes_of_heads() {
        let old = BTreeMap::from([((0, 0), 0.5), ((0, 1), 0.2), ((1, 0), 0.1)]);
        let new = BTreeMap::from([((0, 0), 0.4), ((0, 1), 0.2), ((1, 0), 0.9), ((1, 1), 0.0)]);
        let heads = changes(&[old, new]);
        assert_eq!(heads.changed, 2);
        let largest = [("1-0", [0.1, 0.9]), ("0-0", [0.5, 0.4])];
        assert_eq!(heads.largest, largest.map(|(head, scores)| HeadChange { head: head.into(), scores }));
    }

    #[test]
    fn pairs_by_their_rows() {
        let table = |rows: &[(&str, &str, &str)]| {
            let texts = |values: Vec<&str>| Arc::new(StringArray::from(values)) as ArrayRef;
            let columns = [
                ("row_id", texts(rows.iter().map(|row| row.0).collect())),
                ("chosen", texts(rows.iter().map(|row| row.1).collect())),
                ("rejected", texts(rows.iter().map(|row| row.2).collect())),
            ];
            let batch = RecordBatch::try_from_iter(columns).unwrap();
            let mut found = Answers::new();
            // In two parts, as a table is read.
            answers(&batch.slice(0, 1), &mut found).unwrap();
            answers(&batch.slice(1, rows.len() - 1), &mut found).unwrap();
            found
        };
        let old = table(&[("a", "x", "y"), ("b", "x", "y"), ("c", "x", "y"), ("d", "x", "y")]);
        let new = table(&[("e", "x", "y"), ("c", "z", "z"), ("b", "x", "z"), ("a", "x", "y")]);
        let ids = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>();
        let expected = Pairs {
            same: 1,
            chosen_changed: ids(&["c"]),
            rejected_changed: ids(&["b", "c"]),
            added: ids(&["e"]),
            removed: ids(&["d"]),
        };
        assert_eq!(compare_pairs(&[old, new]), expected);
    }
}
