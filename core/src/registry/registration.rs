//! What is kept with a version beside its bytes: metrics, tags, golden rows, a signature.

use std::collections::BTreeMap;

use serde_json::{Map, Number, Value};

use super::golden::{self, Golden};
use super::signing::{PublicKey, SigningKey};
use crate::input::{Cell, Row};
use crate::model::Model;
use crate::store::Error;

/// What a version is registered with. All of it is as immutable as the bytes.
#[derive(Debug, Default)]
pub struct Registration<'k> {
    pub(super) metrics: BTreeMap<String, f64>,
    pub(super) tags: BTreeMap<String, String>,
    golden: Vec<Map<String, Value>>,
    signer: Signer<'k>,
}

#[derive(Debug, Default)]
enum Signer<'k> {
    #[default]
    Nobody,
    Key(&'k SigningKey),
    Made(PublicKey, Vec<u8>),
}

impl<'k> Registration<'k> {
    /// Nothing beside the bytes.
    pub fn new() -> Self {
        Self::default()
    }

    /// A metric by which the version was judged.
    #[must_use]
    pub fn metric(mut self, name: impl Into<String>, value: f64) -> Self {
        self.metrics.insert(name.into(), value);
        self
    }

    /// A tag.
    #[must_use]
    pub fn tag(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.tags.insert(name.into(), value.into());
        self
    }

    /// A golden row: the model is asked for its answer now, and must give the same bits wherever it is put to work. Cells that
    /// are not given are missing.
    ///
    /// # Errors
    /// If a cell is infinite, for the rows are kept as JSON.
    pub fn golden_row(mut self, row: &Row<'_>) -> Result<Self, Error> {
        let cell = |(name, cell): (&str, Cell<'_>)| {
            let value = match cell {
                Cell::Missing => Value::Null,
                Cell::Number(number) if number.is_nan() => Value::Null,
                Cell::Number(number) => Value::Number(
                    Number::from_f64(number)
                        .ok_or_else(|| Error::config("a golden row has an infinite number"))?,
                ),
                Cell::Integer(whole) => whole.into(),
                Cell::Bool(value) => value.into(),
                Cell::Text(text) => text.into(),
            };
            Ok((name.to_owned(), value))
        };
        self.golden.push(row.cells().map(cell).collect::<Result<_, Error>>()?);
        Ok(self)
    }

    /// Golden rows as a JSON list of objects, one a row, of numbers, texts, booleans and nulls by column.
    ///
    /// # Errors
    /// If the text is something else.
    pub fn golden_json(mut self, rows: &str) -> Result<Self, Error> {
        let rows: Vec<Map<String, Value>> = serde_json::from_str(rows)
            .map_err(|_| Error::config("golden rows are a JSON list of objects, one a row"))?;
        for row in &rows {
            golden::cells(row)?;
        }
        self.golden.extend(rows);
        Ok(self)
    }

    /// Signs the model's name and digest with `key`.
    #[must_use]
    pub fn signed_by(mut self, key: &'k SigningKey) -> Self {
        self.signer = Signer::Key(key);
        self
    }

    /// A signature that was made elsewhere by `key`.
    #[must_use]
    pub fn signature(mut self, key: PublicKey, signature: impl Into<Vec<u8>>) -> Self {
        self.signer = Signer::Made(key, signature.into());
        self
    }

    /// Whether there is anything beside the bytes.
    pub(super) fn is_bare(&self) -> bool {
        self.metrics.is_empty()
            && self.tags.is_empty()
            && self.golden.is_empty()
            && matches!(self.signer, Signer::Nobody)
    }

    /// The signature and its key.
    pub(super) fn sign(&self, name: &str, sha256: &str) -> Result<Option<(PublicKey, Vec<u8>)>, Error> {
        match &self.signer {
            Signer::Nobody => Ok(None),
            Signer::Key(key) => Ok(Some((key.public_key(), key.sign(name, sha256)))),
            Signer::Made(key, signature) if key.verifies(name, sha256, signature) => {
                Ok(Some((*key, signature.clone())))
            }
            Signer::Made(..) => Err(Error::config("the signature is not of this name and these bytes")),
        }
    }

    /// The golden rows with the model's answers.
    pub(super) fn golden(&self, model: &Model) -> Result<Option<Golden>, Error> {
        if self.golden.is_empty() {
            return Ok(None);
        }
        Golden::ask(model, self.golden.clone()).map(Some)
    }
}
