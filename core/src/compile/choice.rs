//! Which engine scores a forest: by its shape, the size of the batch and the processor, or as the environment says.
//!
//! `CENOTE_ISA` names an instruction set (`avx512`, `avx2`, `portable`), `CENOTE_ENGINE` an engine (`masks`, `waves`,
//! `flat`). What does not fit the forest or the processor is passed over.

use cenote_mojo::Schema;
use cenote_mojo::algo::Forest;

use super::masks::Masks;
use super::waves::Waves;
use super::{Block, Engine, FlatForest, Quantised};
use crate::kernels::Isa;

/// Below this many rows a batch is taken a row at a time: a tile of 64 costs about as much as 20 rows.
const SMALL: usize = 20;

/// The engines of one forest: the plain one, which fits every forest and row, and one for batches.
#[derive(Debug)]
pub(crate) struct Engines {
    flat: FlatForest,
    batch: Option<Box<dyn Quantised>>,
}

impl Engines {
    /// Compiles `forest` for `isa`; for the batch engine called `only`, if one is named.
    pub(crate) fn new(forest: &Forest, schema: &Schema, isa: Isa, only: Option<&str>) -> Self {
        let wanted = |name: &str| only.is_none_or(|only| only == name);
        let masks =
            || Masks::new(forest, schema, isa).ok().map(|engine| Box::new(engine) as Box<dyn Quantised>);
        let waves =
            || Waves::new(forest, schema, isa).ok().map(|engine| Box::new(engine) as Box<dyn Quantised>);
        // The portable kernel asks tests one row after another: a walk is faster.
        let masks_fit = wanted("masks") && (only.is_some() || isa != Isa::Portable);
        let batch = masks_fit.then(masks).flatten().or_else(|| wanted("waves").then(waves).flatten());
        Self { flat: FlatForest::new(forest, schema), batch }
    }
}

/// The engine for a forest.
pub(crate) fn engine(forest: &Forest, schema: &Schema) -> Box<dyn Engine> {
    let setting = |name: &str| std::env::var(name).ok();
    let isa = setting("CENOTE_ISA").and_then(|name| Isa::named(&name)).unwrap_or_else(Isa::detect);
    Box::new(Engines::new(forest, schema, isa, setting("CENOTE_ENGINE").as_deref()))
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
