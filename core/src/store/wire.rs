//! PostgreSQL's binary form of keys and features: values in, parameters and `COPY` fields out; cells in, values out.
//!
//! The invariant: a cell is checked once a statement by its column's type and then only by its length, and equal keys
//! have equal bytes. The parameters print nothing of their values, for the client library logs them at debug level.

use std::error::Error as StdError;

use bytes::{BufMut, BytesMut};
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type as PgType, to_sql_checked};

use crate::input::Cell;

use super::error::{Error, ErrorKind, Step};
use super::numeric;
use super::value::{Date, Item, Timestamp, Type, Value};

impl Type {
    /// The type on the wire.
    pub(crate) fn pg(self) -> PgType {
        match self {
            Type::Bool => PgType::BOOL,
            Type::I16 => PgType::INT2,
            Type::I32 => PgType::INT4,
            Type::I64 => PgType::INT8,
            Type::F32 => PgType::FLOAT4,
            Type::F64 => PgType::FLOAT8,
            Type::Text => PgType::TEXT,
            Type::Timestamp => PgType::TIMESTAMPTZ,
            Type::Date => PgType::DATE,
            Type::Numeric => PgType::NUMERIC,
            Type::Uuid => PgType::UUID,
            Type::Json => PgType::JSONB,
            Type::List(item) => item.ty().pg_array(),
            // As it is read; no two databases have one number for the type itself.
            Type::Vector => PgType::FLOAT4_ARRAY,
        }
    }

    /// The type of a parameter of a statement.
    pub(crate) fn pg_parameter(self) -> PgType {
        match self {
            // The server knows it from the cast around it.
            Type::Vector => PgType::UNKNOWN,
            other => other.pg(),
        }
    }

    /// A column of this type as it is read.
    pub(crate) fn read(self, column: String) -> String {
        match self {
            Type::Vector => format!("{column}::real[]"),
            _ => column,
        }
    }

    /// The type of an array of this, which is an item or a key.
    pub(crate) fn pg_array(self) -> PgType {
        match self {
            Type::Bool => PgType::BOOL_ARRAY,
            Type::I16 => PgType::INT2_ARRAY,
            Type::I32 => PgType::INT4_ARRAY,
            Type::I64 => PgType::INT8_ARRAY,
            Type::F32 => PgType::FLOAT4_ARRAY,
            Type::F64 => PgType::FLOAT8_ARRAY,
            Type::Text => PgType::TEXT_ARRAY,
            Type::Timestamp => PgType::TIMESTAMPTZ_ARRAY,
            Type::Date => PgType::DATE_ARRAY,
            Type::Numeric => PgType::NUMERIC_ARRAY,
            Type::Uuid => PgType::UUID_ARRAY,
            Type::Json | Type::List(_) | Type::Vector => PgType::JSONB_ARRAY,
        }
    }
}

/// A value that its column cannot hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mismatch {
    /// The kind of value that came.
    pub(crate) found: &'static str,
}

/// Appends the wire's form of a value that is not NULL, without its length; `false` if the value is NULL after all.
pub(crate) fn encode(value: &Value, ty: Type, out: &mut BytesMut) -> Result<bool, Mismatch> {
    const WIDE: Mismatch = Mismatch { found: "a number out of range" };
    match (ty, value) {
        (_, Value::Null) => return Ok(false),
        (Type::Bool, Value::Bool(value)) => out.put_u8(u8::from(*value)),
        (Type::I16, Value::Int(value)) => out.put_i16(i16::try_from(*value).map_err(|_| WIDE)?),
        (Type::I32, Value::Int(value)) => out.put_i32(i32::try_from(*value).map_err(|_| WIDE)?),
        (Type::I64, Value::Int(value)) => out.put_i64(*value),
        (Type::F64, Value::Float(value)) => out.put_f64(*value),
        (Type::F32, Value::Float(value)) => {
            let narrow = *value as f32;
            if narrow.is_infinite() && value.is_finite() {
                return Err(WIDE);
            }
            out.put_f32(narrow);
        }
        (Type::F64 | Type::F32, Value::Int(value)) => {
            let float = *value as f64;
            if float as i128 != i128::from(*value) || (ty == Type::F32 && f64::from(float as f32) != float) {
                return Err(Mismatch { found: "a whole number that a floating one cannot hold" });
            }
            return encode(&Value::Float(float), ty, out);
        }
        (Type::I16 | Type::I32 | Type::I64, Value::Float(value)) => match whole(*value) {
            Some(whole) => return encode(&Value::Int(whole), ty, out),
            None => return Err(Mismatch { found: "a number that is not whole" }),
        },
        (Type::Text, Value::Text(value)) => {
            if value.contains('\0') {
                return Err(Mismatch { found: "text with a NUL" });
            }
            out.put_slice(value.as_bytes());
        }
        (Type::Timestamp, Value::Timestamp(value)) => match value.to_wire() {
            Some(count) => out.put_i64(count),
            None => return Err(Mismatch { found: "a moment out of range" }),
        },
        (Type::Date, Value::Date(value)) => match value.to_wire() {
            Some(count) => out.put_i32(count),
            None => return Err(Mismatch { found: "a day out of range" }),
        },
        (Type::Numeric, Value::Numeric(decimal) | Value::Text(decimal)) => {
            numeric::encode(decimal, out).ok_or(Mismatch { found: "text that is no decimal" })?;
        }
        (Type::Numeric, Value::Int(value)) => numeric::encode(&value.to_string(), out).expect("a decimal"),
        (Type::Numeric, Value::Float(value)) => {
            let decimal = match *value {
                value if value.is_nan() => "NaN".to_owned(),
                f64::INFINITY => "Infinity".to_owned(),
                f64::NEG_INFINITY => "-Infinity".to_owned(),
                value => value.to_string(),
            };
            numeric::encode(&decimal, out).ok_or(WIDE)?;
        }
        (Type::Uuid, Value::Uuid(value)) => out.put_slice(value),
        (Type::Uuid, Value::Text(text)) => {
            out.put_slice(&uuid(text).ok_or(Mismatch { found: "text that is no uuid" })?);
        }
        (Type::Json, Value::Json(text) | Value::Text(text)) => {
            // The server would refuse the whole batch, and could not say which row it was.
            let escaped_nul = text.contains("\\u0000");
            if escaped_nul || serde_json::from_str::<serde::de::IgnoredAny>(text).is_err() {
                return Err(Mismatch { found: "text that is no JSON document" });
            }
            out.put_u8(1);
            out.put_slice(text.as_bytes());
        }
        (Type::List(item), Value::List(values)) => {
            let count = i32::try_from(values.len()).map_err(|_| Mismatch { found: "a list above 2 GiB" })?;
            begin_array(item.ty(), count, out);
            for value in values {
                encode_field(value, item.ty(), out)?;
            }
        }
        (Type::List(_) | Type::Vector, Value::Text(text)) => {
            return encode(&super::parse::value(text, ty)?, ty, out);
        }
        (Type::Vector, Value::List(values)) => {
            out.put_i16(i16::try_from(values.len()).map_err(|_| Mismatch { found: "a vector too long" })?);
            out.put_i16(0);
            for value in values {
                let start = out.len();
                // pgvector has no missing and no infinite components.
                let whole = encode(value, Type::F32, out)?;
                let float =
                    out.get(start..).and_then(|bytes| bytes.first_chunk()).map(|b| f32::from_be_bytes(*b));
                if !whole || !float.is_some_and(f32::is_finite) {
                    return Err(Mismatch { found: "a vector with a missing or infinite component" });
                }
            }
        }
        (_, other) => return Err(Mismatch { found: other.kind() }),
    }
    Ok(true)
}

/// The bytes of a uuid: 32 hexadecimal digits, with hyphens anywhere.
pub(crate) fn uuid(text: &str) -> Option<[u8; 16]> {
    let mut bytes = [0; 16];
    let mut count = 0;
    for digit in text.chars().filter(|c| *c != '-') {
        *bytes.get_mut(count / 2)? |= (digit.to_digit(16)? as u8) << (4 * (1 - count % 2));
        count += 1;
    }
    (count == 32).then_some(bytes)
}

/// The items of an array's cell.
fn items(item: Item, bytes: &[u8]) -> Option<Result<Vec<Value>, Error>> {
    let word = |at: usize| Some(i32::from_be_bytes(*bytes.get(at..)?.first_chunk()?));
    if word(0)? == 0 {
        return Some(Ok(Vec::new()));
    }
    // One dimension, of items of the type that the view says.
    if word(0)? != 1 || word(8)? as u32 != item.ty().pg().oid() {
        return None;
    }
    let (count, mut at) = (usize::try_from(word(12)?).ok()?, 20);
    let mut values = Vec::with_capacity(count.min(bytes.len() / 4));
    for _ in 0..count {
        let length = word(at)?;
        at += 4;
        let Ok(length) = usize::try_from(length) else {
            values.push(Value::Null);
            continue;
        };
        match decode(item.ty(), bytes.get(at..at.checked_add(length)?)?) {
            Ok(value) => values.push(value),
            Err(error) => return Some(Err(error)),
        }
        at += length;
    }
    Some(Ok(values))
}

/// The whole number that a float is, if it is one of `i64`.
pub(super) fn whole(value: f64) -> Option<i64> {
    (value.fract() == 0.0 && (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&value))
        .then_some(value as i64)
}

/// Appends a value with its length before it, as `COPY` and arrays have it; NULL is the length -1.
pub(crate) fn encode_field(value: &Value, ty: Type, out: &mut BytesMut) -> Result<(), Mismatch> {
    let at = out.len();
    out.put_i32(-1);
    if encode(value, ty, out)? {
        let length =
            i32::try_from(out.len() - at - 4).map_err(|_| Mismatch { found: "a value above 2 GiB" })?;
        out[at..at + 4].copy_from_slice(&length.to_be_bytes());
    }
    Ok(())
}

/// One parameter of a statement: the wire's form, made beforehand.
pub(crate) struct Encoded<'a>(pub(crate) Option<&'a [u8]>);

impl std::fmt::Debug for Encoded<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("...")
    }
}

impl ToSql for Encoded<'_> {
    fn to_sql(&self, _: &PgType, out: &mut BytesMut) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        Ok(match self.0 {
            Some(bytes) => {
                out.put_slice(bytes);
                IsNull::No
            }
            None => IsNull::Yes,
        })
    }

    fn accepts(_: &PgType) -> bool {
        true
    }

    to_sql_checked!();
}

/// Begins a one-dimensional array of `count` elements; [`encode_field`] appends each.
pub(crate) fn begin_array(ty: Type, count: i32, out: &mut BytesMut) {
    out.put_i32(i32::from(count > 0));
    out.put_i32(0);
    out.put_u32(ty.pg().oid());
    if count > 0 {
        out.put_i32(count);
        out.put_i32(1);
    }
}

/// A cell of an answer as it came, of any type.
#[derive(Clone, Copy)]
pub(crate) struct Raw<'a>(pub(crate) &'a [u8]);

impl<'a> FromSql<'a> for Raw<'a> {
    fn from_sql(_: &PgType, raw: &'a [u8]) -> Result<Self, Box<dyn StdError + Sync + Send>> {
        Ok(Self(raw))
    }

    fn accepts(_: &PgType) -> bool {
        true
    }
}

/// A row of cells in the wire's form.
pub(crate) trait Cells {
    /// Cell `index`; `None` where it is NULL.
    fn cell(&self, index: usize) -> Result<Option<&[u8]>, Error>;
}

impl Cells for tokio_postgres::Row {
    #[inline]
    fn cell(&self, index: usize) -> Result<Option<&[u8]>, Error> {
        match self.try_get::<_, Option<Raw<'_>>>(index) {
            Ok(raw) => Ok(raw.map(|Raw(bytes)| bytes)),
            Err(error) => Err(Error::database(Step::Read, error)),
        }
    }
}

/// Cell `index` of an answer's row.
#[inline]
pub(crate) fn cell(row: &impl Cells, index: usize) -> Result<Option<&[u8]>, Error> {
    row.cell(index)
}

/// A cell of `N` bytes.
#[inline]
pub(crate) fn fixed<const N: usize>(bytes: &[u8]) -> Result<[u8; N], Error> {
    bytes.try_into().map_err(|_| Error::protocol(Step::Read, "a cell of another length than its type has"))
}

/// A cell of text.
pub(crate) fn text(bytes: &[u8]) -> Result<&str, Error> {
    std::str::from_utf8(bytes).map_err(|_| Error::protocol(Step::Read, "text that is not UTF-8"))
}

/// A cell of `numeric` as decimal text.
pub(crate) fn decimal(bytes: &[u8]) -> Result<String, Error> {
    numeric::decode(bytes).ok_or_else(|| Error::protocol(Step::Read, "a numeric that cannot be read"))
}

/// A cell of `jsonb` as text.
pub(crate) fn json(bytes: &[u8]) -> Result<&str, Error> {
    match bytes {
        [1, document @ ..] => text(document),
        _ => Err(Error::protocol(Step::Read, "a jsonb of another version")),
    }
}

/// The value of a cell that is not NULL.
#[inline]
pub(crate) fn decode(ty: Type, bytes: &[u8]) -> Result<Value, Error> {
    match ty {
        // What features mostly are, without a call.
        Type::F64 => Ok(Value::Float(f64::from_be_bytes(fixed(bytes)?))),
        _ => decode_any(ty, bytes),
    }
}

fn decode_any(ty: Type, bytes: &[u8]) -> Result<Value, Error> {
    Ok(match ty {
        Type::Bool => Value::Bool(fixed::<1>(bytes)? != [0]),
        Type::I16 => Value::Int(i64::from(i16::from_be_bytes(fixed(bytes)?))),
        Type::I32 => Value::Int(i64::from(i32::from_be_bytes(fixed(bytes)?))),
        Type::I64 => Value::Int(i64::from_be_bytes(fixed(bytes)?)),
        Type::F32 => Value::Float(f64::from(f32::from_be_bytes(fixed(bytes)?))),
        Type::F64 => Value::Float(f64::from_be_bytes(fixed(bytes)?)),
        Type::Text => Value::Text(text(bytes)?.into()),
        Type::Timestamp => Value::Timestamp(Timestamp::from_wire(i64::from_be_bytes(fixed(bytes)?))),
        Type::Date => Value::Date(Date::from_wire(i32::from_be_bytes(fixed(bytes)?))),
        Type::Numeric => Value::Numeric(decimal(bytes)?.into()),
        Type::Uuid => Value::Uuid(fixed(bytes)?),
        Type::Json => Value::Json(json(bytes)?.into()),
        Type::List(_) | Type::Vector => {
            let item = if let Type::List(item) = ty { item } else { Item::F32 };
            Value::List(items(item, bytes).unwrap_or_else(|| {
                Err(Error::protocol(Step::Read, "an array that is not of one dimension"))
            })?)
        }
    })
}

/// A cell that is not NULL as a cell of a model's row; what no model reads is missing.
pub(crate) fn as_cell(ty: Type, bytes: &[u8]) -> Result<Cell<'_>, Error> {
    Ok(match ty {
        Type::Bool => Cell::Bool(fixed::<1>(bytes)? != [0]),
        Type::I16 => Cell::Integer(i64::from(i16::from_be_bytes(fixed(bytes)?))),
        Type::I32 => Cell::Integer(i64::from(i32::from_be_bytes(fixed(bytes)?))),
        Type::I64 => Cell::Integer(i64::from_be_bytes(fixed(bytes)?)),
        Type::F32 => Cell::Number(f64::from(f32::from_be_bytes(fixed(bytes)?))),
        Type::F64 => Cell::Number(f64::from_be_bytes(fixed(bytes)?)),
        Type::Text => Cell::Text(text(bytes)?),
        Type::Numeric => Cell::Number(decimal(bytes)?.parse().unwrap_or(f64::NAN)),
        Type::Timestamp | Type::Date | Type::Uuid | Type::Json | Type::List(_) | Type::Vector => {
            Cell::Missing
        }
    })
}

/// Refuses an answer whose columns are not those that the view promised: `(name, type)` in order.
pub(crate) fn check_columns(
    view: &str,
    columns: &[tokio_postgres::Column],
    expected: &[(String, PgType)],
) -> Result<(), Error> {
    let fits = columns.len() == expected.len()
        && columns.iter().zip(expected).all(|(column, (_, ty))| column.type_() == ty);
    if fits {
        return Ok(());
    }
    let differences = expected
        .iter()
        .zip(columns)
        .filter(|((_, ty), column)| column.type_() != ty)
        .map(|((name, ty), column)| format!("column {name:?} is {}, not {ty}", column.type_()))
        .collect();
    Err(ErrorKind::SchemaDrift { view: view.to_owned(), differences }.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(value: impl Into<Value>, ty: Type) -> Result<Vec<u8>, &'static str> {
        let mut out = BytesMut::new();
        encode(&value.into(), ty, &mut out).map(|_| out.to_vec()).map_err(|mismatch| mismatch.found)
    }

    #[test]
    fn values_come_back_as_they_went() {
        let cases: [(Value, Type); 16] = [
            (true.into(), Type::Bool),
            ((-7i16).into(), Type::I16),
            (i32::MIN.into(), Type::I32),
            (i64::MAX.into(), Type::I64),
            (1.5f32.into(), Type::F32),
            (5e-324.into(), Type::F64),
            ("Zürich".into(), Type::Text),
            (Timestamp::from_micros(0).into(), Type::Timestamp),
            (Timestamp::from_micros(-1).into(), Type::Timestamp),
            (Date::from_days(-719_162).into(), Type::Date),
            (Value::Numeric("-12345.678900".into()), Type::Numeric),
            ([7u8; 16].into(), Type::Uuid),
            (Value::Json("{\"a\": [1, null]}".into()), Type::Json),
            (Value::List(vec![1.5.into(), Value::Null, f64::INFINITY.into()]), Type::List(Item::F64)),
            (Value::List(vec![]), Type::List(Item::Text)),
            (vec!["a", "", "ü"].into(), Type::List(Item::Text)),
        ];
        for (value, ty) in cases {
            assert_eq!(decode(ty, &bytes(value.clone(), ty).unwrap()).unwrap(), value);
        }
        let zero = bytes(-0.0, Type::F64).unwrap();
        assert_eq!(decode(Type::F64, &zero).unwrap().as_f64().unwrap().to_bits(), (-0.0f64).to_bits());
    }

    #[test]
    fn what_would_lose_something_is_refused() {
        assert_eq!(bytes(40_000i64, Type::I16), Err("a number out of range"));
        assert_eq!(bytes(1e300, Type::F32), Err("a number out of range"));
        assert_eq!(bytes(f64::INFINITY, Type::F32), Ok(f32::INFINITY.to_be_bytes().to_vec()));
        assert_eq!(bytes(i64::MAX, Type::F64), Err("a whole number that a floating one cannot hold"));
        assert_eq!(bytes((1i64 << 24) + 1, Type::F32), Err("a whole number that a floating one cannot hold"));
        assert_eq!(bytes(1i64 << 24, Type::F32), Ok(16_777_216f32.to_be_bytes().to_vec()));
        assert_eq!(bytes(2.5, Type::I64), Err("a number that is not whole"));
        assert_eq!(bytes(9.3e18, Type::I64), Err("a number that is not whole"));
        assert_eq!(bytes(3.0, Type::I16), Ok(vec![0, 3]));
        assert_eq!(bytes("a\0", Type::Text), Err("text with a NUL"));
        assert_eq!(bytes(Timestamp::from_micros(i64::MAX), Type::Timestamp), Err("a moment out of range"));
        assert_eq!(bytes("1", Type::I64), Err("text"));
        assert_eq!(bytes("1e5", Type::Numeric), Err("text that is no decimal"));
        assert_eq!(bytes("{", Type::Json), Err("text that is no JSON document"));
        assert_eq!(bytes("12345678-1234", Type::Uuid), Err("text that is no uuid"));
        assert_eq!(bytes(Date::from_days(i32::MAX), Type::Date), Err("a day out of range"));
        assert_eq!(bytes(vec![1i64, 1 << 40], Type::List(Item::I32)), Err("a number out of range"));
    }
}
