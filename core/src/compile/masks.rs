//! The engine for batches and trees to depth 10: rows become bytes, and a tree is asked all its questions at once.
//!
//! For a run of rows, doubles become codes once ([`Sources`]), codes become the bytes of each block of trees
//! ([`GroupData`]), and [`Isa::add_trees`] does the rest.

use std::sync::Arc;

use super::asked::Asked;
use super::blocks::{GroupData, TreeBlock};
use super::codes::{Sources, Unfit};
use super::plan::blocks;
use super::{Block, Quantised};
use crate::kernels::{Isa, MaskScratch, RowData};
use crate::layout::{GROUP, MAX_DEPTH, RowForest, SumRange, Sums};

/// Rows whose codes and sums are held at once: enough to use a chunk of trees often while it is in the cache.
const RUN: usize = 8 * GROUP;

/// The most sources whose codes a row has room for.
const MAX_ROW_SOURCES: usize = 512;

/// See the module.
#[derive(Debug)]
pub(crate) struct Masks {
    isa: Isa,
    sources: Arc<Sources>,
    blocks: Vec<TreeBlock>,
    /// Of each class whether the sums of its leaves are the same in any order.
    exact: Vec<bool>,
    /// Whether rows can be taken singly.
    one_row: bool,
    /// Levels of the deepest tree.
    depth: u32,
}

impl Masks {
    /// Compiles a forest of so many classes.
    pub(crate) fn new(asked: &Asked<'_>, classes: usize, isa: Isa) -> Result<Self, Unfit> {
        let sources = &asked.sources;
        let depth = asked.trees().map(|(_, tree)| tree.depth).max().unwrap_or(0);
        // Deeper forests are faster by subtrees.
        let deepest = match isa {
            Isa::Portable => 8,
            _ if isa.asks_at_once(sources.list().len(), asked.has_sets()) => 9,
            _ => MAX_DEPTH as u32,
        };
        if depth > deepest {
            return Err(Unfit::TooLarge);
        }
        let mut blocks = blocks(asked.trees(), sources)?;
        let one_row =
            sources.list().len() <= MAX_ROW_SOURCES && blocks.iter().all(|block| block.rows.is_some());
        let ranges = sum_ranges(&blocks, classes);
        if isa.looks_up_bytes() {
            for block in &mut blocks {
                for (class, trees) in &block.classes {
                    block.forest.lay_out_leaves(trees.clone(), &ranges[*class]);
                }
            }
        }
        let exact = ranges.iter().map(SumRange::is_exact).collect();
        Ok(Self { isa, sources: Arc::clone(sources), blocks, exact, one_row, depth })
    }
}

/// Of each class what is known of the sums of its leaves.
fn sum_ranges(blocks: &[TreeBlock], classes: usize) -> Vec<SumRange> {
    let mut ranges = vec![SumRange::EMPTY; classes];
    for block in blocks {
        for (class, trees) in &block.classes {
            for tree in &block.forest.trees()[trees.clone()] {
                ranges[*class].add(block.forest.leaves_of(tree).as_flattened());
            }
        }
    }
    ranges
}

impl Quantised for Masks {
    fn name(&self) -> &'static str {
        "masks"
    }

    fn takes_rows(&self) -> bool {
        self.one_row
            && self
                .blocks
                .iter()
                .filter_map(|block| block.rows.as_ref())
                .all(|rows| self.isa.takes_rows(rows))
    }

    fn fewest_rows(&self) -> usize {
        // A tile of 64 rows, and above that a group of 512, costs what so many rows cost the engine that takes them.
        let sets = self.blocks.iter().filter_map(|block| block.rows.as_ref()).any(RowForest::has_sets);
        match (self.isa, self.depth) {
            (Isa::Avx512(_), 0..=6) if sets => 17,
            (Isa::Avx512(_), 0..=6) => 44,
            (Isa::Avx512(_), 7) => 50,
            (Isa::Avx512(_), 8) => 240,
            (Isa::Avx512(_), _) => 400,
            (Isa::Avx2(_), 0..=6) if sets => 12,
            (Isa::Avx2(_), 0..=6) => 19,
            (Isa::Avx2(_), 7..=8) => 52,
            (Isa::Avx2(_), 9) => 60,
            (Isa::Avx2(_), _) => 300,
            (Isa::Portable, 0..=6) => 40,
            (Isa::Portable, _) => 80,
        }
    }

    fn sums(&self, block: &Block<'_>, out: &mut [f64]) -> Vec<usize> {
        let mut odd = Vec::new();
        let run = RUN.min(block.rows.next_multiple_of(GROUP));
        let mut codes = vec![0u16; run * self.sources.list().len()];
        let mut data = GroupData::new(self.blocks.iter(), 1);
        let mut sums = vec![Sums::ZERO; run / GROUP * self.exact.len()];
        let mut scratch = MaskScratch::new();
        for from in (0..block.rows).step_by(RUN) {
            let rows = RUN.min(block.rows - from);
            let groups = rows.div_ceil(GROUP);
            let found = self.sources.encode(self.isa, block, from, rows, run, &mut codes);
            sums.fill(Sums::ZERO);
            for trees in &self.blocks {
                for group in 0..groups {
                    let first = group * GROUP;
                    let rows = GROUP.min(rows - first);
                    data.fill(trees, self.isa, &codes, run, first, rows);
                    let lines = data.group(trees, 0);
                    for (class, range) in &trees.classes {
                        let sums = &mut sums[class * (run / GROUP) + group];
                        self.isa.add_trees(&trees.forest, range.clone(), lines, rows, &mut scratch, sums);
                    }
                }
            }
            for class in 0..self.exact.len() {
                for group in 0..groups {
                    let from = from + group * GROUP;
                    let out = &mut out[class * block.rows..][from..block.rows.min(from + GROUP)];
                    self.isa.read_sums(&sums[class * (run / GROUP) + group], out);
                }
            }
            odd.extend(found.into_iter().map(|row| from + row));
        }
        odd
    }

    fn row_sums(&self, row: &[f64], out: &mut [f64]) -> bool {
        let mut codes = [0; MAX_ROW_SOURCES + 8];
        if !self.one_row || !self.sources.encode_row(self.isa, row, &mut codes) {
            return false;
        }
        out.fill(0.0);
        let mut data = RowData::new();
        for block in &self.blocks {
            let Some(rows) = &block.rows else { return false };
            block.row(self.isa, rows, &codes, &mut data);
            for (class, trees) in &block.classes {
                let (sum, exact) = (&mut out[*class], self.exact[*class]);
                *sum = self.isa.row_sum(&block.forest, rows, trees.clone(), &data, *sum, exact);
            }
        }
        true
    }
}
