//! Values from text, as CSV files and command lines have them, and the calendar that moments and days are written in.
//!
//! The invariant: text that is not wholly a value of its type is refused; nothing is guessed, cut off or rounded, but for the
//! fractions of a microsecond, which no moment has.

use super::value::{Date, Timestamp, Type, Value};
use super::wire::Mismatch;

const DAY: i64 = 86_400_000_000;

pub(super) fn value(text: &str, ty: Type) -> Result<Value, Mismatch> {
    let no = |found| Mismatch { found };
    Ok(match ty {
        Type::Text => Value::Text(text.into()),
        Type::Bool => match text {
            "true" | "True" | "TRUE" | "t" | "1" => Value::Bool(true),
            "false" | "False" | "FALSE" | "f" | "0" => Value::Bool(false),
            _ => return Err(no("text that is neither true nor false")),
        },
        Type::I16 | Type::I32 | Type::I64 => {
            Value::Int(text.parse().map_err(|_| no("text that is no whole number"))?)
        }
        Type::F32 | Type::F64 => Value::Float(text.parse().map_err(|_| no("text that is no number"))?),
        Type::Timestamp => Value::Timestamp(moment(text).ok_or(no("text that is no moment"))?),
        Type::Date => Value::Date(day(text).ok_or(no("text that is no day"))?),
        // Their texts are checked where they are encoded.
        Type::Numeric => Value::Numeric(text.into()),
        Type::Uuid => Value::Text(text.into()),
        Type::Json => Value::Json(text.into()),
        Type::List(item) => list(text, item.ty())?,
        Type::Vector => list(text, Type::F32)?,
    })
}

/// A JSON array of scalars. Among floats also `NaN`, `Infinity` and `-Infinity`, as Python's `json` writes them, and `inf` and
/// `-inf`, as Rust does; among whole numbers `NaN` is missing and `1.0` is 1, as data frames have them.
fn list(text: &str, item: Type) -> Result<Value, Mismatch> {
    use serde_json::Value as Json;
    const NO: Mismatch = Mismatch { found: "text that is no JSON list of such items" };
    match item {
        Type::F32 | Type::F64 => return numbers(text, float).ok_or(NO),
        Type::I16 | Type::I32 | Type::I64 => return numbers(text, whole).ok_or(NO),
        _ => {}
    }
    let items: Vec<Json> = serde_json::from_str(text).map_err(|_| NO)?;
    let items = items.into_iter().map(|json| match (json, item) {
        (Json::Null, _) => Ok(Value::Null),
        (Json::Bool(value), Type::Bool) => Ok(Value::Bool(value)),
        (Json::String(value), Type::Text) => Ok(Value::Text(value.into())),
        _ => Err(NO),
    });
    Ok(Value::List(items.collect::<Result<_, _>>()?))
}

/// A list of numbers, whose text holds no comma.
fn numbers(text: &str, number: impl Fn(&str) -> Option<Value>) -> Option<Value> {
    let items = text.trim().strip_prefix('[')?.strip_suffix(']')?;
    if items.trim().is_empty() {
        return Some(Value::List(Vec::new()));
    }
    let item = |item: &str| match item.trim() {
        "null" => Some(Value::Null),
        item => number(item),
    };
    items.split(',').map(item).collect::<Option<_>>().map(Value::List)
}

fn float(text: &str) -> Option<Value> {
    Some(Value::Float(match text {
        "NaN" => f64::NAN,
        "Infinity" | "inf" => f64::INFINITY,
        "-Infinity" | "-inf" => f64::NEG_INFINITY,
        number => serde_json::from_str(number).ok()?,
    }))
}

fn whole(text: &str) -> Option<Value> {
    if text == "NaN" {
        return Some(Value::Null);
    }
    if let Ok(value) = serde_json::from_str(text) {
        return Some(Value::Int(value));
    }
    super::wire::whole(serde_json::from_str(text).ok()?).map(Value::Int)
}

/// A day of the proleptic Gregorian calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Day {
    year: i64,
    month: i64,
    day: i64,
}

impl Day {
    /// The day that is `days` after 1970-01-01.
    pub(super) fn of(days: i64) -> Self {
        // Eras of 400 years that begin in March.
        let days = days + 719_468;
        let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month + 2) / 5 + 1;
        let month = (month + 2) % 12 + 1;
        Self { year: 400 * era + year_of_era + i64::from(month <= 2), month, day }
    }

    /// Year and month, from 1.
    pub(super) fn year_and_month(self) -> (i64, i64) {
        (self.year, self.month)
    }

    /// Days after 1970-01-01.
    fn days(self) -> i64 {
        let year = self.year - i64::from(self.month <= 2);
        let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
        let day_of_year = (153 * ((self.month + 9) % 12) + 2) / 5 + self.day - 1;
        era * 146_097 + 365 * year_of_era + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
    }
}

impl std::fmt::Display for Day {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { year, month, day } = self;
        // Years that are not 0000 to 9999 have a sign, as ISO 8601 says.
        let sign = if *year < 0 {
            "-"
        } else if *year > 9999 {
            "+"
        } else {
            ""
        };
        write!(f, "{sign}{:04}-{month:02}-{day:02}", year.unsigned_abs())
    }
}

/// A number of `digits` digits at the beginning of `text`.
fn number(text: &mut &str, digits: usize) -> Option<i64> {
    let (head, rest) = text.split_at_checked(digits)?;
    *text = rest;
    head.bytes().all(|byte| byte.is_ascii_digit()).then(|| head.parse().ok()).flatten()
}

fn mark(text: &mut &str, mark: &[char]) -> Option<()> {
    *text = text.strip_prefix(mark)?;
    Some(())
}

/// A day at the beginning of `text`: days since 1970.
fn days(text: &mut &str) -> Option<i64> {
    let year = number(text, 4)?;
    mark(text, &['-'])?;
    let month = number(text, 2)?;
    mark(text, &['-'])?;
    let day = Day { year, month, day: number(text, 2)? };
    let days = day.days();
    // No 31 November.
    (Day::of(days) == day).then_some(days)
}

fn day(mut text: &str) -> Option<Date> {
    let days = days(&mut text)?;
    text.is_empty().then(|| i32::try_from(days).ok().map(Date::from_days)).flatten()
}

pub(super) fn moment(mut text: &str) -> Option<Timestamp> {
    let text = &mut text;
    let mut micros = days(text)? * DAY;
    if text.is_empty() {
        return Some(Timestamp::from_micros(micros));
    }
    mark(text, &['T', 't', ' '])?;
    let hour = number(text, 2)?;
    mark(text, &[':'])?;
    let minute = number(text, 2)?;
    let mut second = 0;
    if mark(text, &[':']).is_some() {
        second = number(text, 2)?;
        if mark(text, &['.']).is_some() {
            let length = text.bytes().take_while(u8::is_ascii_digit).count();
            let (fraction, rest) = text.split_at(length);
            *text = rest;
            let six: String = fraction.chars().chain("000000".chars()).take(6).collect();
            micros += (length > 0).then(|| six.parse::<i64>().ok()).flatten()?;
        }
    }
    // A leap second is the next minute's first.
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    micros += ((hour * 60 + minute) * 60 + second) * 1_000_000;
    match text.chars().next() {
        None => {}
        Some('Z' | 'z') => *text = &text[1..],
        Some(sign @ ('+' | '-')) => {
            *text = &text[1..];
            let hours = number(text, 2)?;
            let _ = mark(text, &[':']);
            let minutes = if text.is_empty() { 0 } else { number(text, 2)? };
            if hours > 23 || minutes > 59 {
                return None;
            }
            let offset = (hours * 60 + minutes) * 60_000_000;
            micros += if sign == '+' { -offset } else { offset };
        }
        Some(_) => return None,
    }
    text.is_empty().then_some(Timestamp::from_micros(micros))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_as_they_are_written() {
        // Seconds from `date -u +%s`.
        let cases = [
            ("1970-01-01", 0),
            ("1970-01-01T00:00:01Z", 1_000_000),
            ("1969-12-31 23:59:59.5", -500_000),
            ("2000-02-29T12:00:00+01:30", 951_820_200_000_000),
            ("2026-11-25T12:30Z", 1_795_609_800_000_000),
            ("2026-11-25T12:30:00.1234567-0500", 1_795_627_800_123_456),
            ("0001-01-01", -62_135_596_800_000_000),
        ];
        for (text, micros) in cases {
            assert_eq!(moment(text), Some(Timestamp::from_micros(micros)), "{text}");
            let again = Timestamp::from_micros(micros).to_string();
            assert_eq!(moment(&again), Some(Timestamp::from_micros(micros)), "{again}");
        }
        for text in [
            "",
            "now",
            "2026-11-31",
            "2026-11-25T24:00Z",
            "2026-11-25T12",
            "2026-11-25T12:30:00.Z",
            "2026-11-25T12:30:00Zz",
            "2026-1-25",
            "2026-11-25T12:30+25:00",
            "+026-11-25",
            "é026-11-25",
        ] {
            assert_eq!(moment(text), None, "{text}");
        }
        assert_eq!(Timestamp::from_micros(-500_000).to_string(), "1969-12-31T23:59:59.500000Z");
    }

    #[test]
    fn every_day_is_read_as_it_is_written() {
        for days in (-719_162..2_932_897).step_by(97).chain([-719_162, 2_932_896, 11_016]) {
            let text = Date::from_days(days).to_string();
            assert_eq!(day(&text), Some(Date::from_days(days)), "{text}");
        }
    }

    #[test]
    fn text_that_is_not_wholly_a_value_is_refused() {
        let refused = [
            (Type::I64, "1.0"),
            (Type::I64, ""),
            (Type::F64, "1,5"),
            (Type::Bool, "yes"),
            (Type::Date, "2026-11-25T00:00Z"),
            (Type::List(super::super::value::Item::I16), "[1.5]"),
            (Type::Vector, "{1,2}"),
            (Type::Vector, "[1,]"),
            (Type::Vector, "[[1]]"),
            (Type::Vector, "[1e999]"),
            (Type::Vector, "[\"1\"]"),
            (Type::Vector, "[nan]"),
        ];
        for (ty, text) in refused {
            assert!(value(text, ty).is_err(), "{text} as {ty}");
        }
        assert_eq!(value("-7", Type::I64), Ok(Value::Int(-7)));
        assert_eq!(value("[1, null]", Type::Vector), Ok(Value::List(vec![Value::Float(1.0), Value::Null])));
        let whole = Type::List(super::super::value::Item::I64);
        let some = [Value::Int(i64::MAX), Value::Int(-2), Value::Null, Value::Null];
        assert_eq!(value("[9223372036854775807, -2.0, NaN, null]", whole), Ok(Value::List(some.to_vec())));
        assert!(value("[1e19]", whole).is_err());
        let floats = Type::List(super::super::value::Item::F64);
        assert_eq!(value(" [ ] ", floats), Ok(Value::List(Vec::new())));
        let odd = [f64::INFINITY, f64::NEG_INFINITY, f64::INFINITY, f64::NEG_INFINITY].map(Value::Float);
        assert_eq!(value("[Infinity, -Infinity,inf,-inf]", floats), Ok(Value::List(odd.to_vec())));
        assert!(
            matches!(value("[NaN]", floats), Ok(Value::List(items)) if matches!(items[..], [Value::Float(value)] if value.is_nan()))
        );
    }
}
