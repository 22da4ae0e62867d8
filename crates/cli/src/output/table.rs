//! Rows under a header.

use std::fmt;

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, ContentArrangement};

/// A table without lines, as wide as its content.
pub(crate) struct Table(comfy_table::Table);

impl Table {
    /// A table with these columns; those whose name begins with `#` hold numbers, which stand at the right.
    pub(crate) fn new(columns: &[&str]) -> Self {
        let mut table = comfy_table::Table::new();
        table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(columns.iter().map(|name| name.trim_start_matches('#')));
        for (column, name) in table.column_iter_mut().zip(columns) {
            if name.starts_with('#') {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        Self(table)
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.0.add_row(cells);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string();
        let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
        f.write_str(&lines.join("\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(&["name", "#bytes"]);
        table.row(["a".into(), "1".into()]);
        table.row(["long name".into(), "1000".into()]);
        let text = table.to_string();
        let ends: Vec<usize> = text.lines().map(str::len).collect();
        assert_eq!(text.lines().count(), 3, "{text}");
        assert!(ends.iter().all(|end| *end == ends[0]), "{text}");
    }
}
