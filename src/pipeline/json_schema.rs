//! The JSON schema of a pipeline file, for editors that complete and check while one types. `retmask check` is
//! stricter: a schema knows no names of other stages, no media and no cycles.

use retmask_stages::contract::{Arity, InputPort, Kind};
use retmask_stages::registry::{self, Visitor};
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::hub_source::{HUB, HUB_KEYS};
use super::sources::{EMBEDDED, FETCH, PATH_TYPES};
use crate::hub::RepositoryKind;

/// The schema (JSON Schema, draft 2020-12) of the file format with every registered kind.
pub fn json_schema() -> Value {
    let mut kinds = Kinds { generator: SchemaGenerator::default(), rules: Vec::new() };
    for name in registry::NAMES {
        registry::visit(name, &mut kinds);
    }
    let definitions: Map<String, Value> = kinds.generator.take_definitions(true).into_iter().collect();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "retmask pipeline",
        "type": "object",
        "additionalProperties": false,
        // A file that extends another says only what differs.
        "if": { "required": ["extends"] },
        "else": {
            "required": ["version", "name", "stages"],
            "properties": { "stages": { "additionalProperties": { "type": "object", "required": ["kind"] } } },
        },
        "properties": {
            "extends": { "type": "string", "pattern": r"\.ya?ml$", "description": "The pipeline file this one is a variant of" },
            "version": { "const": 1, "description": "The version of the file format" },
            "name": { "type": "string", "pattern": NAME_PATTERN, "description": "The pipeline's name" },
            "description": { "type": "string", "description": "A line for people" },
            "params": {
                "type": ["object", "null"],
                "propertyNames": { "pattern": NAME_PATTERN },
                "description": "Values to be referenced as ${params.NAME}",
            },
            "sources": {
                "type": ["object", "null"],
                "propertyNames": { "pattern": NAME_PATTERN },
                "additionalProperties": { "anyOf": [source(), { "type": "null" }] },
                "description": "What comes from outside",
            },
            "matrix": {
                "type": ["object", "null"],
                "propertyNames": { "pattern": NAME_PATTERN },
                "additionalProperties": axis(),
                "description": "Axes over which stages are instantiated: ${matrix.AXIS}",
            },
            "stages": {
                "type": "object",
                "minProperties": 1,
                "propertyNames": { "pattern": NAME_PATTERN },
                "additionalProperties": stage(&kinds.rules),
                "description": "The work",
            },
        },
        "$defs": definitions,
    })
}

const NAME_PATTERN: &str = "^[a-z0-9][a-z0-9-]*$";
/// A name of a point on an axis.
const POINT_PATTERN: &str = "^[a-z0-9][a-z0-9.-]*$";
/// A label, or the one that stands for all instances of a matrix.
const LABEL_PATTERN: &str = r"^([a-z0-9][a-z0-9-]*|\*)$";

/// A whole value or a part of it may come through a reference.
fn or_reference(schema: Value) -> Value {
    json!({ "anyOf": [schema, { "type": "string", "pattern": "\\$\\{(params|matrix)\\." }] })
}

/// An axis of a matrix: a list of values, or a map from a name to each.
fn axis() -> Value {
    or_reference(json!({
        "anyOf": [
            { "type": "array", "minItems": 1, "items": { "type": ["string", "number"] } },
            { "type": "object", "minProperties": 1, "propertyNames": { "pattern": POINT_PATTERN } },
        ],
    }))
}

fn source() -> Value {
    let fetch = json!({ "type": "string", "description": "The command that brings the data when it is missing" });
    let choice = |key: &str, value: Value| {
        json!({
            "type": "object",
            "required": [key],
            "additionalProperties": false,
            "properties": { key: value, FETCH: fetch },
        })
    };
    let types = PATH_TYPES.iter().map(|(key, media)| {
        let description = format!("Path, or a Hugging Face repository; brings {}", media.name());
        choice(key, json!({ "anyOf": [{ "type": "string" }, hub()], "description": description }))
    });
    let embedded = json!({ "type": "string", "description": "Name of a model built into the program" });
    json!({ "oneOf": types.chain([choice(EMBEDDED, embedded)]).collect::<Vec<_>>() })
}

/// A Hugging Face repository.
fn hub() -> Value {
    let kinds: Vec<&str> = RepositoryKind::ALL.iter().map(|kind| kind.name()).collect();
    let properties = [
        json!({ "type": "string", "description": "OWNER/NAME" }),
        json!({ "type": "string", "description": "A branch, a tag or a commit; `main` when left out" }),
        or_reference(
            json!({ "enum": kinds, "description": "The repository's type; follows from what the source brings" }),
        ),
        or_reference(json!({
            "type": "array",
            "minItems": 1,
            "items": { "type": "string" },
            "description": "The files that are needed; `*` and `**` stand for any characters without and with `/`",
        })),
    ];
    let properties: Map<String, Value> = HUB_KEYS.iter().map(|key| (*key).to_owned()).zip(properties).collect();
    json!({
        "type": "object",
        "required": [HUB],
        "additionalProperties": false,
        "properties": {
            HUB: { "type": "object", "required": ["repo"], "additionalProperties": false, "properties": properties },
        },
    })
}

fn stage(rules: &[Value]) -> Value {
    json!({
        "type": ["object", "null"],
        "additionalProperties": false,
        "properties": {
            "matrix": {
                "anyOf": [{ "type": "string" }, { "type": "array", "minItems": 1, "items": { "type": "string" } }],
                "description": "The axes over which the stage is instantiated",
            },
            "kind": { "enum": registry::NAMES, "description": "What the stage does" },
            "in": { "type": ["object", "null"], "description": "What the stage reads" },
            "with": { "description": "Parameters" },
            "resources": {
                "type": ["object", "null"],
                "additionalProperties": false,
                "properties": {
                    "cpus": or_reference(json!({ "type": "integer", "minimum": 1 })),
                    "memory": { "type": "string", "description": "For example 6GB" },
                    "gpus": or_reference(json!({ "type": "integer", "minimum": 1, "description": "For programs" })),
                    "checkpoint-minutes": or_reference(json!({ "type": "number", "minimum": 0 })),
                },
            },
        },
        "allOf": rules,
    })
}

/// Collects a rule per kind: which inputs and which parameters it has.
struct Kinds {
    generator: SchemaGenerator,
    rules: Vec<Value>,
}

impl Visitor for Kinds {
    type Output = ();

    fn visit<K: Kind>(&mut self) {
        let mut parameters = K::Parameters::json_schema(&mut self.generator).to_value();
        if let Some(properties) = parameters.get_mut("properties").and_then(Value::as_object_mut) {
            for property in properties.values_mut() {
                *property = or_reference(property.take());
            }
        }
        let required: Vec<&str> =
            K::INPUTS.iter().filter(|port| port.arity == Arity::One).map(|port| port.name).collect();
        let ports: Map<String, Value> = K::INPUTS.iter().map(|port| (port.name.to_owned(), input(port))).collect();
        let inputs = if K::DECLARES_PORTS {
            let labelled = json!({
                "type": "object",
                "propertyNames": { "pattern": LABEL_PATTERN },
                "additionalProperties": { "type": "string" },
            });
            json!({
                "type": ["object", "null"],
                "propertyNames": { "pattern": NAME_PATTERN },
                "additionalProperties": { "anyOf": [{ "type": "string" }, labelled] },
            })
        } else {
            json!({
                "type": ["object", "null"],
                "additionalProperties": false,
                "required": required,
                "properties": ports,
            })
        };
        let needs: &[&str] = if required.is_empty() { &[] } else { &["in"] };
        self.rules.push(json!({
            "if": { "required": ["kind"], "properties": { "kind": { "const": K::NAME } } },
            "then": {
                "required": needs,
                "properties": { "in": inputs, "with": { "anyOf": [or_reference(parameters), { "type": "null" }] } },
            },
        }));
    }
}

fn input(port: &InputPort) -> Value {
    let one = json!({ "type": "string", "description": port.summary });
    match port.arity {
        Arity::One => one,
        Arity::Optional => json!({ "type": ["string", "null"], "description": port.summary }),
        Arity::Labelled => json!({
            "type": ["object", "null"],
            "propertyNames": { "pattern": LABEL_PATTERN },
            "additionalProperties": one,
            "description": port.summary,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::super::declaration::{FILE_KEYS, STAGE_KEYS};
    use super::super::resources::RESOURCE_KEYS;
    use super::*;

    fn keys(schema: &Value, pointer: &str) -> Vec<String> {
        let properties = schema.pointer(pointer).and_then(Value::as_object).expect(pointer);
        let mut keys: Vec<String> = properties.keys().cloned().collect();
        keys.sort();
        keys
    }

    fn sorted(keys: &[&str]) -> Vec<String> {
        let mut keys: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
        keys.sort();
        keys
    }

    #[test]
    fn the_schema_has_the_keys_the_reader_takes() {
        let schema = json_schema();
        let stage = "/properties/stages/additionalProperties/properties";
        assert_eq!(keys(&schema, "/properties"), sorted(FILE_KEYS));
        assert_eq!(keys(&schema, stage), sorted(STAGE_KEYS));
        assert_eq!(keys(&schema, &format!("{stage}/resources/properties")), sorted(RESOURCE_KEYS));
        let sources =
            schema.pointer("/properties/sources/additionalProperties/anyOf/0/oneOf").and_then(Value::as_array);
        assert_eq!(sources.map(Vec::len), Some(PATH_TYPES.len() + 1));
    }

    #[test]
    fn every_kind_has_a_rule_whose_references_resolve() {
        let schema = json_schema();
        let rules = schema.pointer("/properties/stages/additionalProperties/allOf").and_then(Value::as_array);
        let names: Vec<&str> =
            rules.unwrap().iter().filter_map(|rule| rule.pointer("/if/properties/kind/const")?.as_str()).collect();
        assert_eq!(names, registry::NAMES);
        let text = schema.to_string();
        for reference in text.split("\"$ref\":\"#").skip(1) {
            let pointer = reference.split('"').next().unwrap();
            assert!(schema.pointer(pointer).is_some(), "{pointer}");
        }
    }
}
