//! The reference of stage kinds in `docs/pipelines.md` is what the program says of itself.

use std::fmt::Write;

use retmask_stages::contract::{Arity, InputPort, Kind};
use retmask_stages::registry::{self, Visitor};
use serde_json::Value;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/pipelines.md");
const BEGIN: &str = "<!-- kinds: begin -->\n";
const END: &str = "<!-- kinds: end -->\n";

#[test]
fn every_kind_port_and_parameter_is_documented_as_it_is() {
    let page = std::fs::read_to_string(PAGE).expect("docs/pipelines.md");
    let (before, rest) = page.split_once(BEGIN).expect("the begin mark");
    let (written, after) = rest.split_once(END).expect("the end mark");
    let actual = reference();
    if std::env::var_os("RETMASK_UPDATE_DOCS").is_some() {
        std::fs::write(PAGE, format!("{before}{BEGIN}{actual}{END}{after}")).expect("docs/pipelines.md can be written");
        return;
    }
    assert!(
        written == actual,
        "docs/pipelines.md is not what the program says of its kinds; renew it with\n  \
         RETMASK_UPDATE_DOCS=1 cargo test --release --test pipeline_docs\n\nexpected:\n{actual}"
    );
}

/// All kinds, in the order of the method.
fn reference() -> String {
    struct Describe(String);
    impl Visitor for Describe {
        type Output = ();
        fn visit<K: Kind>(&mut self) {
            describe::<K>(&mut self.0);
        }
    }
    let mut describe = Describe(String::new());
    for name in registry::NAMES {
        registry::visit(name, &mut describe).expect("a listed kind");
    }
    describe.0
}

fn describe<K: Kind>(page: &mut String) {
    let _ = writeln!(page, "\n### {}\n\n{}.\n", K::NAME, K::SUMMARY.trim_end_matches('.'));
    if !K::INPUTS.is_empty() {
        let _ = writeln!(page, "| input | takes | how many | what |\n|---|---|---|---|");
        for port in K::INPUTS {
            let media: Vec<String> = port.media.iter().map(|media| format!("`{}`", media.name())).collect();
            let _ = writeln!(
                page,
                "| `{}` | {} | {} | {} |",
                port.name,
                media.join(", "),
                how_many(port),
                cell(port.summary)
            );
        }
        page.push('\n');
    }
    if K::DECLARES_PORTS {
        let _ = writeln!(page, "What it reads and writes is [declared by the stage](#any-program).");
    } else {
        let _ = writeln!(page, "| output | media | what |\n|---|---|---|");
    }
    for port in K::OUTPUTS {
        let _ = writeln!(page, "| `{}` | `{}` | {} |", port.name, port.media.name(), cell(port.summary));
    }
    let schema = schemars::schema_for!(K::Parameters).to_value();
    let defaults = serde_json::to_value(K::Parameters::default()).expect("parameters can be written down");
    let mut rows = String::new();
    parameters(&schema, &schema, Some(&defaults), "", &mut rows);
    if !rows.is_empty() {
        let _ = write!(page, "\n| parameter | default | what |\n|---|---|---|\n{rows}");
    }
}

fn how_many(port: &InputPort) -> &'static str {
    match port.arity {
        Arity::One => "one",
        Arity::Optional => "one or none",
        Arity::Labelled => "any, labelled",
    }
}

/// A row per field; the fields of a map inside a parameter follow it, dotted.
fn parameters(schema: &Value, root: &Value, defaults: Option<&Value>, prefix: &str, rows: &mut String) {
    let Some(properties) = resolve(schema, root).get("properties").and_then(Value::as_object) else { return };
    for (name, property) in properties {
        let name = format!("{prefix}{name}");
        let default = defaults.and_then(|defaults| defaults.get(name.trim_start_matches(prefix)));
        let shown = match default {
            None => String::new(),
            Some(Value::Null) => "none".to_owned(),
            Some(value) => format!("`{}`", cell(&value.to_string())),
        };
        let description = property.get("description").or_else(|| resolve(property, root).get("description"));
        let mut what = description.and_then(Value::as_str).map(cell).unwrap_or_default();
        let values = values(property, root);
        if !values.is_empty() {
            let _ = write!(what, " One of {}.", values.join(", "));
        }
        assert!(!what.is_empty(), "parameter `{name}` has no description");
        let _ = writeln!(rows, "| `{name}` | {shown} | {what} |");
        parameters(property, root, default, &format!("{name}."), rows);
    }
}

/// Follows a reference, and looks through "this or nothing".
fn resolve<'a>(schema: &'a Value, root: &'a Value) -> &'a Value {
    if let Some(path) = schema.get("$ref").and_then(Value::as_str) {
        let target = root.pointer(path.trim_start_matches('#'));
        return resolve(target.expect("the schema holds what it refers to"), root);
    }
    let is_null = |choice: &&Value| choice.get("type").and_then(Value::as_str) == Some("null");
    match schema.get("anyOf").and_then(Value::as_array).map(Vec::as_slice) {
        Some([choice, null]) if is_null(&null) => resolve(choice, root),
        _ => schema,
    }
}

/// The names an enumeration allows, each with what it means where that is said.
fn values(schema: &Value, root: &Value) -> Vec<String> {
    let schema = resolve(schema, root);
    let schema = schema.get("items").map_or(schema, |items| resolve(items, root));
    if let Some(names) = schema.get("enum").and_then(Value::as_array) {
        return names.iter().filter_map(Value::as_str).map(|name| format!("`{name}`")).collect();
    }
    let Some(choices) = schema.get("oneOf").and_then(Value::as_array) else { return Vec::new() };
    let mut found = Vec::new();
    for choice in choices {
        if let Some(name) = choice.get("const").and_then(Value::as_str) {
            let meaning = choice.get("description").and_then(Value::as_str).map(cell);
            let meaning = meaning.map(|meaning| format!(" ({})", meaning.trim_end_matches('.'))).unwrap_or_default();
            found.push(format!("`{name}`{meaning}"));
        }
        let names = choice.get("enum").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        found.extend(names.map(|name| format!("`{name}`")));
    }
    found
}

/// Text for a cell of a Markdown table.
fn cell(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}
