//! What of a model fits into memory: weights, and the keys and values of sequences of usual lengths.

use retmask_model::Numerics;
use retmask_model::generate::Limits;
use retmask_model::spec::ModelSpec;
use serde_json::{Value, json};

use crate::output::{Align, Printer, Table};
use crate::run::report::bytes;

/// Lengths that are asked about, in units of 1024 tokens.
const LENGTHS: [usize; 5] = [8, 16, 32, 64, 128];

/// What one length takes.
#[derive(Debug, PartialEq, Eq)]
pub struct Fit {
    /// In tokens.
    pub length: usize,
    /// Keys and values of one sequence, in bytes.
    pub key_values: u64,
    /// The same and the weights.
    pub total: u64,
    /// Sequences at once in the memory given, if any.
    pub sequences: Option<u64>,
    /// Whether the model's positions reach so far.
    pub within_context: bool,
}

/// What each usual length takes in this class, read in chunks as generation reads it; `weights` and `memory` in bytes.
pub fn fits(spec: &ModelSpec, numerics: Numerics, weights: u64, memory: Option<u64>) -> Vec<Fit> {
    let rows_per_pass = Limits::default().rows_per_pass;
    LENGTHS
        .map(|thousands| {
            let length = thousands * 1024;
            let key_values = spec.key_value_bytes(numerics, length, rows_per_pass) as u64;
            Fit {
                length,
                key_values,
                total: weights + key_values,
                sequences: memory.map(|memory| memory.saturating_sub(weights) / key_values),
                within_context: length <= spec.context_length,
            }
        })
        .into()
}

/// The same as a table for people.
pub fn table(fits: &[Fit], memory: Option<u64>, printer: Printer) -> String {
    let at_once = memory.map(|memory| format!("at once in {}", bytes(memory)));
    let mut columns = vec![("tokens", Align::Right), ("keys and values", Align::Right), ("with weights", Align::Right)];
    columns.extend(at_once.as_deref().map(|head| (head, Align::Right)));
    columns.push(("", Align::Left));
    let mut table = Table::new(columns);
    for fit in fits {
        let mut cells = vec![format!("{}K", fit.length / 1024), bytes(fit.key_values), bytes(fit.total)];
        cells.extend(fit.sequences.map(|sequences| sequences.to_string()));
        cells.push(if fit.within_context { String::new() } else { "beyond the model's context".into() });
        table.row(cells);
    }
    table.render(printer)
}

/// The same for machines.
pub fn objects(fits: &[Fit]) -> Vec<Value> {
    fits.iter()
        .map(|fit| {
            json!({ "tokens": fit.length, "key_value_bytes": fit.key_values, "total_bytes": fit.total,
                "sequences": fit.sequences, "within_context": fit.within_context })
        })
        .collect()
}
