//! CSV text to batches, in two steps: [`Blocks`] cuts the stream at ends of records, one thread after the file; then
//! [`Block::split`] finds the cells of the wanted columns, on any thread.
//!
//! The dialect is RFC 4180 in UTF-8: a header, `,` between fields, `"` around a field that holds `,`, `"` or line
//! ends, `""` for a quote within it. A quote elsewhere is an ordinary character. Lines end in LF or CRLF; a byte order mark is
//! skipped. A blank line is a row in a file of one column. In a wider file it is a wrong line, except at the very
//! end, where it is ignored: to skip it would set the output's lines off against the input's.
//!
//! Memory is bounded by the block size and by [`MAX_RECORD`], whatever the file.

use std::borrow::Cow;
use std::collections::HashSet;
use std::io::{self, Read};

use cenote::input::{Batch, Text, Values};
use cenote_mojo::Schema;
use memchr::{memchr, memchr2, memrchr};

/// Text of about this size goes to a thread at a time.
pub(crate) const BLOCK: usize = 1 << 20;

/// A longer record is an error: most likely a quote was left open.
pub(crate) const MAX_RECORD: usize = 64 << 20;

/// A line that is not CSV of the header's width.
#[derive(Debug, thiserror::Error)]
#[error("line {line}: {problem}")]
pub(crate) struct WrongLine {
    /// One-based line of the file, where the record begins.
    pub(crate) line: u64,
    problem: Problem,
}

#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error("expected {expected} fields, found {found}")]
    Fields { found: usize, expected: usize },
    #[error("expected {expected} fields, found a blank line")]
    Blank { expected: usize },
    #[error("not UTF-8 text")]
    Encoding,
    #[error("UTF-16 text; only UTF-8 is read")]
    Utf16,
    #[error("a Parquet file; its name or --input-format should say so")]
    Parquet,
    #[error("a quoted field is not closed")]
    OpenQuote,
    #[error("a record longer than {} MiB; perhaps a quoted field is not closed", MAX_RECORD >> 20)]
    TooLong,
    #[error("no header")]
    NoHeader,
    #[error("the header names column {0:?} twice")]
    DuplicateColumn(String),
}

/// Cuts a stream into blocks of whole records.
#[derive(Debug)]
pub(crate) struct Blocks<R> {
    input: R,
    /// What was read past the last cut.
    rest: Vec<u8>,
    /// The line on which `rest` begins.
    line: u64,
    block: usize,
    /// Fields of the header; 0 before it is read.
    width: usize,
    ended: bool,
}

/// Some whole records.
#[derive(Debug)]
pub(crate) struct Block {
    bytes: Vec<u8>,
    first_line: u64,
}

impl<R: Read> Blocks<R> {
    /// Reads the header; returns the names of the columns too.
    pub(crate) fn new(input: R) -> anyhow::Result<(Self, Vec<String>)> {
        let mut blocks = Self { input, rest: Vec::new(), line: 1, block: BLOCK, width: 0, ended: false };
        blocks.fill(4 << 10)?;
        if blocks.rest.starts_with(b"\xEF\xBB\xBF") {
            blocks.rest.drain(..3);
        }
        if blocks.rest.starts_with(b"\xFF\xFE") || blocks.rest.starts_with(b"\xFE\xFF") {
            return Err(blocks.wrong(Problem::Utf16).into());
        }
        if blocks.rest.starts_with(b"PAR1") {
            return Err(blocks.wrong(Problem::Parquet).into());
        }
        let end = loop {
            match record_end(&blocks.rest) {
                Some(end) => break end,
                None if blocks.ended => break blocks.rest.len(),
                None => blocks.grow()?,
            }
        };
        let mut header: Vec<u8> = blocks.rest.drain(..end).collect();
        if trim_line_end(&header).is_empty() {
            return Err(blocks.wrong(Problem::NoHeader).into());
        }
        if std::str::from_utf8(&header).is_err() {
            return Err(blocks.wrong(Problem::Encoding).into());
        }
        let names = split_header(&mut header).map_err(|problem| blocks.wrong(problem))?;
        let mut seen = HashSet::new();
        if let Some(twice) = names.iter().find(|name| !seen.insert(name.as_str())) {
            return Err(blocks.wrong(Problem::DuplicateColumn(twice.clone())).into());
        }
        blocks.line += count_lines(&header);
        blocks.width = names.len();
        Ok((blocks, names))
    }

    /// Cuts blocks of about this many bytes from now on.
    pub(crate) fn with_block_size(self, block: usize) -> Self {
        Self { block, ..self }
    }

    /// The next whole records; `None` at the end of the file.
    pub(crate) fn next_block(&mut self) -> anyhow::Result<Option<Block>> {
        loop {
            self.fill(self.block)?;
            let mut cut = if self.ended { self.rest.len() } else { last_record_end(&self.rest) };
            if self.width > 1 {
                // Blank lines wait: they are wrong if a record follows, and nothing at the end of the file.
                cut = trim_blank_lines(&self.rest[..cut]);
            }
            if cut > 0 {
                let rest = self.rest.split_off(cut);
                let bytes = std::mem::replace(&mut self.rest, rest);
                let first_line = self.line;
                self.line += count_lines(&bytes);
                return Ok(Some(Block { bytes, first_line }));
            }
            if self.ended {
                return Ok(None);
            }
            self.grow()?;
        }
    }

    /// Reads until `rest` is `size` long or the input ends.
    fn fill(&mut self, size: usize) -> io::Result<()> {
        if self.ended || self.rest.len() >= size {
            return Ok(());
        }
        let missing = (size - self.rest.len()) as u64;
        let read = (&mut self.input).take(missing).read_to_end(&mut self.rest)?;
        self.ended = (read as u64) < missing;
        Ok(())
    }

    /// Reads on for a record that is longer than what has been read.
    fn grow(&mut self) -> anyhow::Result<()> {
        if self.rest.len() >= MAX_RECORD {
            return Err(self.wrong(Problem::TooLong).into());
        }
        Ok(self.fill(self.rest.len() * 2)?)
    }

    fn wrong(&self, problem: Problem) -> WrongLine {
        WrongLine { line: self.line, problem }
    }
}

/// Which fields of a record are wanted, and what counts as missing in them.
#[derive(Debug)]
pub(crate) struct Layout {
    /// For each field its place among `wanted`.
    slots: Vec<Option<usize>>,
    wanted: Vec<Wanted>,
}

#[derive(Debug)]
struct Wanted {
    name: String,
    /// Those of [`MISSING`] that are levels of this column.
    levels: Vec<&'static str>,
}

/// Cells that are missing, beside the empty one. All but `NA`, which H2O's own import takes as missing, are levels
/// where the model has a level of that text.
const MISSING: [&str; 3] = ["NA", "N/A", "-"];

impl Layout {
    /// Keeps of a file with these columns those for which `wanted` holds.
    pub(crate) fn new(names: &[String], schema: &Schema, mut wanted: impl FnMut(&str) -> bool) -> Self {
        Self::with_levels(names, |name| {
            let domains = schema.input_columns().iter().chain(&schema.features);
            let domain =
                domains.filter(|column| column.name == *name).find_map(|column| column.domain.as_ref());
            let is_level =
                |text: &&&'static str| domain.is_some_and(|d| d.iter().any(|level| level == **text));
            wanted(name).then(|| MISSING[1..].iter().filter(is_level).copied().collect())
        })
    }

    /// Keeps the columns for which `wanted` says whether they are text, of which only an empty cell is missing.
    pub(crate) fn typed(names: &[String], wanted: impl Fn(&str) -> Option<bool>) -> Self {
        Self::with_levels(names, |name| {
            wanted(name).map(|is_text| if is_text { MISSING.to_vec() } else { Vec::new() })
        })
    }

    /// Keeps the columns for which `levels` gives those of [`MISSING`] that are levels.
    fn with_levels(names: &[String], mut levels: impl FnMut(&str) -> Option<Vec<&'static str>>) -> Self {
        let mut layout = Self { slots: Vec::with_capacity(names.len()), wanted: Vec::new() };
        for name in names {
            let slot = levels(name).map(|levels| {
                layout.wanted.push(Wanted { name: name.clone(), levels });
                layout.wanted.len() - 1
            });
            layout.slots.push(slot);
        }
        layout
    }
}

/// The records of a block, split.
#[derive(Debug)]
pub(crate) struct Records {
    text: String,
    first_line: u64,
    /// Where each record begins in `text`.
    starts: Vec<u32>,
    /// Where each cell of each wanted column stands in `text`.
    spans: Vec<Vec<(u32, u32)>>,
}

impl Block {
    /// Finds the wanted cells.
    pub(crate) fn split(self, layout: &Layout) -> Result<Records, WrongLine> {
        let Block { mut bytes, first_line } = self;
        let wrong = |bytes: &[u8], at: usize, problem| WrongLine {
            line: first_line + count_lines(&bytes[..at]),
            problem,
        };
        if let Err(error) = std::str::from_utf8(&bytes) {
            return Err(wrong(&bytes, error.valid_up_to(), Problem::Encoding));
        }
        let mut spans: Vec<Vec<(u32, u32)>> = layout.wanted.iter().map(|_| Vec::new()).collect();
        let mut starts = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            let start = at;
            starts.push(start as u32);
            let mut field = 0;
            loop {
                let cell = match next_field(&mut bytes, at) {
                    Ok(cell) => cell,
                    Err(problem) => return Err(wrong(&bytes, start, problem)),
                };
                if let Some(Some(slot)) = layout.slots.get(field) {
                    spans[*slot].push((cell.from as u32, cell.to as u32));
                }
                field += 1;
                at = cell.next;
                if cell.last {
                    break;
                }
            }
            let expected = layout.slots.len();
            if field != expected {
                let blank = trim_line_end(&bytes[start..at]).is_empty();
                let fields = Problem::Fields { found: field, expected };
                return Err(wrong(&bytes, start, if blank { Problem::Blank { expected } } else { fields }));
            }
        }
        // Splitting moved characters within quoted fields only; that they are still UTF-8 costs little to ask again.
        let text = String::from_utf8(bytes)
            .map_err(|_| WrongLine { line: first_line, problem: Problem::Encoding })?;
        Ok(Records { text, first_line, starts, spans })
    }
}

impl Records {
    /// The cells as a batch of text columns.
    pub(crate) fn batch(&self, layout: &Layout) -> Result<Batch<'_>, cenote::Error> {
        let mut batch = Batch::new(self.starts.len());
        for (wanted, spans) in layout.wanted.iter().zip(&self.spans) {
            let cell = |&(from, to): &(u32, u32)| {
                let text = &self.text[from as usize..to as usize];
                let missing = text.is_empty()
                    || text.len() <= 3 && MISSING.contains(&text) && !wanted.levels.contains(&text);
                (!missing).then_some(text)
            };
            let cells: Vec<Option<&str>> = spans.iter().map(cell).collect();
            batch.push(wanted.name.clone(), Values::Text(Text::Slices(Cow::Owned(cells))))?;
        }
        Ok(batch)
    }

    /// The line of the file on which row `row` begins.
    pub(crate) fn line(&self, row: usize) -> u64 {
        let start = self.starts.get(row).map_or(self.text.len(), |&start| start as usize);
        self.first_line + count_lines(&self.text.as_bytes()[..start])
    }
}

/// A field: its text, where the next one begins, and whether it ends its record.
struct Field {
    from: usize,
    to: usize,
    next: usize,
    last: bool,
}

/// Reads the field that begins at `at`, and writes a quoted one anew, without its quotes, where it stands.
fn next_field(bytes: &mut [u8], at: usize) -> Result<Field, Problem> {
    if bytes.get(at) == Some(&b'"') {
        return next_quoted_field(bytes, at);
    }
    Ok(match bytes[at..].iter().position(|&byte| byte == b',' || byte == b'\n') {
        Some(length) => end_field(bytes, at, at + length),
        None => Field { from: at, to: at + trim_line_end(&bytes[at..]).len(), next: bytes.len(), last: true },
    })
}

/// The field whose text ends before the `,` or line end at `end`.
fn end_field(bytes: &[u8], from: usize, end: usize) -> Field {
    let last = bytes[end] == b'\n';
    let to = if last && end > from && bytes[end - 1] == b'\r' { end - 1 } else { end };
    Field { from, to, next: end + 1, last }
}

fn next_quoted_field(bytes: &mut [u8], at: usize) -> Result<Field, Problem> {
    let from = at + 1;
    let (mut read, mut written) = (from, from);
    let mut move_down = |bytes: &mut [u8], from: usize, to: usize| {
        bytes.copy_within(from..to, written);
        written += to - from;
        written
    };
    loop {
        let quote = read + memchr(b'"', &bytes[read..]).ok_or(Problem::OpenQuote)?;
        let doubled = bytes.get(quote + 1) == Some(&b'"');
        move_down(bytes, read, if doubled { quote + 1 } else { quote });
        read = quote + 1 + usize::from(doubled);
        if !doubled {
            break;
        }
    }
    // What follows the closing quote belongs to the field, as in most readers.
    let tail = match memchr2(b',', b'\n', &bytes[read..]) {
        Some(length) => end_field(bytes, read, read + length),
        None => Field {
            from: read,
            to: read + trim_line_end(&bytes[read..]).len(),
            next: bytes.len(),
            last: true,
        },
    };
    let to = move_down(bytes, tail.from, tail.to);
    // The moved text left its old end behind; a letter torn there would make the block no UTF-8.
    bytes[to..tail.to].fill(b' ');
    Ok(Field { from, to, ..tail })
}

fn split_header(header: &mut [u8]) -> Result<Vec<String>, Problem> {
    let mut names = Vec::new();
    let mut at = 0;
    loop {
        let field = next_field(header, at)?;
        names.push(String::from_utf8_lossy(&header[field.from..field.to]).into_owned());
        at = field.next;
        if field.last {
            return Ok(names);
        }
    }
}

/// The fields of one record.
pub(crate) fn fields(record: &str) -> anyhow::Result<Vec<String>> {
    split_header(&mut record.as_bytes().to_vec()).map_err(|problem| WrongLine { line: 1, problem }.into())
}

/// Where the first record ends, after its line end; `None` if it does not end in `bytes`.
fn record_end(bytes: &[u8]) -> Option<usize> {
    let line = memchr(b'\n', bytes)? + 1;
    if memchr(b'"', &bytes[..line]).is_none() {
        return Some(line);
    }
    let mut at = 0;
    loop {
        if bytes.get(at) == Some(&b'"') {
            at += 1;
            loop {
                at += memchr(b'"', bytes.get(at..)?)? + 1;
                match bytes.get(at)? {
                    b'"' => at += 1,
                    _ => break,
                }
            }
        }
        at += memchr2(b',', b'\n', bytes.get(at..)?)? + 1;
        if bytes[at - 1] == b'\n' {
            return Some(at);
        }
    }
}

/// Where the last whole record ends; 0 if none does.
fn last_record_end(bytes: &[u8]) -> usize {
    if memchr(b'"', bytes).is_none() {
        return memrchr(b'\n', bytes).map_or(0, |end| end + 1);
    }
    let mut end = 0;
    while let Some(length) = record_end(&bytes[end..]) {
        end += length;
    }
    end
}

/// The length of `records` without the blank lines at its end.
fn trim_blank_lines(records: &[u8]) -> usize {
    let text = records.iter().rposition(|byte| !matches!(byte, b'\n' | b'\r')).map_or(0, |last| last + 1);
    if text == 0 {
        return 0;
    }
    memchr(b'\n', &records[text..]).map_or(records.len(), |end| text + end + 1)
}

fn trim_line_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

fn count_lines(bytes: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', bytes).count() as u64
}

#[cfg(test)]
mod tests {
    use cenote_mojo::{CategoricalEncoding, Column};

    use super::*;

    fn schema(columns: &[(&str, Option<&[&str]>)]) -> Schema {
        let column = |&(name, levels): &(&str, Option<&[&str]>)| Column {
            name: name.to_owned(),
            domain: levels.map(|levels| levels.iter().map(|&level| level.to_owned()).collect()),
        };
        Schema {
            features: columns.iter().map(column).collect(),
            response: None,
            offset_column: None,
            fold_column: None,
            encoding: CategoricalEncoding::Enum,
            original: None,
        }
    }

    type Table = Vec<Vec<Option<String>>>;

    /// All cells, by column, and the line of each row, read by blocks of `block` bytes.
    fn read(text: &[u8], block: usize) -> anyhow::Result<(Vec<String>, Table, Vec<u64>)> {
        let (blocks, names) = Blocks::new(text)?;
        let mut blocks = blocks.with_block_size(block);
        let layout = Layout::new(&names, &schema(&[]), |_| true);
        let (mut table, mut lines) = (vec![Vec::new(); names.len()], Vec::new());
        while let Some(block) = blocks.next_block()? {
            let records = block.split(&layout)?;
            let batch = records.batch(&layout)?;
            lines.extend((0..batch.rows()).map(|row| records.line(row)));
            for ((_, values), column) in batch.columns().zip(&mut table) {
                let Values::Text(text) = values else { panic!("not text") };
                column.extend((0..text.len()).map(|row| text.get(row).map(str::to_owned)));
            }
        }
        Ok((names, table, lines))
    }

    fn cells(cells: &[&str]) -> Vec<Option<String>> {
        cells.iter().map(|cell| (!cell.is_empty()).then(|| (*cell).to_owned())).collect()
    }

    fn error(text: &[u8]) -> String {
        read(text, 1 << 20).unwrap_err().to_string()
    }

    #[test]
    fn cells_are_the_same_whatever_the_block_size() {
        let text = "\u{feff}a,\"b \"\"x\"\"\",c\r\n1,NA,\n\"\",\"two\nlines, \"\"\u{e9}\"\"\",\"x\"tail\nN/A,-,in\"ner\r\n\"q\",\u{e9},last";
        let names = ["a", "b \"x\"", "c"].map(str::to_owned);
        let table = [
            cells(&["1", "", "", "q"]),
            cells(&["", "two\nlines, \"\u{e9}\"", "", "\u{e9}"]),
            cells(&["", "xtail", "in\"ner", "last"]),
        ];
        for end in ["", "\n", "\r\n", "\n\n\r\n\n"] {
            let text = format!("{text}{end}");
            for block in 1..text.len() + 2 {
                let (found_names, found, lines) = read(text.as_bytes(), block).unwrap();
                assert_eq!(found_names, names);
                assert_eq!(found, table, "blocks of {block} bytes");
                assert_eq!(lines, [2, 3, 5, 6]);
            }
        }
    }

    #[test]
    fn a_blank_line_is_a_row_of_a_one_column_file() {
        for block in 1..10 {
            let (_, table, lines) = read(b"x\n\n1\n\"\"\n\n", block).unwrap();
            assert_eq!((table, lines), (vec![cells(&["", "1", "", ""])], vec![2, 3, 4, 5]));
        }
    }

    #[test]
    fn a_file_may_have_no_rows() {
        for text in ["x,y", "x,y\n", "x,y\r\n\r\n"] {
            assert_eq!(read(text.as_bytes(), 4).unwrap().1, [[], []]);
        }
    }

    #[test]
    fn wrong_lines_are_named() {
        assert_eq!(error(b"a,b\n1,2\n\"x\ny\",2\n3\n"), "line 5: expected 2 fields, found 1");
        assert_eq!(error(b"a,b\n1,2\n1,2,3"), "line 3: expected 2 fields, found 3");
        assert_eq!(error(b"a,b\n1,2\n\n1,2\n"), "line 3: expected 2 fields, found a blank line");
        assert_eq!(error(b"a,b\n1,2\n1,\xff\n"), "line 3: not UTF-8 text");
        assert_eq!(error(b"a,b\n1,2\n1,\"x\ny"), "line 3: a quoted field is not closed");
        assert_eq!(error(b"a,b,a\n"), "line 1: the header names column \"a\" twice");
        assert_eq!(error(b""), "line 1: no header");
        assert_eq!(error(b"\n1\n"), "line 1: no header");
        assert_eq!(error(b"\"a"), "line 1: a quoted field is not closed");
        assert!(error(b"\xff\xfea\0").contains("UTF-16"));
        assert!(error(b"PAR1\x15\x04").contains("Parquet"));
    }

    #[test]
    fn wrong_lines_are_named_across_blocks() {
        for block in 1..20 {
            assert_eq!(
                read(b"a,b\n1,2\n\n1,2\n", block).unwrap_err().to_string(),
                "line 3: expected 2 fields, found a blank line"
            );
            assert_eq!(
                read(b"a,b\n1,2\n\n1,\"x", block).unwrap_err().to_string().split(':').next(),
                Some("line 3")
            );
        }
    }

    #[test]
    fn a_quote_left_open_does_not_fill_the_memory() {
        let endless = io::Read::chain(&b"a\n\""[..], io::repeat(b'x'));
        let (mut blocks, _) = Blocks::new(endless).unwrap();
        let error = blocks.next_block().unwrap_err().to_string();
        assert!(error.starts_with("line 2: a record longer than 64 MiB"), "{error}");
        assert!(blocks.rest.len() <= 2 * MAX_RECORD);
    }

    #[test]
    fn a_dash_is_a_level_where_the_model_has_it() {
        let names = ["x".to_owned(), "y".to_owned()];
        let layout = Layout::new(&names, &schema(&[("x", Some(&["-", "NA"])), ("y", None)]), |_| true);
        let block = Block { bytes: b"-,-\nNA,NA\nN/A,N/A\n".to_vec(), first_line: 2 };
        let records = block.split(&layout).unwrap();
        let batch = records.batch(&layout).unwrap();
        let column = |name| match batch.column(name) {
            Some(Values::Text(text)) => {
                (0..3).map(|row| text.get(row).map(str::to_owned)).collect::<Vec<_>>()
            }
            other => panic!("not text: {other:?}"),
        };
        assert_eq!(column("x"), cells(&["-", "", ""]));
        assert_eq!(column("y"), cells(&["", "", ""]));
    }
}
