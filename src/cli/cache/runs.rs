//! Which runs used which results, and so what a collector keeps.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use retmask_cache::{CacheResult, Key, Roots, Store};

use crate::error::{Error, Result};
use crate::output::Printer;
use crate::run::{facts_of, run_folders, stages_of};

/// A run and the results it used or made.
#[derive(Debug, Clone)]
pub struct RunUses {
    pub run: String,
    /// Where its record lies.
    pub folder: PathBuf,
    pub pipeline: String,
    /// Milliseconds since 1970-01-01 UTC.
    pub started: u64,
    /// The lock file that its sources obeyed.
    pub lock: Option<PathBuf>,
    /// Stage and key of each result.
    pub results: Vec<(String, Key)>,
}

/// One use of a result.
#[derive(Debug, Clone, Copy)]
pub struct Use<'r> {
    pub run: &'r RunUses,
    pub stage: &'r str,
}

/// What runs keep.
#[derive(Debug, Clone, Copy)]
pub struct Keep {
    /// Of each pipeline, so many of its latest runs.
    pub runs: usize,
    /// Every run begun since this time; milliseconds since 1970-01-01 UTC.
    pub since: u64,
}

/// Every run, oldest first. One whose record is damaged is warned about and left out.
///
/// # Errors
/// `Environment` when the store cannot be read.
pub fn read(store: &Store, printer: Printer) -> Result<Vec<RunUses>> {
    let mut runs = Vec::new();
    for folder in run_folders(store)? {
        let (facts, stages) = match (facts_of(&folder), stages_of(&folder)) {
            (Ok(facts), Ok(stages)) => (facts, stages),
            (Err(Error::Message { message, .. }), _) | (_, Err(Error::Message { message, .. })) => {
                printer.warn(&message);
                continue;
            }
            (Err(error), _) | (_, Err(error)) => return Err(error),
        };
        let has_result = stages.into_iter().filter(|stage| !stage.outputs.is_empty());
        runs.push(RunUses {
            run: facts.run,
            folder,
            pipeline: facts.pipeline,
            started: u64::try_from(facts.started.as_millisecond()).unwrap_or(0),
            lock: facts.lock,
            results: has_result.filter_map(|stage| Some((stage.stage, stage.key?))).collect(),
        });
    }
    Ok(runs)
}

/// The uses of each key, latest first.
pub fn uses(runs: &[RunUses]) -> HashMap<Key, Vec<Use<'_>>> {
    let mut uses: HashMap<Key, Vec<Use<'_>>> = HashMap::new();
    for run in runs.iter().rev() {
        for (stage, key) in &run.results {
            uses.entry(*key).or_default().push(Use { run, stage });
        }
    }
    uses
}

/// What a collector keeps: pins, what recent runs used, and what the latest run of a locked pipeline used.
///
/// # Errors
/// Environment: the pins cannot be read.
pub fn roots(store: &Store, runs: &[RunUses], keep: Keep) -> CacheResult<Roots> {
    let mut roots = Roots::default();
    for (run, kept) in kept(runs, keep) {
        for (_, key) in &run.results {
            let used = roots.used.entry(*key).or_default();
            *used = run.started.max(*used);
            if let Some(why) = kept {
                roots.keys.entry(*key).or_insert_with(|| why.to_owned());
            }
        }
    }
    roots.keys.extend(store.pins()?.into_keys().map(|key| (key, "pin".to_owned())));
    Ok(roots)
}

/// Every run, latest first, with why what it used is kept, where it is.
pub fn kept(runs: &[RunUses], keep: Keep) -> Vec<(&RunUses, Option<&'static str>)> {
    let mut of_pipeline: BTreeMap<&str, usize> = BTreeMap::new();
    let mut locks: Vec<&PathBuf> = Vec::new();
    let mut kept = Vec::with_capacity(runs.len());
    for run in runs.iter().rev() {
        let later = of_pipeline.entry(&run.pipeline).or_default();
        let recent = *later < keep.runs || run.started >= keep.since;
        *later += 1;
        let locked = run.lock.as_ref().is_some_and(|lock| !locks.contains(&lock) && still_locked(lock));
        locks.extend(&run.lock);
        let why = if recent { Some("recent run") } else { locked.then_some("locked pipeline") };
        kept.push((run, why));
    }
    kept
}

/// Whether a lock file is still there. One in a folder that this machine does not see counts as there.
fn still_locked(lock: &std::path::Path) -> bool {
    lock.exists() || !lock.parent().is_some_and(std::path::Path::is_dir)
}
