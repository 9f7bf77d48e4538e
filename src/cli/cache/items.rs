//! What is meant by a run, a stage or a key on the command line of `retmask cache`.

use std::collections::{BTreeMap, BTreeSet};

use retmask_cache::{Key, Lookup, Store};

use crate::error::{Error, Result};
use crate::run::{find_run, run_folders, run_name, stages_of};
use crate::show::find_stage;

/// Fewest digits of a key that are taken for one.
const LEAST_DIGITS: usize = 8;
/// Digits of a key in tables.
const SHOWN_DIGITS: usize = 12;

/// A key as it is shown in tables.
pub fn short(key: &Key) -> String {
    key.to_string()[..SHOWN_DIGITS].to_owned()
}

/// The results that are meant, each with what it is called; and the runs that were named as a whole.
#[derive(Debug, Default)]
pub struct Meant {
    pub results: BTreeMap<Key, String>,
    pub runs: Vec<String>,
}

/// Finds results by what was typed: a run (or `latest`), `STAGE[@RUN]`, or at least eight digits of a key.
///
/// # Errors
/// `Input` when nothing is meant by it.
pub fn find(store: &Store, items: &[String]) -> Result<Meant> {
    let mut meant = Meant::default();
    let runs = run_folders(store)?;
    for item in items {
        if item == "latest" || runs.iter().any(|folder| run_name(folder) == *item) {
            let folder = find_run(store, &runs, Some(item))?;
            let run = run_name(folder);
            for stage in stages_of(folder)?.into_iter().filter(|stage| !stage.outputs.is_empty()) {
                meant.results.extend(stage.key.map(|key| (key, format!("{} of run {run}", stage.stage))));
            }
            meant.runs.push(run);
        } else if let Some(keys) = by_digits(store, item)? {
            meant.results.extend(keys.into_iter().map(|key| (key, format!("key {}", short(&key)))));
        } else {
            let stage = find_stage(store, item)?;
            let key =
                stage.key.ok_or_else(|| Error::input(format!("stage `{item}` has no key in its run's record")))?;
            meant.results.insert(key, format!("stage {}", stage.stage));
        }
    }
    Ok(meant)
}

/// The scopes of the row maps that these results were put together from.
///
/// # Errors
/// `Environment` when the store cannot be read.
pub fn row_scopes<'k>(store: &Store, keys: impl Iterator<Item = &'k Key>) -> Result<BTreeSet<Key>> {
    let mut scopes = BTreeSet::new();
    for key in keys {
        if let Lookup::Hit(record) = store.lookup(key)? {
            scopes.extend(&record.provenance.rows);
        }
    }
    Ok(scopes)
}

/// The one key that begins with these digits; `None` when they are not digits of a key at all.
fn by_digits(store: &Store, item: &str) -> Result<Option<Vec<Key>>> {
    let digits = item.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if !digits || !(LEAST_DIGITS..=64).contains(&item.len()) {
        return Ok(None);
    }
    let mut keys: Vec<Key> = store.keys()?.into_iter().filter(|key| key.to_string().starts_with(item)).collect();
    keys.dedup();
    match keys.len() {
        0 => Err(Error::input(format!("no result has a key that begins with {item}"))
            .with_hint("`retmask cache ls` lists the keys")),
        1 => Ok(Some(keys)),
        several => Err(Error::input(format!("{several} keys begin with {item}")).with_hint("give more digits")),
    }
}
