//! Plain tables: a header, aligned columns, no lines.

use anstyle::Style;
use unicode_width::UnicodeWidthStr;

use super::Printer;

/// Where a column's cells stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    Left,
    Right,
}

/// A table under construction.
#[derive(Debug, Clone)]
pub struct Table {
    columns: Vec<(String, Align)>,
    rows: Vec<Vec<(String, Style)>>,
    widest_cell: usize,
}

impl Table {
    /// A table with these column heads.
    pub fn new<'a>(columns: impl IntoIterator<Item = (&'a str, Align)>) -> Self {
        let columns = columns.into_iter().map(|(head, align)| (one_line(head), align)).collect();
        Self { columns, rows: Vec::new(), widest_cell: usize::MAX }
    }

    /// Cuts cells that are wider than this, in terminal columns.
    pub fn widest_cell(mut self, width: usize) -> Self {
        self.widest_cell = width.max(1);
        self
    }

    /// Adds a row; missing cells are empty, cells beyond the columns are left out.
    pub fn row<T: Into<String>>(&mut self, cells: impl IntoIterator<Item = T>) {
        self.styled_row(cells.into_iter().map(|cell| (cell.into(), Style::new())));
    }

    /// Adds a row whose cells have styles, which are written only where standard output takes colours.
    pub fn styled_row<T: Into<String>>(&mut self, cells: impl IntoIterator<Item = (T, Style)>) {
        let cells = cells.into_iter().map(|(cell, style)| (cut(one_line(&cell.into()), self.widest_cell), style));
        self.rows.push(cells.take(self.columns.len()).collect());
    }

    /// The table for standard output, a line per row, each ending in a newline and without trailing spaces.
    pub fn render(&self, printer: Printer) -> String {
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column)).map(|(cell, _)| cell.width());
            cells.chain([self.columns[column].0.width()]).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let heads: Vec<(String, Style)> =
            self.columns.iter().map(|(head, _)| (head.clone(), Style::new().bold())).collect();
        let mut text = String::new();
        for row in std::iter::once(&heads).chain(&self.rows) {
            let mut pending = String::new();
            for (column, (cell, style)) in row.iter().enumerate() {
                let padding = " ".repeat(widths[column] - cell.width());
                let right = self.columns[column].1 == Align::Right;
                if right {
                    pending.push_str(&padding);
                }
                if !cell.is_empty() {
                    text.push_str(&pending);
                    pending.clear();
                    text.push_str(&if *style == Style::new() { cell.clone() } else { printer.paint(*style, cell) });
                }
                if !right {
                    pending.push_str(&padding);
                }
                pending.push_str("  ");
            }
            text.push('\n');
        }
        text
    }
}

/// Control characters made visible: a cell may hold what a model wrote, and must not steer the terminal.
fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() { line.extend(character.escape_default()) } else { line.push(character) }
    }
    line
}

fn cut(text: String, width: usize) -> String {
    if text.width() <= width {
        return text;
    }
    let mut short = String::new();
    for character in text.chars() {
        let mut longer = short.clone();
        longer.push(character);
        if longer.width() + 1 > width {
            break;
        }
        short = longer;
    }
    short.push('…');
    short
}

#[cfg(test)]
mod tests {
    use super::super::ColorChoice;
    use super::*;

    #[test]
    fn columns_align_and_cells_stay_on_one_line() {
        let mut table = Table::new([("name", Align::Left), ("n", Align::Right), ("text", Align::Left)]).widest_cell(8);
        table.row(["a", "1", "two\nlines"]);
        table.row(["日本", "1000", ""]);
        table.row(["c", "", "\u{1b}[31mred"]);
        let plain = Printer::new(ColorChoice::Never, false, false);
        assert_eq!(table.render(plain), "name     n  text\na        1  two\\nli…\n日本  1000\nc           \\u{1b}[…\n");
    }

    #[test]
    fn styles_do_not_move_columns() {
        let mut table = Table::new([("a", Align::Left), ("b", Align::Left)]);
        table.styled_row([("x", Style::new().bold()), ("y", Style::new())]);
        let colored = table.render(Printer::new(ColorChoice::Always, false, false));
        assert_eq!(colored, "\u{1b}[1ma\u{1b}[0m  \u{1b}[1mb\u{1b}[0m\n\u{1b}[1mx\u{1b}[0m  y\n");
    }
}
