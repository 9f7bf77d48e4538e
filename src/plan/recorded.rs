//! The results in the store, compared with a key that has none: which is nearest?

use std::collections::HashMap;

use retmask_cache::{Digest, Record};
use retmask_stages::contract::Kind;
use retmask_stages::registry::{self, Visitor};
use serde::Serialize;

use super::difference::{Comparison, distance, readable};
use super::parameters;
use super::value::Value;

/// Every readable record of a store, by kind.
#[derive(Debug)]
pub struct Recorded {
    kinds: HashMap<String, Vec<Candidate>>,
}

#[derive(Debug)]
struct Candidate {
    record: Record,
    /// The key's fields, ready to be compared.
    fields: Value,
}

/// The recorded result whose key differs least.
#[derive(Debug)]
pub struct Nearest<'r> {
    pub record: &'r Record,
    pub comparison: Comparison,
    /// All that differ in no more fields, this one first, then from the youngest to the oldest.
    pub equally: Vec<&'r Record>,
}

impl Recorded {
    /// Takes the records of a store.
    pub fn of(records: impl IntoIterator<Item = Record>) -> Self {
        let mut kinds: HashMap<String, Vec<Candidate>> = HashMap::new();
        let mut facts: HashMap<String, (Option<u32>, Value)> = HashMap::new();
        for record in records {
            let kind = &record.provenance.kind;
            let (epoch, defaults) =
                facts.entry(kind.clone()).or_insert_with(|| (current_epoch(kind), parameters::defaults(kind)));
            // The defaults of another epoch are not known.
            let same = *epoch == Some(record.provenance.epoch);
            let fields = readable(&record.provenance.fields, if same { defaults } else { &Value::Null });
            kinds.entry(kind.clone()).or_default().push(Candidate { record, fields });
        }
        Self { kinds }
    }

    /// The nearest result of a kind to the readable key `fields` of its present epoch: with the fewest differences; of
    /// equally near ones the youngest; then the one of the lowest key, so that the answer is one.
    pub fn nearest(&self, kind: &str, epoch: u32, fields: &serde_json::Value, defaults: &Value) -> Option<Nearest<'_>> {
        let (filled, plain) = (readable(fields, defaults), readable(fields, &Value::Null));
        let wanted = |candidate: &Candidate| if candidate.record.provenance.epoch == epoch { &filled } else { &plain };
        let (mut least, mut near) = (usize::MAX, Vec::new());
        for candidate in self.kinds.get(kind)? {
            let differing = distance(&candidate.fields, wanted(candidate), least);
            if differing < least {
                near.clear();
                least = differing;
            }
            if differing == least {
                near.push(candidate);
            }
        }
        near.sort_by_key(|candidate| {
            let record = &candidate.record;
            (std::cmp::Reverse(record.provenance.created_milliseconds), record.key)
        });
        let first = near.first()?;
        let comparison = Comparison::of(&first.fields, wanted(first));
        Some(Nearest { record: &first.record, comparison, equally: near.iter().map(|near| &near.record).collect() })
    }

    /// The youngest result of a kind, or of any kind, that made this artifact.
    pub fn maker(&self, kind: Option<&str>, digest: &Digest) -> Option<&Record> {
        let kinds = self.kinds.iter().filter(|(name, _)| kind.is_none_or(|kind| kind == *name));
        let records = kinds.flat_map(|(_, candidates)| candidates).map(|candidate| &candidate.record);
        let makers = records.filter(|record| record.outputs.iter().any(|output| output.digest == *digest));
        makers.min_by_key(|record| (std::cmp::Reverse(record.provenance.created_milliseconds), record.key))
    }
}

/// A parameter of a recorded result.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RecordedParameter {
    /// Dotted where parameters nest.
    pub name: String,
    pub value: serde_json::Value,
    /// Whether it had its default value.
    pub default: bool,
}

/// The parameters of a recorded result; those that had their default only where this program knows that epoch.
pub fn recorded_parameters(record: &Record) -> Vec<RecordedParameter> {
    let kind = &record.provenance.kind;
    let defaults = match current_epoch(kind) {
        Some(epoch) if epoch == record.provenance.epoch => parameters::defaults(kind),
        _ => Value::Null,
    };
    let written = Value::from_json(&record.provenance.fields["params"]).unwrap_or(Value::Null);
    let mut list = Vec::new();
    let (all, own) = (written.clone().with_defaults(&defaults), written);
    flatten("", &all, Some(&own), &mut list);
    list
}

/// All parameters of a recorded result of this program's epoch, as its kind reads them.
pub fn recorded_values(record: &Record) -> serde_json::Value {
    let written = Value::from_json(&record.provenance.fields["params"]).unwrap_or(Value::Null);
    written.with_defaults(&parameters::defaults(&record.provenance.kind)).plain()
}

fn flatten(path: &str, value: &Value, own: Option<&Value>, list: &mut Vec<RecordedParameter>) {
    let Value::Map(fields) = value else {
        list.push(RecordedParameter { name: path.to_owned(), value: value.plain(), default: own.is_none() });
        return;
    };
    for (name, value) in fields {
        let own = match own {
            Some(Value::Map(own)) => own.get(name),
            own => own,
        };
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        flatten(&path, value, own, list);
    }
}

/// The epoch of a kind in this program.
fn current_epoch(kind: &str) -> Option<u32> {
    struct Epoch;
    impl Visitor for Epoch {
        type Output = u32;
        fn visit<K: Kind>(&mut self) -> u32 {
            K::EPOCH
        }
    }
    registry::visit(kind, &mut Epoch)
}
