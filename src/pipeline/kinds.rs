//! Stage kinds by name: their facts, and the decoding of their parameters.

use std::sync::Arc;

use retmask_model::Numerics;
use retmask_stages::contract::{Context, Inputs, Kind, Outputs, StageResult};
use retmask_stages::registry::{self, Visitor};
use serde_json::{Map, Value as Json};

use super::decode::decode;
use super::graph::{KindFacts, Work};
use super::tree::{Mapping, Node, Value};
use super::{Diagnostic, Place};

/// The facts of the kind of this name.
pub fn find(name: &str) -> Option<KindFacts> {
    struct Facts;
    impl Visitor for Facts {
        type Output = KindFacts;
        fn visit<K: Kind>(&mut self) -> KindFacts {
            KindFacts::of::<K>()
        }
    }
    registry::visit(name, &mut Facts)
}

/// The names of all kinds.
pub fn names() -> impl Iterator<Item = &'static str> {
    registry::NAMES.iter().copied()
}

/// Decoded parameters.
pub struct Decoded {
    pub parameters: Map<String, Json>,
    pub work: Arc<dyn Work>,
}

/// Decodes a stage's `with` into the parameters of its kind, all faults together; `None` after a fault.
/// `roles` are its inputs, as `port` or `port.label`; `place` is where a fault of the whole is shown.
pub fn parameters(
    kind: &str,
    with: Option<&Node>,
    roles: &[String],
    place: Place,
    faults: &mut Vec<Diagnostic>,
) -> Option<Decoded> {
    registry::visit(kind, &mut Decode { with, roles, place, faults }).flatten()
}

struct Typed<K: Kind> {
    parameters: K::Parameters,
}

impl<K: Kind> Work for Typed<K> {
    fn run(&self, inputs: &Inputs, outputs: &Outputs, context: &Context) -> StageResult<()> {
        K::run(&self.parameters, inputs, outputs, context)
    }

    fn numerics(&self) -> Option<Numerics> {
        K::numerics(&self.parameters)
    }

    fn is_private(&self) -> bool {
        K::is_private(&self.parameters)
    }

    fn program(&self) -> Option<&str> {
        K::program(&self.parameters)
    }
}

struct Decode<'a> {
    with: Option<&'a Node>,
    roles: &'a [String],
    place: Place,
    faults: &'a mut Vec<Diagnostic>,
}

impl Visitor for Decode<'_> {
    type Output = Option<Decoded>;

    fn visit<K: Kind>(&mut self) -> Option<Decoded> {
        let mut rest = match self.with {
            Some(node) if node.is_unresolved() => return None,
            Some(node) if !node.is_null() => node.clone(),
            _ => Node::new(self.place, Value::Mapping(Mapping::default())),
        };
        let mut faulty = false;
        // serde stops at the first fault. Without the faulty entry the next one comes to light.
        let parameters = loop {
            let error = match decode::<K::Parameters>(&rest) {
                Ok(parameters) if !faulty => break parameters,
                Ok(_) => return None,
                Err(error) => error,
            };
            faulty = true;
            let key = error.outermost_key().map(str::to_owned);
            self.faults.extend(error.into_diagnostic(rest.place));
            let (Some(key), Value::Mapping(mapping)) = (key, &mut rest.value) else { return None };
            let before = mapping.entries.len();
            mapping.entries.retain(|entry| entry.key != key);
            if mapping.entries.len() == before {
                return None;
            }
        };
        let valid = K::validate(&parameters).and_then(|()| K::validate_inputs(&parameters, self.roles));
        if let Err(error) = valid {
            let (place, used) = self.place_of_field(&error.field);
            let mut fault = Diagnostic::new(place, format!("`{}`: {}", error.field, error.message));
            if let Some(used) = used {
                fault = fault.note(used, "used here");
            }
            self.faults.push(fault);
            return None;
        }
        match object(&parameters) {
            Ok(all) => Some(Decoded { parameters: all, work: Arc::new(Typed::<K> { parameters }) }),
            Err(reason) => {
                let message =
                    format!("this is a bug: the parameters of `{}` cannot be written down: {reason}", K::NAME);
                self.faults.push(Diagnostic::new(self.place, message));
                None
            }
        }
    }
}

impl Decode<'_> {
    /// The value of a dotted field, or the deepest part of it that is written; else the stage.
    fn place_of_field(&self, field: &str) -> (Place, Option<Place>) {
        let Some(mut node) = self.with else { return (self.place, None) };
        let mut place = (self.place, None);
        for key in field.split('.') {
            let Some(entry) = node.mapping().and_then(|mapping| mapping.entry(key)) else { break };
            node = &entry.value;
            place = (node.place, node.used);
        }
        place
    }
}

fn object(parameters: &impl serde::Serialize) -> Result<Map<String, Json>, String> {
    match serde_json::to_value(parameters) {
        Ok(Json::Object(map)) => Ok(map),
        Ok(other) => Err(format!("they are not a map but {other}")),
        Err(error) => Err(error.to_string()),
    }
}
