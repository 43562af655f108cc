//! Which engine scores a forest: by its shape, the size of the batch and the processor, or as the environment says.
//!
//! Masks take large batches and forests of at most 10 levels, or 9 where subtrees are asked at once. Of deeper ones, subtrees
//! take those without sets and waves those with sets. Single rows and small batches go to subtrees, but for shallow forests of not too many columns, whose masks are
//! faster for them too. Forests of more than 65,534 thresholds of a column go through
//! subtrees in runs of trees. The plain walk takes what has no codes (MOJO 1.00 and 1.10, sets of numbers, more than 65,534
//! levels of a column) and rows that have none. The figures are in `docs/performance.md`.

use std::sync::Arc;

use super::asked::Asked;
use super::masks::Masks;
use super::nodes::SmallForest;
use super::runs::Runs;
use super::subtrees::Subtrees;
use super::waves::Waves;
use super::{Block, Engine, LateFlat, Quantised};
use crate::kernels::Isa;

/// Which engine and instruction set a forest is compiled for. What is `None`, does not fit the forest, or is not there on
/// this processor, is chosen by the forest's shape and the processor.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EngineOptions {
    /// `masks`, `waves`, `subtrees` or `flat`.
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
    /// Whether it scores the model's large batches.
    pub chosen: bool,
    /// Whether it scores single rows and small batches.
    pub rows: bool,
}

/// The engines of one forest: the plain one, which fits every forest and row, one for batches, and one for rows and small
/// batches if that is another.
#[derive(Debug)]
pub(crate) struct Engines {
    flat: Arc<LateFlat>,
    batch: Option<Box<dyn Quantised>>,
    rows: Option<Box<dyn Quantised>>,
}

/// The name of the plain engine.
const FLAT: &str = "flat";

/// Compiles the batch engine called `name` for a forest of so many classes.
fn batch_engine(name: &str, runs: &[Asked<'_>], classes: usize, isa: Isa) -> Option<Box<dyn Quantised>> {
    match (name, runs) {
        ("masks", [all]) => Some(Box::new(Masks::new(all, classes, isa).ok()?)),
        ("waves", [all]) => Some(Box::new(Waves::new(all, isa).ok()?)),
        ("subtrees", [all]) => Some(Box::new(Subtrees::new(all, isa, true).ok()?)),
        ("subtrees", runs) => Some(Box::new(Runs::new(runs, isa).ok()?)),
        _ => None,
    }
}

impl Engines {
    /// Compiles `forest` for `isa`; for the engine called `only`, if one is named that fits. With the feature `tracing` an event
    /// says which engines these are.
    pub(crate) fn new(forest: &SmallForest, flat: Arc<LateFlat>, isa: Isa, only: Option<&str>) -> Self {
        let engines = Self::choose(forest, flat, isa, only);
        #[cfg(feature = "tracing")]
        {
            let rows = engines.for_rows().map_or(FLAT, Quantised::name);
            tracing::debug!(engine = engines.name(), rows, isa = isa.name(), "a forest was compiled");
        }
        engines
    }

    fn choose(forest: &SmallForest, flat: Arc<LateFlat>, isa: Isa, only: Option<&str>) -> Self {
        let runs = Asked::runs(forest).ok();
        let compile = |name: &str| batch_engine(name, runs.as_ref()?, forest.classes, isa);
        match only {
            Some(FLAT) => return Self { flat, batch: None, rows: None },
            Some(only) => {
                if let Some(batch) = compile(only) {
                    return Self { flat, batch: Some(batch), rows: None };
                }
            }
            None => {}
        }
        let has_sets = runs.iter().flatten().any(Asked::has_sets);
        let names = match (isa, has_sets) {
            // The gathers of waves have no portable twin that is worth it.
            (Isa::Portable, _) | (_, false) => &["masks", "subtrees"][..],
            (_, true) => &["masks", "waves", "subtrees"],
        };
        let batch = names.iter().copied().find_map(compile);
        let few = || -> Option<Box<dyn Quantised>> {
            let [all] = &runs.as_ref()?[..] else { return None };
            Some(Box::new(Subtrees::new(all, isa, false).ok()?))
        };
        let rows = batch.as_ref().filter(|batch| !batch.takes_rows()).and_then(|_| few());
        Self { flat, batch, rows }
    }

    /// The engine that takes single rows and small batches, if it is not the plain one.
    fn for_rows(&self) -> Option<&dyn Quantised> {
        self.rows.as_deref().or(self.batch.as_deref())
    }
}

/// The engine for a forest.
pub(crate) fn engine(forest: &SmallForest, flat: Arc<LateFlat>, options: &EngineOptions) -> Box<dyn Engine> {
    Box::new(Engines::new(forest, flat, options.isa(), options.engine.as_deref()))
}

/// Every engine, whether it fits `forest`, and what it is in use for.
pub(crate) fn report(
    forest: &SmallForest,
    flat: Arc<LateFlat>,
    options: &EngineOptions,
) -> Vec<EngineReport> {
    let isa = options.isa();
    let runs = Asked::runs(forest).ok();
    let compile = |engine: &str| batch_engine(engine, runs.as_ref()?, forest.classes, isa);
    let engines = Engines::new(forest, flat, isa, options.engine.as_deref());
    let rows = engines.for_rows().map_or(FLAT, Quantised::name);
    let report = |engine: &'static str| EngineReport {
        engine,
        isa: isa.name(),
        fits: engine == FLAT || compile(engine).is_some(),
        chosen: engine == engines.name(),
        rows: engine == rows,
    };
    ["masks", "waves", "subtrees", FLAT].map(report).to_vec()
}

impl Engine for Engines {
    fn name(&self) -> &'static str {
        self.batch.as_ref().map_or(FLAT, |batch| batch.name())
    }

    fn sums(&self, block: &Block<'_>, out: &mut [f64]) {
        let Some(batch) = &self.batch else { return self.flat.sums(block, out) };
        let rows = self.rows.as_ref().unwrap_or(batch);
        let singly = match block.rows {
            0 => return,
            few if few < rows.fewest_rows().min(batch.fewest_rows()) => (0..few).collect(),
            few if few < batch.fewest_rows() => rows.sums(block, out),
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
        if !self.for_rows().is_some_and(|engine| engine.row_sums(row, out)) {
            self.flat.row_sums(row, out);
        }
    }

    fn block_rows(&self) -> usize {
        self.batch.as_ref().map_or(2048, |batch| batch.block_rows())
    }
}
