//! Rows of running stages, kept in the store and, where there is one, exchanged with the remote.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use retmask_cache::{Claim as Kept, Key, RowMap, Store};
use retmask_stages::contract::{Cancel, Claim, RowKeeper, RowKey, RowScope, Rows, StageError, StageResult};

use super::events::Events;
use super::remote::RunRemote;
use crate::error::Error;
use crate::plan::RowScopes;

/// A remote to look for rows in, and who asks.
#[derive(Clone)]
pub struct Elsewhere {
    pub remote: Arc<RunRemote>,
    pub stage: String,
    pub events: Arc<Events>,
    pub cancel: Cancel,
}

/// Keeps the rows of one stage.
pub struct StoredRows {
    store: Store,
    scopes: RowScopes,
    elsewhere: Option<Elsewhere>,
    /// The scopes that were asked for.
    opened: Mutex<Vec<Key>>,
}

impl StoredRows {
    pub fn new(store: &Store, scopes: RowScopes, elsewhere: Option<Elsewhere>) -> Self {
        Self { store: store.clone(), scopes, elsewhere, opened: Mutex::default() }
    }

    /// The scopes that the stage has asked for, sorted.
    pub fn opened(&self) -> Vec<Key> {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner).clone();
        opened.sort_unstable();
        opened.dedup();
        opened
    }
}

impl RowKeeper for StoredRows {
    fn open(&self, scope: &RowScope) -> StageResult<Box<dyn Rows>> {
        let (key, fields) = self.scopes.resolve(scope).map_err(|error| StageError::internal(error.to_string()))?;
        self.opened.lock().unwrap_or_else(PoisonError::into_inner).push(key);
        let map = self.store.row_map(&key, &fields).map_err(stage_error)?;
        let elsewhere = self.elsewhere.clone().map(|elsewhere| (elsewhere, self.store.clone(), key));
        Ok(Box::new(Stored { map, elsewhere }))
    }
}

struct Stored {
    map: RowMap,
    /// Where rows that are not here are looked for, once.
    elsewhere: Option<(Elsewhere, Store, Key)>,
}

impl Rows for Stored {
    fn contains(&self, row: &RowKey) -> bool {
        self.map.contains(row.bytes())
    }

    fn get(&mut self, row: &RowKey) -> StageResult<Option<Vec<u8>>> {
        self.map.get(row.bytes()).map_err(stage_error)
    }

    fn claim(&mut self, rows: &[RowKey]) -> StageResult<Vec<Claim>> {
        if let Some((elsewhere, store, scope)) = self.elsewhere.take() {
            let lacking: HashSet<&[u8; 32]> =
                rows.iter().map(RowKey::bytes).filter(|row| !self.map.contains(row)).collect();
            if !lacking.is_empty() {
                let Elsewhere { remote, stage, events, cancel } = elsewhere;
                let wanted = |row: &[u8; 32]| lacking.contains(row);
                remote.fetch_rows(&store, &stage, &scope, &wanted, &events, &cancel).map_err(handed_on)?;
            }
        }
        let claims =
            self.map.claim(rows.iter().map(RowKey::bytes)).map_err(stage_error)?.into_iter().map(|claim| match claim {
                Kept::Kept => Claim::Kept,
                Kept::Mine => Claim::Mine,
                Kept::Elsewhere => Claim::Elsewhere,
            });
        Ok(claims.collect())
    }

    fn put(&mut self, row: &RowKey, result: &[u8]) -> StageResult<()> {
        self.map.put(row.bytes(), result).map_err(stage_error)
    }

    fn finish(self: Box<Self>) -> StageResult<()> {
        self.map.finish().map_err(stage_error)
    }
}

/// An error of the store, as a stage hands it on.
fn stage_error(error: retmask_cache::CacheError) -> StageError {
    handed_on(Error::from(error))
}

fn handed_on(error: Error) -> StageError {
    match error {
        Error::Message { fault, message, hint } => StageError { fault, message, hint },
        _ => StageError::internal("the store cannot keep rows"),
    }
}
