//! Rows to be written, as a caller has them: records, or a batch of columns, checked against the view's columns.
//!
//! In flows a slice of [`Record`]s or a [`Batch`]; out flows, cell by cell, `COPY`'s binary form in the order of the view's
//! columns: keys, event time, features. A cell that its column cannot hold is refused with its row and column.

use std::collections::HashMap;

use bytes::BytesMut;

use crate::input::{Batch, Cell, Codes, Primitive, Values};

use super::error::{Error, ErrorKind};
use super::value::{Date, Key, Timestamp, Type, Value};
use super::view::{Feature, View};
use super::wire::{Mismatch, encode_field};

/// One row to write.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// The entity.
    pub key: Key,
    /// When the features held true.
    pub event_ts: Timestamp,
    /// One value a feature, in the view's order.
    pub values: Vec<Value>,
}

impl Record {
    /// A row of `key` at `event_ts`.
    pub fn new(
        key: impl Into<Key>,
        event_ts: Timestamp,
        values: impl IntoIterator<Item = impl Into<Value>>,
    ) -> Self {
        Self { key: key.into(), event_ts, values: values.into_iter().map(Into::into).collect() }
    }
}

/// Rows whose cells are encoded one after another.
pub(crate) trait Rows: Sync {
    fn len(&self) -> usize;

    /// Appends cell `column` (keys, event time, features) of row `row`, its length before it.
    fn encode(&self, row: usize, column: usize, ty: Type, out: &mut BytesMut) -> Result<(), Mismatch>;
}

/// Refuses records that have not one value a column.
pub(crate) fn check_records(view: &View, records: &[Record]) -> Result<(), Error> {
    for (row, record) in records.iter().enumerate() {
        for (column, expected, found) in [
            ("key", view.keys().len(), record.key.0.len()),
            ("values", view.features().len(), record.values.len()),
        ] {
            if expected != found {
                return Err(ErrorKind::Cell {
                    row,
                    column: column.to_owned(),
                    expected: format!("{expected} values"),
                    found: found.to_string(),
                }
                .into());
            }
        }
    }
    Ok(())
}

impl Rows for (&View, &[Record]) {
    fn len(&self) -> usize {
        self.1.len()
    }

    fn encode(&self, row: usize, column: usize, ty: Type, out: &mut BytesMut) -> Result<(), Mismatch> {
        let (view, records) = self;
        let record = &records[row];
        let keys = view.keys().len();
        if column < keys {
            encode_field(&record.key.0[column], ty, out)
        } else if column == keys {
            encode_field(&Value::Timestamp(record.event_ts), ty, out)
        } else {
            encode_field(&record.values[column - keys - 1], ty, out)
        }
    }
}

/// Entities with the time that is asked for; only keys and event time are encoded.
pub(crate) struct Entities<'a> {
    pub(crate) view: &'a View,
    pub(crate) entities: &'a [(Key, Timestamp)],
}

impl Rows for Entities<'_> {
    fn len(&self) -> usize {
        self.entities.len()
    }

    fn encode(&self, row: usize, column: usize, ty: Type, out: &mut BytesMut) -> Result<(), Mismatch> {
        let (key, at) = &self.entities[row];
        if column < self.view.keys().len() {
            encode_field(&key.0[column], ty, out)
        } else {
            encode_field(&Value::Timestamp(*at), ty, out)
        }
    }
}

/// A batch whose columns were found by the view's names.
pub(crate) struct BatchRows<'b, 'a> {
    rows: usize,
    columns: Vec<Column<'b, 'a>>,
    /// Whether text is read as a value of its column's type.
    parse: bool,
}

/// Where the cells of a column come from.
enum Column<'b, 'a> {
    Batch(&'b Values<'a>),
    /// The view's default, which stands in every row.
    Default(Value),
}

impl<'b, 'a> BatchRows<'b, 'a> {
    /// The batch's columns in the view's order: its keys, its event time (whole microseconds since 1970), its features. With
    /// `parse`, text is read as a value of its column's type.
    pub(crate) fn new(view: &View, batch: &'b Batch<'a>, parse: bool) -> Result<Self, Error> {
        let (mut rows, mut unknown) = Self::find(view, view.features(), batch)?;
        if unknown.is_empty() {
            rows.parse = parse;
            return Ok(rows);
        }
        unknown.sort_unstable();
        Err(ErrorKind::Columns { view: view.name().to_owned(), missing: Vec::new(), unknown }.into())
    }

    /// The batch's keys and event time, whatever else it has.
    pub(crate) fn entities(view: &View, batch: &'b Batch<'a>, parse: bool) -> Result<Self, Error> {
        Ok(Self { parse, ..Self::find(view, &[], batch)?.0 })
    }

    /// The columns, and the names of those that were not asked for.
    fn find(view: &View, features: &[Feature], batch: &'b Batch<'a>) -> Result<(Self, Vec<String>), Error> {
        let mut came: HashMap<&str, &'b Values<'a>> = batch.columns().collect();
        let keys = view.keys().iter().map(|key| (key.name.as_str(), None));
        let features =
            features.iter().map(|feature| (feature.name.as_str(), feature.default_value().ok().flatten()));
        let (mut columns, mut missing) = (Vec::new(), Vec::new());
        for (name, default) in keys.chain([(view.event_time(), None)]).chain(features) {
            match (came.remove(name), default) {
                (Some(values), _) => columns.push(Column::Batch(values)),
                (None, Some(default)) => columns.push(Column::Default(default)),
                (None, None) => missing.push(name.to_owned()),
            }
        }
        let mut unknown: Vec<_> = came.into_keys().map(str::to_owned).collect();
        if missing.is_empty() {
            return Ok((Self { rows: batch.rows(), columns, parse: false }, unknown));
        }
        unknown.sort_unstable();
        Err(ErrorKind::Columns { view: view.name().to_owned(), missing, unknown }.into())
    }
}

impl Rows for BatchRows<'_, '_> {
    fn len(&self) -> usize {
        self.rows
    }

    fn encode(&self, row: usize, column: usize, ty: Type, out: &mut BytesMut) -> Result<(), Mismatch> {
        let values = match &self.columns[column] {
            Column::Batch(values) => *values,
            Column::Default(value) => return encode_field(value, ty, out),
        };
        let text = match values {
            Values::Text(text) => text.get(row),
            Values::Dictionary { codes, validity, levels } => {
                if validity.is_some_and(|validity| !validity.is_valid(row)) {
                    None
                } else {
                    let code = code(*codes, row).filter(|code| *code < levels.len());
                    levels.get(code.ok_or(Mismatch { found: "a code without a level" })?)
                }
            }
            Values::Cells(cells) => match cells[row] {
                Cell::Text(text) => Some(text),
                Cell::Missing => None,
                Cell::Number(value) => return encode_field(&fit(Value::Float(value), ty), ty, out),
                Cell::Integer(value) => return encode_field(&fit(Value::Int(value), ty), ty, out),
                Cell::Bool(value) => return encode_field(&Value::Bool(value), ty, out),
            },
            // The common columns, without a step between.
            Values::F64(column) if ty == Type::F64 => {
                put(present(column, row).map(f64::to_be_bytes), out);
                return Ok(());
            }
            Values::I64(column) if ty == Type::I64 => {
                put(present(column, row).map(i64::to_be_bytes), out);
                return Ok(());
            }
            other => return encode_field(&number(other, row, ty)?, ty, out),
        };
        match text {
            Some(text) if ty == Type::Text => {
                if text.contains('\0') {
                    return Err(Mismatch { found: "text with a NUL" });
                }
                let length = i32::try_from(text.len()).map_err(|_| Mismatch { found: "text above 2 GiB" })?;
                out.extend_from_slice(&length.to_be_bytes());
                out.extend_from_slice(text.as_bytes());
                Ok(())
            }
            Some(text) if self.parse => encode_field(&Value::parse(text, ty)?, ty, out),
            Some(text) => encode_field(&Value::Text(text.into()), ty, out),
            None => encode_field(&Value::Null, ty, out),
        }
    }
}

/// Appends a cell of eight bytes as [`encode_field`] does.
fn put(cell: Option<[u8; 8]>, out: &mut BytesMut) {
    match cell {
        Some(cell) => {
            let mut field = [0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0];
            field[4..].copy_from_slice(&cell);
            out.extend_from_slice(&field);
        }
        None => out.extend_from_slice(&(-1i32).to_be_bytes()),
    }
}

/// A cell that is not text.
fn number(values: &Values<'_>, row: usize, ty: Type) -> Result<Value, Mismatch> {
    let value = match values {
        Values::F64(column) => present(column, row).map(Value::Float),
        Values::F32(column) => present(column, row).map(|value| Value::Float(value.into())),
        Values::Bool(column) => present(column, row).map(Value::Bool),
        Values::I8(column) => present(column, row).map(|value| Value::Int(value.into())),
        Values::I16(column) => present(column, row).map(|value| Value::Int(value.into())),
        Values::I32(column) => present(column, row).map(|value| Value::Int(value.into())),
        Values::I64(column) => present(column, row).map(Value::Int),
        Values::U8(column) => present(column, row).map(|value| Value::Int(value.into())),
        Values::U16(column) => present(column, row).map(|value| Value::Int(value.into())),
        Values::U32(column) => present(column, row).map(|value| Value::Int(value.into())),
        Values::U64(column) => match present(column, row).map(i64::try_from) {
            Some(Ok(value)) => Some(Value::Int(value)),
            Some(Err(_)) => return Err(Mismatch { found: "a number out of range" }),
            None => None,
        },
        Values::Missing => None,
        _ => return Err(Mismatch { found: "codes of a model" }),
    };
    Ok(value.map_or(Value::Null, |value| fit(value, ty)))
}

/// A number as its column has it: whole numbers for a moment are microseconds and for a day days since 1970; a `NaN` where the
/// column has no `NaN` is a missing cell, as data frames have it.
fn fit(value: Value, ty: Type) -> Value {
    match value {
        Value::Float(value) if value.is_nan() && !matches!(ty, Type::F32 | Type::F64) => Value::Null,
        Value::Int(micros) if ty == Type::Timestamp => Value::Timestamp(Timestamp::from_micros(micros)),
        Value::Int(days) if ty == Type::Date => {
            // Beyond what a date has, which refuses it.
            Value::Date(Date::from_days(i32::try_from(days).unwrap_or(i32::MAX)))
        }
        value => value,
    }
}

fn present<T: Copy>(column: &Primitive<'_, T>, row: usize) -> Option<T> {
    column.validity.is_none_or(|validity| validity.is_valid(row)).then(|| column.values.get(row))
}

fn code(codes: Codes<'_>, row: usize) -> Option<usize> {
    match codes {
        Codes::I8(codes) => usize::try_from(codes[row]).ok(),
        Codes::I16(codes) => usize::try_from(codes[row]).ok(),
        Codes::I32(codes) => usize::try_from(codes[row]).ok(),
        Codes::I64(codes) => usize::try_from(codes[row]).ok(),
        Codes::U8(codes) => Some(usize::from(codes[row])),
        Codes::U16(codes) => Some(usize::from(codes[row])),
        Codes::U32(codes) => usize::try_from(codes[row]).ok(),
        Codes::U64(codes) => usize::try_from(codes[row]).ok(),
    }
}
