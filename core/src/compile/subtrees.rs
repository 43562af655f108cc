//! The engine for deep and irregular trees, for single rows and for any processor: rows become 16-bit codes, side by side,
//! and walk through subtrees of four levels.
//!
//! Many rows are taken down one tree after another, so that a tree stays in the second cache and the codes of a wave of
//! rows in the first. Without AVX-512 the upper levels of trees are asked as masks, and walks begin below them. One row is taken
//! down many trees at once.

use std::collections::BTreeMap;
use std::sync::Arc;

use cenote_mojo::algo::{Forest, Node, Tree};

use super::blocks::{GroupData, TreeBlock, blocks};
use super::codes::{Asks, Source, Sources, Unfit};
use super::heads::head;
use super::{Block, Quantised};
use crate::kernels::{Begin, Isa, MaskScratch, WALKS, WalkScratch, prefer_large_pages};
use crate::layout::{CODES, CodeLine, GROUP, MISSING, Step, SubtreeForest, SubtreeForestBuilder};

/// Rows whose codes are held at once: a tree comes into the second cache once for all of them.
const RUN: usize = 8192;
/// From so many rows on, the upper levels of trees are asked as masks.
const HEADED: usize = 256;
/// The most lines of codes that a single row has room for.
const MAX_ROW_LINES: usize = 128;

/// See the module.
#[derive(Debug)]
pub(crate) struct Subtrees {
    isa: Isa,
    sources: Arc<Sources>,
    /// Each column of codes.
    columns: Vec<CodeColumn>,
    forest: SubtreeForest,
    /// The class of each tree.
    class: Vec<usize>,
    /// The upper levels of the trees, for batches of many rows, where masks are faster than walks.
    heads: Vec<TreeBlock>,
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
    /// Compiles `forest`; also for batches of many rows if `many`.
    pub(crate) fn new(forest: &Forest, sources: &Arc<Sources>, isa: Isa, many: bool) -> Result<Self, Unfit> {
        // Columns that are asked sets come last.
        let mut asked: BTreeMap<(bool, u16), u16> = BTreeMap::new();
        let mut seen = vec![[false; 2]; sources.list().len()];
        for split in forest.trees.iter().flatten().flat_map(|tree| &tree.nodes) {
            let Node::Split(split) = split else { continue };
            let index = sources.index(split.column);
            let is_set = Source::is_set(split);
            if std::mem::replace(&mut seen[usize::from(index)][usize::from(is_set)], true) {
                continue;
            }
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
        let mut heads = Vec::new();
        for (number, tree) in forest.trees.iter().enumerate() {
            let Some(tree) = tree else { continue };
            class.push(number / forest.groups);
            let steps = steps(tree, sources, &asked, &mut builder)?;
            let entries = builder.tree(&steps);
            // The portable kernel asks tests one row after another, AVX-512 a subtree at once: a walk is faster.
            if many && matches!(isa, Isa::Avx2(_)) {
                heads.push(head(tree, |_, node| entries[node]));
            }
        }
        let forest = builder.finish(isa.asks_at_once(columns.len(), sets_from < columns.len()));
        prefer_large_pages(forest.subtrees());
        prefer_large_pages(forest.leaves());
        let heads = blocks(heads.iter().map(|tree| (0, tree)), sources).unwrap_or_default();
        Ok(Self { isa, sources: Arc::clone(sources), columns, forest, class, heads })
    }
}

/// The nodes of a tree as steps.
fn steps(
    tree: &Tree,
    sources: &Sources,
    asked: &BTreeMap<(bool, u16), u16>,
    builder: &mut SubtreeForestBuilder,
) -> Result<Vec<Step>, Unfit> {
    let mut columns = vec![[u16::MAX; 2]; sources.list().len()];
    asked.iter().for_each(|((is_set, source), column)| {
        columns[usize::from(*source)][usize::from(*is_set)] = *column;
    });
    let mut step = |node: &Node| {
        let split = match node {
            Node::Leaf(value) => return Ok(Step::Leaf(*value)),
            Node::Split(split) => split,
        };
        let index = sources.index(split.column);
        let source = &sources.list()[usize::from(index)];
        let asks = source.asks(split);
        let column = columns[usize::from(index)][usize::from(asks == Asks::Set)];
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

    fn takes_rows(&self) -> bool {
        true
    }

    fn fewest_rows(&self) -> usize {
        // Rows of one tree then fill about as many walks as the trees of one row do.
        32
    }

    fn block_rows(&self) -> usize {
        RUN
    }

    fn sums(&self, block: &Block<'_>, out: &mut [f64]) -> Vec<usize> {
        let mut odd = Vec::new();
        out.fill(0.0);
        let (run, lines) = (RUN.min(block.rows), self.forest.lines());
        let mut coded = vec![0u16; run * self.sources.list().len()];
        let mut codes = vec![CodeLine::ZERO; run * lines];
        let mut gaps = vec![false; run.div_ceil(WALKS)];
        let mut scratch = WalkScratch::new();
        let mut mask_scratch = MaskScratch::new();
        let mut data = GroupData::new(self.heads.iter(), if run < HEADED { 0 } else { run.div_ceil(GROUP) });
        let most = self.heads.iter().map(|head| head.forest.trees().len()).max().unwrap_or(0);
        let mut indices = vec![0u16; if run < HEADED { 0 } else { most * run }];
        let mut entries = [0; WALKS];
        for from in (0..block.rows).step_by(RUN) {
            let rows = RUN.min(block.rows - from);
            let found = self.sources.encode(self.isa, block, from, rows, run, &mut coded);
            odd.extend(found.into_iter().map(|row| from + row));
            // A wave at a time, so that its lines stay in the first cache while column after column is written.
            let waves = codes.chunks_mut(WALKS * lines).zip(&mut gaps).take(rows.div_ceil(WALKS));
            for (wave, (codes, gaps)) in waves.enumerate() {
                let (first, rows) = (wave * WALKS, WALKS.min(rows - wave * WALKS));
                let mut missing = false;
                for (at, column) in self.columns.iter().enumerate() {
                    let coded = &coded[usize::from(column.source) * run + first..][..rows];
                    for (row, code) in codes.chunks_exact_mut(lines).zip(coded) {
                        let code = column.code(*code);
                        row[at / CODES].0[at % CODES] = code;
                        missing |= code == MISSING;
                    }
                }
                *gaps = missing;
            }
            let mut add = |tree: usize, wave: usize, begin: Begin<'_>| {
                let sums = &mut out[self.class[tree] * block.rows + from + wave * WALKS..][..begin.walks()];
                let codes = &codes[wave * WALKS * lines..];
                self.isa.add_rows(&self.forest, begin, (codes, gaps[wave]), &mut scratch, sums);
            };
            let waves = rows.div_ceil(WALKS);
            if rows < HEADED || self.heads.is_empty() {
                for tree in 0..self.class.len() {
                    for wave in 0..waves {
                        add(tree, wave, Begin::Tree(tree, WALKS.min(rows - wave * WALKS)));
                    }
                }
                continue;
            }
            let mut trees = 0..;
            for head in &self.heads {
                data.fill(head, self.isa, &coded, run, 0, rows);
                let of_head = head.forest.trees().len();
                // Of all trees before any is walked, so that a group's lines stay in the first cache.
                for (group, first) in (0..rows).step_by(GROUP).enumerate() {
                    let (lines, rows) = (data.group(head, group), GROUP.min(rows - first));
                    for tree in 0..of_head {
                        let indices = &mut indices[tree * run + first..][..rows];
                        self.isa.indices(&head.forest, tree, lines, &mut mask_scratch, indices);
                    }
                }
                for (of_head, tree) in (0..of_head).zip(&mut trees) {
                    let indices = &indices[of_head * run..][..rows];
                    for (wave, indices) in indices.chunks(WALKS).enumerate() {
                        let entries = &mut entries[..indices.len()];
                        head.forest.exits(of_head, indices, entries);
                        add(tree, wave, Begin::Each(entries));
                    }
                }
            }
        }
        odd
    }

    fn row_sums(&self, row: &[f64], out: &mut [f64]) -> bool {
        match self.forest.lines() {
            0..=2 => self.row::<2>(row, out),
            _ => self.row::<MAX_ROW_LINES>(row, out),
        }
    }
}

impl Subtrees {
    /// [`Quantised::row_sums`] with room for `LINES` lines of codes.
    #[inline(always)]
    fn row<const LINES: usize>(&self, row: &[f64], out: &mut [f64]) -> bool {
        let (mut coded, mut codes) = ([[0; CODES]; LINES], [CodeLine::ZERO; LINES]);
        if self.forest.lines() > LINES {
            return false;
        }
        if !self.sources.encode_row(row, coded.as_flattened_mut()) {
            return false;
        }
        let mut gaps = false;
        for (at, column) in self.columns.iter().enumerate() {
            let index = usize::from(column.source);
            let code = column.code(coded[index / CODES][index % CODES]);
            codes[at / CODES].0[at % CODES] = code;
            gaps |= code == MISSING;
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
