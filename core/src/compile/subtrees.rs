//! The engine for deep and irregular trees, for single rows and for any processor: rows become 16-bit codes, side by side,
//! and walk through subtrees of four levels.
//!
//! Many rows are taken down one tree after another, so that a tree stays in the second cache and the codes of a wave of
//! rows in the first; one row is taken down many trees at once.

use std::collections::BTreeMap;

use cenote_mojo::Schema;
use cenote_mojo::algo::{Forest, Node, Tree};

use super::codes::{Asks, Sources, Unfit};
use super::{Block, Quantised};
use crate::kernels::{Isa, WALKS, WalkScratch};
use crate::layout::{MISSING, Step, SubtreeForest, SubtreeForestBuilder};

/// Rows whose codes are held at once.
const RUN: usize = 8 * WALKS;
/// Codes of a row come in full lines.
const LINE: usize = 32;
/// The most codes that a single row has room for.
const MAX_ROW_CODES: usize = 4096;

/// See the module.
#[derive(Debug)]
pub(crate) struct Subtrees {
    isa: Isa,
    sources: Sources,
    /// Each column of codes.
    columns: Vec<CodeColumn>,
    forest: SubtreeForest,
    /// The class of each tree.
    class: Vec<usize>,
    /// Codes a row.
    stride: usize,
}

/// A column of codes.
#[derive(Debug, Clone, Copy)]
struct CodeColumn {
    source: u16,
    /// The code of a missing value, in the source and here.
    missing: (u16, u16),
}

impl CodeColumn {
    /// The column's code, from that of its source.
    #[inline]
    fn code(self, code: u16) -> u16 {
        if code == self.missing.0 { self.missing.1 } else { code }
    }
}

impl Subtrees {
    /// Compiles `forest`.
    pub(crate) fn new(forest: &Forest, schema: &Schema, isa: Isa) -> Result<Self, Unfit> {
        let sources = Sources::new(forest, schema)?;
        // Columns that are asked sets come last.
        let mut asked: BTreeMap<(bool, u16), u16> = BTreeMap::new();
        for split in forest.trees.iter().flatten().flat_map(|tree| &tree.nodes) {
            let Node::Split(split) = split else { continue };
            let index = sources.index(split.column);
            let is_set = sources.list()[usize::from(index)].asks(split) == Asks::Set;
            // There is always a column that is asked bounds, which the ends of paths name.
            if is_set && asked.is_empty() {
                asked.insert((false, index), 0);
            }
            asked.insert((is_set, index), 0);
        }
        if asked.len() > 1 << 15 {
            return Err(Unfit::TooLarge);
        }
        let mut columns = Vec::new();
        let mut codes = Vec::new();
        for ((is_set, source), column) in &mut asked {
            *column = columns.len() as u16;
            let last = sources.list()[usize::from(*source)].missing();
            codes.push(last + 1);
            let last = last as u16;
            columns
                .push(CodeColumn { source: *source, missing: (last, if *is_set { last } else { MISSING }) });
        }
        let sets_from = asked.keys().filter(|(is_set, _)| !is_set).count();
        let mut builder = SubtreeForestBuilder::new(codes, sets_from);
        let mut class = Vec::new();
        for (number, tree) in forest.trees.iter().enumerate() {
            let Some(tree) = tree else { continue };
            class.push(number / forest.groups);
            let steps = steps(tree, &sources, &asked, &mut builder)?;
            builder.tree(&steps);
        }
        let stride = columns.len().next_multiple_of(LINE).max(LINE);
        Ok(Self { isa, sources, columns, forest: builder.finish(), class, stride })
    }
}

/// The nodes of a tree as steps.
fn steps(
    tree: &Tree,
    sources: &Sources,
    asked: &BTreeMap<(bool, u16), u16>,
    builder: &mut SubtreeForestBuilder,
) -> Result<Vec<Step>, Unfit> {
    let mut step = |node: &Node| {
        let split = match node {
            Node::Leaf(value) => return Ok(Step::Leaf(*value)),
            Node::Split(split) => split,
        };
        let index = sources.index(split.column);
        let source = &sources.list()[usize::from(index)];
        let asks = source.asks(split);
        let column = asked[&(asks == Asks::Set, index)];
        let children = [split.left, split.right];
        Ok(match asks {
            Asks::From { code, missing } => Step::From { column, from: code, missing, children },
            Asks::Set => {
                let set = builder.set(column, source.answers(tree, split)).ok_or(Unfit::TooLarge)?;
                Step::In { column, set, children }
            }
        })
    };
    tree.nodes.iter().map(&mut step).collect()
}

impl Quantised for Subtrees {
    fn name(&self) -> &'static str {
        "subtrees"
    }

    fn sums(&self, block: &Block<'_>, out: &mut [f64]) -> Vec<usize> {
        let mut odd = Vec::new();
        out.fill(0.0);
        let run = RUN.min(block.rows);
        let mut coded = vec![0u16; run * self.sources.list().len()];
        let mut codes = vec![0u16; run * self.stride];
        let mut gaps = vec![false; run.div_ceil(WALKS)];
        let mut scratch = WalkScratch::new();
        for from in (0..block.rows).step_by(RUN) {
            let rows = RUN.min(block.rows - from);
            let found = self.sources.encode(self.isa, block, from, rows, run, &mut coded);
            odd.extend(found.into_iter().map(|row| from + row));
            // A wave at a time, so that its lines stay in the first cache while column after column is written.
            for (first, gaps) in (0..rows).step_by(WALKS).zip(&mut gaps) {
                *gaps = false;
                let wave = WALKS.min(rows - first);
                let codes = &mut codes[first * self.stride..][..wave * self.stride];
                for (at, column) in self.columns.iter().enumerate() {
                    let coded = &coded[usize::from(column.source) * run + first..][..wave];
                    for (row, code) in codes.chunks_exact_mut(self.stride).zip(coded) {
                        row[at] = column.code(*code);
                        *gaps |= row[at] == MISSING;
                    }
                }
            }
            for (tree, class) in self.class.iter().enumerate() {
                let sums = &mut out[class * block.rows + from..][..rows];
                let codes = codes.chunks(WALKS * self.stride).zip(gaps.iter().copied());
                for (codes, sums) in codes.zip(sums.chunks_mut(WALKS)) {
                    self.isa.add_tree(&self.forest, tree, codes, self.stride, &mut scratch, sums);
                }
            }
        }
        odd
    }

    fn row_sums(&self, row: &[f64], out: &mut [f64]) -> bool {
        if self.stride <= 2 * LINE {
            self.row::<{ 2 * LINE }>(row, out)
        } else {
            self.row::<MAX_ROW_CODES>(row, out)
        }
    }
}

impl Subtrees {
    /// [`Quantised::row_sums`] with room for `CODES` codes.
    #[inline(always)]
    fn row<const CODES: usize>(&self, row: &[f64], out: &mut [f64]) -> bool {
        let (mut coded, mut codes) = ([0; CODES], [0; CODES]);
        if self.stride > CODES || !self.sources.encode_row(row, &mut coded) {
            return false;
        }
        let mut gaps = false;
        for (column, code) in self.columns.iter().zip(&mut codes) {
            *code = column.code(coded[usize::from(column.source)]);
            gaps |= *code == MISSING;
        }
        out.fill(0.0);
        let mut scratch = WalkScratch::new();
        let mut first = 0;
        for trees in self.class.chunk_by(|a, b| a == b) {
            for from in (0..trees.len()).step_by(WALKS) {
                let range = first + from..first + trees.len().min(from + WALKS);
                self.isa.add_row(&self.forest, range, (&codes, gaps), &mut scratch, &mut out[trees[0]]);
            }
            first += trees.len();
        }
        true
    }
}
