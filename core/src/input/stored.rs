//! Between Arrow and the feature store: what a view's columns are read as, and features as tables.
//!
//! In flow views and what was read from the store; out flow record batches that own their values. A missing feature is null.

use std::sync::Arc;

use arrow_array::builder::{
    BooleanBuilder, Float32Builder, Float64Builder, GenericByteBuilder, Int16Builder, Int32Builder,
    Int64Builder, LargeStringBuilder, ListBuilder,
};
use arrow_array::types::GenericStringType;
use arrow_array::{
    ArrayRef, BooleanArray, Date32Array, DictionaryArray, Float32Array, Float64Array, Int8Array, Int16Array,
    Int32Array, Int64Array, LargeStringArray, RecordBatch, RecordBatchOptions, StringArray,
    TimestampMicrosecondArray,
};
use arrow_buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer};
use arrow_cast::cast;
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_schema::{ArrowError, DataType, Field, Schema};

use super::arrow::Reading;
use super::{Batch, Values};
use crate::store::{FeatureColumn, FeatureSet, FeatureValues, Item, Timestamp, Type, Value, View};

impl View {
    /// What the column called `name` of this view's data is to be read as; `None` if the view has no such column.
    pub fn reading(&self, name: &str) -> Option<Reading> {
        let key = self.keys().iter().find(|key| key.name == name).map(|key| key.ty);
        let feature =
            || self.features().iter().find(|feature| feature.name == name).map(|feature| feature.ty);
        let event = || (self.event_time() == name).then_some(Type::Timestamp);
        Some(match key.or_else(feature).or_else(event)? {
            Type::Timestamp => Reading::Moment,
            Type::Date => Reading::Day,
            Type::Numeric | Type::List(_) | Type::Vector => Reading::Exact,
            _ => Reading::Model,
        })
    }
}

impl FeatureSet {
    /// The features as a table `[keys x features]`, null where one is missing: moments as `Timestamp(us, UTC)`, days as `Date32`,
    /// decimals, uuids and documents as text, lists as lists.
    ///
    /// # Errors
    /// None but those of Arrow's own limits.
    pub fn to_record_batch(&self) -> Result<RecordBatch, ArrowError> {
        table(self.len(), self.columns.iter().map(|column| (column.name.clone(), array(column))))
    }

    /// As [`to_record_batch`](Self::to_record_batch), with the columns `status` (`fresh`, `stale`, `missing`) and `event_ts` before
    /// the features.
    ///
    /// # Errors
    /// If a feature has one of these names.
    pub fn to_record_batch_with_status(&self) -> Result<RecordBatch, ArrowError> {
        // Three names at most, in the order in which they come.
        let mut names: Vec<&str> = Vec::new();
        let places = self.status.iter().map(|status| {
            names.iter().position(|name| *name == status.name()).unwrap_or_else(|| {
                names.push(status.name());
                names.len() - 1
            }) as i8
        });
        let places = Int8Array::from_iter_values(places);
        let statuses = DictionaryArray::try_new(places, Arc::new(StringArray::from(names)))?;
        let head = [
            ("status".to_owned(), Arc::new(statuses) as ArrayRef),
            ("event_ts".to_owned(), moments(self.event_ts.iter().copied())),
        ];
        let features = self.columns.iter().map(|column| (column.name.clone(), array(column)));
        table(self.len(), head.into_iter().chain(features))
    }
}

/// `left` with the features beside it, row by row.
///
/// # Errors
/// If a column of `left` has a feature's name, or they have not one number of rows.
pub fn joined(left: &RecordBatch, features: &FeatureSet) -> Result<RecordBatch, ArrowError> {
    let right = features.to_record_batch()?;
    let columns = |batch: &RecordBatch| {
        let names: Vec<_> = batch.schema_ref().fields().iter().map(|field| field.name().clone()).collect();
        names.into_iter().zip(batch.columns().to_vec()).collect::<Vec<_>>()
    };
    table(left.num_rows(), columns(left).into_iter().chain(columns(&right)))
}

fn table(rows: usize, columns: impl Iterator<Item = (String, ArrayRef)>) -> Result<RecordBatch, ArrowError> {
    let (mut fields, mut arrays): (Vec<Field>, Vec<ArrayRef>) = Default::default();
    for (name, array) in columns {
        if fields.iter().any(|field| *field.name() == name) {
            return Err(ArrowError::SchemaError(format!("column {name:?} would stand twice")));
        }
        fields.push(Field::new(name, array.data_type().clone(), true));
        arrays.push(array);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options)
}

fn moments(moments: impl Iterator<Item = Option<Timestamp>>) -> ArrayRef {
    let micros = moments.map(|moment| moment.map(Timestamp::as_micros));
    Arc::new(micros.collect::<TimestampMicrosecondArray>().with_timezone("UTC"))
}

/// Which of `rows` cells are null; `None` if none is.
fn nulls(validity: &[u8], rows: usize) -> Option<NullBuffer> {
    let nulls = NullBuffer::new(BooleanBuffer::new(Buffer::from_slice_ref(validity), 0, rows));
    (nulls.null_count() > 0).then_some(nulls)
}

fn array(column: &FeatureColumn) -> ArrayRef {
    macro_rules! array {
        ($kind:ty, $values:expr) => {
            <$kind>::new($values.clone().into(), nulls(&column.validity, $values.len()))
        };
    }
    match &column.values {
        FeatureValues::Bool(values) => Arc::new(array!(BooleanArray, values)),
        FeatureValues::I16(values) => Arc::new(array!(Int16Array, values)),
        FeatureValues::I32(values) => Arc::new(array!(Int32Array, values)),
        FeatureValues::I64(values) => Arc::new(array!(Int64Array, values)),
        FeatureValues::F32(values) => Arc::new(array!(Float32Array, values)),
        FeatureValues::F64(values) => Arc::new(array!(Float64Array, values)),
        FeatureValues::Date(values) => Arc::new(array!(Date32Array, values)),
        FeatureValues::Timestamp(values) => {
            Arc::new(array!(TimestampMicrosecondArray, values).with_timezone("UTC"))
        }
        FeatureValues::Text { offsets, data }
        | FeatureValues::Numeric { offsets, data }
        | FeatureValues::Json { offsets, data } => {
            let rows = offsets.len().saturating_sub(1);
            let offsets = OffsetBuffer::new(offsets.clone().into());
            let data = Buffer::from_slice_ref(data.as_bytes());
            Arc::new(LargeStringArray::new(offsets, data, nulls(&column.validity, rows)))
        }
        FeatureValues::Uuid(values) => uuids(column, values.len()),
        FeatureValues::List(values) => lists(column.ty, values),
    }
}

fn uuids(column: &FeatureColumn, rows: usize) -> ArrayRef {
    let cells = (0..rows).map(|row| match column.value(row) {
        uuid @ Value::Uuid(_) => Some(uuid.to_string()),
        _ => None,
    });
    Arc::new(cells.collect::<LargeStringArray>())
}

fn lists(ty: Type, rows: &[Value]) -> ArrayRef {
    macro_rules! lists {
        ($items:expr, $($pattern:pat => $item:expr),+) => {{
            let mut lists = ListBuilder::new($items);
            for row in rows {
                if let Value::List(items) = row {
                    for item in items {
                        match item {
                            $($pattern => lists.values().append_value($item),)+
                            _ => lists.values().append_null(),
                        }
                    }
                }
                lists.append(matches!(row, Value::List(_)));
            }
            Arc::new(lists.finish())
        }};
    }
    match ty {
        Type::List(Item::Bool) => lists!(BooleanBuilder::new(), Value::Bool(value) => *value),
        Type::List(Item::I16) => lists!(Int16Builder::new(), Value::Int(value) => *value as i16),
        Type::List(Item::I32) => lists!(Int32Builder::new(), Value::Int(value) => *value as i32),
        Type::List(Item::I64) => lists!(Int64Builder::new(), Value::Int(value) => *value),
        Type::List(Item::F64) => lists!(Float64Builder::new(), Value::Float(value) => *value),
        Type::List(Item::Text) => {
            let items: GenericByteBuilder<GenericStringType<i64>> = LargeStringBuilder::new();
            lists!(items, Value::Text(value) => value)
        }
        _ => lists!(Float32Builder::new(), Value::Float(value) => *value as f32),
    }
}

/// A batch of text columns as a table; columns of other kinds are left out.
///
/// # Errors
/// None but those of Arrow's own limits.
pub fn text_table(batch: &Batch<'_>) -> Result<RecordBatch, ArrowError> {
    let columns = batch.columns().filter_map(|(name, values)| {
        let Values::Text(text) = values else { return None };
        let cells: StringArray = (0..text.len()).map(|row| text.get(row)).collect();
        Some((name.to_owned(), Arc::new(cells) as ArrayRef))
    });
    table(batch.rows(), columns)
}

/// The cells of a table as text, by column: moments in RFC 3339, those of a zone in UTC, lists in brackets; `None` where a cell is
/// null.
///
/// # Errors
/// If a column is of a type that has no text.
pub fn cells(batch: &RecordBatch) -> Result<Vec<Vec<Option<String>>>, ArrowError> {
    let options = FormatOptions::new();
    let column = |array: &ArrayRef| {
        // A zone's name would need a table of zones; what it is of is a moment of UTC in any case.
        let array = &match array.data_type() {
            DataType::Timestamp(unit, Some(_)) => {
                cast(array, &DataType::Timestamp(*unit, Some("+00:00".into())))?
            }
            _ => Arc::clone(array),
        };
        let formatter = ArrayFormatter::try_new(array.as_ref(), &options)?;
        let cell = |row| (!array.is_null(row)).then(|| formatter.value(row).to_string());
        Ok((0..array.len()).map(cell).collect())
    };
    batch.columns().iter().map(column).collect()
}
