//! From the text of a level to its code.
//!
//! In flow a column's levels with their codes; out flows, for a text, an integer or a boolean, the code or nothing.
//! The second look-up that H2O makes under another spelling is resolved when the table is built, so that a cell costs
//! one probe. A text of at most 16 bytes, as most levels are, is two words, which are compared where they are found.

use std::hash::{BuildHasher, RandomState};

use hashbrown::HashMap;

/// The levels of one column by text.
#[derive(Debug)]
pub(crate) struct Levels {
    short: ShortLevels,
    /// The levels longer than that.
    by_text: HashMap<Box<str>, u32>,
    /// The levels whose text is how an integer is written.
    by_integer: HashMap<i64, u32>,
    /// The codes of `false` and `true`.
    by_bool: [Option<u32>; 2],
}

impl Levels {
    /// A table of `entries`, a later one replacing an earlier one of the same text, as in a Java `HashMap`.
    ///
    /// A text that is no entry is looked up once more between the two halves of `around`, if given.
    pub(crate) fn new<'t>(
        entries: impl Iterator<Item = (&'t str, u32)>,
        around: Option<(&str, &str)>,
    ) -> Self {
        let mut by_text: HashMap<Box<str>, u32> = HashMap::new();
        for (text, code) in entries {
            by_text.insert(text.into(), code);
        }
        let aliases: Vec<(Box<str>, u32)> = by_text
            .iter()
            .filter_map(|(text, code)| {
                let (before, after) = around?;
                let alias = text.strip_prefix(before)?.strip_suffix(after)?;
                (!by_text.contains_key(alias)).then(|| (alias.into(), *code))
            })
            .collect();
        by_text.extend(aliases);
        let by_integer = by_text
            .iter()
            .filter_map(|(text, code)| {
                let number: i64 = text.parse().ok()?;
                (*number.to_string() == **text).then_some((number, *code))
            })
            .collect();
        let spelled = |spellings: [&str; 3]| spellings.iter().find_map(|text| by_text.get(*text).copied());
        let by_bool = [spelled(["false", "False", "FALSE"]), spelled(["true", "True", "TRUE"])];
        let short = ShortLevels::new(
            by_text.iter().filter_map(|(text, code)| Some((Short::new(text.as_bytes())?, *code))),
        );
        by_text.retain(|text, _| text.len() > SHORT);
        by_text.shrink_to_fit();
        Self { short, by_text, by_integer, by_bool }
    }

    /// The code of a level by its exact text.
    #[inline]
    pub(crate) fn text(&self, text: &str) -> Option<u32> {
        match Short::new(text.as_bytes()) {
            Some(short) => self.short.get(short),
            None => self.by_text.get(text).copied(),
        }
    }

    /// The code of a short level.
    #[inline]
    pub(crate) fn short(&self, text: Short) -> Option<u32> {
        self.short.get(text)
    }

    /// The code of the level that is written as `number` is.
    #[inline]
    pub(crate) fn integer(&self, number: i64) -> Option<u32> {
        self.by_integer.get(&number).copied()
    }

    /// The code of the level `true` or `false`, as Java, Python or R spells it.
    #[inline]
    pub(crate) fn bool(&self, value: bool) -> Option<u32> {
        self.by_bool[usize::from(value)]
    }
}

/// The most bytes of a text that is two words.
const SHORT: usize = 16;

/// A text of at most 16 bytes: those bytes as two little-endian words, zeros behind them, and how many they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Short {
    words: [u64; 2],
    length: u32,
}

impl Short {
    /// `text`, if it is short.
    #[inline]
    pub(crate) fn new(text: &[u8]) -> Option<Self> {
        let length = text.len();
        let word = |eight: &[u8; 8]| u64::from_le_bytes(*eight);
        let half = |four: &[u8; 4]| u64::from(u32::from_le_bytes(*four));
        // Beginning and end overlap, so that no length needs a loop.
        let words = match (text.first_chunk::<8>(), text.last_chunk::<8>()) {
            (Some(first), Some(last)) if length <= SHORT => {
                [word(first), word(last).checked_shr((SHORT - length) as u32 * 8).unwrap_or(0)]
            }
            (Some(_), _) => return None,
            (None, _) => match (text.first_chunk::<4>(), text.last_chunk::<4>()) {
                (Some(first), Some(last)) => [half(first) | half(last) >> ((8 - length) * 8) << 32, 0],
                _ => [text.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)), 0],
            },
        };
        Some(Self { words, length: length as u32 })
    }

    /// The bytes `from..to` of `data`, if they are there and short.
    #[inline]
    pub(crate) fn within(data: &[u8], from: i64, to: i64) -> Option<Self> {
        /// What a text of each length keeps of 16 bytes.
        const KEPT: [[u64; 2]; SHORT + 1] = {
            let mut kept = [[0; 2]; SHORT + 1];
            let mut length = 1;
            while length <= SHORT {
                kept[length] = kept[length - 1];
                kept[length][(length - 1) / 8] |= 0xff << ((length - 1) % 8 * 8);
                length += 1;
            }
            kept
        };
        let kept = KEPT.get(usize::try_from(to.checked_sub(from)?).ok()?)?;
        let from = usize::try_from(from).ok()?;
        // Behind most texts others follow: 16 bytes can be read whatever the length is.
        let Some(sixteen) = data.get(from..)?.first_chunk::<SHORT>() else {
            return Self::new(data.get(from..usize::try_from(to).ok()?)?);
        };
        let words = u128::from_le_bytes(*sixteen);
        let words = [words as u64 & kept[0], (words >> 64) as u64 & kept[1]];
        Some(Self { words, length: (to - from as i64) as u32 })
    }
}

/// Short levels in an open-addressing table at most half full.
#[derive(Debug)]
struct ShortLevels {
    /// As many as a power of two.
    slots: Box<[Slot]>,
    /// Keys of the hash, drawn anew for each table: a file can't know which levels would collide.
    keys: [u64; 2],
}

/// A level; nobody if the length is [`NOBODY`].
#[derive(Debug, Clone, Copy)]
struct Slot {
    words: [u64; 2],
    length: u32,
    code: u32,
}

/// The length in an empty slot.
const NOBODY: u32 = u32::MAX;

impl ShortLevels {
    /// A table of `entries`, each text once.
    fn new(entries: impl Iterator<Item = (Short, u32)> + Clone) -> Self {
        let random = RandomState::new();
        let empty = Slot { words: [0; 2], length: NOBODY, code: 0 };
        let mut table = Self {
            slots: vec![empty; (entries.clone().count() * 2).next_power_of_two()].into(),
            keys: [random.hash_one(0), random.hash_one(1)],
        };
        for (Short { words, length }, code) in entries {
            let mut at = table.home(Short { words, length });
            while table.slots[at].length != NOBODY {
                at = (at + 1) & (table.slots.len() - 1);
            }
            table.slots[at] = Slot { words, length, code };
        }
        table
    }

    /// The code of `text`. There is an empty slot, so that the search ends.
    #[inline]
    fn get(&self, text: Short) -> Option<u32> {
        let mut at = self.home(text);
        loop {
            let Slot { words, length, code } = self.slots[at];
            // One branch for the usual case: the words differ in no bit.
            let differs = (words[0] ^ text.words[0]) | (words[1] ^ text.words[1]);
            if differs | u64::from(length ^ text.length) == 0 {
                return Some(code);
            }
            if length == NOBODY {
                return None;
            }
            at = (at + 1) & (self.slots.len() - 1);
        }
    }

    /// Where `text` is sought first.
    #[inline]
    fn home(&self, text: Short) -> usize {
        let low = text.words[0] ^ self.keys[0];
        let high = text.words[1] ^ u64::from(text.length) << 56 ^ self.keys[1];
        let product = u128::from(low) * u128::from(high);
        ((product >> 64) as usize ^ product as usize) & (self.slots.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_of_any_length_is_the_same_wherever_it_stands() {
        let data = "abcdefghijklmnopqrstuvwxyz\0\0\0".as_bytes();
        for from in 0..data.len() {
            for to in from..=data.len() {
                let short = Short::within(data, from as i64, to as i64);
                assert_eq!(short, Short::new(&data[from..to]), "{from}..{to}");
                assert_eq!(short.is_some(), to - from <= 16);
                if let Some(Short { words, length }) = short {
                    let bytes = words.map(u64::to_le_bytes).concat();
                    assert_eq!((&bytes[..to - from], length as usize), (&data[from..to], to - from));
                    assert!(bytes[to - from..].iter().all(|byte| *byte == 0));
                }
            }
        }
        for (from, to) in [(-1, 3), (3, 2), (0, 99), (i64::MIN, i64::MAX), (99, 100), (20, 30)] {
            assert_eq!(Short::within(data, from, to), None, "{from}..{to}");
        }
    }

    #[test]
    fn levels_of_every_length_are_found_and_others_are_not() {
        let texts: Vec<String> = (0..40).map(|length| "x".repeat(length)).collect();
        let levels = Levels::new(texts.iter().map(String::as_str).zip(0..), None);
        for (code, text) in texts.iter().enumerate() {
            assert_eq!(levels.text(text), Some(code as u32));
            assert_eq!(levels.text(&format!("{text}y")), None);
            assert_eq!(levels.text(&format!("{text}\0")), None);
        }
        assert_eq!(Levels::new([].into_iter(), None).text(""), None);
    }

    #[test]
    fn the_later_of_two_equal_levels_wins() {
        let levels = Levels::new([("a", 0), ("b", 1), ("a", 2)].into_iter(), Some(("c.", "")));
        assert_eq!(levels.text("a"), Some(2));
    }

    #[test]
    fn a_level_is_found_without_its_column_name() {
        let levels = Levels::new([("c.a", 0), ("c.b", 1), ("b", 2)].into_iter(), Some(("c.", "")));
        assert_eq!(levels.text("a"), Some(0));
        assert_eq!(levels.text("c.a"), Some(0));
        assert_eq!(levels.text("b"), Some(2));
        assert_eq!(levels.text("c.c.a"), None);
    }

    #[test]
    fn integers_are_looked_up_as_they_are_written() {
        let levels = Levels::new([("1", 0), ("02", 1), ("-3", 2), ("+4", 3)].into_iter(), Some(("c.", "")));
        assert_eq!(levels.integer(1), Some(0));
        assert_eq!(levels.integer(2), None);
        assert_eq!(levels.integer(-3), Some(2));
        assert_eq!(levels.integer(4), None);
    }
}
