//! The summary as aligned text for a terminal.

use arrow::array::{AsArray, RecordBatch, StringArray};

use super::summary::SEPARATOR;

/// The narrowest table; a narrower terminal wraps it by itself.
const LEAST_WIDTH: usize = 40;

/// Lays a report summary (media `ReportSummary`) out in at most `width` columns, without colour; figures of one
/// section stand under each other, and long values go on below. A batch without the three text columns gives
/// an empty string.
pub fn terminal_table(summary: &RecordBatch, width: usize) -> String {
    let column = |name: &str| summary.column_by_name(name).and_then(|column| column.as_string_opt::<i32>());
    let (Some(sections), Some(items), Some(values)) = (column("section"), column("item"), column("value")) else {
        return String::new();
    };
    let width = width.max(LEAST_WIDTH);
    let text = |column: &StringArray, row: usize| printable(column.value(row));
    let rows: Vec<[String; 3]> =
        (0..summary.num_rows()).map(|row| [text(sections, row), text(items, row), text(values, row)]).collect();
    let widest = |part: usize| rows.iter().map(|row| row[part].chars().count()).max().unwrap_or(0);
    let section_width = widest(0);
    // Half of the line is left to the values, whatever the names.
    let item_width = widest(1).min((width / 2).saturating_sub(section_width));
    let indent = section_width + 2 + item_width + 2;
    let room = width.saturating_sub(indent).max(10);

    let mut table = String::new();
    let mut start = 0;
    for group in rows.chunk_by(|left, right| left[0] == right[0]) {
        if start > 0 {
            table.push('\n');
        }
        start += group.len();
        let aligned = align(group);
        for (index, (row, value)) in group.iter().zip(aligned).enumerate() {
            let section = if index == 0 { row[0].as_str() } else { "" };
            let item_lines = wrap(&row[1], item_width);
            let value_lines = wrap(&value, room);
            for line in 0..item_lines.len().max(value_lines.len()) {
                let part = |lines: &[String]| lines.get(line).cloned().unwrap_or_default();
                let section = if line == 0 { section } else { "" };
                let text = format!(
                    "{section:<section_width$}  {item:<item_width$}  {value}",
                    item = part(&item_lines),
                    value = part(&value_lines)
                );
                table.push_str(text.trim_end());
                table.push('\n');
            }
        }
    }
    table
}

/// Values of one section; those with several figures become columns aligned on the right.
fn align(rows: &[[String; 3]]) -> Vec<String> {
    let cells: Vec<Vec<&str>> = rows.iter().map(|row| row[2].split(SEPARATOR).collect()).collect();
    let columns = cells.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|column| {
            let several = cells.iter().filter(|cells| cells.len() > 1);
            several.filter_map(|cells| cells.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
        })
        .collect();
    cells
        .iter()
        .map(|cells| match cells[..] {
            [single] => single.to_owned(),
            _ => {
                cells.iter().zip(&widths).map(|(cell, &width)| format!("{cell:>width$}")).collect::<Vec<_>>().join("  ")
            }
        })
        .collect()
}

/// Breaks a text at spaces into lines of at most `width` characters; a longer word is cut.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let width = width.max(1);
    if text.chars().count() <= width {
        return vec![text.to_owned()];
    }
    let mut lines = vec![String::new()];
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        let mut word: Vec<char> = word.chars().collect();
        loop {
            let last = lines.len() - 1;
            let used = lines[last].chars().count();
            let gap = usize::from(used > 0);
            if used + gap + word.len() <= width {
                lines[last].push_str(&" ".repeat(gap));
                lines[last].extend(word);
                break;
            }
            if used == 0 {
                let rest = word.split_off(width);
                lines[last].extend(word);
                word = rest;
            }
            lines.push(String::new());
        }
    }
    lines
}

/// A text without control characters, which a terminal would obey.
fn printable(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { char::REPLACEMENT_CHARACTER } else { character }).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::ArrayRef;

    use super::*;
    use crate::artifact::{Media, schema};

    fn batch(rows: &[[&str; 3]]) -> RecordBatch {
        let column =
            |part: usize| -> ArrayRef { Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row[part]))) };
        let schema = schema::of(Media::ReportSummary).expect("a table");
        RecordBatch::try_new(Arc::new(schema), vec![column(0), column(1), column(2)]).expect("three text columns")
    }

    #[test]
    fn sections_are_aligned_and_figures_stand_under_each_other() {
        let summary = batch(&[
            ["heads", "best head", "18-6 (score 0.733)"],
            ["heads", "heads masked", "14 of 270"],
            ["evaluation", "0 to 100", "base | masked | trained"],
            ["evaluation", "json_kv 1024", "60.0 | 5.0 | 65.0"],
        ]);
        let expected = "\
heads       best head     18-6 (score 0.733)
            heads masked  14 of 270

evaluation  0 to 100      base  masked  trained
            json_kv 1024  60.0     5.0     65.0
";
        assert_eq!(terminal_table(&summary, 80), expected);
    }

    #[test]
    fn long_values_go_on_below_and_no_line_is_wider_than_asked() {
        let summary = batch(&[[
            "evaluation",
            "trained - base, average",
            "+1.0 [-2.0, 4.0] (paired 95 %, not told apart from 0)",
        ]]);
        for width in [40, 50, 61, 100] {
            let table = terminal_table(&summary, width);
            assert!(table.lines().all(|line| line.chars().count() <= width), "{width}: {table}");
            let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().len();
            assert_eq!(
                words(&table),
                words("evaluation trained - base, average +1.0 [-2.0, 4.0] (paired 95 %, not told apart from 0)")
            );
        }
    }

    #[test]
    fn control_characters_never_reach_the_terminal() {
        let summary = batch(&[["heads", "\u{1b}[31mred\u{7}", "a\nb"]]);
        let table = terminal_table(&summary, 80);
        assert!(!table.trim_end_matches('\n').chars().any(char::is_control), "{table:?}");
    }

    #[test]
    fn a_table_without_the_columns_gives_nothing() {
        assert_eq!(terminal_table(&RecordBatch::new_empty(Arc::new(arrow::datatypes::Schema::empty())), 80), "");
    }
}
