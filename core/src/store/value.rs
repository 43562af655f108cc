//! The types of keys and features, and their values one at a time.
//!
//! A [`Value`] is what a caller writes or reads where rows are not columns; in bulk, columns flow as
//! [`Batch`](crate::Batch) in and [`FeatureSet`](super::FeatureSet) out. The wire's form of each is in `wire`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::error::{Error, ErrorKind};
use super::parse;
use super::view::View;
use super::wire::Mismatch;

/// A moment: microseconds since 1970-01-01 00:00 UTC, as exact as PostgreSQL's `timestamptz`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// Microseconds between 1970 and 2000, where PostgreSQL begins to count.
    const EPOCH_2000: i64 = 946_684_800_000_000;
    /// 4713-01-01 BC and the end of 294276, the ends of `timestamptz`.
    const RANGE: std::ops::Range<i64> = -210_866_803_200_000_000..9_223_371_331_200_000_000;

    /// Reads `2026-11-25T12:30:00.5+01:00`: RFC 3339, also with a blank for the `T`, a day alone, or without an offset (UTC).
    /// `None` if it is no such text.
    pub fn parse(text: &str) -> Option<Self> {
        parse::moment(text)
    }

    /// From microseconds since 1970.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since 1970.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// Now, by this machine's clock.
    pub fn now() -> Self {
        SystemTime::now().into()
    }

    /// How long after `earlier` this is; zero if it is before.
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_micros(u64::try_from(i128::from(self.0) - i128::from(earlier.0)).unwrap_or(0))
    }

    /// The count since 2000 that goes over the wire, if PostgreSQL has that moment.
    pub(crate) fn to_wire(self) -> Option<i64> {
        Self::RANGE.contains(&self.0).then(|| self.0 - Self::EPOCH_2000)
    }

    /// From the count since 2000. The infinities stay the ends of the range.
    pub(crate) fn from_wire(count: i64) -> Self {
        Self(count.saturating_add(Self::EPOCH_2000))
    }
}

/// RFC 3339 in UTC, microseconds only where there are some.
impl std::fmt::Display for Timestamp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const DAY: i64 = 86_400_000_000;
        let (days, rest) = (self.0.div_euclid(DAY), self.0.rem_euclid(DAY));
        let (seconds, micros) = (rest / 1_000_000, rest % 1_000_000);
        let day = parse::Day::of(days);
        write!(f, "{day}T{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)?;
        if micros != 0 {
            write!(f, ".{micros:06}")?;
        }
        f.write_str("Z")
    }
}

impl std::fmt::Display for Date {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        parse::Day::of(self.0.into()).fmt(f)
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        let micros = |duration: Duration| i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        Self(match time.duration_since(UNIX_EPOCH) {
            Ok(after) => micros(after),
            Err(before) => -micros(before.duration()),
        })
    }
}

impl std::ops::Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, after: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(after.as_micros()).unwrap_or(i64::MAX)))
    }
}

impl std::ops::Sub<Duration> for Timestamp {
    type Output = Self;

    fn sub(self, before: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(before.as_micros()).unwrap_or(i64::MAX)))
    }
}

/// A day of the calendar: days since 1970-01-01.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Date(i32);

impl Date {
    /// Days between 1970 and 2000, where PostgreSQL begins to count.
    const EPOCH_2000: i32 = 10_957;
    /// 4713-01-01 BC and the end of 5874897, the ends of `date`.
    const RANGE: std::ops::Range<i32> = -2_440_588..2_145_042_541;

    /// From days since 1970.
    pub const fn from_days(days: i32) -> Self {
        Self(days)
    }

    /// Days since 1970.
    pub const fn as_days(self) -> i32 {
        self.0
    }

    /// The count since 2000 that goes over the wire, if PostgreSQL has that day.
    pub(crate) fn to_wire(self) -> Option<i32> {
        Self::RANGE.contains(&self.0).then(|| self.0 - Self::EPOCH_2000)
    }

    /// From the count since 2000. The infinities stay the ends of the range.
    pub(crate) fn from_wire(count: i32) -> Self {
        Self(count.saturating_add(Self::EPOCH_2000))
    }
}

/// The type of a key or a feature, by PostgreSQL's type of the same range. In JSON its name in lower case; a list has `[]` after
/// the name of its items.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Type {
    /// `boolean`.
    Bool,
    /// `smallint`.
    I16,
    /// `integer`.
    I32,
    /// `bigint`.
    I64,
    /// `real`.
    F32,
    /// `double precision`.
    F64,
    /// `text`; a key is compared byte by byte.
    Text,
    /// `timestamp with time zone`.
    Timestamp,
    /// `date`.
    Date,
    /// `numeric`: decimals of any length, exact.
    Numeric,
    /// `uuid`.
    Uuid,
    /// `jsonb`.
    Json,
    /// An array of one dimension.
    List(Item),
    /// `vector` of the extension pgvector, of any dimension: a list of floats.
    Vector,
}

/// What an array holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[expect(missing_docs, reason = "named as in Type")]
pub enum Item {
    Bool,
    I16,
    I32,
    I64,
    F32,
    F64,
    Text,
}

impl Item {
    /// The item's own type.
    pub fn ty(self) -> Type {
        match self {
            Item::Bool => Type::Bool,
            Item::I16 => Type::I16,
            Item::I32 => Type::I32,
            Item::I64 => Type::I64,
            Item::F32 => Type::F32,
            Item::F64 => Type::F64,
            Item::Text => Type::Text,
        }
    }
}

/// Each type with its name in JSON and in SQL, as `format_type` gives it.
const NAMES: [(Type, &str, &str); 20] = [
    (Type::Bool, "bool", "boolean"),
    (Type::I16, "i16", "smallint"),
    (Type::I32, "i32", "integer"),
    (Type::I64, "i64", "bigint"),
    (Type::F32, "f32", "real"),
    (Type::F64, "f64", "double precision"),
    (Type::Text, "text", "text"),
    (Type::Timestamp, "timestamp", "timestamp with time zone"),
    (Type::Date, "date", "date"),
    (Type::Numeric, "numeric", "numeric"),
    (Type::Uuid, "uuid", "uuid"),
    (Type::Json, "json", "jsonb"),
    (Type::List(Item::Bool), "bool[]", "boolean[]"),
    (Type::List(Item::I16), "i16[]", "smallint[]"),
    (Type::List(Item::I32), "i32[]", "integer[]"),
    (Type::List(Item::I64), "i64[]", "bigint[]"),
    (Type::List(Item::F32), "f32[]", "real[]"),
    (Type::List(Item::F64), "f64[]", "double precision[]"),
    (Type::List(Item::Text), "text[]", "text[]"),
    (Type::Vector, "vector", "vector"),
];

impl Type {
    /// Whether a value of this type names an entity: it has one form only on the wire, so that equal keys are equal bytes.
    pub fn is_key(self) -> bool {
        !matches!(self, Type::F32 | Type::F64 | Type::Numeric | Type::Json | Type::List(_) | Type::Vector)
    }

    /// The type of that name in a view's JSON form.
    pub fn named(name: &str) -> Option<Self> {
        NAMES.iter().find(|(_, json, _)| *json == name).map(|(ty, ..)| *ty)
    }

    fn names(self) -> &'static (Type, &'static str, &'static str) {
        NAMES.iter().find(|(ty, ..)| *ty == self).expect("every type has its names")
    }

    /// PostgreSQL's name of the type, as `format_type` gives it.
    pub fn sql(self) -> &'static str {
        self.names().2
    }
}

impl std::fmt::Display for Type {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.sql())
    }
}

impl Serialize for Type {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(self.names().1)
    }
}

impl<'de> Deserialize<'de> for Type {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let name = <std::borrow::Cow<'de, str>>::deserialize(input)?;
        Type::named(&name).ok_or_else(|| {
            let names: Vec<_> = NAMES.iter().map(|(_, json, _)| *json).collect();
            serde::de::Error::custom(format!("{name:?} is no type: expected one of {}", names.join(", ")))
        })
    }
}

/// One cell: of a key, of a row to write, or of a row that was read.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// No value.
    Null,
    /// For `boolean`.
    Bool(bool),
    /// For every whole-number type; refused where it does not fit. Also for the floating ones, where it is exact, and `numeric`.
    Int(i64),
    /// For the floating types; rounded to nearest for `real`, refused where that would make it infinite. Also for `numeric`: the
    /// shortest decimal that reads back as this number.
    Float(f64),
    /// For `text`. Also for `uuid`, `numeric` and `jsonb`, whose texts are checked.
    Text(Box<str>),
    /// For `timestamp with time zone`.
    Timestamp(Timestamp),
    /// For `date`.
    Date(Date),
    /// For `numeric`: the decimal's text.
    Numeric(Box<str>),
    /// For `uuid`.
    Uuid([u8; 16]),
    /// For `jsonb`: the document's text.
    Json(Box<str>),
    /// For arrays and vectors.
    List(Vec<Value>),
}

impl Value {
    /// The kind of value, for messages.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Value::Null => "no value",
            Value::Bool(_) => "a boolean",
            Value::Int(_) => "a whole number",
            Value::Float(_) => "a number",
            Value::Text(_) => "text",
            Value::Timestamp(_) => "a moment",
            Value::Date(_) => "a day",
            Value::Numeric(_) => "a decimal",
            Value::Uuid(_) => "a uuid",
            Value::Json(_) => "a JSON document",
            Value::List(_) => "a list",
        }
    }

    /// Reads a value of type `ty` from text, as it stands in a CSV file: decimal numbers (and `NaN`, `Infinity`), `true` and
    /// `false` (also `t`, `f`, `1`, `0`), moments as `2026-11-25T12:30:00.5+01:00` (a blank for the `T`; a day alone is its
    /// first moment; UTC where no offset is given), days as `2026-11-25`, documents and lists as JSON.
    pub(crate) fn parse(text: &str, ty: Type) -> Result<Self, Mismatch> {
        parse::value(text, ty)
    }

    /// The value as `f64`: numbers (rounded to nearest), booleans as 1 and 0; else `None`.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Value::Bool(value) => Some(f64::from(u8::from(*value))),
            Value::Int(value) => Some(*value as f64),
            Value::Float(value) => Some(*value),
            Value::Numeric(decimal) => decimal.parse().ok(),
            _ => None,
        }
    }

    /// The value as JSON: numbers and booleans as such, documents and lists whole, all else as text; a float that JSON has not
    /// (`NaN`, the infinities) as text too.
    pub fn to_json(&self) -> serde_json::Value {
        use serde_json::Value as Json;
        match self {
            Value::Null => Json::Null,
            Value::Bool(value) => Json::Bool(*value),
            Value::Int(value) => Json::from(*value),
            Value::Float(value) => serde_json::Number::from_f64(*value)
                .map_or_else(|| Json::from(value.to_string()), Json::Number),
            Value::Json(document) => serde_json::from_str(document).unwrap_or(Json::Null),
            Value::List(items) => items.iter().map(Value::to_json).collect(),
            other => Json::String(other.to_string()),
        }
    }

    /// The value as text, if it is text.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::Text(value) | Value::Numeric(value) | Value::Json(value) => Some(value),
            _ => None,
        }
    }
}

/// As `Value::parse` reads it and JSON has it, but for text, which stands as it is; nothing where there is no value.
impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Value::Null => Ok(()),
            Value::Bool(value) => value.fmt(f),
            Value::Int(value) => value.fmt(f),
            Value::Float(value) => value.fmt(f),
            Value::Text(text) | Value::Numeric(text) | Value::Json(text) => f.write_str(text),
            Value::Timestamp(moment) => moment.fmt(f),
            Value::Date(day) => day.fmt(f),
            Value::Uuid(bytes) => bytes.iter().enumerate().try_for_each(|(place, byte)| {
                write!(f, "{}{byte:02x}", if [4, 6, 8, 10].contains(&place) { "-" } else { "" })
            }),
            list @ Value::List(_) => list.to_json().fmt(f),
        }
    }
}

impl<T: Into<Value>> From<Vec<T>> for Value {
    fn from(items: Vec<T>) -> Self {
        Value::List(items.into_iter().map(Into::into).collect())
    }
}

macro_rules! value_from {
    ($($source:ty => $variant:ident),+ $(,)?) => {$(
        impl From<$source> for Value {
            fn from(value: $source) -> Self {
                Value::$variant(value.into())
            }
        }
    )+};
}
value_from! {
    bool => Bool, i16 => Int, i32 => Int, i64 => Int, u8 => Int, u16 => Int, u32 => Int,
    f32 => Float, f64 => Float, &str => Text, String => Text, Box<str> => Text,
    Timestamp => Timestamp, SystemTime => Timestamp, Date => Date, [u8; 16] => Uuid,
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Value::Null, Into::into)
    }
}

/// An entity: one value a key column, in the view's order. Never joined into one text, so `(1, 23)` is not `(12, 3)`.
#[derive(Debug, Clone, PartialEq)]
pub struct Key(pub(crate) Vec<Value>);

impl Key {
    /// Reads a key of `view` from one text a key column, as [`WriteOptions::parsing_text`](super::WriteOptions::parsing_text) reads
    /// cells.
    ///
    /// # Errors
    /// If there are more or fewer texts than key columns, or one is no value of its column's type.
    pub fn parse<'t>(view: &View, texts: impl IntoIterator<Item = &'t str>) -> Result<Self, Error> {
        let texts: Vec<_> = texts.into_iter().collect();
        if texts.len() != view.keys().len() {
            let (column, expected) = (view.name().to_owned(), format!("{} values", view.keys().len()));
            return Err(ErrorKind::Key { column, expected, found: texts.len().to_string() }.into());
        }
        let values = view.keys().iter().zip(texts).map(|(key, text)| {
            Value::parse(text, key.ty).map_err(|mismatch| {
                let (column, expected) = (key.name.clone(), key.ty.to_string());
                ErrorKind::Key { column, expected, found: mismatch.found.to_owned() }.into()
            })
        });
        values.collect::<Result<_, Error>>().map(Self)
    }

    /// A key of several columns.
    pub fn new(values: impl IntoIterator<Item = Value>) -> Self {
        Self(values.into_iter().collect())
    }

    /// The values in the order of the view's key columns.
    pub fn values(&self) -> &[Value] {
        &self.0
    }
}

impl From<Vec<Value>> for Key {
    fn from(values: Vec<Value>) -> Self {
        Self(values)
    }
}

macro_rules! key_from {
    ($($source:ty),+) => {$(
        impl From<$source> for Key {
            fn from(value: $source) -> Self {
                Self(vec![value.into()])
            }
        }
    )+};
}
key_from!(i16, i32, i64, &str, String, Value);

macro_rules! key_from_tuple {
    ($($name:ident)+) => {
        impl<$($name: Into<Value>),+> From<($($name,)+)> for Key {
            #[expect(non_snake_case, reason = "a macro over tuples names values as their types")]
            fn from(($($name,)+): ($($name,)+)) -> Self {
                Self(vec![$($name.into()),+])
            }
        }
    };
}
key_from_tuple!(A);
key_from_tuple!(A B);
key_from_tuple!(A B C);
key_from_tuple!(A B C D);
