//! How a model is named: `churn` (the newest version), `churn:3`, `churn@production`, or `churn#` and a digest.

use std::fmt;
use std::str::FromStr;

use crate::store::{Error, ErrorKind};

/// Which version of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Selector {
    /// The newest.
    Latest,
    /// That version.
    Version(i32),
    /// The one that the alias points at.
    Alias(String),
    /// The one whose bytes have that SHA-256, in lower-case hexadecimal.
    Digest(String),
}

/// A name and a selector: what [`Registry::load`](super::Registry::load) takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelRef {
    /// The model's name.
    pub name: String,
    /// Which of its versions.
    pub selector: Selector,
}

impl ModelRef {
    /// Refuses a name that a reference could not hold.
    pub(super) fn check_name(name: &str) -> Result<(), Error> {
        let fits = !name.is_empty()
            && name.len() <= 200
            && !name.contains(|c: char| matches!(c, ':' | '@' | '#') || c.is_control() || c.is_whitespace());
        if fits { Ok(()) } else { Err(ErrorKind::ModelReference { reference: name.to_owned() }.into()) }
    }
}

impl FromStr for ModelRef {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = || ErrorKind::ModelReference { reference: text.to_owned() };
        let split = text.find([':', '@', '#']);
        let (name, rest) = text.split_at(split.unwrap_or(text.len()));
        Self::check_name(name).map_err(|_| wrong())?;
        let selector = match (rest.chars().next(), rest.get(1..).unwrap_or_default()) {
            (None, _) => Selector::Latest,
            (Some(':'), version) => match version.parse() {
                Ok(version) if version > 0 => Selector::Version(version),
                _ => return Err(wrong().into()),
            },
            (Some('@'), alias) => {
                Self::check_name(alias).map_err(|_| wrong())?;
                Selector::Alias(alias.to_owned())
            }
            (_, digest) => {
                let hexadecimal = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
                if digest.len() != 64 || !digest.bytes().all(hexadecimal) {
                    return Err(wrong().into());
                }
                Selector::Digest(digest.to_owned())
            }
        };
        Ok(Self { name: name.to_owned(), selector })
    }
}

impl fmt::Display for ModelRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        match &self.selector {
            Selector::Latest => Ok(()),
            Selector::Version(version) => write!(f, ":{version}"),
            Selector::Alias(alias) => write!(f, "@{alias}"),
            Selector::Digest(digest) => write!(f, "#{digest}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_come_back_as_they_went() {
        let digest = format!("churn#{}", "0a".repeat(32));
        for text in ["churn", "churn:3", "churn@production", &digest] {
            assert_eq!(text.parse::<ModelRef>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_names_nothing_is_refused() {
        for text in [
            "",
            ":1",
            "churn:",
            "churn:0",
            "churn:-1",
            "churn:x",
            "churn@",
            "churn@a@b",
            "a b",
            "churn#ab",
            "churn#é",
        ] {
            assert!(text.parse::<ModelRef>().is_err(), "{text:?}");
        }
    }
}
