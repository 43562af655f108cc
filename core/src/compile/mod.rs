//! Plain data to a scorer: chooses the engine that fits a forest's shape, the batch and the processor.

mod flat;

use cenote_mojo::Schema;
use cenote_mojo::algo::Forest;

pub(crate) use flat::FlatForest;

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

/// The engine for a forest.
pub(crate) fn engine(forest: &Forest, schema: &Schema) -> Box<dyn Engine> {
    Box::new(FlatForest::new(forest, schema))
}
