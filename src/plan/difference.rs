//! Two keys compared field by field.

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;
use serde_json::json;

use super::value::Value;

/// Characters of a digest that tell it apart on a terminal: its kind, the colon and 12 digits.
const SHORT_DIGEST: usize = 15;

/// One field in which two keys differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Parameters are called `with.…` and inputs `in.…`, as in the pipeline file.
    pub field: String,
    /// The value in the record; `None` where it was at its default or absent.
    pub old: Option<String>,
    /// The value now; `None` where it is at its default or absent.
    pub new: Option<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let absent = if self.field.starts_with("with.") { "default" } else { "absent" };
        let (old, new) = (self.old.as_deref().unwrap_or(absent), self.new.as_deref().unwrap_or(absent));
        write!(formatter, "{} {old} -> {new}", self.field)
    }
}

/// All fields of two keys, compared.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Comparison {
    /// How many fields there are in either; those of a map count one by one.
    pub fields: usize,
    pub differences: Vec<Difference>,
}

/// Compares two readable keys. `defaults` are the kind's parameters at their defaults: they fill what keys leave
/// out, but only between keys of one epoch, for the defaults of another are not known.
pub fn compare(old: &serde_json::Value, new: &serde_json::Value, defaults: &Value) -> Comparison {
    let defaults = if old["epoch"] == new["epoch"] { defaults } else { &Value::Null };
    Comparison::of(&readable(old, defaults), &readable(new, defaults))
}

/// A readable key reshaped for comparing: parameters as `with`, complete; inputs as a map by role.
pub fn readable(key: &serde_json::Value, defaults: &Value) -> Value {
    let mut key = key.clone();
    let mut parameters = None;
    if let Some(fields) = key.as_object_mut() {
        parameters = fields.remove("params");
        if let Some(serde_json::Value::Array(inputs)) = fields.remove("inputs") {
            let by_role: serde_json::Map<_, _> = inputs
                .into_iter()
                .filter_map(|input| Some((input["role"].as_str()?.to_owned(), json!(input["digest"].as_str()?))))
                .collect();
            fields.insert("in".into(), by_role.into());
        }
    }
    let mut key = Value::from_json(&key).unwrap_or(Value::Null);
    if let (Value::Map(fields), Some(parameters)) = (&mut key, parameters.as_ref().and_then(Value::from_json)) {
        fields.insert("with".into(), parameters.with_defaults(defaults));
    }
    key
}

/// In how many fields two reshaped keys differ; counting ends beyond `most`. It is what [`Comparison::of`] finds, without
/// saying where: nearest records are looked for among many.
pub fn distance(old: &Value, new: &Value, most: usize) -> usize {
    match (old, new) {
        (Value::Map(old), Value::Map(new)) => {
            let mut count = new.keys().filter(|name| !old.contains_key(*name)).count();
            for (name, old) in old {
                if count > most {
                    break;
                }
                count += new.get(name).map_or(1, |new| distance(old, new, most - count));
            }
            count
        }
        (old, new) => usize::from(old != new),
    }
}

impl Comparison {
    /// Compares two keys reshaped by [`readable`].
    pub fn of(old: &Value, new: &Value) -> Self {
        let mut comparison = Self::default();
        visit("", Some(old), Some(new), &mut |path, old, new| {
            comparison.fields += 1;
            if old != new {
                let brief = |value: &Value| match value {
                    Value::Str(digest) if path.starts_with("in.") => digest.chars().take(SHORT_DIGEST).collect(),
                    value => value.brief(),
                };
                let (old, new) = (old.map(brief), new.map(brief));
                comparison.differences.push(Difference { field: path.to_owned(), old, new });
            }
        });
        comparison
    }
}

/// Takes a field of two trees: its path, and its value in each that has it.
type Field<'f> = dyn FnMut(&str, Option<&Value>, Option<&Value>) + 'f;

/// Calls `field` with every field of two trees, in the order of names: maps on both sides are walked through, and
/// everything else is a field.
fn visit(path: &str, old: Option<&Value>, new: Option<&Value>, field: &mut Field<'_>) {
    let (Some(Value::Map(old)), Some(Value::Map(new))) = (old, new) else { return field(path, old, new) };
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    for name in names {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        visit(&path, old.get(name), new.get(name), field);
    }
}
