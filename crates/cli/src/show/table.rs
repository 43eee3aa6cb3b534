//! Tables: columns as wide as their cells, up to a limit beyond which a long cell pushes only its own row.

use super::{Paint, Tone, clean};

/// Where a cell's text stands in its column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// Rows of cells under headings. Nothing is cut off: names are there to be copied.
#[derive(Debug)]
pub(crate) struct Table {
    columns: Vec<(&'static str, Align)>,
    rows: Vec<Vec<(Tone, String)>>,
}

const GAP: &str = "  ";
const WIDEST: usize = 32;

impl Table {
    /// An empty table with these headings.
    pub(crate) fn new(columns: &[(&'static str, Align)]) -> Table {
        Table { columns: columns.to_vec(), rows: Vec::new() }
    }

    /// Adds a row of plain cells.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.toned(cells.into_iter().map(|cell| (Tone::Plain, cell)));
    }

    /// Adds a row of cells with their colours.
    pub(crate) fn toned(&mut self, cells: impl IntoIterator<Item = (Tone, String)>) {
        self.rows.push(cells.into_iter().map(|(tone, cell)| (tone, clean(&cell))).collect());
    }

    /// The table as text, each line begun with `indent`. Columns that are empty in all rows are left out.
    pub(crate) fn text(&self, indent: &str, paint: Paint) -> String {
        let filled =
            |column: usize| self.rows.iter().any(|row| row.get(column).is_some_and(|(_, cell)| !cell.is_empty()));
        let shown: Vec<usize> = (0..self.columns.len()).filter(|&column| filled(column)).collect();
        let heading: Vec<(Tone, String)> =
            self.columns.iter().map(|(name, _)| (Tone::Faint, (*name).to_owned())).collect();
        let width = |column: usize| {
            let cells = self.rows.iter().chain([&heading]).filter_map(|row| row.get(column));
            cells.map(|(_, cell)| cell.chars().count()).filter(|&length| length <= WIDEST).max().unwrap_or(0)
        };
        let widths: Vec<usize> = shown.iter().map(|&column| width(column)).collect();
        let mut text = String::new();
        for row in [&heading].into_iter().chain(&self.rows) {
            let cells = shown.iter().zip(&widths).enumerate().filter_map(|(place, (&column, &width))| {
                let (tone, cell) = row.get(column)?;
                let padding = " ".repeat(width.saturating_sub(cell.chars().count()));
                let is_last = place + 1 == shown.len();
                let cell = paint.paint(*tone, cell);
                Some(match self.columns[column].1 {
                    Align::Right => format!("{padding}{cell}"),
                    Align::Left if is_last => cell,
                    Align::Left => format!("{cell}{padding}"),
                })
            });
            let line = cells.collect::<Vec<_>>().join(GAP);
            text.push_str(indent);
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_empty_ones_vanish() {
        let mut table = Table::new(&[("NAME", Align::Left), ("SIZE", Align::Right), ("NOTE", Align::Left)]);
        table.row(["a".into(), "1.1 GB".into(), String::new()]);
        table.row(["long-name".into(), "9 B".into(), String::new()]);
        assert_eq!(table.text("", Paint { on: false }), "NAME         SIZE\na          1.1 GB\nlong-name     9 B\n");
    }

    #[test]
    fn a_very_long_cell_pushes_only_its_own_row() {
        let mut table = Table::new(&[("NAME", Align::Left), ("SIZE", Align::Right)]);
        table.row(["x".repeat(60), "1 B".into()]);
        table.row(["y".into(), "2 B".into()]);
        let text = table.text("", Paint { on: false });
        assert_eq!(text.lines().nth(2), Some("y      2 B"));
        assert!(text.lines().nth(1).unwrap().ends_with("xx   1 B"));
    }

    #[test]
    fn colour_does_not_disturb_the_columns() {
        let mut table = Table::new(&[("STATE", Align::Left), ("N", Align::Right)]);
        table.toned([(Tone::Good, "up".into()), (Tone::Plain, "1".into())]);
        assert!(table.text("", Paint { on: true }).contains("\u{1b}[32mup\u{1b}[0m     1"));
    }
}
