//! PostgreSQL's `numeric`: decimal text to the wire's digits of base 10,000 and back, exact.

use bytes::{BufMut, BytesMut};

const NEGATIVE: u16 = 0x4000;
/// The signs of the values that are no decimal.
const SPECIAL: [(u16, &str); 3] = [(0xC000, "NaN"), (0xD000, "Infinity"), (0xF000, "-Infinity")];
/// How many digits the server takes before and after the point.
const MOST: (usize, usize) = (131_072, 16_383);

/// Appends the wire's form of a decimal: digits with a sign and a point at most, `NaN`, `Infinity` or `-Infinity`.
pub(super) fn encode(decimal: &str, out: &mut BytesMut) -> Option<()> {
    if let Some((sign, _)) = SPECIAL.iter().find(|(_, name)| *name == decimal) {
        out.put_slice(&[0, 0, 0, 0]);
        out.put_u16(*sign);
        out.put_u16(0);
        return Some(());
    }
    let (negative, digits) = match decimal.as_bytes().first()? {
        b'-' => (true, &decimal[1..]),
        b'+' => (false, &decimal[1..]),
        _ => (false, decimal),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.len() + fraction.len() == 0 || !all_digits(whole) || !all_digits(fraction) {
        return None;
    }
    let whole = whole.trim_start_matches('0');
    if whole.len() > MOST.0 || fraction.len() > MOST.1 {
        return None;
    }
    // Groups of four digits, aligned at the point.
    let padded: String = std::iter::repeat_n('0', (4 - whole.len() % 4) % 4)
        .chain(whole.chars())
        .chain(fraction.chars())
        .chain(std::iter::repeat_n('0', (4 - fraction.len() % 4) % 4))
        .collect();
    let mut groups: Vec<i16> = padded
        .as_bytes()
        .chunks(4)
        .map(|group| group.iter().fold(0, |value, digit| value * 10 + i16::from(digit - b'0')))
        .collect();
    let mut weight = whole.len().div_ceil(4) as i16 - 1;
    let leading = groups.iter().take_while(|group| **group == 0).count();
    groups.drain(..leading);
    weight -= leading as i16;
    while groups.last() == Some(&0) {
        groups.pop();
    }
    if groups.is_empty() {
        weight = 0;
    }
    out.put_i16(groups.len() as i16);
    out.put_i16(weight);
    out.put_u16(if negative && !groups.is_empty() { NEGATIVE } else { 0 });
    out.put_u16(fraction.len() as u16);
    groups.iter().for_each(|group| out.put_i16(*group));
    Some(())
}

/// The decimal of a cell, with as many digits after the point as the server keeps; `None` if the cell is none.
pub(super) fn decode(bytes: &[u8]) -> Option<String> {
    let field = |index: usize| Some(u16::from_be_bytes(*bytes.get(2 * index..)?.first_chunk()?));
    let (count, weight, sign, scale) =
        (usize::from(field(0)?), field(1)? as i16, field(2)?, usize::from(field(3)?));
    if let Some((_, name)) = SPECIAL.iter().find(|(special, _)| *special == sign) {
        return Some((*name).to_owned());
    }
    if bytes.len() != 8 + 2 * count || (sign != 0 && sign != NEGATIVE) {
        return None;
    }
    // The group of digits of weight `at`: 10,000 to that power.
    let group = |at: i32| {
        let index = usize::try_from(i32::from(weight) - at).ok().filter(|index| *index < count);
        index.and_then(|index| field(4 + index)).unwrap_or(0)
    };
    let mut out = String::new();
    if sign == NEGATIVE {
        out.push('-');
    }
    out.push_str(&group(i32::from(weight).max(0)).to_string());
    for at in (0..i32::from(weight).max(0)).rev() {
        out.push_str(&format!("{:04}", group(at)));
    }
    if scale > 0 {
        let mut fraction: String =
            (1..=scale.div_ceil(4) as i32).map(|at| format!("{:04}", group(-at))).collect();
        fraction.truncate(scale);
        out.push('.');
        out.push_str(&fraction);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_come_back() {
        let cases = [
            "0",
            "1",
            "-1",
            "10000",
            "-9999.9999",
            "0.1",
            "0.00001",
            "123456789012345678901234567890.12345",
            "0.10",
            "100000000",
            "NaN",
            "Infinity",
            "-Infinity",
            "0.000",
            "1.0000",
        ];
        for decimal in cases {
            let mut out = BytesMut::new();
            encode(decimal, &mut out).unwrap();
            assert_eq!(decode(&out).unwrap(), decimal);
        }
        for (given, expected) in [("+1.5", "1.5"), (".5", "0.5"), ("007", "7"), ("-0", "0"), ("5.", "5")] {
            let mut out = BytesMut::new();
            encode(given, &mut out).unwrap();
            assert_eq!(decode(&out).unwrap(), expected);
        }
        for bad in ["", ".", "-", "1e5", "1.2.3", "0x1", " 1", "١"] {
            assert!(encode(bad, &mut BytesMut::new()).is_none(), "{bad}");
        }
        assert_eq!(decode(&[0, 1, 0, 0]), None);
        assert_eq!(decode(&[0, 9, 0, 0, 0, 0, 0, 0]), None);
    }
}
