//! Trees in blocks that share byte columns, and the bytes of a group of rows for a block.
//!
//! A block has as many trees as leave each byte column at most 253 distinct bounds, and a group's lines within reach of a
//! test. Codes become bytes by one table a column, and bytes lines of bits; answers to sets of more than 64 codes become
//! planes, which are lines too.

use std::collections::BTreeMap;
use std::ops::Range;

use cenote_mojo::algo::{Node, Split, Tree};

use super::codes::{Asks, Source, Sources, Unfit};
use crate::kernels::{Isa, RowData};
use crate::layout::{
    Ask, BitRows, ByteTable, ColumnLines, GROUP, Heap, Line, MAX_BYTE, MAX_DEPTH, MAX_LINES, MaskForest,
    RowForest, TILES, mask_forest,
};

/// The most bounds of a byte column: rank 0, these, and one more for missing values.
const MAX_BOUNDS: usize = MAX_BYTE as usize - 1;

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
    table: ByteTable,
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
    /// Runs of trees of one class.
    pub(super) classes: Vec<(usize, Range<usize>)>,
    /// The trees for one row, if that is possible.
    pub(super) rows: Option<RowForest>,
}

/// The lines of a run of groups, for one block after another.
#[derive(Debug)]
pub(super) struct GroupData {
    lines: Vec<Line>,
}

impl GroupData {
    /// Room for `groups` groups and any of `blocks`.
    pub(super) fn new<'a>(blocks: impl Iterator<Item = &'a TreeBlock>, groups: usize) -> Self {
        let lines = blocks.map(|block| block.forest.lines()).max().unwrap_or(0);
        Self { lines: vec![Line::ZERO; groups * lines] }
    }

    /// Makes them for rows `from..from + rows` from the codes of each source, `stride` apart.
    pub(super) fn fill(
        &mut self,
        block: &TreeBlock,
        isa: Isa,
        codes: &[u16],
        stride: usize,
        from: usize,
        rows: usize,
    ) {
        let mut bytes = [Line::ZERO; TILES];
        let mut groups: Vec<(usize, &mut [Line])> =
            (0..rows).step_by(GROUP).zip(self.lines.chunks_exact_mut(block.forest.lines())).collect();
        let codes = |source: u16, group: usize| {
            &codes[usize::from(source) * stride + from + group..][..GROUP.min(rows - group)]
        };
        groups.iter_mut().for_each(|(_, lines)| block.forest.constant_lines(lines));
        // Column by column, so that its table stays in the first cache.
        for (column, made) in block.columns.iter().zip(block.forest.columns()) {
            for (group, lines) in &mut groups {
                let codes = codes(column.source, *group);
                isa.look_up(codes, &column.table, &mut bytes);
                isa.column_lines(made, &bytes, codes.len(), &mut lines[made.lines()]);
            }
        }
        for (group, lines) in groups {
            let planes = &mut lines[block.forest.planes()];
            for (source, first, answers) in &block.sets {
                let planes = &mut planes[*first..][..answers.tests()];
                isa.bit_planes(answers, codes(*source, group), planes);
            }
        }
    }

    /// Those of one group.
    pub(super) fn group(&self, block: &TreeBlock, group: usize) -> &[Line] {
        &self.lines[group * block.forest.lines()..][..block.forest.lines()]
    }
}

impl TreeBlock {
    /// The bytes and answers of one row, from the code of each source.
    #[inline]
    pub(super) fn row(&self, rows: &RowForest, codes: &[u16], row: &mut RowData) {
        for (byte, column) in row.bytes.iter_mut().zip(&self.columns) {
            *byte = column.table.bytes()[usize::from(codes[usize::from(column.source)])];
        }
        row.clear(rows.planes());
        for (source, first, answers) in &self.sets {
            row.answer(*first, answers, usize::from(codes[usize::from(*source)]));
        }
        for (column, first, answers) in rows.sets() {
            row.answer(*first, answers, usize::from(row.bytes[usize::from(*column)]));
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
    /// How many lines a group needs, at most.
    lines: usize,
}

/// The highest byte of a column of `bounds` bounds.
fn top(bounds: usize, missing: bool) -> u8 {
    (bounds + usize::from(missing)) as u8
}

impl<'a> Plan<'a> {
    /// Adds `tree`; `false` if it must begin another block.
    fn add(&mut self, sources: &Sources, class: usize, tree: &'a Tree) -> Result<bool, Unfit> {
        let depth = depth(tree).filter(|depth| *depth <= MAX_DEPTH).ok_or(Unfit::TooLarge)?;
        let mut asked: BTreeMap<Bytes, Vec<u16>> = BTreeMap::new();
        // Beside what columns need: the two lines that are the same for all rows, and one for each set.
        let mut lines = self.lines.max(2);
        for split in splits(tree) {
            let index = sources.index(split.column);
            let source = &sources.list()[usize::from(index)];
            match source.asks(split) {
                Asks::From { code, missing } => {
                    asked.entry(Bytes::Rank { source: index, missing }).or_default().push(code);
                }
                Asks::Set => {
                    asked.entry(set_bytes(index, source.missing())).or_default();
                    lines += 1;
                }
            }
        }
        // Of each column what it is not asked yet.
        for (key, bounds) in &mut asked {
            let Bytes::Rank { missing, .. } = *key else { continue };
            let before = self.columns.get(key).map_or(&[][..], Vec::as_slice);
            bounds.sort_unstable();
            bounds.dedup();
            bounds.retain(|bound| before.binary_search(bound).is_err());
            let after = before.len() + bounds.len();
            if after > MAX_BOUNDS {
                return Ok(false);
            }
            lines += ColumnLines::needed(top(after, missing));
            if !before.is_empty() {
                lines -= ColumnLines::needed(top(before.len(), missing));
            }
        }
        if lines > MAX_LINES {
            return if self.trees.is_empty() { Err(Unfit::TooLarge) } else { Ok(false) };
        }
        for split in splits(tree) {
            let index = sources.index(split.column);
            let source = &sources.list()[usize::from(index)];
            if Source::is_set(split) && source.missing() >= 64 {
                *self.sets.entry(index).or_default() += 1;
            }
        }
        self.lines = lines;
        for (key, bounds) in asked {
            let column = self.columns.entry(key).or_default();
            column.extend(bounds);
            // Two runs, which a stable sort merges.
            column.sort();
        }
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
        let heaps = self.trees.iter().map(|(.., depth)| 10 << depth.max(&6));
        tables.chain(sets).chain(heaps).sum()
    }

    fn build(self, sources: &Sources) -> TreeBlock {
        let mut columns = Vec::new();
        let mut tops = Vec::new();
        let mut column_of = BTreeMap::new();
        for (key, bounds) in &self.columns {
            column_of.insert(*key, columns.len() as u16);
            let codes = |source: u16| sources.list()[usize::from(source)].missing() + 1;
            let (source, top, bytes) = match *key {
                Bytes::Rank { source, missing } => {
                    // As many bounds as a code reaches, bound after bound.
                    let mut bytes = vec![0; codes(source)];
                    let last = bytes.len() - 1;
                    let ends = bounds.iter().skip(1).map(|bound| usize::from(*bound)).chain([last]);
                    for (reached, (from, to)) in bounds.iter().zip(ends).enumerate() {
                        bytes[usize::from(*from).min(last)..to.min(last)].fill(reached as u8 + 1);
                    }
                    let top = top(bounds.len(), missing);
                    bytes[last] = if missing { top } else { 0 };
                    (source, Some(top), bytes)
                }
                Bytes::Slot { source } => (source, None, (0..codes(source)).map(|code| code as u8).collect()),
                Bytes::Planes { .. } => continue,
            };
            columns.push(ByteColumn { source, table: ByteTable::new(bytes.into()) });
            tops.push(top);
        }
        let mut planes = 0;
        let mut sets = Vec::new();
        for (source, tests) in &self.sets {
            sets.push((
                *source,
                planes,
                BitRows::new(sources.list()[usize::from(*source)].missing() + 1, *tests),
                0,
            ));
            planes += tests;
        }
        let mut heaps = Vec::with_capacity(self.trees.len());
        for (_, tree, depth) in &self.trees {
            let mut heap = Heap { depth: *depth, asks: Vec::new(), leaves: vec![0.0; 1 << depth] };
            // Large sets, which become planes in the order of slots.
            let mut large = Vec::new();
            let mut open = vec![(0usize, 0usize, 0usize)];
            while let Some((node, slot, level)) = open.pop() {
                let split = match &tree.nodes[node] {
                    Node::Leaf(value) => {
                        let below = depth - level;
                        let first = (slot + 1 - (1 << level)) << below;
                        heap.leaves[first..first + (1 << below)].fill(*value);
                        continue;
                    }
                    Node::Split(split) => split,
                };
                let index = sources.index(split.column);
                let source = &sources.list()[usize::from(index)];
                let ask = match source.asks(split) {
                    Asks::From { code, missing } => {
                        let key = Bytes::Rank { source: index, missing };
                        let below = self.columns[&key].partition_point(|bound| *bound < code);
                        Ask::From { column: column_of[&key], bound: below as u8 + 1 }
                    }
                    Asks::Set if source.missing() < 64 => {
                        let answers = source.answers(tree, split).enumerate();
                        let bits = answers.fold(0, |bits, (code, right)| bits | u64::from(right) << code);
                        Ask::Set { column: column_of[&Bytes::Slot { source: index }], bits }
                    }
                    Asks::Set => {
                        large.push((slot, split));
                        Ask::Plane { plane: 0 }
                    }
                };
                heap.asks.push((slot as u16, ask));
                open.push((split.right as usize, 2 * slot + 2, level + 1));
                open.push((split.left as usize, 2 * slot + 1, level + 1));
            }
            heap.asks.sort_unstable_by_key(|(slot, _)| *slot);
            large.sort_unstable_by_key(|(slot, _)| *slot);
            let planes = heap.asks.iter_mut().filter_map(|(_, ask)| match ask {
                Ask::Plane { plane } => Some(plane),
                _ => None,
            });
            for (plane, (_, split)) in planes.zip(large) {
                let index = sources.index(split.column);
                let (_, first, answers, next) =
                    sets.iter_mut().find(|(of, ..)| *of == index).expect("counted before");
                for (code, right) in sources.list()[usize::from(index)].answers(tree, split).enumerate() {
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
        for (index, (class, ..)) in self.trees.iter().enumerate() {
            match classes.last_mut() {
                Some((last, range)) if last == class => range.end = index + 1,
                _ => classes.push((*class, index..index + 1)),
            }
        }
        let sets = sets.into_iter().map(|(source, first, answers, _)| (source, first, answers)).collect();
        let rows = RowForest::new(&heaps, columns.len(), planes);
        TreeBlock { columns, sets, forest, classes, rows }
    }
}

/// The splits of `tree`.
fn splits(tree: &Tree) -> impl Iterator<Item = &Split> {
    tree.nodes.iter().filter_map(|node| match node {
        Node::Split(split) => Some(split),
        Node::Leaf(_) => None,
    })
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
