//! A checkout of HELMET's repository: the benchmark's own wording, taken from the string constants of its program.
//!
//! The sources are read as text. What is looked for is where `data.py` has it at commit 4526dfb; a constant that is
//! not there is an error, never a guess.

mod constants;
mod python;

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use serde_json::{Map, Value};

use crate::contract::{StageError, StageResult};
use constants::{Constant, DATASETS};
use python::{Statement, Token, statements, texts};

/// The file with the constants.
const FILE: &str = "data.py";
/// It has 36 KB; a larger one is another program's.
const LARGEST: u64 = 4 << 20;
const HINT: &str = "this reads princeton-nlp/HELMET as it is at commit 4526dfb; check that commit out";

/// The templates of a checkout, as the `templates` port takes them: dataset -> part -> text.
///
/// # Errors
/// `Input` when there is no such file, it is not Python, or a constant is not where it should be.
pub fn templates(folder: &Path) -> StageResult<Map<String, Value>> {
    let path = folder.join(FILE);
    let refuse = |why: String| StageError::input(format!("{}: {why}", path.display())).with_hint(HINT);
    let unreadable = |error: std::io::Error| StageError::io("read", &path, &error).with_hint(HINT);
    let mut source = String::new();
    let file = std::fs::File::open(&path).map_err(unreadable)?;
    file.take(LARGEST + 1).read_to_string(&mut source).map_err(unreadable)?;
    if source.len() as u64 > LARGEST {
        return Err(refuse(format!("larger than {LARGEST} bytes; HELMET's file is not")));
    }
    let functions = functions(&source.replace("\r\n", "\n")).map_err(|error| refuse(error.to_string()))?;
    let mut templates = Map::new();
    for (names, parts) in DATASETS {
        let mut found = Map::new();
        for (part, constant) in *parts {
            let text =
                value(&functions, constant).map_err(|why| refuse(format!("{why} (for `{part}` of {})", names[0])))?;
            check_fields(&text).map_err(|why| refuse(format!("`{part}` of {}: {why}", names[0])))?;
            found.insert((*part).to_owned(), text.into());
        }
        for name in *names {
            templates.insert((*name).to_owned(), found.clone().into());
        }
    }
    Ok(templates)
}

/// A statement and the headers (`if …:`, `else:`) it stands under, from the outermost.
struct Placed {
    statement: Statement,
    headers: Vec<Statement>,
}

type Functions = BTreeMap<String, Vec<Placed>>;

/// The statements of every function at the top of a source.
fn functions(source: &str) -> Result<Functions, python::Malformed> {
    let mut functions = Functions::new();
    let mut current: Option<String> = None;
    let mut headers: Vec<Statement> = Vec::new();
    for statement in statements(source)? {
        if statement.indent == 0 {
            headers.clear();
            current = match statement.tokens.as_slice() {
                [Token::Word(def), Token::Word(name), ..] if def == "def" => Some(name.clone()),
                _ => None,
            };
            // As in Python, the last definition of a name counts.
            current.iter().for_each(|name| drop(functions.insert(name.clone(), Vec::new())));
            continue;
        }
        let Some(body) = current.as_ref().and_then(|name| functions.get_mut(name)) else { continue };
        headers.retain(|header| header.indent < statement.indent);
        let header = ["if", "elif", "else"].iter().any(|word| statement.begins_with(word));
        if header && headers.len() < DEEPEST {
            headers.push(statement.clone());
        }
        body.push(Placed { statement, headers: headers.clone() });
    }
    Ok(functions)
}

/// Nested conditions that are followed; HELMET's have three.
const DEEPEST: usize = 8;

/// The text of a constant.
fn value(functions: &Functions, constant: &Constant) -> Result<String, String> {
    let name = constant.function;
    let body = functions.get(name).ok_or_else(|| format!("there is no function `{name}`"))?;
    let missing = || format!("`{name}` has no {constant}");
    let found = body.iter().filter(|placed| constant.is_under(&placed.headers)).find_map(|placed| {
        let tokens = constant.tokens(&placed.statement)?;
        constant.pick(&texts(tokens))
    });
    let text = found.ok_or_else(missing)?;
    Ok(constant.renames.iter().fold(text, |text, (from, to)| text.replace(from, to)))
}

/// Fields that this program can fill in.
const FIELDS: [&str; 24] = [
    "",
    "value",
    "ID",
    "answer",
    "answer[0]",
    "answer[0].strip()",
    "context",
    "demo",
    "demo_text",
    "demos",
    "documents",
    "id",
    "id > id > ...",
    "instruction",
    "key",
    "label",
    "options",
    "passages",
    "query",
    "question",
    "summary_short",
    "text",
    "title",
    "type_needle_v",
];

fn check_fields(text: &str) -> Result<(), String> {
    let mut rest = text;
    while let Some(place) = rest.find(['{', '}']) {
        let from = &rest[place..];
        if let Some(after) = from.strip_prefix("{{").or_else(|| from.strip_prefix("}}")) {
            rest = after;
        } else if let Some((name, after)) = from.strip_prefix('{').and_then(|inner| inner.split_once('}')) {
            if !FIELDS.contains(&name) {
                return Err(format!("the field {{{name}}} is not known"));
            }
            rest = after;
        } else {
            return Err("a lone brace".into());
        }
    }
    Ok(())
}
