//! Columns as small whole numbers: what every quantised engine reads in place of the caller's doubles.
//!
//! A numeric column becomes the rank of its value among the forest's thresholds, a categorical column its level; a missing
//! value becomes the code after the last. Every answer of every split is then a function of one code, which [`Asks`]
//! describes and [`super::asked`] finds. Values of a categorical column that are no level (fractions, negative numbers) have no code: their rows are
//! *odd*, and are walked as H2O walks them.

use std::sync::Arc;

use cenote_mojo::algo::{Split, Tree, TreeRules};

use super::Block;
use super::classes::Classes;
use super::question::goes_right;
use crate::kernels::Isa;
use crate::layout::{RankTable, RowRanks};

/// The most codes that a column may have beside that of missing values.
pub(crate) const MAX_CODES: usize = u16::MAX as usize - 1;

/// How one column's values become codes.
#[derive(Debug)]
pub(crate) enum Coding {
    /// Rank among thresholds.
    Rank(Arc<RankTable>),
    /// Level of a domain of this length.
    Level(usize),
    /// Class of a level of a domain that has more levels than codes.
    Class(Classes),
}

/// A column that some split reads.
#[derive(Debug)]
pub(crate) struct Source {
    /// Index into the schema's features.
    pub(crate) feature: usize,
    /// How its values become codes.
    pub(crate) coding: Coding,
    /// What it is asked.
    pub(crate) asked: AskedFor,
}

/// What the splits of a column ask.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct AskedFor {
    /// Whether some ask a bound.
    pub(crate) bounds: bool,
    /// Whether some ask a set.
    pub(crate) sets: bool,
}

/// Every column that some split reads.
#[derive(Debug)]
pub(crate) struct Sources {
    list: Vec<Source>,
    ranks: RowRanks,
    of_feature: Vec<u16>,
}

/// Why an engine can't hold a forest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unfit {
    /// The rules of MOJO 1.00 and 1.10 differ; such models are few.
    OldRules,
    /// A split asks a column without levels whether its level is in a set.
    SetOfNumbers,
    /// More codes than 16 bits hold, or than a kernel's tables hold.
    TooManyCodes,
    /// A tree is too deep, or has more thresholds than the engine can tell apart.
    TooLarge,
}

/// What a split asks, in codes. `true` sends a row right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asks {
    /// Whether a present code is at least `code`.
    From {
        /// The bound.
        code: u16,
        /// What a missing value is answered.
        missing: bool,
    },
    /// Something else: any function of the code.
    Set,
}

impl Source {
    /// The code of a missing value, above all others.
    pub(crate) fn missing(&self) -> usize {
        match &self.coding {
            Coding::Rank(table) => table.missing(),
            Coding::Level(levels) => *levels,
            Coding::Class(classes) => classes.count(),
        }
    }

    /// The length of the column's domain.
    pub(crate) fn levels(&self) -> Option<usize> {
        match &self.coding {
            Coding::Rank(_) => None,
            Coding::Level(levels) => Some(*levels),
            Coding::Class(classes) => Some(classes.levels()),
        }
    }

    /// The answer to `split` for each code, the missing one last.
    pub(crate) fn answers<'a>(
        &'a self,
        tree: &'a Tree,
        split: &'a Split,
    ) -> impl Iterator<Item = bool> + use<'a> {
        let missing = self.missing();
        (0..=missing).map(move |code| {
            let value = match &self.coding {
                _ if code == missing => f64::NAN,
                Coding::Class(classes) => classes.example(code) as f64,
                _ => code as f64,
            };
            goes_right(TreeRules::V120, tree, split, self.levels(), value)
        })
    }
}

impl Sources {
    /// The sources of a forest, in order of features, of which there are `features`.
    pub(crate) fn new(list: Vec<Source>, features: usize) -> Result<Self, Unfit> {
        if list.iter().any(|source| source.missing() > MAX_CODES) {
            return Err(Unfit::TooManyCodes);
        }
        let mut of_feature = vec![u16::MAX; features];
        for (index, source) in list.iter().enumerate() {
            of_feature[source.feature] = index as u16;
        }
        let tables = list.iter().map(|source| match &source.coding {
            Coding::Rank(table) => Some((source.feature, Arc::clone(table))),
            _ => None,
        });
        let ranks = RowRanks::new(tables.collect());
        Ok(Self { list, ranks, of_feature })
    }

    /// The sources, in order of features.
    pub(crate) fn list(&self) -> &[Source] {
        &self.list
    }

    /// Index into [`Self::list`] of the source that a split on `column` reads.
    pub(crate) fn index(&self, column: u16) -> u16 {
        self.of_feature[usize::from(column)]
    }

    /// What `of` makes of the source that splits on each column read, where some do.
    pub(crate) fn by_feature<T: Default>(&self, of: impl Fn(u16) -> T) -> Vec<T> {
        let of =
            |source: &u16| if usize::from(*source) < self.list.len() { of(*source) } else { T::default() };
        self.of_feature.iter().map(of).collect()
    }

    /// Writes the codes of rows `from..from + rows` of `block`, `stride` apart by source, and returns the odd rows,
    /// counted from `from`.
    pub(crate) fn encode(
        &self,
        isa: Isa,
        block: &Block<'_>,
        from: usize,
        rows: usize,
        stride: usize,
        codes: &mut [u16],
    ) -> Vec<usize> {
        let mut odd = Vec::new();
        for (source, codes) in self.list.iter().zip(codes.chunks_exact_mut(stride)) {
            let values = &block.columns[source.feature][from..from + rows];
            let codes = &mut codes[..rows];
            match &source.coding {
                Coding::Rank(table) => isa.ranks(table, values, codes),
                Coding::Level(levels) => {
                    for (row, (code, value)) in codes.iter_mut().zip(values).enumerate() {
                        *code = level_code(*value, *levels).unwrap_or_else(|| {
                            odd.push(row);
                            *levels as u16
                        });
                    }
                }
                Coding::Class(classes) => {
                    for (row, (code, value)) in codes.iter_mut().zip(values).enumerate() {
                        *code = classes.code(*value).unwrap_or_else(|| {
                            odd.push(row);
                            classes.count() as u16
                        });
                    }
                }
            }
        }
        odd.sort_unstable();
        odd.dedup();
        odd
    }

    /// Writes the codes of one row; `false` if it is odd. There is room for eight codes for each eight sources.
    #[inline]
    pub(crate) fn encode_row(&self, isa: Isa, row: &[f64], codes: &mut [u16]) -> bool {
        isa.row_ranks(&self.ranks, row, codes);
        for (source, code) in self.list.iter().zip(codes) {
            let found = match &source.coding {
                Coding::Rank(_) => continue,
                Coding::Level(levels) => level_code(row[source.feature], *levels),
                Coding::Class(classes) => classes.code(row[source.feature]),
            };
            match found {
                Some(found) => *code = found,
                None => return false,
            }
        }
        true
    }
}

/// The code of `value` in a column of `levels` levels; `None` if it is neither a level nor missing.
#[inline]
fn level_code(value: f64, levels: usize) -> Option<u16> {
    level(value, levels).map(|level| level as u16)
}

/// The level that `value` is in a column of `levels` levels, which is `levels` if missing; `None` if it is neither.
#[inline]
pub(super) fn level(value: f64, levels: usize) -> Option<usize> {
    let code = value as i32;
    if f64::from(code) == value && code >= 0 {
        return Some((code as usize).min(levels));
    }
    // NaN, and what Java's cast takes to at or past the end of the domain.
    (value.is_nan() || (value > 0.0 && code as usize >= levels)).then_some(levels)
}
