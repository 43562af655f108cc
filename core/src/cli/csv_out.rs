//! Predictions to CSV lines: one a row, in order.
//!
//! Numbers are the shortest decimal text that reads back as the same bits (`0.1`, `1e300`, `NaN`, `Infinity`). A refused
//! row has empty cells. Whether the lines end in a column `error` is known only when some row was refused, so lines
//! made before can be [`widen`]ed.

use std::borrow::Cow;
use std::io::{self, Write};

use cenote::{OutputValues, Predictions};
use memchr::{memchr2_iter, memchr3};

/// Lines without a header, and whether they have the column `error`.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    pub(crate) bytes: Vec<u8>,
    pub(crate) with_error: bool,
}

/// The header for columns of these names, ended.
pub(crate) fn header<'a>(names: impl Iterator<Item = &'a str>) -> Vec<u8> {
    let cells: Vec<_> = names.map(quoted).collect();
    let mut line = cells.join(",").into_bytes();
    line.push(b'\n');
    line
}

/// A row of cells, ended; nothing where one is missing.
pub(crate) fn record<'a>(cells: impl Iterator<Item = Option<&'a str>>, out: &mut Vec<u8>) {
    let start = out.len();
    for (index, cell) in cells.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(cell.map(quoted).unwrap_or_default().as_bytes());
    }
    if out.len() == start {
        out.extend_from_slice(b"\"\"");
    }
    out.push(b'\n');
}

/// Writes the rows of `predictions`.
pub(crate) fn lines(predictions: &Predictions) -> Lines {
    let columns: Vec<Cells<'_>> =
        predictions.columns.iter().map(|column| Cells::new(&column.values)).collect();
    let with_error = !predictions.errors.is_empty();
    let mut errors = predictions.errors.iter().peekable();
    let mut bytes = Vec::with_capacity(predictions.rows * columns.len() * 12);
    for row in 0..predictions.rows {
        let error = errors.next_if(|error| error.row == row);
        let start = bytes.len();
        for (index, column) in columns.iter().enumerate() {
            if index > 0 {
                bytes.push(b',');
            }
            if error.is_none() {
                column.write(row, &mut bytes);
            }
        }
        if with_error {
            bytes.push(b',');
            bytes.extend_from_slice(
                error.map(|error| quoted(&error.to_string()).into_owned()).unwrap_or_default().as_bytes(),
            );
        } else if bytes.len() == start {
            // A wholly empty line would read as no row at all.
            bytes.extend_from_slice(b"\"\"");
        }
        bytes.push(b'\n');
    }
    Lines { bytes, with_error }
}

/// Adds a last cell to every record that begins in `lines`, `open` telling whether these begin within a quoted cell;
/// returns whether they end so.
pub(crate) fn widen(lines: &[u8], open: bool, out: &mut impl Write) -> io::Result<bool> {
    let (mut open, mut done) = (open, 0);
    for at in memchr2_iter(b'"', b'\n', lines) {
        if lines[at] == b'"' {
            open = !open;
        } else if !open {
            out.write_all(&lines[done..at])?;
            out.write_all(b",")?;
            done = at;
        }
    }
    out.write_all(&lines[done..])?;
    Ok(open)
}

/// A column ready to be written, with its labels quoted where they must be.
enum Cells<'a> {
    Number(&'a [f64]),
    Label(&'a [u32], Vec<Cow<'a, str>>),
    Integer(&'a [i32]),
    /// A kind of values that this program does not know.
    Unknown,
}

impl<'a> Cells<'a> {
    fn new(values: &'a OutputValues) -> Self {
        match values {
            OutputValues::Number(values) => Cells::Number(values),
            OutputValues::Label { codes, domain } => {
                Cells::Label(codes, domain.iter().map(|label| quoted(label)).collect())
            }
            OutputValues::Integer(values) => Cells::Integer(values),
            _ => Cells::Unknown,
        }
    }

    fn write(&self, row: usize, out: &mut Vec<u8>) {
        match self {
            Cells::Number(values) => write_number(values[row], out),
            Cells::Label(codes, labels) => {
                if let Some(label) = labels.get(codes[row] as usize) {
                    out.extend_from_slice(label.as_bytes());
                }
            }
            Cells::Integer(values) => {
                out.extend_from_slice(itoa::Buffer::new().format(values[row]).as_bytes());
            }
            Cells::Unknown => {}
        }
    }
}

/// The shortest text that reads back as `value`, with Java's names for what is not finite.
fn write_number(value: f64, out: &mut Vec<u8>) {
    if value.is_finite() {
        out.extend_from_slice(zmij::Buffer::new().format_finite(value).as_bytes());
    } else if value.is_nan() {
        out.extend_from_slice(b"NaN");
    } else {
        out.extend_from_slice(if value > 0.0 { b"Infinity" } else { b"-Infinity" });
    }
}

fn quoted(text: &str) -> Cow<'_, str> {
    if memchr3(b',', b'"', b'\n', text.as_bytes()).is_none() && !text.contains('\r') {
        return Cow::Borrowed(text);
    }
    Cow::Owned(format!("\"{}\"", text.replace('"', "\"\"")))
}

#[cfg(test)]
mod tests {
    use cenote::{OutputColumn, RowError};

    use super::*;

    fn labels(texts: &[&str]) -> OutputValues {
        let codes = (0..texts.len() as u32).collect();
        OutputValues::Label { codes, domain: texts.iter().map(|&text| text.to_owned()).collect() }
    }

    fn predictions(columns: Vec<(&str, OutputValues)>, rows: usize) -> Predictions {
        let columns = columns.into_iter().map(|(name, values)| OutputColumn { name: name.into(), values });
        Predictions { rows, columns: columns.collect(), errors: Vec::new() }
    }

    fn text(lines: &Lines) -> &str {
        std::str::from_utf8(&lines.bytes).unwrap()
    }

    #[test]
    fn numbers_read_back_exactly() {
        let numbers =
            [0.1, -0.0, 1e300, 5e-324, f64::MAX, 1.0 / 3.0, 123456789012345680.0, f64::NAN, f64::INFINITY];
        let written = lines(&predictions(vec![("p", OutputValues::Number(numbers.to_vec()))], numbers.len()));
        for (line, number) in text(&written).lines().zip(numbers) {
            assert!(line.len() < 26, "{line}");
            assert_eq!(line.parse::<f64>().unwrap().to_bits(), number.to_bits(), "{line}");
        }
    }

    #[test]
    fn labels_are_quoted_only_where_needed() {
        let written =
            lines(&predictions(vec![("predict", labels(&["a b", "a,b", "say \"x\"", "two\nlines", ""]))], 5));
        assert_eq!(text(&written), "a b\n\"a,b\"\n\"say \"\"x\"\"\"\n\"two\nlines\"\n\"\"\n");
    }

    #[test]
    fn a_refused_row_is_empty_and_says_why() {
        let mut two =
            predictions(vec![("a", labels(&["x", "y"])), ("b", OutputValues::Integer(vec![-1, 2]))], 2);
        two.errors.push(RowError { row: 0, class: "java.lang.E", message: "bad, really".into() });
        let written = lines(&two);
        assert!(written.with_error);
        assert_eq!(text(&written), ",,\"java.lang.E: bad, really\"\ny,2,\n");
    }

    #[test]
    fn widening_counts_records_not_lines() {
        let (first, second) = b"a\n\"two\nli".split_at(5);
        let mut out = Vec::new();
        let open = widen(first, false, &mut out).unwrap();
        let open = widen(second, open, &mut out).unwrap();
        assert!(open);
        assert!(!widen(b"nes\"\"\"\nb\n", open, &mut out).unwrap());
        assert_eq!(String::from_utf8(out).unwrap(), "a,\n\"two\nlines\"\"\",\nb,\n");
    }
}
