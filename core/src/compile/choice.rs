//! Which engine scores a forest: by its shape, the size of the batch and the processor, or as the environment says.
//!
//! Masks come first: they fit forests of at most 10 levels. Subtrees take deeper ones; the plain walk takes what has no codes
//! (MOJO 1.00 and 1.10, sets of numbers, more than 65,534 thresholds or levels of a column) and rows that have none.

use cenote_mojo::Schema;
use cenote_mojo::algo::Forest;

use super::masks::Masks;
use super::subtrees::Subtrees;
use super::{Block, Engine, FlatForest, Quantised};
use crate::kernels::Isa;

/// Below this many rows a batch is taken a row at a time: a tile of 64 costs about as much as 20 rows.
const SMALL: usize = 20;

/// Which engine and instruction set a forest is compiled for. What is `None`, does not fit the forest, or is not there on
/// this processor, is chosen by the forest's shape and the processor.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EngineOptions {
    /// `masks`, `subtrees` or `flat`.
    pub engine: Option<String>,
    /// `avx512`, `avx2` or `portable`.
    pub isa: Option<String>,
}

impl EngineOptions {
    /// What the variables `CENOTE_ENGINE` and `CENOTE_ISA` name.
    pub fn from_env() -> Self {
        Self { engine: std::env::var("CENOTE_ENGINE").ok(), isa: std::env::var("CENOTE_ISA").ok() }
    }

    /// The instruction set to use.
    pub(crate) fn isa(&self) -> Isa {
        self.isa.as_deref().and_then(Isa::named).unwrap_or_else(Isa::detect)
    }
}

/// One engine, as a model could use it on this processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct EngineReport {
    /// The engine's name.
    pub engine: &'static str,
    /// The instruction set that it would use.
    pub isa: &'static str,
    /// Whether it fits the model.
    pub fits: bool,
    /// Whether it scores the model's batches.
    pub chosen: bool,
}

/// The engines of one forest: the plain one, which fits every forest and row, and one for batches.
#[derive(Debug)]
pub(crate) struct Engines {
    flat: FlatForest,
    batch: Option<Box<dyn Quantised>>,
}

/// Compiles the batch engine called `name`.
fn batch_engine(name: &str, forest: &Forest, schema: &Schema, isa: Isa) -> Option<Box<dyn Quantised>> {
    match name {
        "masks" => Some(Box::new(Masks::new(forest, schema, isa).ok()?)),
        "subtrees" => Some(Box::new(Subtrees::new(forest, schema, isa).ok()?)),
        _ => None,
    }
}

impl Engines {
    /// Compiles `forest` for `isa`; for the engine called `only`, if one is named.
    pub(crate) fn new(forest: &Forest, schema: &Schema, isa: Isa, only: Option<&str>) -> Self {
        let names: &[&str] = match (only, isa) {
            (Some(only), _) => &[only],
            // The portable kernel of masks asks tests one row after another: a walk is faster.
            (None, Isa::Portable) => &["subtrees"],
            (None, _) => &["masks", "subtrees"],
        };
        let batch = names.iter().find_map(|name| batch_engine(name, forest, schema, isa));
        Self { flat: FlatForest::new(forest, schema), batch }
    }
}

/// The engine for a forest.
pub(crate) fn engine(forest: &Forest, schema: &Schema, options: &EngineOptions) -> Box<dyn Engine> {
    Box::new(Engines::new(forest, schema, options.isa(), options.engine.as_deref()))
}

/// Every engine, and which of them fit `forest`; `chosen` is the name of the one in use.
pub(crate) fn report(
    forest: &Forest,
    schema: &Schema,
    options: &EngineOptions,
    chosen: &str,
) -> Vec<EngineReport> {
    let isa = options.isa();
    let report = |engine: &'static str| {
        let fits = engine == "flat" || batch_engine(engine, forest, schema, isa).is_some();
        EngineReport { engine, isa: isa.name(), fits, chosen: engine == chosen }
    };
    ["masks", "subtrees", "flat"].map(report).to_vec()
}

impl Engine for Engines {
    fn name(&self) -> &'static str {
        self.batch.as_ref().map_or(self.flat.name(), |batch| batch.name())
    }

    fn sums(&self, block: &Block<'_>, out: &mut [f64]) {
        let Some(batch) = &self.batch else { return self.flat.sums(block, out) };
        let singly = match block.rows {
            0 => return,
            1..SMALL => (0..block.rows).collect(),
            _ => batch.sums(block, out),
        };
        let mut row = Vec::new();
        let mut sums = vec![0.0; out.len() / block.rows];
        for index in singly {
            row.clear();
            row.extend(block.columns.iter().map(|column| column[index]));
            self.row_sums(&row, &mut sums);
            for (class, sum) in sums.iter().enumerate() {
                out[class * block.rows + index] = *sum;
            }
        }
    }

    fn row_sums(&self, row: &[f64], out: &mut [f64]) {
        if !self.batch.as_ref().is_some_and(|batch| batch.row_sums(row, out)) {
            self.flat.row_sums(row, out);
        }
    }

    fn block_rows(&self) -> usize {
        self.batch.as_ref().map_or(self.flat.block_rows(), |_| 4096)
    }
}
