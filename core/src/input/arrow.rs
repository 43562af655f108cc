//! Arrow in and out: a `RecordBatch` becomes a [`Batch`], and [`Predictions`] become a `RecordBatch`.
//!
//! In flow Arrow arrays, borrowed wherever cenote reads their layout as it is (integers, floats, strings and
//! dictionaries of strings); booleans, decimals, dates and the like are converted once. Out flow arrays that own their
//! values. A null cell stays missing, a refused row becomes nulls. Arrow's types stand only in this folder.

use std::sync::Arc;

use arrow_array::builder::StringBuilder;
use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowDictionaryKeyType, ArrowPrimitiveType, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{
    Array, ArrayRef, DictionaryArray, Float64Array, GenericStringArray, Int32Array, OffsetSizeTrait,
    RecordBatch, RecordBatchOptions, StringArray,
};
use arrow_buffer::{NullBuffer, ScalarBuffer};
use arrow_schema::{ArrowError, DataType, Field, Schema, TimeUnit};

use super::{Batch, Codes, Offsets, Primitive, Text, Validity, Values};
use crate::error::Error;
use crate::predictions::{OutputValues, Predictions};

/// The columns of a `RecordBatch` in layouts that a [`Batch`] can borrow.
///
/// | Arrow | read as |
/// |---|---|
/// | integers, `Float32`, `Float64` | as they are, not copied |
/// | `Utf8`, `LargeUtf8`, `Utf8View`, dictionaries of these | as they are, not copied |
/// | `Boolean` | a byte a cell |
/// | `Float16`, decimals | `f64` |
/// | dates and timestamps | milliseconds since 1970-01-01 UTC, as H2O holds time |
/// | dictionaries and run-end encodings of other types | their values |
/// | `Null` | a column in which every cell is missing |
#[derive(Debug, Clone)]
pub struct ArrowColumns {
    rows: usize,
    columns: Vec<(String, Column)>,
    source: RecordBatch,
}

/// What a column is read for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reading {
    /// A model: as the table at [`ArrowColumns`] says.
    Model,
    /// Moments: dates and timestamps as microseconds since 1970-01-01 UTC. Else as for a model.
    Moment,
    /// Days: dates and timestamps as days since 1970-01-01. Else as for a model.
    Day,
    /// Values that a float would round: decimals as text, lists as JSON. Else as for a model.
    Exact,
}

/// A column, of one of the types that [`Column::values`] matches.
#[derive(Debug, Clone)]
enum Column {
    Array(ArrayRef),
    Bool(Vec<bool>, Option<NullBuffer>),
}

impl ArrowColumns {
    /// Takes those columns of `batch` whose names `wanted` answers with `true`; the others may be of any type.
    ///
    /// # Errors
    /// If a wanted column is of a type that is no number, boolean, time or text (lists, structs, binary ...).
    pub fn new(batch: &RecordBatch, mut wanted: impl FnMut(&str) -> bool) -> Result<Self, ArrowError> {
        Self::read(batch, |name| wanted(name).then_some(Reading::Model))
    }

    /// Takes those columns of `batch` for which `reading` says what they are read for.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn read(
        batch: &RecordBatch,
        mut reading: impl FnMut(&str) -> Option<Reading>,
    ) -> Result<Self, ArrowError> {
        let schema = batch.schema_ref();
        let columns = (schema.fields().iter().zip(batch.columns()))
            .filter_map(|(field, array)| Some((field.name(), array, reading(field.name())?)))
            .map(|(name, array, reading)| Ok((name.clone(), Column::read(name, array, reading)?)))
            .collect::<Result<_, ArrowError>>()?;
        Ok(Self { rows: batch.num_rows(), columns, source: batch.clone() })
    }

    /// The table that the columns were taken from, whole.
    pub fn source(&self) -> &RecordBatch {
        &self.source
    }

    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The columns as a batch to score.
    ///
    /// # Errors
    /// If two columns have one name.
    pub fn batch(&self) -> Result<Batch<'_>, Error> {
        let mut batch = Batch::new(self.rows);
        for (name, column) in &self.columns {
            batch.push(name.as_str(), column.values())?;
        }
        Ok(batch)
    }
}

impl Column {
    fn read(name: &str, array: &ArrayRef, reading: Reading) -> Result<Self, ArrowError> {
        use DataType::{Date32, Date64, Decimal32, Decimal64, Decimal128, Decimal256, Timestamp};
        let cast = |to: &DataType| arrow_cast::cast(array, to);
        match (reading, array.data_type()) {
            (Reading::Moment, Date32 | Date64 | Timestamp(..)) => {
                let micros = cast(&Timestamp(TimeUnit::Microsecond, None))?;
                Ok(Column::Array(arrow_cast::cast(&micros, &DataType::Int64)?))
            }
            (Reading::Day, Date32 | Date64 | Timestamp(..)) => {
                Ok(Column::Array(arrow_cast::cast(&cast(&Date32)?, &DataType::Int32)?))
            }
            (Reading::Exact, Decimal32(..) | Decimal64(..) | Decimal128(..) | Decimal256(..)) => {
                Ok(Column::Array(cast(&DataType::Utf8)?))
            }
            (Reading::Exact, DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..)) => {
                Ok(Column::Array(json_lists(name, array)?))
            }
            _ => Self::new(name, array),
        }
    }

    fn new(name: &str, array: &ArrayRef) -> Result<Self, ArrowError> {
        let cast = |to: &DataType| arrow_cast::cast(array, to);
        Ok(match array.data_type() {
            DataType::Boolean => {
                let values = array.as_boolean();
                Column::Bool(values.values().iter().collect(), values.nulls().cloned())
            }
            kind if is_borrowed(kind) => Column::Array(Arc::clone(array)),
            DataType::Float16
            | DataType::Decimal32(..)
            | DataType::Decimal64(..)
            | DataType::Decimal128(..)
            | DataType::Decimal256(..) => Column::Array(cast(&DataType::Float64)?),
            DataType::Date32 | DataType::Date64 | DataType::Timestamp(..) => {
                let milliseconds = cast(&DataType::Timestamp(TimeUnit::Millisecond, None))?;
                Column::Array(arrow_cast::cast(&milliseconds, &DataType::Int64)?)
            }
            DataType::Dictionary(_, value) => Column::new(name, &cast(value)?)?,
            DataType::RunEndEncoded(_, value) => Column::new(name, &cast(value.data_type())?)?,
            other => {
                return Err(ArrowError::SchemaError(format!(
                    "column {name:?} is of type {other}; a model takes numbers, booleans, times and text"
                )));
            }
        })
    }

    fn values(&self) -> Values<'_> {
        let array = match self {
            Column::Bool(values, nulls) => {
                let validity = nulls.as_ref().map(validity);
                return Values::Bool(Primitive { values: values.as_slice().into(), validity });
            }
            Column::Array(array) => array,
        };
        match array.data_type() {
            DataType::Float64 => Values::F64(primitive::<Float64Type>(array)),
            DataType::Float32 => Values::F32(primitive::<Float32Type>(array)),
            DataType::Int8 => Values::I8(primitive::<Int8Type>(array)),
            DataType::Int16 => Values::I16(primitive::<Int16Type>(array)),
            DataType::Int32 => Values::I32(primitive::<Int32Type>(array)),
            DataType::Int64 => Values::I64(primitive::<Int64Type>(array)),
            DataType::UInt8 => Values::U8(primitive::<UInt8Type>(array)),
            DataType::UInt16 => Values::U16(primitive::<UInt16Type>(array)),
            DataType::UInt32 => Values::U32(primitive::<UInt32Type>(array)),
            DataType::UInt64 => Values::U64(primitive::<UInt64Type>(array)),
            DataType::Dictionary(key, _) => dictionary(key, array),
            DataType::Null => Values::Missing,
            _ => Values::Text(text(array)),
        }
    }
}

/// Lists of numbers, booleans or text as JSON text.
fn json_lists(name: &str, array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    use arrow_cast::display::{ArrayFormatter, FormatOptions};
    let mut texts = StringBuilder::new();
    for row in 0..array.len() {
        if array.is_null(row) {
            texts.append_null();
            continue;
        }
        let items = match array.data_type() {
            DataType::List(_) => array.as_list::<i32>().value(row),
            DataType::LargeList(_) => array.as_list::<i64>().value(row),
            _ => array.as_fixed_size_list().value(row),
        };
        let kind = items.data_type();
        if !(kind.is_numeric() || is_text(kind) || matches!(kind, DataType::Boolean | DataType::Null)) {
            let what = format!("column {name:?} is a list of {kind}; lists are of numbers, booleans or text");
            return Err(ArrowError::SchemaError(what));
        }
        let options = FormatOptions::new().with_null("null");
        let formatter = ArrayFormatter::try_new(items.as_ref(), &options)?;
        let item = |at: usize| {
            let text = formatter.value(at).to_string();
            if is_text(kind) && items.is_valid(at) { quoted(&text) } else { text }
        };
        let list: Vec<_> = (0..items.len()).map(item).collect();
        texts.append_value(format!("[{}]", list.join(",")));
    }
    Ok(Arc::new(texts.finish()))
}

/// A text as JSON.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c < ' ' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Whether [`Column::values`] borrows arrays of this type.
fn is_borrowed(kind: &DataType) -> bool {
    match kind {
        DataType::Dictionary(_, levels) => is_text(levels),
        kind => {
            kind.is_integer()
                || is_text(kind)
                || matches!(kind, DataType::Float32 | DataType::Float64 | DataType::Null)
        }
    }
}

fn is_text(kind: &DataType) -> bool {
    matches!(kind, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

fn validity(nulls: &NullBuffer) -> Validity<'_> {
    Validity::new(nulls.validity(), nulls.offset())
}

fn primitive<T: ArrowPrimitiveType>(array: &ArrayRef) -> Primitive<'_, T::Native> {
    let array = array.as_primitive::<T>();
    Primitive { values: array.values().as_ref().into(), validity: array.nulls().map(validity) }
}

fn dictionary<'a>(key: &DataType, array: &'a ArrayRef) -> Values<'a> {
    fn build<'a, K: ArrowDictionaryKeyType>(
        array: &'a ArrayRef,
        codes: impl FnOnce(&'a [K::Native]) -> Codes<'a>,
    ) -> Values<'a> {
        let array = array.as_dictionary::<K>();
        Values::Dictionary {
            codes: codes(array.keys().values().as_ref()),
            validity: array.keys().nulls().map(validity),
            levels: text(array.values()),
        }
    }
    match key {
        DataType::Int8 => build::<Int8Type>(array, Codes::I8),
        DataType::Int16 => build::<Int16Type>(array, Codes::I16),
        DataType::Int32 => build::<Int32Type>(array, Codes::I32),
        DataType::Int64 => build::<Int64Type>(array, Codes::I64),
        DataType::UInt8 => build::<UInt8Type>(array, Codes::U8),
        DataType::UInt16 => build::<UInt16Type>(array, Codes::U16),
        DataType::UInt32 => build::<UInt32Type>(array, Codes::U32),
        _ => build::<UInt64Type>(array, Codes::U64),
    }
}

fn text(array: &ArrayRef) -> Text<'_> {
    fn packed<'a, O: OffsetSizeTrait>(
        array: &'a GenericStringArray<O>,
        offsets: impl FnOnce(&'a [O]) -> Offsets<'a>,
    ) -> Text<'a> {
        // A slice of an array shares the bytes of its neighbours, which nobody has checked; then copy slice by slice.
        match std::str::from_utf8(array.value_data()) {
            Ok(data) => Text::Packed {
                offsets: offsets(array.value_offsets()),
                data,
                validity: array.nulls().map(validity),
            },
            Err(_) => Text::Slices(array.iter().collect()),
        }
    }
    match array.data_type() {
        DataType::Utf8 => packed(array.as_string::<i32>(), Offsets::I32),
        DataType::LargeUtf8 => packed(array.as_string::<i64>(), Offsets::I64),
        _ => Text::Slices(array.as_string_view().iter().collect()),
    }
}

/// Whether a table of predictions has the column `error`, which says why a row was refused.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ErrorColumn {
    /// If some row was refused.
    #[default]
    WhenAny,
    /// Always: for streams whose schema stands before their rows.
    Always,
}

impl Predictions {
    /// The predictions as a table `[rows x columns]`: numbers as `Float64`, labels as a dictionary of `Utf8`, node ids
    /// as `Int32`, and last the `Utf8` column `error` as asked. A refused row is null in all columns but `error`.
    ///
    /// # Errors
    /// If an output has more than `i32::MAX` labels.
    pub fn to_record_batch(&self, error: ErrorColumn) -> Result<RecordBatch, ArrowError> {
        let refused = self.refused();
        let mut fields = Vec::with_capacity(self.columns.len() + 1);
        let mut arrays: Vec<ArrayRef> = Vec::with_capacity(self.columns.len() + 1);
        for column in &self.columns {
            let array = output(&column.values, refused.as_ref())?;
            fields.push(Field::new(&column.name, array.data_type().clone(), true));
            arrays.push(array);
        }
        if error == ErrorColumn::Always || !self.errors.is_empty() {
            fields.push(Field::new("error", DataType::Utf8, true));
            arrays.push(self.error_column());
        }
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows));
        RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options)
    }

    /// Which rows were not refused; `None` if all.
    fn refused(&self) -> Option<NullBuffer> {
        if self.errors.is_empty() {
            return None;
        }
        let mut present = vec![true; self.rows];
        for error in &self.errors {
            present[error.row] = false;
        }
        Some(NullBuffer::from(present))
    }

    fn error_column(&self) -> ArrayRef {
        let mut texts = StringBuilder::new();
        let mut errors = self.errors.iter().peekable();
        for row in 0..self.rows {
            texts.append_option(errors.next_if(|error| error.row == row).map(ToString::to_string));
        }
        Arc::new(texts.finish())
    }
}

fn output(values: &OutputValues, refused: Option<&NullBuffer>) -> Result<ArrayRef, ArrowError> {
    Ok(match values {
        OutputValues::Number(values) => {
            Arc::new(Float64Array::new(ScalarBuffer::from(values.clone()), refused.cloned()))
        }
        OutputValues::Integer(values) => {
            Arc::new(Int32Array::new(ScalarBuffer::from(values.clone()), refused.cloned()))
        }
        OutputValues::Label { codes, domain } => {
            if i32::try_from(domain.len()).is_err() {
                return Err(ArrowError::DictionaryKeyOverflowError);
            }
            let keys: Int32Array = (codes.iter().enumerate())
                .map(|(row, &code)| {
                    let present =
                        code != OutputValues::NO_LABEL && refused.is_none_or(|nulls| nulls.is_valid(row));
                    present.then_some(code as i32)
                })
                .collect();
            let labels = StringArray::from_iter_values(domain.iter());
            Arc::new(DictionaryArray::<Int32Type>::try_new(keys, Arc::new(labels))?)
        }
    })
}

#[cfg(test)]
mod tests {
    use arrow_array::types::Int8Type;
    use arrow_array::{BooleanArray, Date32Array, Decimal128Array, Int64Array, StringViewArray};

    use super::*;
    use crate::predictions::{OutputColumn, RowError};

    fn columns(arrays: Vec<(&str, ArrayRef)>) -> ArrowColumns {
        ArrowColumns::new(
            &RecordBatch::try_from_iter_with_nullable(arrays.into_iter().map(|(n, a)| (n, a, true))).unwrap(),
            |_| true,
        )
        .unwrap()
    }

    fn strings(values: &Values<'_>) -> Vec<Option<String>> {
        match values {
            Values::Text(text) => (0..text.len()).map(|row| text.get(row).map(str::to_owned)).collect(),
            other => panic!("not text: {other:?}"),
        }
    }

    #[test]
    fn slices_keep_their_own_rows_and_nulls() {
        let text: ArrayRef = Arc::new(StringArray::from(vec![Some("é"), None, Some("b"), Some("c")]));
        let view: ArrayRef = Arc::new(StringViewArray::from(vec![
            None,
            Some("a string longer than twelve bytes"),
            None,
            Some("d"),
        ]));
        let number: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), Some(2), None, Some(4)]));
        let table = columns(vec![
            ("text", text.slice(1, 3)),
            ("view", view.slice(1, 3)),
            ("number", number.slice(1, 3)),
        ]);
        let batch = table.batch().unwrap();
        assert_eq!(strings(batch.column("text").unwrap()), [None, Some("b".into()), Some("c".into())]);
        let long = Some("a string longer than twelve bytes".to_owned());
        assert_eq!(strings(batch.column("view").unwrap()), [long, None, Some("d".into())]);
        let Some(Values::I64(column)) = batch.column("number") else { panic!("not i64") };
        assert_eq!((0..3).map(|row| column.values.get(row)).collect::<Vec<_>>()[0], 2);
        let validity = column.validity.unwrap();
        assert_eq!([0, 1, 2].map(|row| validity.is_valid(row)), [true, false, true]);
    }

    #[test]
    fn converts_what_cannot_be_borrowed() {
        let days: ArrayRef = Arc::new(Date32Array::from(vec![Some(1), None]));
        let decimal: ArrayRef =
            Arc::new(Decimal128Array::from(vec![Some(15), None]).with_precision_and_scale(5, 1).unwrap());
        let boolean: ArrayRef = Arc::new(BooleanArray::from(vec![None, Some(true)]));
        let table = columns(vec![("days", days), ("decimal", decimal), ("boolean", boolean)]);
        let batch = table.batch().unwrap();
        let Some(Values::I64(days)) = batch.column("days") else { panic!("not i64") };
        assert_eq!(days.values.get(0), 86_400_000);
        let Some(Values::F64(decimal)) = batch.column("decimal") else { panic!("not f64") };
        assert_eq!((decimal.values.get(0), decimal.validity.unwrap().is_valid(1)), (1.5, false));
        let Some(Values::Bool(boolean)) = batch.column("boolean") else { panic!("not bool") };
        assert_eq!((boolean.values.get(1), boolean.validity.unwrap().is_valid(0)), (true, false));
    }

    #[test]
    fn borrows_dictionaries_of_text_and_unpacks_the_others() {
        let text: DictionaryArray<Int8Type> = vec![Some("x"), None, Some("y")].into_iter().collect();
        let numbers = DictionaryArray::<Int8Type>::try_new(
            arrow_array::Int8Array::from(vec![1, 0, 1]),
            Arc::new(Int64Array::from(vec![7, 8])),
        );
        let table = columns(vec![("text", Arc::new(text)), ("numbers", Arc::new(numbers.unwrap()))]);
        let batch = table.batch().unwrap();
        let Some(Values::Dictionary { codes: Codes::I8(codes), levels, .. }) = batch.column("text") else {
            panic!("not a dictionary")
        };
        assert_eq!((codes[2], levels.get(1)), (1, Some("y")));
        let Some(Values::I64(numbers)) = batch.column("numbers") else { panic!("not i64") };
        assert_eq!([0, 1, 2].map(|row| numbers.values.get(row)), [8, 7, 8]);
    }

    #[test]
    fn a_type_without_meaning_is_refused_only_where_it_is_wanted() {
        let bytes: ArrayRef = Arc::new(arrow_array::BinaryArray::from(vec![b"x".as_slice()]));
        let batch = RecordBatch::try_from_iter([("bytes", bytes)]).unwrap();
        let error = ArrowColumns::new(&batch, |_| true).unwrap_err().to_string();
        assert!(error.contains("\"bytes\"") && error.contains("Binary"), "{error}");
        assert_eq!(ArrowColumns::new(&batch, |_| false).unwrap().batch().unwrap().columns().len(), 0);
    }

    #[test]
    fn refused_rows_are_null_and_say_why() {
        let predictions = Predictions {
            rows: 2,
            columns: vec![
                OutputColumn {
                    name: "predict".into(),
                    values: OutputValues::Label {
                        codes: vec![OutputValues::NO_LABEL, 1],
                        domain: ["no".to_owned(), "yes".to_owned()].into(),
                    },
                },
                OutputColumn { name: "p".into(), values: OutputValues::Number(vec![f64::NAN, f64::NAN]) },
            ],
            errors: vec![RowError { row: 0, class: "java.lang.E", message: "why".into() }],
        };
        let table = predictions.to_record_batch(ErrorColumn::WhenAny).unwrap();
        let names: Vec<_> = table.schema().fields().iter().map(|field| field.name().clone()).collect();
        assert_eq!(names, ["predict", "p", "error"]);
        assert!(table.column(0).is_null(0) && table.column(1).is_null(0) && table.column(2).is_null(1));
        assert!(table.column(1).is_valid(1), "NaN is a number");
        assert_eq!(table.column(2).as_string::<i32>().value(0), "java.lang.E: why");
    }
}
