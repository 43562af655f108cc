//! The engine for deep and irregular trees, for single rows and for any processor: rows become 16-bit codes, side by side,
//! and walk through subtrees of four levels.
//!
//! Many rows are taken down one tree after another, so that a tree stays in the second cache and the codes of a wave of
//! rows in the first. Without AVX-512 the upper levels of trees are asked as masks, and walks begin below them. One row is taken
//! down many trees at once.

use std::sync::Arc;

use cenote_mojo::threads::share;

use super::asked::Asked;
use super::blocks::{GroupData, TreeBlock};
use super::codes::{Asks, Sources, Unfit};
use super::heads::head;
use super::plan::blocks;
use super::{Block, Quantised};
use crate::kernels::{Begin, Isa, MaskScratch, WALKS, WalkScratch, prefer_large_pages, reserve_large_pages};
use crate::layout::{CODES, CodeLine, GROUP, MISSING, Step, SubtreeForest, SubtreeForestBuilder, TreeSize};

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
    /// Compiles a forest; also for batches of many rows if `many`.
    pub(crate) fn new(forest: &Asked<'_>, isa: Isa, many: bool) -> Result<Self, Unfit> {
        let sources = &forest.sources;
        // Columns that are asked sets come last.
        let list = || sources.list().iter().zip(0u16..);
        let bounds = list().filter(|(source, _)| source.asked.bounds).map(|(_, index)| (index, false));
        let sets = list().filter(|(source, _)| source.asked.sets).map(|(_, index)| (index, true));
        let mut asked: Vec<(u16, bool)> = bounds.collect();
        // There is always a column that is asked bounds, which the ends of paths name.
        if asked.is_empty() && !sources.list().is_empty() {
            asked.push((0, false));
        }
        let sets_from = asked.len();
        asked.extend(sets);
        if asked.len() > 1 << 15 {
            return Err(Unfit::TooLarge);
        }
        let mut columns = Vec::new();
        let mut codes = Vec::new();
        // Of each source the column that is asked bounds, and the one that is asked sets.
        let mut column_of = vec![[u16::MAX; 2]; sources.list().len()];
        for (source, is_set) in asked {
            column_of[usize::from(source)][usize::from(is_set)] = columns.len() as u16;
            let last = sources.list()[usize::from(source)].missing();
            codes.push(last + 1);
            let last = last as u16;
            columns.push(CodeColumn { source, missing: (last, if is_set { last } else { MISSING }) });
        }
        let mut builder = SubtreeForestBuilder::new(codes, sets_from);
        let mut class = Vec::new();
        let mut trees = Vec::new();
        for (of_class, asked) in forest.trees() {
            class.push(of_class);
            let sets: Result<Vec<u16>, Unfit> = asked
                .set_splits
                .iter()
                .map(|(node, split)| {
                    let index = usize::from(sources.index(split.column));
                    let answers = asked.answers(*node as usize, &sources.list()[index]);
                    builder.set(column_of[index][1], answers).ok_or(Unfit::TooLarge)
                })
                .collect();
            trees.push((asked, sets?));
        }
        // The portable kernel asks tests one row after another, AVX-512 a subtree at once: a walk is faster.
        let headed = many && matches!(isa, Isa::Avx2(_));
        let sizes: Vec<TreeSize> = trees.iter().map(|(asked, _)| asked.size).collect();
        let all = sizes.iter().fold((0, 0), |all, size| (all.0 + size.subtrees, all.1 + size.leaves));
        let mut arrays = (Vec::new(), Vec::new());
        reserve_large_pages(&mut arrays.0, all.0);
        reserve_large_pages(&mut arrays.1, all.1);
        let for_vectors = isa.asks_at_once(columns.len(), sets_from < columns.len());
        let (cutter, rooms) = builder.rooms(&sizes, for_vectors, arrays);
        // The same of each feature, which takes a step less to find.
        let columns_of = sources.by_feature(|source| column_of[usize::from(source)]);
        let items = trees.into_iter().zip(rooms).collect();
        let heads = share(items, Vec::new, |tops, ((asked, sets), room)| {
            let mut entries = vec![0; if headed { asked.nodes.len() } else { 0 }];
            let value = |node: u32| {
                let node = asked.nodes[node as usize];
                node.is_leaf().then(|| node.value())
            };
            let step = |node: u32| {
                let at = node as usize;
                let split = asked.nodes[at];
                let [column, set_column] = columns_of[usize::from(split.column())];
                let [left, right] = split.has_leaves();
                let children = [(node + 1, left), (split.right(), right)];
                match asked.asks(at) {
                    Asks::From { code, missing } => Step::From { column, from: code, missing, children },
                    Asks::Set => {
                        let set = sets[asked.set_index(at).expect("a split that asks a set")];
                        Step::In { column: set_column, set, children }
                    }
                }
            };
            let begins = |node: u32, entry| {
                if headed {
                    entries[node as usize] = entry;
                }
            };
            cutter.cut(value, step, begins, room, tops);
            headed.then(|| head(asked, |node| entries[node]))
        });
        let forest = builder.finish();
        prefer_large_pages(forest.subtrees());
        prefer_large_pages(forest.leaves());
        let heads = heads.iter().flatten().map(|head| (0, head.asked()));
        let heads = blocks(heads, sources).unwrap_or_default();
        Ok(Self { isa, sources: Arc::clone(sources), columns, forest, class, heads })
    }
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
        out.fill(0.0);
        self.add(block, out)
    }

    fn row_sums(&self, row: &[f64], out: &mut [f64]) -> bool {
        out.fill(0.0);
        self.add_row(row, out)
    }
}

impl Subtrees {
    /// [`Quantised::sums`], added to what is there.
    pub(super) fn add(&self, block: &Block<'_>, out: &mut [f64]) -> Vec<usize> {
        let mut odd = Vec::new();
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

    /// [`Quantised::row_sums`], added to what is there.
    pub(super) fn add_row(&self, row: &[f64], out: &mut [f64]) -> bool {
        match self.forest.lines() {
            0..=2 => self.row::<2>(row, out),
            _ => self.row::<MAX_ROW_LINES>(row, out),
        }
    }

    /// [`Self::add_row`] with room for `LINES` lines of codes.
    #[inline(always)]
    fn row<const LINES: usize>(&self, row: &[f64], out: &mut [f64]) -> bool {
        let (mut coded, mut codes) = ([[0; CODES]; LINES], [CodeLine::ZERO; LINES]);
        if self.forest.lines() > LINES {
            return false;
        }
        if !self.sources.encode_row(self.isa, row, coded.as_flattened_mut()) {
            return false;
        }
        let mut gaps = false;
        for (at, column) in self.columns.iter().enumerate() {
            let index = usize::from(column.source);
            let code = column.code(coded[index / CODES][index % CODES]);
            codes[at / CODES].0[at % CODES] = code;
            gaps |= code == MISSING;
        }
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
