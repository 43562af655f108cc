//! Tables of text for people.

use std::io::{self, Write};

/// Rows of cells below a header, each column as wide as its widest cell; `None` is printed as `-`.
pub(crate) fn print_table(header: &[&str], rows: &[Vec<Option<String>>]) -> io::Result<()> {
    let cell = |row: &[Option<String>], column: usize| {
        // A cell has one line.
        row.get(column)
            .cloned()
            .flatten()
            .map_or_else(|| "-".to_owned(), |text| text.replace(['\n', '\r'], " "))
    };
    let header: Vec<_> = header.iter().map(|name| Some((*name).to_owned())).collect();
    let widths: Vec<_> = (0..header.len())
        .map(|column| {
            let cells = rows.iter().chain([&header]).map(|row| cell(row, column).chars().count());
            cells.max().unwrap_or(0)
        })
        .collect();
    let mut out = io::stdout().lock();
    for row in [&header].into_iter().chain(rows) {
        let line: String = widths
            .iter()
            .enumerate()
            .map(|(column, width)| format!("{:<width$}  ", cell(row, column)))
            .collect();
        writeln!(out, "{}", line.trim_end())?;
    }
    out.flush()
}

/// A document for programs, on one line.
pub(crate) fn print_json(document: &serde_json::Value) -> io::Result<()> {
    writeln!(io::stdout(), "{document}")
}

/// A line for people.
pub(crate) fn print_line(line: impl std::fmt::Display) -> io::Result<()> {
    writeln!(io::stdout(), "{line}")
}
