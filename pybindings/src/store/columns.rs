//! Columns of features to Arrow arrays that own their values.

use std::sync::Arc;

use arrow_array::{
    ArrayRef, BooleanArray, Float32Array, Float64Array, Int16Array, Int32Array, Int64Array, LargeStringArray,
    TimestampMicrosecondArray,
};
use cenote::store::{FeatureColumn, FeatureValues, Value};

/// The column as an array, null where a cell is missing.
pub(super) fn array(column: &FeatureColumn) -> ArrayRef {
    macro_rules! array {
        ($kind:ty, $values:expr) => {
            Arc::new(
                $values
                    .iter()
                    .enumerate()
                    .map(|(row, value)| column.is_present(row).then_some(*value))
                    .collect::<$kind>(),
            )
        };
    }
    match &column.values {
        FeatureValues::Bool(values) => array!(BooleanArray, values),
        FeatureValues::I16(values) => array!(Int16Array, values),
        FeatureValues::I32(values) => array!(Int32Array, values),
        FeatureValues::I64(values) => array!(Int64Array, values),
        FeatureValues::F32(values) => array!(Float32Array, values),
        FeatureValues::F64(values) => array!(Float64Array, values),
        FeatureValues::Timestamp(values) => {
            let moments =
                values.iter().enumerate().map(|(row, value)| column.is_present(row).then_some(*value));
            Arc::new(moments.collect::<TimestampMicrosecondArray>().with_timezone("UTC"))
        }
        FeatureValues::Text { offsets, .. } => {
            let rows = offsets.len().saturating_sub(1);
            let texts = (0..rows).map(|row| match column.value(row) {
                Value::Text(text) => Some(text),
                _ => None,
            });
            Arc::new(texts.collect::<LargeStringArray>())
        }
        // A type that this build does not know has no values that it could show.
        _ => arrow_array::new_null_array(&arrow_schema::DataType::Null, 0),
    }
}
