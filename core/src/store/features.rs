//! What a read gives: features in the order of the keys asked for, each row with its status.
//!
//! The invariant: as many rows as keys were asked for, in their order, also where a key has no row or was asked twice.

use std::sync::Arc;
use std::time::Duration;

use crate::input::{Batch, Cell, Offsets, Primitive, Text, Validity, Values};

use super::error::Error;
use super::value::{Date, Timestamp, Type, Value};
use super::wire;

/// What the store knows of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// A row whose event is no older than the view's ttl, or of a view without one.
    Fresh,
    /// A row whose event is older than the view's ttl. Its values are given all the same.
    Stale {
        /// How old the event is.
        age: Duration,
    },
    /// No row.
    Missing,
}

impl Status {
    /// The status at `now` of a row whose event was at `event`.
    pub(crate) fn of(event: Timestamp, now: Timestamp, ttl: Option<Duration>) -> Self {
        let age = now.since(event);
        if ttl.is_some_and(|ttl| age > ttl) { Status::Stale { age } } else { Status::Fresh }
    }

    /// `fresh`, `stale` or `missing`.
    pub fn name(self) -> &'static str {
        match self {
            Status::Fresh => "fresh",
            Status::Stale { .. } => "stale",
            Status::Missing => "missing",
        }
    }

    /// Whether it is [`Fresh`](Self::Fresh).
    pub fn is_fresh(self) -> bool {
        self == Status::Fresh
    }
}

/// The features of one key.
#[derive(Debug, Clone, PartialEq)]
pub struct Features {
    /// What the store knows of the key.
    pub status: Status,
    /// When the features held true; `None` where there is no row.
    pub event_ts: Option<Timestamp>,
    /// The features' values in the reader's order; all [`Value::Null`] where there is no row.
    pub values: Vec<Value>,
    /// The reader's features, which all of its answers share.
    names: Arc<[(String, Type)]>,
}

impl Features {
    /// The value of the feature called `name`.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.iter().find(|(other, _)| *other == name).map(|(_, value)| value)
    }

    /// Each feature's name and value, in the reader's order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Value)> {
        self.names.iter().map(|(name, _)| name.as_str()).zip(&self.values)
    }
}

/// The features of many keys by column: `[keys x features]`, in the order of the keys.
#[derive(Debug, Clone, PartialEq)]
pub struct FeatureSet {
    /// What the store knows of each key.
    pub status: Vec<Status>,
    /// When each key's features held true; `None` where there is no row.
    pub event_ts: Vec<Option<Timestamp>>,
    /// The features in the reader's order, each as long as there are keys.
    pub columns: Vec<FeatureColumn>,
}

/// One feature of many keys.
#[derive(Debug, Clone, PartialEq)]
pub struct FeatureColumn {
    /// The feature's name.
    pub name: String,
    /// Its type.
    pub ty: Type,
    /// Its values; what stands at a missing cell says nothing.
    pub values: FeatureValues,
    /// Which cells are present: an Arrow validity bitmap.
    pub validity: Vec<u8>,
}

/// The values of a [`FeatureColumn`], in Arrow's layouts.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
#[expect(missing_docs, reason = "named by type")]
pub enum FeatureValues {
    Bool(Vec<bool>),
    I16(Vec<i16>),
    I32(Vec<i32>),
    I64(Vec<i64>),
    F32(Vec<f32>),
    F64(Vec<f64>),
    /// Text `i` is `data[offsets[i]..offsets[i + 1]]`.
    Text {
        offsets: Vec<i64>,
        data: String,
    },
    /// Microseconds since 1970.
    Timestamp(Vec<i64>),
    /// Days since 1970.
    Date(Vec<i32>),
    Uuid(Vec<[u8; 16]>),
    /// Decimals as text, laid out as `Text`.
    Numeric {
        offsets: Vec<i64>,
        data: String,
    },
    /// Documents as text, laid out as `Text`.
    Json {
        offsets: Vec<i64>,
        data: String,
    },
    /// Lists, one value a row.
    List(Vec<Value>),
}

impl FeatureSet {
    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.status.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.status.is_empty()
    }

    /// Appends a row, whose status is not told: its event time in column `first`, then the features.
    pub(crate) fn push_row(&mut self, cells: &impl wire::Cells, first: usize) -> Result<(), Error> {
        let row = self.event_ts.len();
        self.event_ts.push(Some(event_ts(cells, first)?));
        for (column, index) in self.columns.iter_mut().zip(first + 1..) {
            // Whole until a cell is missing.
            if row.is_multiple_of(8) {
                column.validity.push(0xff);
            }
            column.push(row, cells.cell(index)?)?;
        }
        Ok(())
    }

    /// Appends rows of a set of the same columns whose statuses were not told: those at `places`, one of `status` each; cells are
    /// missing where there is none, and where a row is not `usable`.
    pub(crate) fn extend_from(
        &mut self,
        from: &Self,
        places: &[Option<usize>],
        status: impl IntoIterator<Item = Status>,
        usable: impl Fn(usize) -> bool,
    ) {
        let start = self.event_ts.len();
        let told = |(key, place): (usize, &Option<usize>)| place.filter(|_| usable(key));
        let told: Vec<_> = places.iter().enumerate().map(told).collect();
        // Mostly there is a row for each.
        let all: Option<Vec<_>> = told.iter().copied().collect();
        for (column, of) in self.columns.iter_mut().zip(&from.columns) {
            column.extend_from(start, of, &told, all.as_deref());
        }
        self.status.extend(status);
        self.event_ts.extend(places.iter().map(|place| place.and_then(|place| from.event_ts[place])));
    }

    /// The column called `name`.
    pub fn column(&self, name: &str) -> Option<&FeatureColumn> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// The columns as a batch to predict from, nothing copied. What no model reads is left out: moments, days, uuids, documents and lists.
    pub fn batch(&self) -> Batch<'_> {
        let mut batch = Batch::new(self.len());
        for column in &self.columns {
            if let Some(values) = column.as_values() {
                batch.push(column.name.as_str(), values).expect("columns are of one length and distinct");
            }
        }
        batch
    }
}

impl FeatureColumn {
    pub(crate) fn with_capacity(name: String, ty: Type, rows: usize) -> Self {
        let offsets = || {
            let mut offsets = Vec::with_capacity(rows + 1);
            offsets.push(0);
            offsets
        };
        let values = match ty {
            Type::Bool => FeatureValues::Bool(Vec::with_capacity(rows)),
            Type::I16 => FeatureValues::I16(Vec::with_capacity(rows)),
            Type::I32 => FeatureValues::I32(Vec::with_capacity(rows)),
            Type::I64 => FeatureValues::I64(Vec::with_capacity(rows)),
            Type::F32 => FeatureValues::F32(Vec::with_capacity(rows)),
            Type::F64 => FeatureValues::F64(Vec::with_capacity(rows)),
            Type::Text => FeatureValues::Text { offsets: offsets(), data: String::new() },
            Type::Timestamp => FeatureValues::Timestamp(Vec::with_capacity(rows)),
            Type::Date => FeatureValues::Date(Vec::with_capacity(rows)),
            Type::Uuid => FeatureValues::Uuid(Vec::with_capacity(rows)),
            Type::Numeric => FeatureValues::Numeric { offsets: offsets(), data: String::new() },
            Type::Json => FeatureValues::Json { offsets: offsets(), data: String::new() },
            Type::List(_) | Type::Vector => FeatureValues::List(Vec::with_capacity(rows)),
        };
        Self { name, ty, values, validity: Vec::with_capacity(rows.div_ceil(8)) }
    }

    /// Appends a cell to the `row` that there are, which is told to be present.
    #[inline]
    fn push(&mut self, row: usize, cell: Option<&[u8]>) -> Result<(), Error> {
        let Self { ty, values, validity, .. } = self;
        if cell.is_none() {
            validity[row / 8] &= !(1 << (row % 8));
        }
        macro_rules! value {
            ($column:expr, $zero:expr, $from:expr) => {
                $column.push(match cell {
                    Some(bytes) => $from(bytes)?,
                    None => $zero,
                })
            };
        }
        macro_rules! number {
            ($column:expr, $zero:expr, $from:expr) => {
                value!($column, $zero, |bytes| wire::fixed(bytes).map($from))
            };
        }
        macro_rules! text {
            ($offsets:expr, $data:expr, $from:expr) => {{
                if let Some(bytes) = cell {
                    $data.push_str(&$from(bytes)?);
                }
                $offsets.push($data.len() as i64);
            }};
        }
        match values {
            FeatureValues::Bool(column) => number!(column, false, |[byte]: [u8; 1]| byte != 0),
            FeatureValues::I16(column) => number!(column, 0, i16::from_be_bytes),
            FeatureValues::I32(column) => number!(column, 0, i32::from_be_bytes),
            FeatureValues::I64(column) => number!(column, 0, i64::from_be_bytes),
            FeatureValues::F32(column) => number!(column, f32::NAN, f32::from_be_bytes),
            FeatureValues::F64(column) => number!(column, f64::NAN, f64::from_be_bytes),
            FeatureValues::Text { offsets, data } => text!(offsets, data, wire::text),
            FeatureValues::Timestamp(column) => {
                number!(column, 0, |bytes| Timestamp::from_wire(i64::from_be_bytes(bytes)).as_micros());
            }
            FeatureValues::Date(column) => {
                number!(column, 0, |bytes| Date::from_wire(i32::from_be_bytes(bytes)).as_days());
            }
            FeatureValues::Uuid(column) => number!(column, [0; 16], |bytes| bytes),
            FeatureValues::Numeric { offsets, data } => text!(offsets, data, wire::decimal),
            FeatureValues::Json { offsets, data } => text!(offsets, data, wire::json),
            FeatureValues::List(column) => value!(column, Value::Null, |bytes| wire::decode(*ty, bytes)),
        }
        Ok(())
    }

    /// Appends rows of a column of the same type to the `start` that there are: those at `places`, missing cells where there is none;
    /// `all` are the same places where there is one for each.
    fn extend_from(&mut self, start: usize, from: &Self, places: &[Option<usize>], all: Option<&[usize]>) {
        // Mostly nothing is missing, which need not be asked cell by cell.
        let whole =
            start.is_multiple_of(8) && all.is_some() && from.validity.iter().all(|bits| *bits == 0xff);
        let told = if whole { places.len() / 8 * 8 } else { 0 };
        self.validity.resize(self.validity.len() + told / 8, 0xff);
        for (row, place) in (start..).zip(places).skip(told) {
            mark(&mut self.validity, row, place.is_some_and(|place| from.is_present(place)));
        }
        macro_rules! each {
            ($column:expr, $from:expr, $zero:expr) => {
                match all {
                    Some(all) => $column.extend(all.iter().map(|place| $from[*place].clone())),
                    None => $column
                        .extend(places.iter().map(|place| place.map_or($zero, |place| $from[place].clone()))),
                }
            };
        }
        match (&mut self.values, &from.values) {
            (FeatureValues::Bool(column), FeatureValues::Bool(from)) => each!(column, from, false),
            (FeatureValues::I16(column), FeatureValues::I16(from)) => each!(column, from, 0),
            (FeatureValues::I32(column), FeatureValues::I32(from))
            | (FeatureValues::Date(column), FeatureValues::Date(from)) => each!(column, from, 0),
            (FeatureValues::I64(column), FeatureValues::I64(from))
            | (FeatureValues::Timestamp(column), FeatureValues::Timestamp(from)) => each!(column, from, 0),
            (FeatureValues::F32(column), FeatureValues::F32(from)) => each!(column, from, f32::NAN),
            (FeatureValues::F64(column), FeatureValues::F64(from)) => each!(column, from, f64::NAN),
            (FeatureValues::Uuid(column), FeatureValues::Uuid(from)) => each!(column, from, [0; 16]),
            (FeatureValues::List(column), FeatureValues::List(from)) => each!(column, from, Value::Null),
            (
                FeatureValues::Text { offsets, data }
                | FeatureValues::Numeric { offsets, data }
                | FeatureValues::Json { offsets, data },
                FeatureValues::Text { offsets: ends, data: text }
                | FeatureValues::Numeric { offsets: ends, data: text }
                | FeatureValues::Json { offsets: ends, data: text },
            ) => {
                for place in places {
                    if let Some(place) = place {
                        data.push_str(text_at(ends, text, *place));
                    }
                    offsets.push(data.len() as i64);
                }
            }
            _ => unreachable!("columns of one reader are of one type"),
        }
    }

    /// Whether row `row` has a value.
    pub fn is_present(&self, row: usize) -> bool {
        Validity::new(&self.validity, 0).is_valid(row)
    }

    /// The value of row `row`, [`Value::Null`] if it has none.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn value(&self, row: usize) -> Value {
        if !self.is_present(row) {
            return Value::Null;
        }
        match &self.values {
            FeatureValues::Bool(column) => column[row].into(),
            FeatureValues::I16(column) => column[row].into(),
            FeatureValues::I32(column) => column[row].into(),
            FeatureValues::I64(column) => column[row].into(),
            FeatureValues::F32(column) => column[row].into(),
            FeatureValues::F64(column) => column[row].into(),
            FeatureValues::Text { offsets, data } => text_at(offsets, data, row).into(),
            FeatureValues::Timestamp(column) => Timestamp::from_micros(column[row]).into(),
            FeatureValues::Date(column) => Date::from_days(column[row]).into(),
            FeatureValues::Uuid(column) => column[row].into(),
            FeatureValues::Numeric { offsets, data } => Value::Numeric(text_at(offsets, data, row).into()),
            FeatureValues::Json { offsets, data } => Value::Json(text_at(offsets, data, row).into()),
            FeatureValues::List(column) => column[row].clone(),
        }
    }

    /// The cell of row `row` as one of a model's row.
    pub(crate) fn cell(&self, row: usize) -> Cell<'_> {
        if !self.is_present(row) {
            return Cell::Missing;
        }
        match &self.values {
            FeatureValues::Bool(column) => Cell::Bool(column[row]),
            FeatureValues::I16(column) => Cell::Integer(column[row].into()),
            FeatureValues::I32(column) => Cell::Integer(column[row].into()),
            FeatureValues::I64(column) => Cell::Integer(column[row]),
            FeatureValues::F32(column) => Cell::Number(column[row].into()),
            FeatureValues::F64(column) => Cell::Number(column[row]),
            FeatureValues::Text { offsets, data } | FeatureValues::Numeric { offsets, data } => {
                Cell::Text(text_at(offsets, data, row))
            }
            _ => Cell::Missing,
        }
    }

    pub(crate) fn as_values(&self) -> Option<Values<'_>> {
        let validity = Some(Validity::new(&self.validity, 0));
        macro_rules! primitive {
            ($variant:ident, $column:expr) => {
                Values::$variant(Primitive { values: $column.as_slice().into(), validity })
            };
        }
        Some(match &self.values {
            FeatureValues::Bool(column) => primitive!(Bool, column),
            FeatureValues::I16(column) => primitive!(I16, column),
            FeatureValues::I32(column) => primitive!(I32, column),
            FeatureValues::I64(column) => primitive!(I64, column),
            FeatureValues::F32(column) => primitive!(F32, column),
            FeatureValues::F64(column) => primitive!(F64, column),
            FeatureValues::Text { offsets, data } => {
                Values::Text(Text::Packed { offsets: Offsets::I64(offsets), data, validity })
            }
            // H2O reads a number from text as Java does, which is what a decimal is.
            FeatureValues::Numeric { offsets, data } => {
                Values::Text(Text::Packed { offsets: Offsets::I64(offsets), data, validity })
            }
            FeatureValues::Timestamp(_)
            | FeatureValues::Date(_)
            | FeatureValues::Uuid(_)
            | FeatureValues::Json { .. }
            | FeatureValues::List(_) => return None,
        })
    }
}

/// Notes whether row `row`, the next one, has a value.
fn mark(validity: &mut Vec<u8>, row: usize, present: bool) {
    if row.is_multiple_of(8) {
        validity.push(0);
    }
    validity[row / 8] |= u8::from(present) << (row % 8);
}

fn text_at<'a>(offsets: &[i64], data: &'a str, row: usize) -> &'a str {
    &data[offsets[row] as usize..offsets[row + 1] as usize]
}

/// The features of one key: the cells of its row from `first` on, or none.
pub(crate) fn one(
    names: &Arc<[(String, Type)]>,
    row: Option<&impl wire::Cells>,
    first: usize,
    ttl: Option<Duration>,
) -> Result<Features, Error> {
    let features = |status, event_ts, values| Features { status, event_ts, values, names: Arc::clone(names) };
    let Some(row) = row else {
        return Ok(features(Status::Missing, None, vec![Value::Null; names.len()]));
    };
    let event = event_ts(row, first)?;
    let mut values = Vec::with_capacity(names.len());
    for ((_, ty), index) in names.iter().zip(first + 1..) {
        values.push(match wire::cell(row, index)? {
            Some(bytes) => wire::decode(*ty, bytes)?,
            None => Value::Null,
        });
    }
    let status = ttl.map_or(Status::Fresh, |_| Status::of(event, Timestamp::now(), ttl));
    Ok(features(status, Some(event), values))
}

/// The event time in column `index`.
pub(crate) fn event_ts(row: &impl wire::Cells, index: usize) -> Result<Timestamp, Error> {
    let bytes = wire::cell(row, index)?.unwrap_or_default();
    Ok(Timestamp::from_wire(i64::from_be_bytes(wire::fixed(bytes)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_as_old_as_the_ttl_is_fresh() {
        let (ttl, now) = (Duration::from_secs(3600), Timestamp::from_micros(1_793_491_200_000_000));
        let at = |micros: i64| Status::of(Timestamp::from_micros(now.as_micros() + micros), now, Some(ttl));
        assert_eq!(at(-3_600_000_000), Status::Fresh);
        assert_eq!(at(-3_600_000_001), Status::Stale { age: ttl + Duration::from_micros(1) });
        assert_eq!([at(0), at(1), at(9_000_000_000)], [Status::Fresh; 3], "also what holds true only later");
        assert_eq!(Status::of(Timestamp::from_micros(i64::MIN), now, None), Status::Fresh);
    }
}
