//! What can be wrong with a file, and where.
//!
//! Every stage of the reader returns this one [`Error`]: a kind (the file is wrong, a limit was hit, not supported,
//! input or output) and a place (entry, and byte offset or line). It carries text of the file only where that text names a
//! thing, such as a key or a distribution.

use std::fmt;
use std::io;

/// Why a MOJO could not be read.
///
/// ```
/// let error = cenote_mojo::Artifact::from_bytes(b"not a zip").unwrap_err();
/// assert!(matches!(error.kind(), cenote_mojo::ErrorKind::Malformed(_)));
/// ```
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: ErrorKind,
    entry: Option<String>,
    place: Option<Place>,
}

/// The kinds of [`Error`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The file is wrong: truncated, contradicting itself, or not a MOJO.
    #[error("{0}")]
    Malformed(String),
    /// The file asks for more than [`Limits`](crate::Limits) allow.
    #[error("{what} exceed the limit of {limit}")]
    Limit {
        /// What there is too much of.
        what: &'static str,
        /// The limit that was hit.
        limit: u64,
    },
    /// The file may be right, but this reader does not know how to read it.
    #[error("{0}")]
    Unsupported(String),
    /// The bytes could not be had.
    #[error("cannot read: {0}")]
    Io(#[source] io::Error),
}

/// Where in an entry an error stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Place {
    /// Bytes from the beginning of the (decompressed) entry.
    Byte(u64),
    /// One-based line of a text entry.
    Line(u64),
}

impl Error {
    /// What went wrong.
    pub fn kind(&self) -> &ErrorKind {
        &self.0.kind
    }

    /// The entry of the archive, or the path, that the error is about.
    pub fn entry(&self) -> Option<&str> {
        self.0.entry.as_deref()
    }

    /// Where in the entry.
    pub fn place(&self) -> Option<Place> {
        self.0.place
    }

    pub(crate) fn malformed(message: impl Into<String>) -> Self {
        ErrorKind::Malformed(message.into()).into()
    }

    pub(crate) fn unsupported(message: impl Into<String>) -> Self {
        ErrorKind::Unsupported(message.into()).into()
    }

    pub(crate) fn limit(what: &'static str, limit: u64) -> Self {
        ErrorKind::Limit { what, limit }.into()
    }

    /// Names the entry, unless the error names one already.
    pub(crate) fn in_entry(mut self, entry: &str) -> Self {
        self.0.entry.get_or_insert_with(|| entry.to_owned());
        self
    }

    pub(crate) fn at_byte(mut self, offset: usize) -> Self {
        self.0.place.get_or_insert(Place::Byte(offset as u64));
        self
    }

    pub(crate) fn at_line(mut self, line: usize) -> Self {
        self.0.place.get_or_insert(Place::Line(line as u64));
        self
    }
}

impl From<ErrorKind> for Error {
    fn from(kind: ErrorKind) -> Self {
        Self(Box::new(Inner { kind, entry: None, place: None }))
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        ErrorKind::Io(error).into()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(entry) = &self.0.entry {
            write!(f, "{}", entry.escape_debug())?;
            match self.0.place {
                Some(Place::Byte(offset)) => write!(f, ", byte {offset}: ")?,
                Some(Place::Line(line)) => write!(f, ", line {line}: ")?,
                None => f.write_str(": ")?,
            }
        }
        self.0.kind.fmt(f)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(&self.0.kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_entry_place_and_reason() {
        let error = Error::malformed("truncated").in_entry("model.ini").at_line(3);
        assert_eq!(error.to_string(), "model.ini, line 3: truncated");
        let error = Error::limit("tree nodes", 5).in_entry("a").in_entry("b").at_byte(7);
        assert_eq!(error.to_string(), "a, byte 7: tree nodes exceed the limit of 5");
        assert_eq!((error.entry(), error.place()), (Some("a"), Some(Place::Byte(7))));
    }

    #[test]
    fn keeps_the_cause_of_io() {
        let error = Error::from(io::Error::other("gone"));
        assert_eq!(error.to_string(), "cannot read: gone");
        assert!(std::error::Error::source(&error).is_some());
    }
}
