//! Text as Java reads it: lines, blanks, escapes, numbers and arrays.
//!
//! In flow bytes or strings of text entries; out flow strings and numbers. Each function does what the named method of
//! the JDK or of h2o-genmodel does, so that a file that reads there reads here, and to the same values.

use std::borrow::Cow;

/// Decodes an entry: UTF-8, with U+FFFD where it is not (as Java's `InputStreamReader`).
pub(crate) fn decode(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

/// Lines ended by `\n`, `\r` or `\r\n`; the last needs no end. Mirrors `BufferedReader.readLine`.
pub(crate) fn lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let Some(end) = rest.find(['\n', '\r']) else {
            return Some(std::mem::take(&mut rest));
        };
        let (line, tail) = rest.split_at(end);
        rest = tail.strip_prefix("\r\n").unwrap_or(&tail[1..]);
        Some(line)
    })
}

/// Takes blanks and control characters (up to U+0020) off both ends. Mirrors `String.trim`.
pub(crate) fn trim(text: &str) -> &str {
    text.trim_matches(|c| c <= ' ')
}

/// Blanks in the sense of `\s` in a Java pattern.
pub(crate) fn is_pattern_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\x0b' | '\x0c' | '\r')
}

/// Undoes the escapes of newlines. Mirrors `StringEscapeUtils.unescapeNewlines`: a backslash before any other character
/// vanishes, and so does one at the end.
pub(crate) fn unescape(text: &str) -> Cow<'_, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('n') => plain.push('\n'),
                Some('r') => plain.push('\r'),
                Some(other) => plain.push(other),
                None => {}
            },
            c => plain.push(c),
        }
    }
    Cow::Owned(plain)
}

/// Mirrors `Integer.parseInt`, for ASCII digits.
pub(crate) fn parse_i32(text: &str) -> Option<i32> {
    text.parse().ok()
}

/// Mirrors `Double.parseDouble`, less its hexadecimal forms, which H2O never writes.
pub(crate) fn parse_f64(text: &str) -> Option<f64> {
    let text = trim(text);
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let sign = if text.starts_with('-') { -1.0 } else { 1.0 };
    match unsigned {
        "NaN" => return Some(f64::NAN),
        "Infinity" => return Some(sign * f64::INFINITY),
        _ => {}
    }
    let digits = unsigned.strip_suffix(['d', 'D', 'f', 'F']).unwrap_or(unsigned);
    // Rust reads words such as "inf" too, and a second sign; Java does not.
    if !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        || !digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-'))
    {
        return None;
    }
    digits.parse::<f64>().ok().map(|magnitude| sign * magnitude)
}

/// Reads `[1, 2, 3]`; `[]` is empty. Mirrors the `ParseUtils.parseArrayOf…` methods with an empty default.
pub(crate) fn parse_array<T>(text: &str, element: impl Fn(&str) -> Option<T>) -> Option<Vec<T>> {
    let inner = text.strip_prefix('[')?.strip_suffix(']')?;
    if inner.is_empty() {
        return Some(Vec::new());
    }
    inner.split(',').map(|part| element(trim(part))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_as_in_java() {
        let all = |text| lines(text).collect::<Vec<_>>();
        assert_eq!(all("a\nb\r\nc\rd"), ["a", "b", "c", "d"]);
        assert_eq!(all("a\n\n\r\r\n"), ["a", "", "", ""]);
        assert_eq!(all("a\u{85}b\u{2028}c\u{b}d\n"), ["a\u{85}b\u{2028}c\u{b}d"]);
        assert_eq!(all(""), [""; 0]);
        assert_eq!(all("\n"), [""]);
    }

    #[test]
    fn trim_takes_control_characters_but_not_unicode_blanks() {
        assert_eq!(trim("\u{0}\t a \u{1f}\r"), "a");
        assert_eq!(trim("\u{a0}a\u{3000}"), "\u{a0}a\u{3000}");
        assert_eq!(trim(" \u{1} "), "");
    }

    #[test]
    fn escapes() {
        assert_eq!(unescape(r"a\nb\rc\\d\qe\"), "a\nb\rc\\dqe");
        assert_eq!(unescape(r"\\n"), r"\n");
        assert!(matches!(unescape("plain"), Cow::Borrowed("plain")));
    }

    #[test]
    fn doubles() {
        for (text, value) in [
            ("1.5", 1.5),
            (" -2 ", -2.0),
            ("+.5e-3d", 0.0005),
            ("1e400", f64::INFINITY),
            ("-Infinity", f64::NEG_INFINITY),
            ("4.9E-324", 4.9e-324),
            ("1.", 1.0),
            ("3f", 3.0),
        ] {
            assert_eq!(parse_f64(text), Some(value), "{text}");
        }
        assert!(parse_f64("NaN").unwrap().is_nan());
        assert!(parse_f64("-0.0").unwrap().is_sign_negative());
        for text in ["", "inf", "nan", "infinity", "--1", "+-1", "1 2", ".", "e5", "d", "1_0", "0x1p3"] {
            assert_eq!(parse_f64(text), None, "{text}");
        }
    }

    #[test]
    fn arrays() {
        assert_eq!(parse_array("[1, -2,3 ]", parse_i32), Some(vec![1, -2, 3]));
        assert_eq!(parse_array("[]", parse_i32), Some(vec![]));
        assert_eq!(parse_array("[0.5, NaN]", parse_f64).map(|a| a.len()), Some(2));
        for text in ["", "[", "1, 2", "[1 2]", "[1,,2]", "[ ]", "[a]"] {
            assert_eq!(parse_array(text, parse_i32), None, "{text}");
        }
    }
}
