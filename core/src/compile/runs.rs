//! The engine of forests that have more thresholds of a column than codes: subtrees, one run of trees after another.
//!
//! Each run ranks the rows among thresholds of its own, and adds its trees to what the runs before it summed.

use super::asked::Asked;
use super::codes::Unfit;
use super::subtrees::Subtrees;
use super::{Block, Quantised};
use crate::kernels::Isa;

/// See the module.
#[derive(Debug)]
pub(crate) struct Runs(Vec<Subtrees>);

impl Runs {
    /// Compiles a forest.
    pub(crate) fn new(runs: &[Asked<'_>], isa: Isa) -> Result<Self, Unfit> {
        runs.iter().map(|run| Subtrees::new(run, isa, true)).collect::<Result<_, _>>().map(Self)
    }
}

impl Quantised for Runs {
    fn name(&self) -> &'static str {
        "subtrees"
    }

    fn takes_rows(&self) -> bool {
        true
    }

    fn fewest_rows(&self) -> usize {
        self.0.first().map_or(0, Quantised::fewest_rows)
    }

    fn block_rows(&self) -> usize {
        self.0.first().map_or(1, Quantised::block_rows)
    }

    fn sums(&self, block: &Block<'_>, out: &mut [f64]) -> Vec<usize> {
        out.fill(0.0);
        let mut odd: Vec<usize> = self.0.iter().flat_map(|run| run.add(block, out)).collect();
        odd.sort_unstable();
        odd.dedup();
        odd
    }

    fn row_sums(&self, row: &[f64], out: &mut [f64]) -> bool {
        out.fill(0.0);
        self.0.iter().all(|run| run.add_row(row, out))
    }
}
