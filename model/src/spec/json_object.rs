//! Typed access to the fields of a JSON object, with errors that name the field.

use serde_json::{Map, Value};

/// An object of a JSON file; a field set to null counts as absent.
pub(super) struct JsonObject {
    fields: Map<String, Value>,
    /// The fields that lead to it, with dots; empty for the whole file.
    pub place: String,
}

impl JsonObject {
    pub fn parse(text: &str) -> Result<Self, String> {
        let fields = serde_json::from_str(text).map_err(|error| format!("this is no JSON object: {error}"))?;
        Ok(Self { fields, place: String::new() })
    }

    pub fn get(&self, field: &str) -> Option<&Value> {
        self.fields.get(field).filter(|value| !value.is_null())
    }

    /// Whether the field is there, be it null.
    pub fn states(&self, field: &str) -> bool {
        self.fields.contains_key(field)
    }

    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.fields.keys().map(String::as_str)
    }

    /// Whether some field is itself an object.
    pub fn is_nested(&self) -> bool {
        self.fields.values().any(Value::is_object)
    }

    fn typed<'this, T>(
        &'this self,
        field: &str,
        expected: &str,
        read: impl Fn(&'this Value) -> Option<T>,
    ) -> Result<Option<T>, String> {
        self.get(field)
            .map(|value| {
                read(value).ok_or_else(|| {
                    let kind = match value {
                        Value::Object(_) => "an object".into(),
                        Value::Array(_) => "a list".into(),
                        other => other.to_string(),
                    };
                    format!("the field `{}` should be {expected}, not {kind}", self.path(field))
                })
            })
            .transpose()
    }

    /// The field's name with the objects it lies in.
    pub fn path(&self, field: &str) -> String {
        if self.place.is_empty() { field.into() } else { format!("{}.{field}", self.place) }
    }

    pub fn integer(&self, field: &str) -> Result<Option<usize>, String> {
        self.typed(field, "an integer that is not negative", |value| {
            value.as_u64().and_then(|number| usize::try_from(number).ok())
        })
    }

    pub fn required_integer(&self, field: &str) -> Result<usize, String> {
        self.integer(field)?.ok_or_else(|| self.missing(field))
    }

    pub fn number(&self, field: &str) -> Result<Option<f64>, String> {
        self.typed(field, "a number", |value| value.as_f64().filter(|number| number.is_finite()))
    }

    pub fn required_number(&self, field: &str) -> Result<f64, String> {
        self.number(field)?.ok_or_else(|| self.missing(field))
    }

    pub fn boolean(&self, field: &str) -> Result<Option<bool>, String> {
        self.typed(field, "true or false", Value::as_bool)
    }

    pub fn text(&self, field: &str) -> Result<Option<&str>, String> {
        self.typed(field, "a string", Value::as_str)
    }

    pub fn texts(&self, field: &str) -> Result<Option<Vec<&str>>, String> {
        self.typed(field, "a list of strings", |value| value.as_array()?.iter().map(Value::as_str).collect())
    }

    pub fn object(&self, field: &str) -> Result<Option<Self>, String> {
        let fields = self.typed(field, "an object", Value::as_object)?;
        Ok(fields.map(|fields| Self { fields: fields.clone(), place: self.path(field) }))
    }

    pub fn missing(&self, field: &str) -> String {
        format!("the field `{}` is missing", self.path(field))
    }
}
