//! Rows of running stages, kept in the store.

use retmask_cache::{Claim as Kept, RowMap, Store};
use retmask_stages::contract::{Claim, RowKeeper, RowKey, RowScope, Rows, StageError, StageResult};

use crate::error::Error;
use crate::plan::RowScopes;

/// Keeps the rows of one stage.
pub struct StoredRows {
    store: Store,
    scopes: RowScopes,
}

impl StoredRows {
    pub fn new(store: &Store, scopes: RowScopes) -> Self {
        Self { store: store.clone(), scopes }
    }
}

impl RowKeeper for StoredRows {
    fn open(&self, scope: &RowScope) -> StageResult<Box<dyn Rows>> {
        let (key, fields) = self.scopes.resolve(scope).map_err(|error| StageError::internal(error.to_string()))?;
        Ok(Box::new(Stored(self.store.row_map(&key, &fields).map_err(stage_error)?)))
    }
}

struct Stored(RowMap);

impl Rows for Stored {
    fn contains(&self, row: &RowKey) -> bool {
        self.0.contains(row.bytes())
    }

    fn get(&mut self, row: &RowKey) -> StageResult<Option<Vec<u8>>> {
        self.0.get(row.bytes()).map_err(stage_error)
    }

    fn claim(&mut self, rows: &[RowKey]) -> StageResult<Vec<Claim>> {
        let claims =
            self.0.claim(rows.iter().map(RowKey::bytes)).map_err(stage_error)?.into_iter().map(|claim| match claim {
                Kept::Kept => Claim::Kept,
                Kept::Mine => Claim::Mine,
                Kept::Elsewhere => Claim::Elsewhere,
            });
        Ok(claims.collect())
    }

    fn put(&mut self, row: &RowKey, result: &[u8]) -> StageResult<()> {
        self.0.put(row.bytes(), result).map_err(stage_error)
    }

    fn finish(self: Box<Self>) -> StageResult<()> {
        self.0.finish().map_err(stage_error)
    }
}

/// An error of the store, as a stage hands it on.
fn stage_error(error: retmask_cache::CacheError) -> StageError {
    match Error::from(error) {
        Error::Message { fault, message, hint } => StageError { fault, message, hint },
        _ => StageError::internal("the store cannot keep rows"),
    }
}
