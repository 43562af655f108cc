//! `model.ini`: text to sections, with line numbers for errors, and typed look-ups in its `[info]` section.
//!
//! Mirrors `ModelMojoReader.parseModelInfo`: lines are trimmed, empty ones and those that begin with `#` are skipped *in
//! every section* (so a column named `#depth` is lost, as it is in Java), a later key wins, and a section's heading is
//! recognised anywhere. The look-ups mirror `ParseUtils.tryParse`, where the text `null` stands for no value.

use std::collections::{BTreeMap, HashMap};

use crate::error::Error;
use crate::limits::Limits;
use crate::text;

/// The entry's name.
pub(crate) const ENTRY: &str = "model.ini";

/// The sections of `model.ini`.
#[derive(Debug)]
pub(crate) struct Ini {
    /// Keys of `[info]` in file order; the last of equal keys wins.
    entries: Vec<Entry>,
    /// Key to index in `entries`.
    by_key: HashMap<String, usize>,
    /// The names under `[columns]`: `n_columns` of them, empty where the section has fewer lines.
    pub(crate) columns: Vec<String>,
    /// Column to what `[domains]` says of it.
    pub(crate) domains: BTreeMap<i32, DomainLine>,
}

#[derive(Debug)]
struct Entry {
    key: String,
    value: String,
    line: usize,
}

/// A line of `[domains]`, `column: levels file`.
#[derive(Debug)]
pub(crate) struct DomainLine {
    /// How many levels the file is said to hold.
    pub(crate) levels: usize,
    /// The file under `domains/`.
    pub(crate) file: String,
}

enum Section {
    None,
    Info,
    Columns,
    Domains,
}

impl Ini {
    pub(crate) fn parse(bytes: &[u8], limits: &Limits) -> Result<Self, Error> {
        let decoded = text::decode(bytes);
        let mut ini = Ini {
            entries: Vec::new(),
            by_key: HashMap::new(),
            columns: Vec::new(),
            domains: BTreeMap::new(),
        };
        let max_lines = limits.columns.saturating_mul(4).saturating_add(1_000);
        let mut section = Section::None;
        let mut next_column = 0;
        let mut has_columns = false;
        let mut has_domains = false;
        for (index, raw) in text::lines(&decoded).enumerate() {
            let line = text::trim(raw);
            let at = |error: Error| error.in_entry(ENTRY).at_line(index + 1);
            if index as u64 >= max_lines {
                return Err(at(Error::limit("lines", max_lines)));
            }
            match line {
                "" => {}
                _ if line.starts_with('#') => {}
                "[info]" => section = Section::Info,
                "[columns]" => {
                    section = Section::Columns;
                    let n = ini.count("n_columns")?;
                    if n as u64 > limits.columns {
                        return Err(at(Error::limit("columns", limits.columns)));
                    }
                    ini.columns = vec![String::new(); n];
                    has_columns = true;
                }
                "[domains]" => {
                    section = Section::Domains;
                    has_domains = true;
                }
                _ => match section {
                    Section::None => {}
                    Section::Info => ini.add(line, index + 1).map_err(at)?,
                    Section::Columns => {
                        let slot = ini
                            .columns
                            .get_mut(next_column)
                            .ok_or_else(|| at(Error::malformed("more columns than `n_columns` says")))?;
                        slot.push_str(line);
                        next_column += 1;
                    }
                    Section::Domains => {
                        let (column, domain) = domain_line(line).map_err(at)?;
                        ini.domains.insert(column, domain);
                    }
                },
            }
        }
        for (present, name) in [(has_columns, "[columns]"), (has_domains, "[domains]")] {
            if !present {
                return Err(Error::malformed(format!("there is no section {name}")).in_entry(ENTRY));
            }
        }
        Ok(ini)
    }

    fn add(&mut self, line: &str, number: usize) -> Result<(), Error> {
        let (key, value) = line.split_once('=').ok_or_else(|| Error::malformed("expected `key = value`"))?;
        let key = key.trim_end_matches(text::is_pattern_space);
        let value = value.trim_start_matches(text::is_pattern_space);
        self.by_key.insert(key.to_owned(), self.entries.len());
        self.entries.push(Entry { key: key.to_owned(), value: value.to_owned(), line: number });
        Ok(())
    }

    /// Every key and value of `[info]`, as written.
    pub(crate) fn info(&self) -> impl Iterator<Item = (&str, &str)> {
        self.entries.iter().map(|entry| (entry.key.as_str(), entry.value.as_str()))
    }

    fn find(&self, key: &str) -> Option<&Entry> {
        self.by_key.get(key).map(|&index| &self.entries[index]).filter(|entry| entry.value != "null")
    }

    /// A value as text.
    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        self.find(key).map(|entry| entry.value.as_str())
    }

    /// A value through `parse`, `None` if there is none, an error naming `kind` if it does not parse.
    fn optional<T>(
        &self,
        key: &str,
        kind: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        let Some(entry) = self.find(key) else { return Ok(None) };
        match parse(&entry.value) {
            Some(value) => Ok(Some(value)),
            None => {
                Err(Error::malformed(format!("`{key}` is not {kind}")).in_entry(ENTRY).at_line(entry.line))
            }
        }
    }

    pub(crate) fn bool(&self, key: &str) -> Result<Option<bool>, Error> {
        self.optional(key, "true or false", |value| value.parse().ok())
    }

    pub(crate) fn int(&self, key: &str) -> Result<Option<i32>, Error> {
        self.optional(key, "an integer", text::parse_i32)
    }

    pub(crate) fn double(&self, key: &str) -> Result<Option<f64>, Error> {
        self.optional(key, "a number", text::parse_f64)
    }

    pub(crate) fn doubles(&self, key: &str) -> Result<Option<Vec<f64>>, Error> {
        self.optional(key, "an array of numbers", |value| text::parse_array(value, text::parse_f64))
    }

    pub(crate) fn ints(&self, key: &str) -> Result<Option<Vec<i32>>, Error> {
        self.optional(key, "an array of integers", |value| text::parse_array(value, text::parse_i32))
    }

    /// A count that must be there.
    pub(crate) fn count(&self, key: &str) -> Result<usize, Error> {
        let found = self.optional(key, "a count", |value| usize::try_from(text::parse_i32(value)?).ok())?;
        require(found, key)
    }

    /// An error about the value of a key.
    pub(crate) fn wrong(&self, key: &str, message: impl Into<String>) -> Error {
        let error = Error::malformed(message).in_entry(ENTRY);
        match self.find(key) {
            Some(entry) => error.at_line(entry.line),
            None => error,
        }
    }
}

/// The value, or an error that names the key that is not there.
pub(crate) fn require<T>(value: Option<T>, key: &str) -> Result<T, Error> {
    value.ok_or_else(|| Error::malformed(format!("the key `{key}` is missing")).in_entry(ENTRY))
}

fn domain_line(line: &str) -> Result<(i32, DomainLine), Error> {
    let parse = || {
        let (column, rest) = line.split_once(':')?;
        let (levels, file) = rest.trim_start_matches(text::is_pattern_space).split_once(' ')?;
        let levels = usize::try_from(text::parse_i32(levels)?).ok()?;
        let column = text::parse_i32(column).filter(|&column| column >= 0)?;
        Some((column, DomainLine { levels, file: file.to_owned() }))
    };
    parse().ok_or_else(|| Error::malformed("expected `column: levels file`"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Place;

    fn parse(text: &str) -> Result<Ini, Error> {
        Ini::parse(text.as_bytes(), &Limits::default())
    }

    #[test]
    fn sections_and_values() {
        let ini = parse(
            "lost = 1\n[info]\r\n  a=1\n# b = 2\nc = d = e \nn_columns = 2\na\t=\t 3\nnone = null\n\n\
             [columns]\nx\n[domains]\n1:   2 d 0.txt\n",
        )
        .unwrap();
        let info: Vec<_> = ini.info().collect();
        assert_eq!(info, [("a", "1"), ("c", "d = e"), ("n_columns", "2"), ("a", "3"), ("none", "null")]);
        assert_eq!(ini.int("a").unwrap(), Some(3), "the last of equal keys wins");
        assert_eq!((ini.text("none"), ini.text("b"), ini.text("lost")), (None, None, None));
        assert_eq!(ini.columns, ["x", ""]);
        let domain = &ini.domains[&1];
        assert_eq!((domain.levels, domain.file.as_str()), (2, "d 0.txt"));
    }

    #[test]
    fn errors_name_their_line() {
        let line = |text: &str| parse(text).unwrap_err().place();
        assert_eq!(line("[info]\n\nno equals\n"), Some(Place::Line(3)));
        assert_eq!(line("[info]\nn_columns = 1\n[columns]\na\nb\n"), Some(Place::Line(5)));
        assert_eq!(line("[info]\nn_columns = x\n[columns]\n"), Some(Place::Line(2)));
        assert_eq!(line("[info]\nn_columns = 1\n[columns]\na\n[domains]\n-1: 2 d\n"), Some(Place::Line(6)));
        assert!(parse("[info]\n[columns]\n").unwrap_err().to_string().contains("`n_columns` is missing"));
        assert!(
            parse("[info]\nn_columns = 0\n[columns]\n")
                .unwrap_err()
                .to_string()
                .contains("no section [domains]")
        );
        assert!(parse("\u{feff}[info]\n").unwrap_err().to_string().contains("no section [columns]"));
    }

    #[test]
    fn values_of_the_wrong_kind() {
        let ini = parse("[info]\nn_columns = 0\nx = 1.5\n[columns]\n[domains]\n").unwrap();
        assert_eq!(ini.double("x").unwrap(), Some(1.5));
        assert_eq!(ini.int("x").unwrap_err().to_string(), "model.ini, line 3: `x` is not an integer");
        assert_eq!(ini.bool("x").unwrap_err().to_string(), "model.ini, line 3: `x` is not true or false");
        assert!(ini.doubles("x").is_err() && ini.ints("x").is_err() && ini.count("x").is_err());
        assert_eq!(ini.doubles("y").unwrap(), None);
    }
}
