//! The trees of a forest in ten bytes a node: all that engines are made of.
//!
//! In flow trees one after another, from a file that is being read or from an artifact; out flow their nodes in the order of files, the
//! bound of each as far as it is known, and the thresholds of each column, for [`super::asked`] to rank. Sets stay as they are.

use std::sync::atomic::AtomicU16;

use cenote_mojo::Schema;
use cenote_mojo::algo::{Aux, Forest, LevelSet, Node, PackedTrees, Split, TakeTrees, Test, Tree, TreeRules};
use cenote_mojo::threads::{runs, share};

use super::codes::{AskedFor, MAX_CODES, Unfit};
use crate::kernels::reserve_large_pages;
use crate::layout::{SUBTREE_LEVELS, TreeSize};

/// What stands for a bound where a set is asked: no code goes so far.
pub(super) const SET: u16 = u16::MAX;

/// A node. Its left child is the next node.
#[derive(Debug, Clone, Copy)]
pub(super) struct SmallNode {
    /// The right child, counted from the root; or a leaf's value.
    word: u32,
    column: u16,
    /// What it is, and what its children are: bits.
    kind: u8,
}

const LEAF: u8 = 1;
const MISSING_LEFT: u8 = 2;
const LEFT_IS_LEAF: u8 = 4;
const RIGHT_IS_LEAF: u8 = 8;

impl SmallNode {
    pub(super) fn leaf(value: f32) -> Self {
        Self { word: value.to_bits(), column: 0, kind: LEAF }
    }

    /// The same split with another right child.
    pub(super) fn with_right(self, right: u32) -> Self {
        Self { word: right, ..self }
    }

    #[inline]
    pub(super) fn is_leaf(self) -> bool {
        self.kind & LEAF != 0
    }

    /// A leaf's value.
    #[inline]
    pub(super) fn value(self) -> f32 {
        f32::from_bits(self.word)
    }

    /// A split's right child.
    #[inline]
    pub(super) fn right(self) -> u32 {
        self.word
    }

    /// The column that a split reads.
    #[inline]
    pub(super) fn column(self) -> u16 {
        self.column
    }

    #[inline]
    pub(super) fn missing_goes_left(self) -> bool {
        self.kind & MISSING_LEFT != 0
    }

    /// Whether the left and the right child of a split are leaves, in the tree that it was read in.
    #[inline]
    pub(super) fn has_leaves(self) -> [bool; 2] {
        [self.kind & LEFT_IS_LEAF != 0, self.kind & RIGHT_IS_LEAF != 0]
    }
}

/// What is known of one tree beside its nodes.
#[derive(Debug)]
pub(super) struct SmallTree {
    /// Its nodes among those of its run.
    pub(super) nodes: std::ops::Range<usize>,
    /// Splits on the longest path.
    pub(super) depth: u32,
    /// How many subtrees and leaves it is cut into.
    pub(super) size: TreeSize,
    /// Its sets, without nodes.
    pub(super) sets: Tree,
    /// The splits whose bound is [`SET`], each with its node.
    pub(super) set_splits: Vec<(u32, Split)>,
}

/// Some trees, one after another.
#[derive(Debug)]
pub(super) struct TreeRun<'a> {
    levels: &'a [Option<usize>],
    parts: RunParts,
    /// The tree that is being taken: its first node, splits on the longest path so far, its subtrees, and splits that ask sets.
    first: usize,
    depth: u32,
    subtrees: usize,
    set_splits: Vec<(u32, Split)>,
    /// The split whose child the next node is, among those of the run, and which child.
    parent: (usize, u8),
}

/// What a run comes to.
#[derive(Debug, Default)]
pub(super) struct RunParts {
    /// A place of the grid each.
    pub(super) trees: Vec<Option<SmallTree>>,
    pub(super) nodes: Vec<SmallNode>,
    /// The bound of each node; 0 where it is a rank, which is not known yet. Of the tree that is being taken up to the last one that is
    /// known.
    bounds: Vec<AtomicU16>,
    /// Of each column of numbers the sort key of each threshold above the node it comes from.
    pub(super) thresholds: Vec<Vec<u64>>,
    asked: Vec<AskedFor>,
    unfit: Option<Unfit>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct SmallForest {
    /// How many trees there are, absent ones not counted.
    pub(crate) count: usize,
    /// How many levels each column has; `None` for numbers.
    pub(super) levels: Vec<Option<usize>>,
    /// How many places a class has in the grid.
    pub(super) groups: usize,
    /// Trees a group.
    pub(super) classes: usize,
    pub(super) runs: Vec<RunParts>,
    /// The bound of each node, run after run. Ranks are written by the threads that sort columns, each to its own nodes.
    pub(super) bounds: Vec<AtomicU16>,
    /// What each column is asked.
    pub(super) asked: Vec<AskedFor>,
    /// Why there is none.
    pub(super) unfit: Option<Unfit>,
}

impl SmallForest {
    /// The trees of `forest`.
    pub(crate) fn new(forest: &Forest, schema: &Schema) -> Self {
        let levels = levels(schema);
        let runs = share(
            runs(forest.trees.len()),
            || (),
            |(), places| {
                let mut run = TreeRun::new(&levels, forest.rules, 0);
                for tree in &forest.trees[places] {
                    match tree {
                        Some(tree) => run.tree(tree),
                        None => run.absent(),
                    }
                }
                run.parts
            },
        );
        Self::of_runs(runs, levels, forest)
    }

    /// The trees of `forest`, read from its file.
    ///
    /// # Errors
    /// If one of them is malformed, or all have more nodes than they may.
    pub(crate) fn read(
        trees: &PackedTrees,
        forest: &Forest,
        schema: &Schema,
    ) -> Result<Self, cenote_mojo::Error> {
        let levels = levels(schema);
        let runs = trees.read(|bytes| TreeRun::new(&levels, forest.rules, bytes))?;
        let runs = runs.into_iter().map(|run| run.parts).collect();
        Ok(Self::of_runs(runs, levels, forest))
    }

    fn of_runs(mut runs: Vec<RunParts>, levels: Vec<Option<usize>>, forest: &Forest) -> Self {
        let nodes: usize = runs.iter().map(|run| run.nodes.len()).sum();
        let mut unfit = runs.iter().find_map(|run| run.unfit);
        if u32::try_from(nodes).is_err() {
            unfit.get_or_insert(Unfit::TooLarge);
        }
        let mut asked = vec![AskedFor::default(); levels.len()];
        for run in &runs {
            for (all, run) in asked.iter_mut().zip(&run.asked) {
                all.bounds |= run.bounds;
                all.sets |= run.sets;
            }
        }
        let count = runs.iter().map(|run| run.trees.iter().flatten().count()).sum();
        let mut bounds = runs.first_mut().map(|run| std::mem::take(&mut run.bounds)).unwrap_or_default();
        bounds.reserve_exact(nodes - bounds.len());
        runs.iter_mut().for_each(|run| bounds.append(&mut run.bounds));
        let (groups, classes) = (forest.groups, forest.trees_per_group);
        Self { count, levels, groups, classes, runs, bounds, asked, unfit }
    }

    /// Every place of the grid in order, with the first of its run's nodes among all.
    pub(super) fn places(&self) -> impl Iterator<Item = (&RunParts, usize, Option<&SmallTree>)> {
        let mut first = 0;
        self.runs.iter().flat_map(move |run| {
            let of_run = first;
            first += run.nodes.len();
            run.trees.iter().map(move |tree| (run, of_run, tree.as_ref()))
        })
    }
}

fn levels(schema: &Schema) -> Vec<Option<usize>> {
    schema.features.iter().map(|column| column.domain.as_ref().map(|levels| levels.len())).collect()
}

/// Bytes of a file that a node takes, about: so many nodes have room before they come.
const NODE_BYTES: usize = 6;

impl<'a> TreeRun<'a> {
    /// No trees yet, of `bytes` bytes by all that is known.
    fn new(levels: &'a [Option<usize>], rules: TreeRules, bytes: usize) -> Self {
        // As many columns as a split can name.
        let columns = levels.len().min(usize::from(u16::MAX) + 1);
        let mut parts = RunParts {
            thresholds: vec![Vec::new(); columns],
            asked: vec![AskedFor::default(); columns],
            unfit: (rules != TreeRules::V120).then_some(Unfit::OldRules),
            ..RunParts::default()
        };
        if parts.unfit.is_none() {
            reserve_large_pages(&mut parts.nodes, bytes / NODE_BYTES);
            reserve_large_pages(&mut parts.bounds, bytes / NODE_BYTES);
        }
        Self { levels, parts, first: 0, depth: 0, subtrees: 0, set_splits: Vec::new(), parent: (0, 0) }
    }

    /// Takes a tree that is there already.
    fn tree(&mut self, tree: &Tree) {
        // Nodes to come, the splits above each, and whose right child it is.
        let mut open: Vec<(u32, u32, Option<u32>)> = vec![(0, 0, None)];
        let mut nodes = 0..;
        while let Some(((node, above, parent), here)) = open.pop().zip(nodes.next()) {
            if let Some(parent) = parent {
                self.right(parent, here);
            }
            match &tree.nodes[node as usize] {
                Node::Leaf(value) => self.leaf(*value),
                Node::Split(split) => {
                    open.push((split.right, above + 1, Some(here)));
                    open.push((split.left, above + 1, None));
                    self.split(*split, here, above);
                }
            }
        }
        self.end((&tree.sets, &tree.set_bytes), None);
    }
}

impl TakeTrees for TreeRun<'_> {
    fn absent(&mut self) {
        self.parts.trees.push(None);
    }

    #[inline(always)]
    fn leaf(&mut self, value: f32) {
        if self.parts.unfit.is_none() {
            let (parent, side) = self.parent;
            if let Some(parent) = self.parts.nodes.get_mut(parent) {
                parent.kind |= side;
            }
            self.parts.nodes.push(SmallNode::leaf(value));
        }
    }

    #[inline(always)]
    fn split(&mut self, split: Split, at: u32, above: u32) {
        let parts = &mut self.parts;
        if parts.unfit.is_some() {
            return;
        }
        self.subtrees += usize::from(above.is_multiple_of(SUBTREE_LEVELS));
        self.depth = self.depth.max(above + 1);
        let column = usize::from(split.column);
        let is_set = matches!(split.test, Test::In(_) | Test::Range(_));
        let bound = match self.levels[column] {
            None if is_set => {
                parts.unfit = Some(Unfit::SetOfNumbers);
                return;
            }
            None => {
                let node = (self.first + at as usize) as u64;
                parts.thresholds[column].push(u64::from(sort_key(split.test)) << 32 | node);
                0
            }
            // Classes of levels are in no order.
            Some(levels) if is_set || levels > MAX_CODES => {
                self.set_splits.push((at, split));
                parts.asked[column].sets = true;
                SET
            }
            Some(levels) => {
                parts.asked[column].bounds = true;
                match split.test {
                    // Saturates at 0 below and far above the levels above; a level is at least the threshold's ceiling.
                    Test::AtLeast(threshold) if !threshold.is_nan() => {
                        (threshold.ceil() as usize).min(levels) as u16
                    }
                    _ => levels as u16,
                }
            }
        };
        let kind = if split.na.missing_goes_left() { MISSING_LEFT } else { 0 };
        self.parent = (parts.nodes.len(), LEFT_IS_LEAF);
        parts.nodes.push(SmallNode { word: 0, column: split.column, kind });
        if bound != 0 {
            parts.bounds.resize_with(parts.nodes.len() - 1, AtomicU16::default);
            parts.bounds.push(AtomicU16::new(bound));
        }
    }

    #[inline(always)]
    fn right(&mut self, at: u32, right: u32) {
        self.parent = (self.first + at as usize, RIGHT_IS_LEAF);
        if let Some(split) = self.parts.nodes.get_mut(self.parent.0) {
            split.word = right;
        }
    }

    fn end(&mut self, (sets, set_bytes): (&[LevelSet], &[u8]), _aux: Option<Aux>) {
        let parts = &mut self.parts;
        let nodes = self.first..parts.nodes.len();
        if u32::try_from(nodes.end).is_err() {
            parts.unfit = Some(Unfit::TooLarge);
        }
        parts.bounds.resize_with(nodes.end, AtomicU16::default);
        let size = TreeSize { subtrees: self.subtrees.max(1), leaves: nodes.len() / 2 + 1 };
        let set_splits = std::mem::take(&mut self.set_splits);
        let sets = match set_splits.is_empty() {
            true => Tree::default(),
            false => Tree { sets: sets.to_vec(), set_bytes: set_bytes.to_vec(), ..Tree::default() },
        };
        self.first = nodes.end;
        parts.trees.push(Some(SmallTree { nodes, depth: self.depth, size, sets, set_splits }));
        (self.depth, self.subtrees, self.parent) = (0, 0, (0, 0));
    }
}

/// The key of what no present value reaches: a threshold that is NaN, and no threshold.
pub(super) const NEVER: u32 = u32::MAX;

/// A number that is ordered as the threshold of a test.
#[inline]
fn sort_key(test: Test) -> u32 {
    match test {
        Test::AtLeast(threshold) if !threshold.is_nan() => {
            // Adding 0 makes -0 into +0: they are one threshold.
            let bits = (threshold + 0.0).to_bits();
            if bits >> 31 == 1 { !bits } else { bits | 1 << 31 }
        }
        _ => NEVER,
    }
}

/// The threshold of a key.
pub(super) fn threshold_of(key: u32) -> f32 {
    // As above the other way: only the sign of a positive one is turned, all bits of a negative one, without a branch.
    let negative = !(key.cast_signed() >> 31).cast_unsigned();
    f32::from_bits(key ^ (negative | 1 << 31))
}
