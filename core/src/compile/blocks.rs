//! Trees in blocks that share byte columns, and the bytes of a group of rows for a block.
//!
//! A block has as many trees as leave each byte column at most 253 distinct bounds. Codes become bytes by one table a column;
//! answers to sets of more than 64 codes become planes of bits.

use std::collections::BTreeMap;
use std::ops::Range;

use cenote_mojo::algo::{Node, Tree};

use super::codes::{Asks, Sources, Unfit};
use crate::kernels::{Group, Isa, RowData};
use crate::layout::{BitRows, GROUP, Line, MAX_DEPTH, MaskForest, MaskForestBuilder, RowForest, TILES};

/// Bytes of trees that are used for every group of a run before the next trees are.
const CHUNK: usize = 384 << 10;
/// The most bounds of a byte column: rank 0, these, and one more for missing values.
const MAX_BOUNDS: usize = 253;

/// What the bytes of a column are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Bytes {
    /// How many of the block's bounds a code reaches; `missing` says whether a missing value reaches all or none.
    Rank { source: u16, missing: bool },
    /// The code itself.
    Slot { source: u16 },
    /// None: the answers to each set are a plane of bits.
    Planes { source: u16 },
}

#[derive(Debug)]
struct ByteColumn {
    source: u16,
    /// One byte a code.
    table: Box<[u8]>,
}

/// What blocks may take beside [`NODE_BYTES`] for each node: a small file must not make large tables.
const FREE_BYTES: usize = 64 << 20;
/// What a node may make blocks take.
const NODE_BYTES: usize = 64;

/// Trees that share byte columns.
#[derive(Debug)]
pub(super) struct TreeBlock {
    columns: Vec<ByteColumn>,
    /// The sets too large for a register: source, first plane, answers.
    sets: Vec<(u16, usize, BitRows)>,
    /// The trees.
    pub(super) forest: MaskForest,
    /// Runs of trees of one class that are used together.
    pub(super) chunks: Vec<(usize, Range<usize>)>,
    /// The trees for one row, if that is possible.
    pub(super) rows: Option<RowForest>,
}

/// The bytes and planes of a run of groups, for one block after another.
#[derive(Debug)]
pub(super) struct GroupData {
    bytes: Vec<Line>,
    planes: Vec<u64>,
}

impl GroupData {
    /// Room for `groups` groups and any of `blocks`.
    pub(super) fn new<'a>(blocks: impl Iterator<Item = &'a TreeBlock> + Clone, groups: usize) -> Self {
        let lines = blocks.clone().map(|block| block.forest.lines()).max().unwrap_or(0);
        let planes = blocks.map(|block| block.forest.planes()).max().unwrap_or(0) * TILES;
        Self { bytes: vec![Line::ZERO; groups * lines], planes: vec![0; groups * planes] }
    }

    /// Makes them for `rows` rows from the codes of each source, `stride` apart.
    pub(super) fn fill(&mut self, block: &TreeBlock, isa: Isa, codes: &[u16], stride: usize, rows: usize) {
        let (lines, words) = (block.forest.lines(), block.forest.planes() * TILES);
        for group in 0..rows.div_ceil(GROUP) {
            let from = group * GROUP;
            let codes = |source: u16| &codes[usize::from(source) * stride + from..][..GROUP.min(rows - from)];
            let bytes = self.bytes[group * lines..][..lines].as_chunks_mut::<TILES>().0;
            for (column, bytes) in block.columns.iter().zip(bytes) {
                isa.look_up(codes(column.source), &column.table, bytes);
            }
            let planes = &mut self.planes[group * words..][..words];
            for (source, first, answers) in &block.sets {
                isa.bit_planes(answers, codes(*source), *first, block.forest.planes(), planes);
            }
        }
    }

    /// Those of one group, which has `rows` rows.
    pub(super) fn group(&self, block: &TreeBlock, group: usize, rows: usize) -> Group<'_> {
        let (lines, words) = (block.forest.lines(), block.forest.planes() * TILES);
        Group {
            columns: &self.bytes[group * lines..][..lines],
            answers: &self.planes[group * words..][..words],
            rows,
        }
    }
}

impl TreeBlock {
    /// The bytes and answers of one row, from the code of each source.
    #[inline]
    pub(super) fn row(&self, codes: &[u16], row: &mut RowData) {
        for (byte, column) in row.bytes.iter_mut().zip(&self.columns) {
            *byte = column.table[usize::from(codes[usize::from(column.source)])];
        }
        for (source, first, answers) in &self.sets {
            let words = answers.words();
            let bits = &answers.bits()[usize::from(codes[usize::from(*source)]) * words..][..words];
            row.answers[first / 64..][..words].copy_from_slice(bits);
        }
    }
}

/// Puts trees, each with its class, into blocks.
pub(super) fn blocks<'a>(
    trees: impl Iterator<Item = (usize, &'a Tree)>,
    sources: &Sources,
) -> Result<Vec<TreeBlock>, Unfit> {
    let mut blocks = Vec::new();
    let mut plan = Plan::default();
    let mut budget = FREE_BYTES;
    let mut end = |plan: Plan<'_>| {
        let nodes: usize = plan.trees.iter().map(|(_, tree, _)| tree.nodes.len()).sum();
        budget = (budget + nodes * NODE_BYTES).checked_sub(plan.bytes(sources)).ok_or(Unfit::TooLarge)?;
        Ok(plan.build(sources))
    };
    for (class, tree) in trees {
        if plan.add(sources, class, tree)? {
            continue;
        }
        blocks.push(end(std::mem::take(&mut plan))?);
        if !plan.add(sources, class, tree)? {
            return Err(Unfit::TooLarge);
        }
    }
    if !plan.trees.is_empty() {
        blocks.push(end(plan)?);
    }
    Ok(blocks)
}

/// Trees that are to share byte columns.
#[derive(Default)]
struct Plan<'a> {
    trees: Vec<(usize, &'a Tree, usize)>,
    /// The bounds of each rank column; empty for the others.
    columns: BTreeMap<Bytes, Vec<u16>>,
    /// How many sets of each source become planes.
    sets: BTreeMap<u16, usize>,
}

impl<'a> Plan<'a> {
    /// Adds `tree`; `false` if it must begin another block.
    fn add(&mut self, sources: &Sources, class: usize, tree: &'a Tree) -> Result<bool, Unfit> {
        let depth = depth(tree).filter(|depth| *depth <= MAX_DEPTH).ok_or(Unfit::TooLarge)?;
        let mut asked: BTreeMap<Bytes, Vec<u16>> = BTreeMap::new();
        for node in &tree.nodes {
            let Node::Split(split) = node else { continue };
            let index = sources.index(split.column);
            let source = &sources.list()[usize::from(index)];
            match source.asks(split) {
                Asks::From { code, missing } => {
                    asked.entry(Bytes::Rank { source: index, missing }).or_default().push(code);
                }
                Asks::Set => {
                    asked.entry(set_bytes(index, source.missing())).or_default();
                }
            }
        }
        for (key, bounds) in &mut asked {
            bounds.extend(self.columns.get(key).into_iter().flatten());
            bounds.sort_unstable();
            bounds.dedup();
            if bounds.len() > MAX_BOUNDS {
                return Ok(false);
            }
        }
        for node in &tree.nodes {
            let Node::Split(split) = node else { continue };
            let index = sources.index(split.column);
            let source = &sources.list()[usize::from(index)];
            if source.asks(split) == Asks::Set && source.missing() >= 64 {
                *self.sets.entry(index).or_default() += 1;
            }
        }
        self.columns.extend(asked);
        self.trees.push((class, tree, depth));
        Ok(true)
    }

    /// Bytes that the block will take in tables, answers to sets, and heaps.
    fn bytes(&self, sources: &Sources) -> usize {
        let codes = |source: u16| sources.list()[usize::from(source)].missing() + 1;
        let tables = self.columns.keys().map(|key| match key {
            Bytes::Rank { source, .. } | Bytes::Slot { source } => codes(*source),
            Bytes::Planes { .. } => 0,
        });
        let sets = self.sets.iter().map(|(source, tests)| codes(*source) * tests.div_ceil(64) * 8);
        let heaps = self.trees.iter().map(|(.., depth)| 6 << depth.max(&6));
        tables.chain(sets).chain(heaps).sum()
    }

    fn build(self, sources: &Sources) -> TreeBlock {
        let mut columns = Vec::new();
        let mut column_of = BTreeMap::new();
        for (key, bounds) in &self.columns {
            column_of.insert(*key, columns.len() as u16);
            let mut column = |source: u16, byte: &dyn Fn(usize) -> u8| {
                let missing = sources.list()[usize::from(source)].missing();
                columns.push(ByteColumn { source, table: (0..=missing).map(byte).collect() });
            };
            match *key {
                Bytes::Rank { source, missing } => {
                    let last = sources.list()[usize::from(source)].missing();
                    column(source, &|code| {
                        let reached = match code == last {
                            true if missing => bounds.len() + 1,
                            true => 0,
                            false => bounds.partition_point(|bound| usize::from(*bound) <= code),
                        };
                        // As the signed byte that is compared.
                        reached as u8 ^ 0x80
                    });
                }
                Bytes::Slot { source } => column(source, &|code| code as u8),
                Bytes::Planes { .. } => {}
            }
        }
        let mut planes = 0;
        let mut sets = Vec::new();
        for (source, tests) in &self.sets {
            let answers = BitRows::new(sources.list()[usize::from(*source)].missing() + 1, *tests);
            let first = planes;
            planes += answers.words() * 64;
            sets.push((*source, first, answers, 0));
        }
        let mut builder = MaskForestBuilder::new(columns.len(), planes);
        let mut leaves = Vec::new();
        for (_, tree, depth) in &self.trees {
            leaves.clear();
            leaves.resize(1 << depth, 0.0);
            let mut open = vec![(0usize, 0usize, 0usize)];
            while let Some((node, slot, level)) = open.pop() {
                match &tree.nodes[node] {
                    Node::Leaf(value) => {
                        let below = depth - level;
                        let first = (slot + 1 - (1 << level)) << below;
                        leaves[first..first + (1 << below)].fill(*value);
                    }
                    Node::Split(split) => {
                        let index = sources.index(split.column);
                        let source = &sources.list()[usize::from(index)];
                        match source.asks(split) {
                            Asks::From { code, missing } => {
                                let key = Bytes::Rank { source: index, missing };
                                let below = self.columns[&key].partition_point(|bound| *bound < code);
                                builder.rank_test(slot as u16, column_of[&key], (below as u8 ^ 0x80) as i8);
                            }
                            Asks::Set if source.missing() < 64 => {
                                let column = column_of[&Bytes::Slot { source: index }];
                                let mut bits = 0;
                                for (code, right) in source.answers(tree, split).enumerate() {
                                    bits |= u64::from(right) << code;
                                }
                                builder.small_set_test(slot as u16, column, bits);
                            }
                            Asks::Set => {
                                let (_, first, answers, next) =
                                    sets.iter_mut().find(|(of, ..)| *of == index).expect("counted before");
                                for (code, right) in source.answers(tree, split).enumerate() {
                                    if right {
                                        answers.set(code, *next);
                                    }
                                }
                                builder.plane_test(slot as u16, (*first + *next) as u32);
                                *next += 1;
                            }
                        }
                        open.push((split.right as usize, 2 * slot + 2, level + 1));
                        open.push((split.left as usize, 2 * slot + 1, level + 1));
                    }
                }
            }
            builder.tree(*depth, &leaves);
        }
        let forest = builder.finish();
        let mut chunks: Vec<(usize, Range<usize>)> = Vec::new();
        let mut size = 0;
        for (index, (class, ..)) in self.trees.iter().enumerate() {
            size += forest.tree_bytes(index);
            match chunks.last_mut() {
                Some((last, range)) if last == class && size <= CHUNK => range.end = index + 1,
                _ => {
                    size = forest.tree_bytes(index);
                    chunks.push((*class, index..index + 1));
                }
            }
        }
        let sets = sets.into_iter().map(|(source, first, answers, _)| (source, first, answers)).collect();
        let rows = RowForest::new(&forest).filter(|_| planes <= RowData::MAX_PLANES);
        TreeBlock { columns, sets, forest, chunks, rows }
    }
}

fn set_bytes(source: u16, missing: usize) -> Bytes {
    if missing < 64 { Bytes::Slot { source } } else { Bytes::Planes { source } }
}

/// Splits on the longest path of `tree`; `None` above 64.
fn depth(tree: &Tree) -> Option<usize> {
    let mut depths = vec![0u8; tree.nodes.len()];
    let mut deepest = 0;
    for (index, node) in tree.nodes.iter().enumerate() {
        let depth = depths[index];
        deepest = deepest.max(depth);
        if let Node::Split(split) = node {
            if depth == 64 {
                return None;
            }
            depths[split.left as usize] = depth + 1;
            depths[split.right as usize] = depth + 1;
        }
    }
    Some(deepest.into())
}
