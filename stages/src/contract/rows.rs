//! Rows: the units of work of a stage whose results do not depend on each other.
//!
//! A stage that works row by row says what a row's result depends on, and how the result is written as bytes. The engine
//! keeps results by that, and gives them back to whoever needs the same row: a run that goes on after a kill, a longer
//! list, another stage. The stage never learns where they are kept.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{StageError, StageResult};

/// A digest of a row's content: of everything its result depends on that its scope does not say.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RowKey([u8; 32]);

impl RowKey {
    pub const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for RowKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(blake3::Hash::from_bytes(self.0).to_hex().as_str())
    }
}

/// Takes a row's content field by field. Each is framed as name length (u32), name, value length (u64), value, so no two
/// contents of different fields run into each other; numbers are little-endian.
#[derive(Debug)]
pub struct RowContent(Vec<u8>);

impl Default for RowContent {
    fn default() -> Self {
        // Room for a digest and a number with their names: there are hundreds of thousands of rows.
        Self(Vec::with_capacity(192))
    }
}

impl RowContent {
    pub fn bytes(mut self, name: &str, value: &[u8]) -> Self {
        self.frame(name, value.len());
        self.0.extend(value);
        self
    }

    pub fn text(self, name: &str, value: &str) -> Self {
        self.bytes(name, value.as_bytes())
    }

    pub fn number(self, name: &str, value: u64) -> Self {
        self.bytes(name, &value.to_le_bytes())
    }

    pub fn tokens(mut self, name: &str, value: &[u32]) -> Self {
        self.frame(name, value.len() * 4);
        value.iter().for_each(|token| self.0.extend(token.to_le_bytes()));
        self
    }

    pub fn key(self) -> RowKey {
        RowKey(blake3::derive_key("retmask 2026-11 row v1", &self.0))
    }

    fn frame(&mut self, name: &str, length: usize) {
        // Names are words of this program.
        self.0.extend((name.len() as u32).to_le_bytes());
        self.0.extend(name.as_bytes());
        self.0.extend((length as u64).to_le_bytes());
    }
}

/// What the results of all rows of one kind have in common. The engine adds the stage's kind, epoch and numerics.
#[derive(Debug, Clone, PartialEq)]
pub struct RowScope {
    /// What a row is, in the plural: `trials`. Part of the scope, so that rows of different meaning stay apart.
    pub rows: &'static str,
    /// The input ports whose content the results depend on; ports without an artifact count as such.
    pub inputs: &'static [&'static str],
    /// The parameters they depend on.
    pub parameters: Map<String, Value>,
}

impl RowScope {
    /// A scope with all parameters but those that are at their defaults and those named here, which do not matter to a
    /// row or are part of its content. So a new parameter matters unless it is said not to.
    ///
    /// # Errors
    /// `Internal`: the parameters are no struct.
    pub fn new<P: Serialize + Default>(
        rows: &'static str,
        inputs: &'static [&'static str],
        parameters: &P,
        without: &[&str],
    ) -> StageResult<Self> {
        let object = |value: &P| match serde_json::to_value(value) {
            Ok(Value::Object(fields)) => Ok(fields),
            _ => Err(StageError::internal("the parameters of a stage are no struct")),
        };
        let (mut parameters, defaults) = (object(parameters)?, object(&P::default())?);
        if let Some(unknown) = without.iter().find(|name| !defaults.contains_key(**name)) {
            return Err(StageError::internal(format!("`{unknown}` is no parameter")));
        }
        parameters.retain(|name, value| defaults.get(name) != Some(value) && !without.contains(&name.as_str()));
        Ok(Self { rows, inputs, parameters })
    }

    /// Adds a fact of the scope that is no parameter of the stage.
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.parameters.insert(name.into(), value.into());
        self
    }
}

/// Whose a row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// Its result is kept.
    Kept,
    /// The caller's, to be made and put.
    Mine,
    /// Somebody else is making it.
    Elsewhere,
}

/// The kept results of one scope.
pub trait Rows {
    /// Whether a result is kept, as far as is known; `get` says whether it is sound.
    fn contains(&self, row: &RowKey) -> bool;

    /// A kept result as it was put; `None` where there is none, or it is damaged.
    ///
    /// # Errors
    /// `Environment`: it cannot be read.
    fn get(&mut self, row: &RowKey) -> StageResult<Option<Vec<u8>>>;

    /// Says of each row whose it is. Rows that are `Mine` are left alone by others from then on.
    ///
    /// # Errors
    /// `Environment`: what is kept cannot be read or written.
    fn claim(&mut self, rows: &[RowKey]) -> StageResult<Vec<Claim>>;

    /// Keeps a result. It survives this process from then on.
    ///
    /// # Errors
    /// `Environment`: it cannot be written.
    fn put(&mut self, row: &RowKey, result: &[u8]) -> StageResult<()>;

    /// Ends the claims. Dropping does the same, but tells no error.
    ///
    /// # Errors
    /// `Environment`: what was put cannot be put away in good order. It is kept nevertheless.
    fn finish(self: Box<Self>) -> StageResult<()>;
}

/// Where the results of rows are kept.
pub trait RowKeeper: Send + Sync {
    /// The rows of a scope.
    ///
    /// # Errors
    /// `Environment`: they cannot be read.
    fn open(&self, scope: &RowScope) -> StageResult<Box<dyn Rows>>;
}

/// Keeps nothing: every row is made. For tests and library use.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoRows;

impl RowKeeper for NoRows {
    fn open(&self, _scope: &RowScope) -> StageResult<Box<dyn Rows>> {
        Ok(Box::new(Self))
    }
}

impl Rows for NoRows {
    fn contains(&self, _row: &RowKey) -> bool {
        false
    }

    fn get(&mut self, _row: &RowKey) -> StageResult<Option<Vec<u8>>> {
        Ok(None)
    }

    fn claim(&mut self, rows: &[RowKey]) -> StageResult<Vec<Claim>> {
        Ok(vec![Claim::Mine; rows.len()])
    }

    fn put(&mut self, _row: &RowKey, _result: &[u8]) -> StageResult<()> {
        Ok(())
    }

    fn finish(self: Box<Self>) -> StageResult<()> {
        Ok(())
    }
}

/// How many rows a stage has, and where their results come from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowCounts {
    pub total: u64,
    /// Kept from before, made by others meanwhile, or equal to another row.
    pub reused: u64,
    /// Made by this stage.
    pub computed: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_are_told_apart_by_their_fields() {
        let keys = [
            RowContent::default().text("a", "bc").key(),
            RowContent::default().text("ab", "c").key(),
            RowContent::default().text("a", "b").text("c", "").key(),
            RowContent::default().text("a", "b").text("", "c").key(),
            RowContent::default().number("a", 1).key(),
            RowContent::default().tokens("a", &[1, 0]).number("b", 1).key(),
            RowContent::default().tokens("a", &[1]).tokens("b", &[0]).key(),
        ];
        for (index, key) in keys.iter().enumerate() {
            assert!(!keys[..index].contains(key), "{index}");
        }
        let long: Vec<u32> = (0..1_000).collect();
        let bytes: Vec<u8> = long.iter().flat_map(|token| token.to_le_bytes()).collect();
        assert_eq!(RowContent::default().tokens("a", &long).key(), RowContent::default().bytes("a", &bytes).key());
    }

    #[test]
    fn parameters_matter_unless_they_are_at_their_defaults_or_said_not_to() {
        use crate::sample_pairs::Parameters;
        let scope = |parameters: &Parameters| RowScope::new("responses", &["model"], parameters, &["samples"]).unwrap();
        assert!(scope(&Parameters::default()).parameters.is_empty());
        let changed = Parameters { samples: 3, seed: 5, ..Parameters::default() };
        assert_eq!(Value::Object(scope(&changed).parameters), serde_json::json!({"seed": 5}));
        let unknown = RowScope::new("responses", &[], &Parameters::default(), &["sample"]).unwrap_err();
        assert!(unknown.message.contains("`sample` is no parameter"));
    }
}
