//! Why a stage will run: told field by field against the nearest record of its kind.

use std::fmt;

use retmask_cache::MissReason;
use serde::Serialize;

use super::difference::Difference;
use super::recorded::Nearest;

/// Why there is no hit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "because", rename_all = "kebab-case")]
pub enum Reason {
    /// The store holds no result of this kind at all.
    First,
    /// Of `fields` fields of the key, the nearest result of this kind differs in these.
    Changed { fields: usize, differences: Vec<Difference>, nearest: String },
    /// There is a record of this very key, but its content is lost or damaged.
    Lost { what: String },
    /// It was asked for, whatever is there.
    Forced,
    /// Another store has it, from where a run takes it.
    Elsewhere { remote: String },
}

/// How many differences one line shows.
const SHOWN: usize = 3;

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::First => formatter.write_str("no result of this kind yet"),
            Self::Lost { what } => formatter.write_str(what),
            Self::Forced => formatter.write_str("forced"),
            Self::Elsewhere { remote } => write!(formatter, "a run takes it from {remote}"),
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
    /// The reason for a miss, from the nearest result of the kind.
    pub fn of(miss: &MissReason, nearest: Option<Nearest<'_>>) -> Self {
        if *miss != MissReason::NoRecord {
            return Self::Lost { what: miss.to_string() };
        }
        match nearest {
            None => Self::First,
            Some(Nearest { record, comparison, .. }) => Self::Changed {
                fields: comparison.fields,
                differences: comparison.differences,
                nearest: record.key.to_string(),
            },
        }
    }
}
