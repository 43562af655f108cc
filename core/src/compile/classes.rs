//! Levels of a column in classes, where there are more of them than codes.
//!
//! In flow the splits that ask the column; levels that every one of them answers alike are one class. H2O groups the levels of
//! such columns into bins (`nbins_cats`) before it splits, so that there are far fewer classes than levels.

use cenote_mojo::algo::{Split, Tree, TreeRules};

use super::codes::{MAX_CODES, Unfit, level};
use super::question::goes_right;

/// How many answers are asked for at most, about a second: a small file must not take long.
const MAX_ANSWERS: usize = 1 << 29;

/// See the module.
#[derive(Debug)]
pub(crate) struct Classes {
    /// The class of each level.
    of_level: Vec<u32>,
    /// A level of each class.
    examples: Vec<u32>,
    answers: usize,
}

impl Classes {
    /// One class of all levels.
    pub(super) fn new(levels: usize) -> Self {
        Self { of_level: vec![0; levels], examples: vec![0], answers: 0 }
    }

    /// Parts those levels of each class that `split` answers differently.
    pub(super) fn part(&mut self, tree: &Tree, split: &Split) -> Result<(), Unfit> {
        let levels = self.of_level.len();
        self.answers += levels;
        if self.answers > MAX_ANSWERS {
            return Err(Unfit::TooLarge);
        }
        const NONE: u32 = u32::MAX;
        // The first answer to a class keeps its number.
        let mut answer_of = vec![None; self.examples.len()];
        let mut other = vec![NONE; self.examples.len()];
        for (value, class) in self.of_level.iter_mut().enumerate() {
            let right = goes_right(TreeRules::V120, tree, split, Some(levels), value as f64);
            let at = *class as usize;
            if *answer_of[at].get_or_insert(right) == right {
                continue;
            }
            if other[at] == NONE {
                other[at] = self.examples.len() as u32;
                self.examples.push(value as u32);
            }
            *class = other[at];
        }
        if self.examples.len() > MAX_CODES { Err(Unfit::TooManyCodes) } else { Ok(()) }
    }

    /// How many classes there are.
    pub(super) fn count(&self) -> usize {
        self.examples.len()
    }

    /// How many levels the column has.
    pub(super) fn levels(&self) -> usize {
        self.of_level.len()
    }

    /// A level of a class.
    pub(super) fn example(&self, class: usize) -> u32 {
        self.examples[class]
    }

    /// The class of `value`, which is [`Self::count`] if missing; `None` if it is no level.
    pub(super) fn code(&self, value: f64) -> Option<u16> {
        let level = level(value, self.of_level.len())?;
        Some(self.of_level.get(level).map_or(self.examples.len() as u16, |class| *class as u16))
    }
}
