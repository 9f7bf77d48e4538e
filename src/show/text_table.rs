//! Aligned columns of text for a terminal.

use unicode_width::UnicodeWidthStr;

/// How a column is aligned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    Left,
    Right,
}

/// Columns with a heading each, and rows of as many cells.
#[derive(Debug, Default)]
pub struct TextTable {
    headings: Vec<(String, Align)>,
    rows: Vec<Vec<String>>,
}

impl TextTable {
    /// A table with these columns.
    pub fn new<'a>(headings: impl IntoIterator<Item = (&'a str, Align)>) -> Self {
        let headings = headings.into_iter().map(|(name, align)| (one_line(name), align)).collect();
        Self { headings, rows: Vec::new() }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let mut cells: Vec<String> = cells.into_iter().map(|cell| one_line(&cell)).collect();
        cells.resize(self.headings.len(), String::new());
        self.rows.push(cells);
    }

    /// The lines, each ending in a line feed; `style` paints the heading line.
    pub fn render(&self, style: impl Fn(&str) -> String) -> String {
        let mut widths: Vec<usize> = self.headings.iter().map(|(name, _)| name.width()).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.width());
            }
        }
        let line = |cells: Vec<&str>| {
            let mut text = String::new();
            for ((cell, width), (_, align)) in cells.iter().zip(&widths).zip(&self.headings) {
                let padding = " ".repeat(width.saturating_sub(cell.width()));
                match align {
                    Align::Left => text += &format!("{cell}{padding}  "),
                    Align::Right => text += &format!("{padding}{cell}  "),
                }
            }
            text.truncate(text.trim_end().len());
            text
        };
        let mut text = style(&line(self.headings.iter().map(|(name, _)| name.as_str()).collect())) + "\n";
        for row in &self.rows {
            text += &line(row.iter().map(String::as_str).collect());
            text.push('\n');
        }
        text
    }
}

/// Line feeds and other control characters would break the columns, or the terminal.
fn one_line(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c == '\n' {
                '⏎'
            } else if c.is_control() {
                '·'
            } else {
                c
            }
        })
        .collect()
}

/// At most `width` characters, the last an ellipsis when some are missing.
pub fn shortened(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut head: String = text.chars().take(width.saturating_sub(1)).collect();
    head.push('…');
    head
}

#[cfg(test)]
mod tests {
    use super::{Align, TextTable, shortened};

    #[test]
    fn columns_line_up_whatever_the_script() {
        let mut table = TextTable::new([("name", Align::Left), ("count", Align::Right)]);
        table.row(["a".into(), "7".into()]);
        table.row(["漢字\n".into(), "1234567".into()]);
        assert_eq!(table.render(str::to_owned), "name     count\na            7\n漢字⏎  1234567\n");
    }

    #[test]
    fn long_text_is_cut_between_characters() {
        assert_eq!(shortened("äöü", 3), "äöü");
        assert_eq!(shortened("äöüß", 3), "äö…");
    }
}
