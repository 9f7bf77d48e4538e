//! A stage's parameters as they stand in its key.

use std::collections::HashMap;
use std::sync::Arc;

use retmask_stages::contract::Kind;
use retmask_stages::registry::{self, Visitor};
use serde_json::{Map, Value as Json};

use super::key;
use super::value::Value;
use crate::error::{Error, Result};
use crate::pipeline::Stage;

/// Typed parameters, and what they are compared with.
#[derive(Debug)]
pub struct Encoded {
    /// Without the fields equal to their defaults.
    pub values: Arc<Value>,
    /// All fields at their defaults; one value for all stages of a kind.
    pub defaults: Arc<Value>,
}

/// Encodes the decoded parameters of stages.
///
/// # Errors
/// `Input` for a number that is not finite, with stage and field.
pub fn encode(stages: &[Stage]) -> Result<Vec<Encoded>> {
    let mut of_kinds: HashMap<&str, Arc<Value>> = HashMap::new();
    let encoded = stages.iter().map(|stage| {
        let defaults = of_kinds.entry(stage.kind.name).or_insert_with(|| defaults(stage.kind.name).into());
        encode_one(stage, defaults)
    });
    encoded.collect()
}

fn encode_one(stage: &Stage, defaults: &Arc<Value>) -> Result<Encoded> {
    let name = stage.kind.name;
    let encoded = registry::visit(name, &mut Encode { parameters: &stage.parameters, defaults })
        .ok_or_else(|| Error::internal(format!("the kind `{name}` of stage `{}` is not registered", stage.name)))?;
    encoded.map_err(|fault| match fault {
        Fault::Value(message) => Error::input(format!("stage `{}`: `with`: {message}", stage.name)),
        Fault::Decode(message) => {
            Error::internal(format!("the parameters of stage `{}` do not read back: {message}", stage.name))
        }
    })
}

/// A kind's parameters at their defaults; nothing for a kind this program does not have.
pub fn defaults(kind: &str) -> Value {
    struct Defaults;
    impl Visitor for Defaults {
        type Output = Option<Value>;
        fn visit<K: Kind>(&mut self) -> Option<Value> {
            Value::of(&K::Parameters::default()).ok()
        }
    }
    registry::visit(kind, &mut Defaults).flatten().unwrap_or(Value::Null)
}

enum Fault {
    Decode(String),
    Value(String),
}

struct Encode<'a> {
    parameters: &'a Map<String, Json>,
    defaults: &'a Arc<Value>,
}

impl Visitor for Encode<'_> {
    type Output = std::result::Result<Encoded, Fault>;

    fn visit<K: Kind>(&mut self) -> Self::Output {
        let parameters: K::Parameters = serde_json::from_value(Json::Object(self.parameters.clone()))
            .map_err(|error| Fault::Decode(error.to_string()))?;
        let mut values =
            key::parameters(&parameters, self.defaults).map_err(|error| Fault::Value(error.to_string()))?;
        // What it contains is in the key, so that its name and path are not.
        if let (Value::Map(fields), Some(_)) = (&mut values, K::program(&parameters)) {
            fields.remove("program");
        }
        Ok(Encoded { values: values.into(), defaults: self.defaults.clone() })
    }
}
