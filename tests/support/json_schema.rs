//! As much of JSON Schema (draft 2020-12) as the pipeline schema uses. A keyword it does not know is a failure of the
//! test, so that nothing of a schema is passed over.

use regex::Regex;
use serde_json::{Map, Value};

/// Where a document does not fit its schema, and why; nothing when it does.
pub fn faults(schema: &Value, document: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    check(schema, schema, document, "", &mut faults);
    faults
}

fn check(root: &Value, schema: &Value, value: &Value, at: &str, faults: &mut Vec<String>) {
    let rules = match schema {
        Value::Bool(true) => return,
        Value::Bool(false) => return faults.push(format!("{at}: nothing is allowed here")),
        Value::Object(rules) => rules,
        other => panic!("{other} is no schema"),
    };
    for (keyword, rule) in rules {
        keyword_holds(root, rules, keyword, rule, value, at, faults);
    }
}

fn keyword_holds(
    root: &Value,
    rules: &Map<String, Value>,
    keyword: &str,
    rule: &Value,
    value: &Value,
    at: &str,
    faults: &mut Vec<String>,
) {
    let fits = |schema: &Value| {
        let mut found = Vec::new();
        check(root, schema, value, at, &mut found);
        found.is_empty()
    };
    let list = || rule.as_array().expect("a list of schemas");
    let object = value.as_object();
    match keyword {
        // What the editor shows; `then` and `else` belong to `if`.
        "$schema" | "$defs" | "title" | "description" | "default" | "format" | "writeOnly" | "then" | "else" => {}
        "$ref" => {
            let pointer = rule.as_str().and_then(|text| text.strip_prefix('#')).expect("a reference in the schema");
            check(root, root.pointer(pointer).expect("it is there"), value, at, faults);
        }
        "type" => {
            let allowed = match rule {
                Value::Array(names) => names.iter().any(|name| is(value, name)),
                name => is(value, name),
            };
            if !allowed {
                faults.push(format!("{at}: {value} is not of type {rule}"));
            }
        }
        "const" if value != rule => faults.push(format!("{at}: {value} is not {rule}")),
        "enum" if !list().contains(value) => faults.push(format!("{at}: {value} is none of {rule}")),
        "pattern" => {
            let pattern = Regex::new(rule.as_str().expect("text")).expect("a pattern");
            if value.as_str().is_some_and(|text| !pattern.is_match(text)) {
                faults.push(format!("{at}: {value} does not match {rule}"));
            }
        }
        "minimum" if value.as_f64() < rule.as_f64() && value.is_number() => {
            faults.push(format!("{at}: {value} is below {rule}"));
        }
        "required" => {
            let missing = list()
                .iter()
                .filter(|name| object.is_some_and(|object| !object.contains_key(name.as_str().expect("a name"))));
            faults.extend(missing.map(|name| format!("{at}: {name} is missing")));
        }
        "properties" => {
            for (name, schema) in rule.as_object().expect("properties") {
                if let Some(value) = object.and_then(|object| object.get(name)) {
                    check(root, schema, value, &format!("{at}/{name}"), faults);
                }
            }
        }
        "additionalProperties" => {
            let named = rules.get("properties").and_then(Value::as_object);
            for (name, value) in object.into_iter().flatten() {
                if !named.is_some_and(|named| named.contains_key(name)) {
                    check(root, rule, value, &format!("{at}/{name}"), faults);
                }
            }
        }
        "propertyNames" => {
            for name in object.into_iter().flat_map(Map::keys) {
                check(root, rule, &Value::from(name.as_str()), &format!("{at}/{name}"), faults);
            }
        }
        "minProperties" if object.is_some_and(|object| (object.len() as u64) < rule.as_u64().expect("a count")) => {
            faults.push(format!("{at}: fewer than {rule} entries"));
        }
        "items" => {
            for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                check(root, rule, item, &format!("{at}/{index}"), faults);
            }
        }
        "minItems" if value.as_array().is_some_and(|items| (items.len() as u64) < rule.as_u64().expect("a count")) => {
            faults.push(format!("{at}: fewer than {rule} items"));
        }
        "allOf" => list().iter().for_each(|schema| check(root, schema, value, at, faults)),
        "anyOf" if !list().iter().any(fits) => faults.push(format!("{at}: {value} fits none of what is allowed")),
        "oneOf" if list().iter().filter(|schema| fits(schema)).count() != 1 => {
            faults.push(format!("{at}: {value} does not fit exactly one of what is allowed"));
        }
        "if" => {
            let branch = if fits(rule) { "then" } else { "else" };
            if let Some(schema) = rules.get(branch) {
                check(root, schema, value, at, faults);
            }
        }
        "const" | "enum" | "minimum" | "minProperties" | "minItems" | "anyOf" | "oneOf" => {}
        other => panic!("the keyword `{other}` of the schema is not known to this test"),
    }
}

fn is(value: &Value, name: &Value) -> bool {
    match name.as_str().expect("a type's name") {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "number" => value.is_number(),
        "integer" => value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|number| number.fract() == 0.0),
        other => panic!("`{other}` is no type"),
    }
}
