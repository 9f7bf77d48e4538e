//! `docs/artifacts.md` describes the artifacts as the program defines them.

use std::collections::BTreeMap;

use arrow::datatypes::{DataType, Field};
use retmask_stages::artifact::{Media, schema};

const PAGE: &str = include_str!("../../docs/artifacts.md");

/// A type as the page writes it.
fn written(data_type: &DataType) -> String {
    match data_type {
        DataType::List(item) => format!("list<{}>", written(item.data_type())),
        other if *other == schema::message() => "message".to_owned(),
        other => other.to_string(),
    }
}

fn row(field: &Field) -> (String, String) {
    let optional = if field.is_nullable() { ", optional" } else { "" };
    (field.name().clone(), format!("{}{optional}", written(field.data_type())))
}

/// The columns the page lists under each media's own heading.
fn documented() -> BTreeMap<String, Vec<(String, String)>> {
    let mut tables: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    let mut media = None;
    for line in PAGE.lines() {
        if let Some(heading) = line.strip_prefix("### ") {
            media = Some(heading.trim_matches('`').to_owned());
            tables.insert(heading.trim_matches('`').to_owned(), Vec::new());
        } else if line.starts_with("## ") {
            media = None;
        } else if let (Some(media), Some(cells)) = (&media, line.strip_prefix("| `")) {
            let cells: Vec<&str> = cells.split(" | ").collect();
            assert!(cells.len() == 3 && !cells[2].trim_matches([' ', '|']).is_empty(), "{line}");
            let name = cells[0].trim_matches('`').to_owned();
            tables.entry(media.clone()).or_default().push((name, cells[1].trim().to_owned()));
        }
    }
    tables
}

#[test]
fn every_table_is_documented_with_its_columns_in_order() {
    let documented = documented();
    let tables = Media::ALL.iter().filter_map(|&media| schema::of(media).map(|schema| (media, schema)));
    let mut count = 0;
    for (media, schema) in tables {
        count += 1;
        let expected: Vec<(String, String)> = schema.fields().iter().map(|field| row(field)).collect();
        let found =
            documented.get(media.name()).unwrap_or_else(|| panic!("{} has no heading of its own", media.name()));
        assert_eq!(*found, expected, "{}", media.name());
    }
    assert_eq!(documented.len(), count, "a heading names no table: {:?}", documented.keys());
}

#[test]
fn every_other_media_is_named() {
    for media in Media::ALL.iter().filter(|&&media| schema::of(media).is_none()) {
        assert!(PAGE.contains(&format!("`{}`", media.name())), "{}", media.name());
    }
}
