//! Why a stage will run: told field by field against the nearest record of its kind.

use std::fmt;

use retmask_cache::{MissReason, Record};
use serde::Serialize;

use super::key::{Difference, differences};
use super::value::Value;

/// Why there is no hit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "because", rename_all = "kebab-case")]
pub enum Reason {
    /// The store holds no result of this kind at all.
    First,
    /// The nearest result of this kind differs in these fields.
    Changed { differences: Vec<Difference>, nearest: String },
    /// There is a record of this very key, but its content is lost or damaged.
    Lost { what: String },
}

/// How many differences one line shows.
const SHOWN: usize = 3;

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::First => formatter.write_str("no result of this kind yet"),
            Self::Lost { what } => formatter.write_str(what),
            Self::Changed { differences, .. } => {
                for (index, difference) in differences.iter().take(SHOWN).enumerate() {
                    let separator = if index == 0 { "" } else { ", " };
                    write!(formatter, "{separator}{difference}")?;
                }
                match differences.len().saturating_sub(SHOWN) {
                    0 => Ok(()),
                    more => write!(formatter, " and {more} more"),
                }
            }
        }
    }
}

impl Reason {
    /// The reason for a miss. `records` is the store's content; `fields` and `defaults` belong to the stage.
    pub fn of(miss: &MissReason, kind: &str, fields: &serde_json::Value, defaults: &Value, records: &[Record]) -> Self {
        if *miss != MissReason::NoRecord {
            return Self::Lost { what: miss.to_string() };
        }
        // The fewest differences; of equally near ones the youngest; then the key, so that the answer is one.
        let nearest = records
            .iter()
            .filter(|record| record.provenance.kind == kind)
            .map(|record| (differences(&record.provenance.fields, fields, defaults), record))
            .min_by_key(|(differences, record)| {
                (differences.len(), u64::MAX - record.provenance.created_milliseconds, record.key)
            });
        match nearest {
            None => Self::First,
            Some((differences, record)) => Self::Changed { differences, nearest: record.key.to_string() },
        }
    }
}
