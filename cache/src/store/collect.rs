//! Removing results that nothing keeps: records first, then the blobs that no record refers to any more.
//!
//! A collector works beside running pipelines: what they use is listed (`uses`), and nothing is removed but under the
//! lock that keeps them from listing more. Dying at any point leaves at worst blobs that nothing refers to, which the
//! next collector removes.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::Store;
use super::inventory::{Inventory, Stored};
use super::uses::{self, Use};
use crate::{CacheError, CacheResult, Digest, Key, disk, lock};

/// Blobs removed before others get to use the store again.
const BATCH: usize = 512;

/// What is kept whatever the limits say, and when each result was last used.
#[derive(Debug, Clone, Default)]
pub struct Roots {
    /// Why a key is kept, one word or two.
    pub keys: BTreeMap<Key, String>,
    /// When a key was last used, in milliseconds since 1970-01-01 UTC. One that is not here was used when it was made.
    pub used: HashMap<Key, u64>,
}

/// What may stay though no root keeps it. Without limits nothing may.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of records and blobs together: what was used longest ago goes until no more are left.
    pub max_bytes: Option<u64>,
    /// What was last used before this time goes; milliseconds since 1970-01-01 UTC.
    pub used_since: Option<u64>,
}

/// A result that was removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removed {
    pub key: Key,
    pub kind: String,
    /// Milliseconds since 1970-01-01 UTC.
    pub last_used: u64,
    /// Bytes of its record and its blobs, shared ones included.
    pub bytes: u64,
}

/// What a collector did, or would do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Collected {
    /// What went, used longest ago first.
    pub removed: Vec<Removed>,
    /// Blobs that went, and their bytes together with those of the records.
    pub removed_blobs: u64,
    pub freed: u64,
    /// Records that stay.
    pub kept: u64,
    /// Bytes of what stays.
    pub kept_bytes: u64,
    /// By why they stay: how many records, and their bytes with shared blobs counted for each.
    pub kept_by: BTreeMap<String, (u64, u64)>,
}

/// The results to be removed and all that follows from it.
struct Choice {
    victims: Vec<(PathBuf, Removed)>,
    kept_by: BTreeMap<String, (u64, u64)>,
}

impl Store {
    /// Removes the results that neither a root nor a living process keeps, as far as the limits ask for it, and every
    /// blob that no record refers to. `roots` is asked while nobody can begin to use anything.
    ///
    /// # Errors
    /// Environment: another collector is at work, or the store cannot be read or changed. Those of `roots`.
    pub fn collect(
        &self,
        limits: Limits,
        dry_run: bool,
        roots: &mut dyn FnMut() -> CacheResult<Roots>,
    ) -> CacheResult<Collected> {
        let mut inventory = self.inventory()?;
        if dry_run {
            let choice = choose(&inventory, &roots()?, &uses::in_use(self.layout())?, limits);
            let gone: BTreeSet<&PathBuf> = choice.victims.iter().map(|(path, _)| path).collect();
            let live = self.live_blobs(&inventory, &gone)?;
            return Ok(tell(&inventory, &live, choice));
        }
        let busy = || {
            CacheError::environment(self.root(), format!("another collector is at work in {}", self.root().display()))
                .with_hint("wait for it to end")
        };
        let _only_one = lock::try_exclusive(&self.layout().collector_lock())?.ok_or_else(busy)?;
        let choice = {
            let _collecting = lock::wait_exclusive(&self.layout().collect_lock())?;
            // What was committed and used since.
            self.refresh(&mut inventory)?;
            let choice = choose(&inventory, &roots()?, &uses::in_use(self.layout())?, limits);
            self.remove_records(&choice.victims)?;
            choice
        };
        let mut told_of = inventory.clone();
        inventory.records.retain(|path, _| !choice.victims.iter().any(|(victim, _)| victim == path));
        self.remove_orphans(&mut inventory, &mut told_of)?;
        let live = inventory.blobs.keys().copied().collect();
        Ok(tell(&told_of, &live, choice))
    }

    fn remove_records(&self, victims: &[(PathBuf, Removed)]) -> CacheResult<()> {
        let mut touched = BTreeSet::new();
        for (path, removed) in victims {
            disk::remove_if_there(path)?;
            let folder = self.layout().records(&removed.key);
            // Another record of the key, which this program cannot read, keeps its folder.
            if fs::remove_dir(&folder).is_err() {
                touched.insert(folder);
            } else {
                touched.extend(folder.parent().map(Path::to_path_buf));
            }
        }
        // On the disk before any blob goes: no record is to come back without its blobs.
        self.sync_files(touched.iter().map(PathBuf::as_path))
    }

    /// Removes the blobs that no record and no process uses, from the store and from `inventory`.
    fn remove_orphans(&self, inventory: &mut Inventory, told_of: &mut Inventory) -> CacheResult<()> {
        let candidates: Vec<Digest> = inventory.orphans().into_keys().collect();
        for batch in candidates.chunks(BATCH) {
            let _collecting = lock::wait_exclusive(&self.layout().collect_lock())?;
            // What was committed since the last batch refers to blobs that were orphans before.
            self.refresh(inventory)?;
            let live = self.live_blobs(inventory, &BTreeSet::new())?;
            for digest in batch.iter().filter(|digest| !live.contains(digest)) {
                disk::remove_if_there(&self.layout().blob(digest))?;
                inventory.blobs.remove(digest);
            }
        }
        for (path, stored) in &inventory.records {
            told_of.records.entry(path.clone()).or_insert_with(|| stored.clone());
        }
        Ok(())
    }

    /// The blobs that stay once the records in `gone` are gone.
    fn live_blobs(&self, inventory: &Inventory, gone: &BTreeSet<&PathBuf>) -> CacheResult<HashSet<Digest>> {
        let stay = inventory.records.iter().filter(|(path, _)| !gone.contains(path));
        let mut live: HashSet<Digest> = stay.flat_map(|(_, stored)| stored.blobs.keys()).copied().collect();
        for used in uses::in_use(self.layout())? {
            match used {
                Use::Blob(digest) => {
                    live.insert(digest);
                }
                Use::Tree(digest) => live.extend(self.blobs_of_tree(&digest)?),
                // Its records are in the inventory.
                Use::Key(_) => {}
            }
        }
        // What this program cannot read may refer to anything: then nothing is an orphan.
        if !inventory.unknown.is_empty() {
            live.extend(inventory.blobs.keys());
        }
        Ok(live)
    }
}

/// Decides what goes.
fn choose(inventory: &Inventory, roots: &Roots, in_use: &HashSet<Use>, limits: Limits) -> Choice {
    let mut kept_by: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    let mut keep = |why: &str, stored: &Stored| {
        let kept = kept_by.entry(why.to_owned()).or_default();
        *kept = (kept.0 + 1, kept.1 + stored.bytes());
    };
    let mut free: Vec<(u64, &PathBuf, &Stored)> = Vec::new();
    for (path, stored) in &inventory.records {
        let key = &stored.record.key;
        if let Some(why) = roots.keys.get(key) {
            keep(why, stored);
        } else if in_use.contains(&Use::Key(*key)) {
            keep("in use", stored);
        } else {
            let made = stored.record.provenance.created_milliseconds;
            free.push((roots.used.get(key).copied().unwrap_or(made), path, stored));
        }
    }
    // What was used longest ago first; then by path, so that the choice is one.
    free.sort_by_key(|(used, path, _)| (*used, *path));
    let without_limits = limits == Limits::default();
    let mut sizes = Sizes::of(inventory);
    let mut victims = Vec::new();
    for (last_used, path, stored) in free {
        let too_old = limits.used_since.is_some_and(|since| last_used < since);
        let too_much = limits.max_bytes.is_some_and(|most| sizes.total > most);
        if !(without_limits || too_old || too_much) {
            keep("within the limits", stored);
            continue;
        }
        sizes.remove(stored);
        let kind = stored.record.provenance.kind.clone();
        let removed = Removed { key: stored.record.key, kind, last_used, bytes: stored.bytes() };
        victims.push((path.clone(), removed));
    }
    Choice { victims, kept_by }
}

/// Bytes of what stays as records go: a blob goes with the last record that refers to it.
struct Sizes<'i> {
    references: HashMap<&'i Digest, u64>,
    total: u64,
}

impl<'i> Sizes<'i> {
    fn of(inventory: &'i Inventory) -> Self {
        let mut references: HashMap<&Digest, u64> = HashMap::new();
        let mut total = 0;
        for stored in inventory.records.values() {
            total += stored.file;
            for (digest, size) in &stored.blobs {
                let count = references.entry(digest).or_default();
                total += if *count == 0 { *size } else { 0 };
                *count += 1;
            }
        }
        Self { references, total }
    }

    fn remove(&mut self, stored: &'i Stored) {
        self.total = self.total.saturating_sub(stored.file);
        for (digest, size) in &stored.blobs {
            let Some(count) = self.references.get_mut(digest) else { continue };
            *count -= 1;
            if *count == 0 {
                self.total = self.total.saturating_sub(*size);
            }
        }
    }
}

/// What comes of a choice, when these blobs stay. `inventory` is what was there before.
fn tell(inventory: &Inventory, live: &HashSet<Digest>, choice: Choice) -> Collected {
    let gone: BTreeSet<&PathBuf> = choice.victims.iter().map(|(path, _)| path).collect();
    let mut collected = Collected { kept_by: choice.kept_by, ..Collected::default() };
    for (path, stored) in &inventory.records {
        if gone.contains(path) {
            collected.freed += stored.file;
        } else {
            collected.kept += 1;
            collected.kept_bytes += stored.file;
        }
    }
    for (digest, size) in &inventory.blobs {
        if live.contains(digest) {
            collected.kept_bytes += size;
        } else {
            collected.removed_blobs += 1;
            collected.freed += size;
        }
    }
    collected.removed = choice.victims.into_iter().map(|(_, removed)| removed).collect();
    collected
}
