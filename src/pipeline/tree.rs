//! The pipeline file as a tree of our own: scalars keep their spelling, maps their order, everything its place.

use super::Place;

/// The deepest nesting a file may have, references included. Real files need six levels.
pub const MAX_DEPTH: usize = 64;
/// The most nodes a tree may have after aliases and references are copied in.
pub const MAX_NODES: usize = 200_000;
/// The most bytes of scalar text a tree may hold after aliases and references are copied in.
pub const MAX_TEXT: usize = 16 << 20;

/// A value and where it was written.
#[derive(Debug, Clone)]
pub struct Node {
    pub place: Place,
    /// Where the value is used, when it came in through a `${...}` reference.
    pub used: Option<Place>,
    pub value: Value,
}

/// What a node holds.
#[derive(Debug, Clone)]
pub enum Value {
    Scalar(Scalar),
    Sequence(Vec<Node>),
    Mapping(Mapping),
    /// A reference that could not be resolved. Its fault has been reported; nothing else is to be said of it.
    Unresolved,
}

/// A scalar as it was spelled, escapes undone.
#[derive(Debug, Clone)]
pub struct Scalar {
    pub text: String,
    /// Written without quotes, so that `1`, `true` and `null` mean a number, a truth value, nothing.
    pub plain: bool,
}

/// A map in file order; no key stands twice.
#[derive(Debug, Clone, Default)]
pub struct Mapping {
    pub entries: Vec<Entry>,
}

/// One key of a map.
#[derive(Debug, Clone)]
pub struct Entry {
    pub key: String,
    pub key_place: Place,
    pub value: Node,
}

/// What a scalar means by the YAML 1.2 core schema.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Meaning<'a> {
    Null,
    Boolean(bool),
    /// A whole number that fits 64 bits without a sign.
    Unsigned(u64),
    /// A negative whole number that fits 64 bits.
    Negative(i64),
    /// A whole number that fits neither.
    Huge,
    Real(f64),
    Text(&'a str),
}

impl Node {
    /// A node used where it was written.
    pub fn new(place: Place, value: Value) -> Self {
        Self { place, used: None, value }
    }

    /// The map, if it is one.
    pub fn mapping(&self) -> Option<&Mapping> {
        if let Value::Mapping(mapping) = &self.value { Some(mapping) } else { None }
    }

    /// The scalar, if it is one.
    pub fn scalar(&self) -> Option<&Scalar> {
        if let Value::Scalar(scalar) = &self.value { Some(scalar) } else { None }
    }

    /// Whether the value is missing, `~` or `null`.
    pub fn is_null(&self) -> bool {
        self.scalar().is_some_and(|scalar| scalar.meaning() == Meaning::Null)
    }

    /// Whether this is a reference that could not be resolved.
    pub fn is_unresolved(&self) -> bool {
        matches!(self.value, Value::Unresolved)
    }

    /// What the node is, for messages: "the number `12`", "a list".
    pub fn describe(&self) -> String {
        match &self.value {
            Value::Sequence(_) => "a list".into(),
            Value::Mapping(_) => "a map".into(),
            Value::Unresolved => "an unresolved reference".into(),
            Value::Scalar(scalar) => {
                let shown = shorten(&scalar.text);
                match scalar.meaning() {
                    Meaning::Null => "nothing".into(),
                    Meaning::Boolean(_) => format!("`{shown}`"),
                    Meaning::Text(_) => format!("the text `{shown}`"),
                    _ => format!("the number {shown}"),
                }
            }
        }
    }
}

impl Mapping {
    /// The entry with this key.
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    /// The entry with this key, to change it.
    pub fn entry_mut(&mut self, key: &str) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.key == key)
    }

    /// The keys in file order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|entry| entry.key.as_str())
    }
}

impl Scalar {
    /// What the scalar means: quoted ones are text, plain ones follow the YAML 1.2 core schema.
    pub fn meaning(&self) -> Meaning<'_> {
        let text = self.text.as_str();
        if !self.plain {
            return Meaning::Text(text);
        }
        match text {
            "" | "~" | "null" | "Null" | "NULL" => return Meaning::Null,
            "true" | "True" | "TRUE" => return Meaning::Boolean(true),
            "false" | "False" | "FALSE" => return Meaning::Boolean(false),
            _ => {}
        }
        whole_number(text).or_else(|| real_number(text)).unwrap_or(Meaning::Text(text))
    }
}

fn whole_number(text: &str) -> Option<Meaning<'static>> {
    let (digits, radix, negative) = if let Some(digits) = text.strip_prefix("0x") {
        (digits, 16, false)
    } else if let Some(digits) = text.strip_prefix("0o") {
        (digits, 8, false)
    } else {
        (text.strip_prefix(['-', '+']).unwrap_or(text), 10, text.starts_with('-'))
    };
    if digits.is_empty() || !digits.chars().all(|character| character.is_digit(radix)) {
        return None;
    }
    let meaning = match (u64::from_str_radix(digits, radix), negative) {
        (Ok(number), false) => Meaning::Unsigned(number),
        (Ok(0), true) => Meaning::Unsigned(0),
        (_, true) => text.parse().map_or(Meaning::Huge, Meaning::Negative),
        (Err(_), false) => Meaning::Huge,
    };
    Some(meaning)
}

fn real_number(text: &str) -> Option<Meaning<'static>> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    match unsigned {
        ".inf" | ".Inf" | ".INF" => {
            return Some(Meaning::Real(if text.starts_with('-') { f64::NEG_INFINITY } else { f64::INFINITY }));
        }
        ".nan" | ".NaN" | ".NAN" if unsigned == text => return Some(Meaning::Real(f64::NAN)),
        _ => {}
    }
    // Rust reads more than YAML does ("inf", "nan", "infinity"): only digits, point and exponent pass.
    let starts_well = unsigned.starts_with(|character: char| character.is_ascii_digit() || character == '.');
    let only = unsigned.chars().all(|character| matches!(character, '0'..='9' | '.' | 'e' | 'E' | '+' | '-'));
    (starts_well && only).then(|| text.parse().ok().map(Meaning::Real)).flatten()
}

/// At most 40 characters of a text, on one line, for messages.
pub fn shorten(text: &str) -> String {
    let line = text.split(['\n', '\r']).next().unwrap_or_default();
    let mut shown: String = line.chars().take(40).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &str) -> Scalar {
        Scalar { text: text.into(), plain: true }
    }

    #[test]
    fn plain_scalars_follow_the_core_schema() {
        for text in ["", "~", "null", "NULL"] {
            assert_eq!(plain(text).meaning(), Meaning::Null, "{text}");
        }
        for (text, meaning) in [
            ("true", Meaning::Boolean(true)),
            ("FALSE", Meaning::Boolean(false)),
            ("0", Meaning::Unsigned(0)),
            ("-0", Meaning::Unsigned(0)),
            ("+7", Meaning::Unsigned(7)),
            ("007", Meaning::Unsigned(7)),
            ("0x1F", Meaning::Unsigned(31)),
            ("0o17", Meaning::Unsigned(15)),
            ("18446744073709551615", Meaning::Unsigned(u64::MAX)),
            ("18446744073709551616", Meaning::Huge),
            ("-9223372036854775808", Meaning::Negative(i64::MIN)),
            ("-9223372036854775809", Meaning::Huge),
            ("1e-3", Meaning::Real(1e-3)),
            ("-.5", Meaning::Real(-0.5)),
            ("3.", Meaning::Real(3.0)),
            (".inf", Meaning::Real(f64::INFINITY)),
            ("-.INF", Meaning::Real(f64::NEG_INFINITY)),
        ] {
            assert_eq!(plain(text).meaning(), meaning, "{text}");
        }
        // Text in YAML 1.2, whatever YAML 1.1 or Rust would make of it.
        for text in
            ["no", "yes", "on", "1_000", "inf", "nan", "infinity", "e5", "1e", "-", "+", ".", "0x", "1.2.3", "- 1"]
        {
            assert_eq!(plain(text).meaning(), Meaning::Text(text), "{text}");
        }
        assert!(matches!(plain(".nan").meaning(), Meaning::Real(number) if number.is_nan()));
    }

    #[test]
    fn quoted_scalars_are_text() {
        for text in ["1", "true", "", "null", "0.5"] {
            assert_eq!(Scalar { text: text.into(), plain: false }.meaning(), Meaning::Text(text));
        }
    }
}
