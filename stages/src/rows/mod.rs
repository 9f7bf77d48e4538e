//! Working through the rows of a stage: what is kept is taken, what another makes is waited for, the rest is made.

mod bytes;

pub use bytes::{Reader, RowResult, Writer};

use std::collections::HashMap;
use std::time::Duration;

use crate::contract::{Claim, Context, RowCounts, RowKey, Rows, StageError, StageResult};

/// How long between two looks at what others have made.
const PAUSE: Duration = Duration::from_millis(100);

/// One row of a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Row {
    /// Which of the stage's maps it belongs to.
    pub map: usize,
    pub key: RowKey,
}

/// Where the results of made rows go.
pub struct Made<'a, R> {
    maps: &'a mut [Box<dyn Rows>],
    rows: &'a [Row],
    results: &'a mut [Option<R>],
    computed: u64,
}

impl<R: RowResult> Made<'_, R> {
    /// Keeps the result of a row, by its place among all rows. To be called as soon as it is there: what was not kept
    /// when the process dies is made again.
    ///
    /// # Errors
    /// `Environment`: it cannot be kept.
    pub fn done(&mut self, row: usize, result: R) -> StageResult<()> {
        let mut bytes = Writer::default();
        result.write(&mut bytes);
        let Row { map, key } = self.rows[row];
        self.maps[map].put(&key, &bytes.finish())?;
        self.done_for_now(row, result);
        Ok(())
    }

    /// Takes the result of a row and does not keep it: whoever needs the row another time makes it again.
    pub fn done_for_now(&mut self, row: usize, result: R) {
        self.results[row] = Some(result);
        self.computed += 1;
    }
}

/// The results of all rows, in their order. `make` is called with the places of rows whose results are not there, each
/// row once, and gives each to [`Made::done`]; it is called again only where kept rows turn out damaged, or another
/// process that was making rows went without them.
///
/// # Errors
/// Whatever `make` says; `Interrupted` when asked to stop while waiting; `Environment`: kept rows cannot be read.
pub fn work_through<R: RowResult + Clone>(
    context: &Context,
    mut maps: Vec<Box<dyn Rows>>,
    rows: &[Row],
    make: &mut dyn FnMut(&[usize], &mut Made<'_, R>) -> StageResult<()>,
) -> StageResult<Vec<R>> {
    let mut results: Vec<Option<R>> = Vec::new();
    let mut open: Vec<usize> = (0..rows.len()).collect();
    let total = rows.len() as u64;
    let (mut computed, mut told, mut waiting) = (0, false, false);
    while !open.is_empty() {
        let claims = claim(&mut maps, rows, &open)?;
        let with = |wanted: Claim| open.iter().zip(&claims).filter(move |(_, claim)| **claim == wanted);
        let (mine, copies) = distinct(rows, with(Claim::Mine).map(|(row, _)| *row));
        if !std::mem::replace(&mut told, true) {
            let reused = with(Claim::Kept).count() as u64;
            context.progress().rows(RowCounts { total, reused, computed: mine.len() as u64 });
            results.resize_with(rows.len(), || None);
        }
        if !mine.is_empty() {
            let mut made = Made { maps: &mut maps, rows, results: &mut results, computed: 0 };
            make(&mine, &mut made)?;
            computed += made.computed;
            if mine.iter().any(|row| results[*row].is_none()) {
                return Err(StageError::internal("a row was not made"));
            }
            for (copy, row) in &copies {
                results[*copy] = results[*row].clone();
            }
        }
        for (&row, _) in with(Claim::Kept) {
            results[row] = kept(&mut maps, &rows[row])?;
        }
        let before = open.len();
        open.retain(|row| results[*row].is_none());
        if open.len() == before {
            if !std::mem::replace(&mut waiting, true) {
                context.progress().phase("wait for rows that another process is making", "rows", open.len() as u64);
            }
            context.check_cancelled()?;
            std::thread::sleep(PAUSE);
        } else if waiting {
            context.progress().advance((before - open.len()) as u64);
        }
    }
    maps.into_iter().try_for_each(Rows::finish)?;
    context.progress().rows(RowCounts { total, reused: total - computed, computed });
    let results: Option<Vec<R>> = results.into_iter().collect();
    results.ok_or_else(|| StageError::internal("a row has no result"))
}

/// Whose each of these rows is.
fn claim(maps: &mut [Box<dyn Rows>], rows: &[Row], open: &[usize]) -> StageResult<Vec<Claim>> {
    let mut claims = vec![Claim::Elsewhere; open.len()];
    for (index, map) in maps.iter_mut().enumerate() {
        let places: Vec<usize> = (0..open.len()).filter(|place| rows[open[*place]].map == index).collect();
        let keys: Vec<RowKey> = places.iter().map(|place| rows[open[*place]].key).collect();
        if keys.is_empty() {
            continue;
        }
        for (place, claim) in places.into_iter().zip(map.claim(&keys)?) {
            claims[place] = claim;
        }
    }
    Ok(claims)
}

/// The first of equal rows, and the others with it.
fn distinct(rows: &[Row], wanted: impl Iterator<Item = usize>) -> (Vec<usize>, Vec<(usize, usize)>) {
    let mut first: HashMap<&Row, usize> = HashMap::new();
    let (mut mine, mut copies) = (Vec::new(), Vec::new());
    for row in wanted {
        match first.get(&rows[row]) {
            Some(&other) => copies.push((row, other)),
            None => {
                first.insert(&rows[row], row);
                mine.push(row);
            }
        }
    }
    (mine, copies)
}

/// A kept result; `None` when it is damaged.
///
/// # Errors
/// `Environment`: it cannot be read. `Internal`: it is sound, and yet no such result.
pub fn kept<R: RowResult>(maps: &mut [Box<dyn Rows>], row: &Row) -> StageResult<Option<R>> {
    let Some(bytes) = maps[row.map].get(&row.key)? else { return Ok(None) };
    let mut reader = Reader::new(&bytes);
    match R::read(&mut reader).filter(|_| reader.is_empty()) {
        Some(result) => Ok(Some(result)),
        None => Err(StageError::internal(format!("the kept result of row {:?} is of another form", row.key))),
    }
}

#[cfg(test)]
mod tests;
