//! From the text of a level to its code.
//!
//! In flow a column's levels with their codes; out flows, for a text, an integer or a boolean, the code or nothing.
//! The second look-up that H2O makes under another spelling is resolved when the table is built, so that a cell costs
//! one probe.

use hashbrown::HashMap;

/// The levels of one column by text.
#[derive(Debug)]
pub(crate) struct Levels {
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
        Self { by_text, by_integer, by_bool }
    }

    /// The code of a level by its exact text.
    #[inline]
    pub(crate) fn text(&self, text: &str) -> Option<u32> {
        self.by_text.get(text).copied()
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

#[cfg(test)]
mod tests {
    use super::Levels;

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
