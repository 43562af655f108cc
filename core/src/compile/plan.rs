//! Which trees share a block of byte columns, and the building of blocks.
//!
//! A block has as many trees as leave each byte column at most 253 distinct bounds, and a group's lines within reach of a
//! test. In flow trees with their questions; out flow blocks that hold them all, in order.

use std::ops::Range;

use cenote_mojo::threads::share;

use super::asked::AskedTree;
use super::blocks::TreeBlock;
use super::codes::{Asks, Source, Sources, Unfit};
use crate::layout::{
    Ask, BitRows, ByteColumns, ByteTable, ColumnLines, Heap, MAX_BYTE, MAX_DEPTH, MAX_LINES, RowForest,
    mask_forest,
};

/// The most bounds of a byte column: rank 0, these, and one more for missing values.
const MAX_BOUNDS: usize = MAX_BYTE as usize - 1;
/// What blocks may take beside [`NODE_BYTES`] for each node: a small file must not make large tables.
const FREE_BYTES: usize = 64 << 20;
/// What a node may make blocks take.
const NODE_BYTES: usize = 64;

/// Puts trees, each with its class, into blocks.
pub(super) fn blocks<'a>(
    trees: impl Iterator<Item = (usize, AskedTree<'a>)>,
    sources: &Sources,
) -> Result<Vec<TreeBlock>, Unfit> {
    let mut plans = vec![Plan::new(sources)];
    for (class, asked) in trees {
        let depth = asked.depth as usize;
        if depth > MAX_DEPTH {
            return Err(Unfit::TooLarge);
        }
        let tree = PlannedTree { class, asked, depth };
        if !plans.last_mut().is_some_and(|plan| plan.add(tree)) {
            plans.push(Plan::new(sources));
            if !plans.last_mut().is_some_and(|plan| plan.add(tree)) {
                return Err(Unfit::TooLarge);
            }
        }
    }
    plans.retain(|plan| !plan.trees.is_empty());
    let mut budget = FREE_BYTES;
    for plan in &plans {
        let nodes: usize = plan.trees.iter().map(|tree| tree.asked.nodes.len()).sum();
        budget = (budget + nodes * NODE_BYTES).checked_sub(plan.bytes()).ok_or(Unfit::TooLarge)?;
    }
    Ok(share(plans, || (), |(), plan| plan.build()))
}

#[derive(Debug, Clone, Copy)]
struct PlannedTree<'a> {
    class: usize,
    asked: AskedTree<'a>,
    depth: usize,
}

/// The codes that are bounds of a byte column.
#[derive(Debug, Clone, Default)]
struct Bounds {
    bits: Vec<u64>,
    count: usize,
}

impl Bounds {
    /// Adds a bound of a column of `codes` codes; whether it is new.
    fn insert(&mut self, code: u16, codes: usize) -> bool {
        if self.bits.is_empty() {
            self.bits = vec![0; codes.div_ceil(64)];
        }
        let word = &mut self.bits[usize::from(code) / 64];
        let is_new = *word >> (code % 64) & 1 == 0;
        *word |= 1 << (code % 64);
        self.count += usize::from(is_new);
        is_new
    }

    fn remove(&mut self, code: u16) {
        self.bits[usize::from(code) / 64] &= !(1 << (code % 64));
        self.count -= 1;
    }

    /// The highest byte of the column: one more than its bounds where `missing` values are above them.
    fn top(&self, missing: bool) -> u8 {
        (self.count + usize::from(missing)) as u8
    }

    /// For each of `codes` codes how many bounds it reaches.
    fn reached(&self, codes: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(codes);
        let mut reached = 0;
        for (word, first) in self.bits.iter().zip((0..).step_by(64)) {
            let mut rest = *word;
            while rest != 0 {
                bytes.resize(first + rest.trailing_zeros() as usize, reached);
                reached += 1;
                rest &= rest - 1;
            }
        }
        bytes.resize(codes, reached);
        bytes
    }
}

/// Trees that are to share byte columns.
#[derive(Debug)]
struct Plan<'a> {
    sources: &'a Sources,
    trees: Vec<PlannedTree<'a>>,
    /// Of each source the bounds of the columns whose missing values reach none, and all.
    bounds: Vec<[Bounds; 2]>,
    /// How many sets each source is asked.
    sets: Vec<usize>,
}

/// Whether the answers to a set of the source's codes fit a register, so that its code is its byte.
fn is_small(source: &Source) -> bool {
    source.missing() < 64
}

impl<'a> Plan<'a> {
    fn new(sources: &'a Sources) -> Self {
        let n = sources.list().len();
        Self { sources, trees: Vec::new(), bounds: vec![Default::default(); n], sets: vec![0; n] }
    }

    /// Adds `tree`; `false` if it must begin another block.
    fn add(&mut self, tree: PlannedTree<'a>) -> bool {
        let mut added = Vec::new();
        let mut sets = Vec::new();
        for (node, split) in tree.asked.splits() {
            let index = self.sources.index(split.column());
            match tree.asked.asks(node) {
                Asks::From { code, missing } => {
                    let codes = self.codes(index);
                    let bounds = &mut self.bounds[usize::from(index)][usize::from(missing)];
                    if bounds.insert(code, codes) {
                        added.push((index, missing, code));
                    }
                }
                Asks::Set => {
                    self.sets[usize::from(index)] += 1;
                    sets.push(index);
                }
            }
        }
        let fits = self.bounds.iter().flatten().all(|bounds| bounds.count <= MAX_BOUNDS);
        if fits && self.lines() <= MAX_LINES {
            self.trees.push(tree);
            return true;
        }
        for (index, missing, code) in added {
            self.bounds[usize::from(index)][usize::from(missing)].remove(code);
        }
        for index in sets {
            self.sets[usize::from(index)] -= 1;
        }
        false
    }

    /// How many lines a group needs, at most: the two that are the same for all rows, those of the columns, one for each set.
    fn lines(&self) -> usize {
        let columns =
            self.rank_columns().map(|(_, missing, bounds)| ColumnLines::needed(bounds.top(missing)));
        2 + columns.sum::<usize>() + self.sets.iter().sum::<usize>()
    }

    /// How many codes a source has.
    fn codes(&self, source: u16) -> usize {
        self.sources.list()[usize::from(source)].missing() + 1
    }

    /// The columns of ranks: source, whether a missing value reaches all bounds, and the bounds.
    fn rank_columns(&self) -> impl Iterator<Item = (u16, bool, &Bounds)> {
        let both = self.bounds.iter().zip(0u16..);
        both.flat_map(|([none, all], source)| [(source, false, none), (source, true, all)])
            .filter(|(_, _, bounds)| bounds.count > 0)
    }

    /// The sources that are asked sets, and how many: those of few codes, or those of many.
    fn set_sources(&self, small: bool) -> impl Iterator<Item = (u16, usize)> {
        let asked = self.sets.iter().zip(0u16..).filter(|(sets, _)| **sets > 0);
        asked
            .map(|(sets, source)| (source, *sets))
            .filter(move |(source, _)| is_small(&self.sources.list()[usize::from(*source)]) == small)
    }

    /// Bytes that the block will take in tables, answers to sets, and heaps.
    fn bytes(&self) -> usize {
        let ranks = self.rank_columns().map(|(source, ..)| self.codes(source));
        let slots = self.set_sources(true).map(|(source, _)| self.codes(source));
        let sets = self.set_sources(false).map(|(source, sets)| self.codes(source) * sets.div_ceil(64) * 8);
        let heaps = self.trees.iter().map(|tree| 10 << tree.depth.max(6));
        ranks.chain(slots).chain(sets).chain(heaps).sum()
    }

    fn build(&self) -> TreeBlock {
        let sources = self.sources;
        let mut columns = Vec::new();
        let mut tops = Vec::new();
        let mut rank_columns = vec![[u16::MAX; 2]; sources.list().len()];
        // Of each code the bound that it is, if it is one.
        let mut bounds = Vec::new();
        for (source, missing, of) in self.rank_columns() {
            rank_columns[usize::from(source)][usize::from(missing)] = columns.len() as u16;
            let mut bytes = of.reached(self.codes(source));
            bounds.push(bytes.clone());
            if let Some(last) = bytes.last_mut() {
                *last = if missing { of.top(missing) } else { 0 };
            }
            columns.push((source, ByteTable::new(bytes)));
            tops.push(Some(of.top(missing)));
        }
        let mut slot_columns = vec![u16::MAX; sources.list().len()];
        for (source, _) in self.set_sources(true) {
            slot_columns[usize::from(source)] = columns.len() as u16;
            let bytes: Vec<u8> = (0..self.codes(source)).map(|code| code as u8).collect();
            columns.push((source, ByteTable::new(bytes)));
            tops.push(None);
        }
        let mut planes = 0;
        let mut sets = Vec::new();
        for (source, tests) in self.set_sources(false) {
            sets.push((source, planes, BitRows::new(self.codes(source), tests), 0));
            planes += tests;
        }
        let mut heaps = Vec::with_capacity(self.trees.len());
        for PlannedTree { asked: tree, depth, .. } in &self.trees {
            let mut heap = Heap { depth: *depth, asks: Vec::new(), leaves: vec![0.0; 1 << depth] };
            // Large sets, which become planes in the order of slots.
            let mut large = Vec::new();
            let mut open = vec![(0usize, 0usize, 0usize)];
            while let Some((node, slot, level)) = open.pop() {
                let split = tree.nodes[node];
                if split.is_leaf() {
                    let below = depth - level;
                    let first = (slot + 1 - (1 << level)) << below;
                    heap.leaves[first..first + (1 << below)].fill(split.value());
                    continue;
                }
                let index = sources.index(split.column());
                let source = &sources.list()[usize::from(index)];
                let ask = match tree.asks(node) {
                    Asks::From { code, missing } => {
                        let column = rank_columns[usize::from(index)][usize::from(missing)];
                        Ask::From { column, bound: bounds[usize::from(column)][usize::from(code)] }
                    }
                    Asks::Set if is_small(source) => {
                        let answers = tree.answers(node, source).enumerate();
                        let bits = answers.fold(0, |bits, (code, right)| bits | u64::from(right) << code);
                        Ask::Set { column: slot_columns[usize::from(index)], bits }
                    }
                    Asks::Set => {
                        large.push((slot, node));
                        Ask::Plane { plane: 0 }
                    }
                };
                heap.asks.push((slot as u16, ask));
                open.push((split.right() as usize, 2 * slot + 2, level + 1));
                open.push((node + 1, 2 * slot + 1, level + 1));
            }
            heap.asks.sort_unstable_by_key(|(slot, _)| *slot);
            large.sort_unstable_by_key(|(slot, _)| *slot);
            let planes = heap.asks.iter_mut().filter_map(|(_, ask)| match ask {
                Ask::Plane { plane } => Some(plane),
                _ => None,
            });
            for (plane, (_, node)) in planes.zip(large) {
                let index = sources.index(tree.nodes[node].column());
                let (_, first, answers, next) =
                    sets.iter_mut().find(|(of, ..)| *of == index).expect("counted before");
                for (code, right) in tree.answers(node, &sources.list()[usize::from(index)]).enumerate() {
                    if right {
                        answers.set(code, *next);
                    }
                }
                *plane = (*first + *next) as u32;
                *next += 1;
            }
            heaps.push(heap);
        }
        let forest = mask_forest(&heaps, &tops, planes);
        let mut classes: Vec<(usize, Range<usize>)> = Vec::new();
        for (index, PlannedTree { class, .. }) in self.trees.iter().enumerate() {
            match classes.last_mut() {
                Some((last, range)) if last == class => range.end = index + 1,
                _ => classes.push((*class, index..index + 1)),
            }
        }
        let sets = sets.into_iter().map(|(source, first, answers, _)| (source, first, answers)).collect();
        let rows = RowForest::new(&heaps, columns.len(), planes);
        TreeBlock { columns: ByteColumns::new(columns), sets, forest, classes, rows }
    }
}
