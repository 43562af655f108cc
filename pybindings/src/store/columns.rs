//! Columns of features to Arrow arrays that own their values.

use std::sync::Arc;

use arrow_array::{
    ArrayRef, BooleanArray, Date32Array, Float32Array, Float64Array, Int16Array, Int32Array, Int64Array,
    LargeStringArray, TimestampMicrosecondArray,
};
use cenote::store::{FeatureColumn, FeatureValues, Value};

/// The column as an array, null where a cell is missing; `None` for lists. Decimals, uuids and documents are text.
pub(super) fn array(column: &FeatureColumn) -> Option<ArrayRef> {
    macro_rules! array {
        ($kind:ty, $values:expr) => {{
            let cells = $values.iter().enumerate();
            cells.map(|(row, value)| column.is_present(row).then_some(*value)).collect::<$kind>()
        }};
    }
    let texts = |rows: usize| (0..rows).map(|row| text(column.value(row))).collect::<LargeStringArray>();
    Some(match &column.values {
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
        FeatureValues::Text { offsets, .. }
        | FeatureValues::Numeric { offsets, .. }
        | FeatureValues::Json { offsets, .. } => Arc::new(texts(offsets.len().saturating_sub(1))),
        FeatureValues::Uuid(values) => Arc::new(texts(values.len())),
        _ => return None,
    })
}

fn text(value: Value) -> Option<Box<str>> {
    match value {
        Value::Text(text) | Value::Numeric(text) | Value::Json(text) => Some(text),
        Value::Uuid(bytes) => {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            let parts = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
            Some(parts.join("-").into())
        }
        _ => None,
    }
}
