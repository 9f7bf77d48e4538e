//! Every type decodes, and every fault names what was expected and points at the value.

use serde::Deserialize;

use super::super::yaml;
use super::*;

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Sample {
    count: u8,
    rate: f64,
    single: f32,
    offset: i64,
    text: String,
    flag: bool,
    letter: char,
    list: Vec<u32>,
    pair: (u8, String),
    maybe: Option<u32>,
    at_least_one: Option<std::num::NonZeroU32>,
    choice: Choice,
    inner: Inner,
    map: std::collections::BTreeMap<String, u8>,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Inner {
    depth: u8,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
enum Choice {
    #[default]
    Plain,
    One(u32),
    Two(u8, u8),
    Fields {
        low: f64,
    },
}

fn sample(content: &str) -> Result<Sample, DecodeError> {
    decode(&yaml::parse(0, 0, content).unwrap())
}

/// The message, and the text it points at.
fn fault(content: &str) -> (String, String) {
    let root = yaml::parse(0, 0, content).unwrap();
    let fault = decode::<Sample>(&root).unwrap_err().into_diagnostic(root.place).unwrap();
    let place = content[fault.place.start as usize..fault.place.end as usize].to_owned();
    (fault.message, place)
}

#[test]
fn every_type_decodes() {
    let read = sample(
        "count: 7\nrate: 3\nsingle: 0.5\noffset: -9\ntext: '12'\nflag: true\nletter: x\nlist: [1, 2]\n\
         pair: [1, a]\nmaybe: 4\nat-least-one: 1\nchoice: {fields: {low: 1e-3}}\ninner: {depth: 2}\nmap: {a: 1}\n",
    )
    .unwrap();
    assert_eq!((read.count, read.rate, read.single, read.offset), (7, 3.0, 0.5, -9));
    assert_eq!((read.text.as_str(), read.flag, read.letter), ("12", true, 'x'));
    assert_eq!((read.list, read.pair, read.maybe), (vec![1, 2], (1, "a".to_owned()), Some(4)));
    assert_eq!(read.choice, Choice::Fields { low: 1e-3 });
    assert_eq!((read.inner.depth, read.map["a"]), (2, 1));
    assert_eq!(sample("choice: plain\nmaybe: null\n").unwrap(), Sample::default());
    assert_eq!(sample("choice: {one: 3}\n").unwrap().choice, Choice::One(3));
    assert_eq!(sample("choice: {two: [3, 4]}\n").unwrap().choice, Choice::Two(3, 4));
    assert!(sample("rate: -0.0\n").unwrap().rate.is_sign_positive());
}

#[test]
fn faults_say_what_was_expected_and_point_at_the_value() {
    for (content, message, place) in [
        ("count: 300\n", "`count`: expected a whole number from 0 to 255, found the number 300", "300"),
        ("count: -1\n", "`count`: expected a whole number from 0 to 255, found the number -1", "-1"),
        ("count: 1.5\n", "`count`: expected a whole number from 0 to 255, found the number 1.5", "1.5"),
        ("offset: 1e3\n", "`offset`: expected a whole number, found the number 1e3", "1e3"),
        (
            "offset: 99999999999999999999\n",
            "`offset`: expected a whole number, found the number 99999999999999999999",
            "99999999999999999999",
        ),
        ("rate: x\n", "`rate`: expected a number, found the text `x`", "x"),
        ("rate: .nan\n", "`rate`: expected a finite number, found the number .nan", ".nan"),
        ("rate: 1e999\n", "`rate`: expected a finite number, found the number 1e999", "1e999"),
        ("single: 1e39\n", "`single`: expected a finite number, found the number 1e39", "1e39"),
        ("text: 12\n", "`text`: expected text, found the number 12", "12"),
        ("text: true\n", "`text`: expected text, found `true`", "true"),
        ("flag: yes\n", "`flag`: expected `true` or `false`, found the text `yes`", "yes"),
        ("letter: xy\n", "`letter`: expected one character, found the text `xy`", "xy"),
        ("list: 3\n", "`list`: expected a list, found the number 3", "3"),
        ("list: [1, x]\n", "`list`: expected a whole number from 0 to 4294967295, found the text `x`", "x"),
        ("pair: [1, a, 2]\n", "`pair`: the list has 3 items, which is too many", "[1, a, 2]"),
        ("at-least-one: 0\n", "`at-least-one`: expected a whole number, 1 or larger, found the number 0", "0"),
        ("choice: plan\n", "`choice`: `plan` is not one of the allowed values", "plan"),
        ("choice: one\n", "`choice`: `one` needs a value: `{one: ...}`", "one"),
        ("choice: {plain: 1}\n", "`choice`: `plain` takes no value", "1"),
        ("choice: {one: 1, two: 2}\n", "`choice`: expected a name, or a map with exactly one key", "{one: 1, two: 2}"),
        ("choice: {fields: {hi: 1}}\n", "`choice.hi`: there is no such parameter", "hi"),
        ("choice: {fields: {}}\n", "`choice`: `low` is missing, and it has no default", "{}"),
        ("inner: {depht: 1}\n", "`inner.depht`: there is no such parameter", "depht"),
        ("inner: 3\n", "`inner`: expected a map, found the number 3", "3"),
        ("map: {a: x}\n", "`map.a`: expected a whole number from 0 to 255, found the text `x`", "x"),
        ("cuont: 1\n", "`cuont`: there is no such parameter", "cuont"),
        ("count:\n", "`count`: expected a whole number from 0 to 255, found nothing", ""),
    ] {
        assert_eq!(fault(content), (message.to_owned(), place.to_owned()), "{content}");
    }
}
