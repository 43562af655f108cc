//! Plain data to a scorer: chooses the engine that fits a forest's shape, the batch and the processor.

mod asked;
mod blocks;
mod choice;
mod classes;
mod codes;
mod flat;
mod heads;
mod masks;
mod nodes;
mod plan;
mod question;
mod runs;
mod subtrees;
#[cfg(test)]
mod tests;
mod waves;

pub use choice::{EngineOptions, EngineReport};
pub(crate) use choice::{engine, report};
pub(crate) use flat::{FlatForest, LateFlat};
pub(crate) use nodes::SmallForest;

/// A block of raw features, by column: `columns[feature][row]`, `NaN` where missing, level codes as numbers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Block<'a> {
    /// One slice a feature, each `rows` long.
    pub(crate) columns: &'a [&'a [f64]],
    /// Rows of the block.
    pub(crate) rows: usize,
}

/// A compiled forest.
pub(crate) trait Engine: Send + Sync + std::fmt::Debug {
    /// The name by which `CENOTE_ENGINE` forces it.
    fn name(&self) -> &'static str;

    /// Writes the sum of each class's trees, in ascending order of trees, in `f64`, from 0: `out[class * rows + row]`.
    fn sums(&self, block: &Block<'_>, out: &mut [f64]);

    /// The same for one row, `row[feature]`, without allocating: `out[class]`.
    fn row_sums(&self, row: &[f64], out: &mut [f64]);

    /// How many rows of a large batch it likes to have in a block.
    fn block_rows(&self) -> usize {
        2048
    }
}

/// A forest compiled for batches, whose rows become codes first.
pub(crate) trait Quantised: Send + Sync + std::fmt::Debug {
    /// The name by which `CENOTE_ENGINE` forces it.
    fn name(&self) -> &'static str;

    /// The sums of [`Engine::sums`], and the rows that have no codes: what is written for these means nothing.
    fn sums(&self, block: &Block<'_>, out: &mut [f64]) -> Vec<usize>;

    /// Whether no other engine takes single rows faster.
    fn takes_rows(&self) -> bool {
        false
    }

    /// Below this many rows a batch is better taken a row at a time by an engine that takes rows.
    fn fewest_rows(&self) -> usize;

    /// How many rows of a large batch it likes to have in a block.
    fn block_rows(&self) -> usize {
        4096
    }

    /// The sums of [`Engine::row_sums`]; `false`, and anything written, if it can't take single rows, or not this one.
    fn row_sums(&self, _row: &[f64], _out: &mut [f64]) -> bool {
        false
    }
}
