//! Text to `f64` as `Double.parseDouble(text.trim())` of Java reads it.
//!
//! In flows a cell's text; out flows its number, correctly rounded, or `None` where Java throws. The grammar is that
//! of `Double.valueOf`: decimal and hexadecimal literals with an optional `d` or `f`, `NaN`, `Infinity`, a sign.
//! Rust's own grammar differs on both sides: it takes `inf` and `nan` in any case, and knows no suffix and no hex.

/// Reads `text` as Java does, leading and trailing blanks (all characters up to U+0020) aside.
pub(crate) fn parse_double(text: &str) -> Option<f64> {
    let text = text.trim_matches(|c: char| c <= ' ');
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let magnitude = match digits.as_bytes() {
        b"NaN" => return Some(f64::NAN),
        b"Infinity" => f64::INFINITY,
        [b'0', b'x' | b'X', rest @ ..] => hexadecimal(rest)?,
        other => decimal(digits, other)?,
    };
    Some(if negative { -magnitude } else { magnitude })
}

/// A decimal literal without sign. Only the grammar is checked here: the rounding is the standard library's.
fn decimal(text: &str, bytes: &[u8]) -> Option<f64> {
    let whole = leading(bytes, u8::is_ascii_digit);
    let mut end = whole;
    let mut fraction = 0;
    if bytes.get(end) == Some(&b'.') {
        fraction = leading(&bytes[end + 1..], u8::is_ascii_digit);
        end += 1 + fraction;
    }
    if whole + fraction == 0 {
        return None;
    }
    if let Some(b'e' | b'E') = bytes.get(end) {
        end += 1;
        end += usize::from(matches!(bytes.get(end), Some(b'+' | b'-')));
        let exponent = leading(&bytes[end..], u8::is_ascii_digit);
        if exponent == 0 {
            return None;
        }
        end += exponent;
    }
    ends_with_suffix(&bytes[end..]).then_some(())?;
    text[..end].parse().ok()
}

/// A hexadecimal literal after its `0x`: digits, a point somewhere among them, and a binary exponent, which is a must.
fn hexadecimal(bytes: &[u8]) -> Option<f64> {
    let whole = leading(bytes, u8::is_ascii_hexdigit);
    let mut end = whole;
    let mut fraction = 0;
    if bytes.get(end) == Some(&b'.') {
        fraction = leading(&bytes[end + 1..], u8::is_ascii_hexdigit);
        end += 1 + fraction;
    }
    if whole + fraction == 0 {
        return None;
    }
    // The value is `mantissa * 2^exponent`, and a little more if `sticky`.
    let (mut mantissa, mut exponent, mut sticky) = (0_u64, 0_i64, false);
    for (at, digit) in bytes[..end].iter().filter(|byte| **byte != b'.').enumerate() {
        let digit = (*digit as char).to_digit(16)?;
        let after_point = at >= whole;
        if mantissa >> 60 == 0 {
            mantissa = mantissa << 4 | u64::from(digit);
            exponent -= if after_point { 4 } else { 0 };
        } else {
            sticky |= digit != 0;
            exponent += if after_point { 0 } else { 4 };
        }
    }
    if !matches!(bytes.get(end), Some(b'p' | b'P')) {
        return None;
    }
    end += 1;
    let negative = bytes.get(end) == Some(&b'-');
    end += usize::from(matches!(bytes.get(end), Some(b'+' | b'-')));
    let digits = leading(&bytes[end..], u8::is_ascii_digit);
    if digits == 0 {
        return None;
    }
    let power = bytes[end..end + digits]
        .iter()
        .fold(0_i64, |power, digit| (power * 10 + i64::from(digit - b'0')).min(1 << 48));
    end += digits;
    ends_with_suffix(&bytes[end..]).then_some(())?;
    Some(round(mantissa, exponent + if negative { -power } else { power }, sticky))
}

/// The double nearest to `mantissa * 2^exponent` (a little more if `sticky`), ties to even.
fn round(mantissa: u64, exponent: i64, sticky: bool) -> f64 {
    if mantissa == 0 {
        return 0.0;
    }
    let length = i64::from(64 - mantissa.leading_zeros());
    let top = exponent + length - 1;
    if top > 1023 {
        return f64::INFINITY;
    }
    // A subnormal has as many bits fewer as it lies below the least normal number.
    let precision = if top >= -1022 { 53 } else { 53 - (-1022 - top) };
    let shift = length - precision;
    let kept = match shift {
        ..=0 => mantissa << -shift,
        1..=64 => {
            let kept = if shift == 64 { 0 } else { mantissa >> shift };
            let half = 1_u64 << (shift - 1);
            let rest = if shift == 64 { mantissa } else { mantissa & ((1 << shift) - 1) };
            let up = rest > half || (rest == half && (sticky || kept & 1 == 1));
            kept + u64::from(up)
        }
        _ => 0,
    };
    // The leading bit of `kept` adds one to the exponent field, as does a carry out of the mantissa.
    let field = if top >= -1022 { ((top + 1022) as u64) << 52 } else { 0 };
    f64::from_bits(field + kept)
}

fn leading(bytes: &[u8], is: fn(&u8) -> bool) -> usize {
    bytes.iter().take_while(|byte| is(byte)).count()
}

fn ends_with_suffix(bytes: &[u8]) -> bool {
    matches!(bytes, [] | [b'd' | b'D' | b'f' | b'F'])
}

#[cfg(test)]
mod tests {
    use super::parse_double;

    #[test]
    fn reads_what_java_reads() {
        for (text, expected) in [
            ("1", 1.0),
            ("\t 1. \u{1}", 1.0),
            (".5", 0.5),
            ("+1e5f", 1e5),
            ("1D", 1.0),
            ("-0", -0.0),
            ("1e400", f64::INFINITY),
            ("-1e-400", -0.0),
            ("0e99999999999", 0.0),
            ("1e99999999999", f64::INFINITY),
            ("Infinity", f64::INFINITY),
            ("-Infinity", f64::NEG_INFINITY),
            ("0x1p3", 8.0),
            ("0X.8P1d", 1.0),
            ("-0x1.8p1", -3.0),
            ("0x1.p0f", 1.0),
            ("0x1.fffffffffffff8p0", 2.0),
            ("0x1.fffffffffffff7fp0", 1.999_999_999_999_999_8),
            ("0x1.00000000000008p0", 1.0),
            ("0x1.000000000000080000000000001p0", 1.000_000_000_000_000_2),
            ("0x1p-1074", 5e-324),
            ("0x1p-1075", 0.0),
            ("0x1.1p-1075", 5e-324),
            ("0x0.fffffffffffff8p-1022", 2.225_073_858_507_201_4e-308),
            ("0x1p1024", f64::INFINITY),
            ("0x1.fffffffffffff8p1023", f64::INFINITY),
            ("0x0p99999999999999999999", 0.0),
            ("0x1p-99999999999999999999", 0.0),
            ("2.2250738585072012e-308", 2.225_073_858_507_201_4e-308),
            ("9007199254740993", 9_007_199_254_740_992.0),
        ] {
            let found = parse_double(text);
            assert_eq!(found.map(f64::to_bits), Some(expected.to_bits()), "{text:?} gave {found:?}");
        }
        assert!(parse_double("-NaN").is_some_and(f64::is_nan));
    }

    #[test]
    fn refuses_what_java_refuses() {
        for text in [
            "",
            " ",
            "inf",
            "nan",
            "infinity",
            "NAN",
            "NaNf",
            "Infinityd",
            "1e",
            "1e+",
            ".",
            "e5",
            "1ff",
            "1 2",
            "1,5",
            "0x1",
            "0x",
            "0xp1",
            "0x.p1",
            "0x1p",
            "0x1p+",
            "1_000",
            "--1",
            "+",
            "1L",
            "\u{a0}1",
            "٣",
            "0x1p1g",
            "-",
        ] {
            assert_eq!(parse_double(text), None, "{text:?}");
        }
    }
}
