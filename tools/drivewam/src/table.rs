//! Markdown tables.

use std::fmt::Write as _;

/// A table of text cells.
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with a header row.
    pub(crate) fn new(head: &[&str]) -> Self {
        Self { rows: vec![head.iter().map(|h| (*h).to_owned()).collect()] }
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// The table as Markdown, with aligned columns.
    pub(crate) fn markdown(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |c: usize| self.rows.iter().filter_map(|r| r.get(c)).map(|s| s.chars().count()).max().unwrap_or(0).max(3);
        let mut text = String::new();
        for (i, row) in self.rows.iter().enumerate() {
            for (c, cell) in row.iter().enumerate() {
                let _ = write!(text, "| {cell:<wide$} ", wide = width(c));
            }
            text.push_str("|\n");
            if i == 0 {
                (0..columns).for_each(|c| text.push_str(&format!("|{}", "-".repeat(width(c) + 2))));
                text.push_str("|\n");
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_markdown_with_aligned_columns() {
        let mut table = Table::new(&["a", "long head"]);
        table.row(vec!["wide cell".into(), "1".into()]);
        assert_eq!(table.markdown(), "| a         | long head |\n|-----------|-----------|\n| wide cell | 1         |\n");
    }
}
