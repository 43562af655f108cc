//! The trees of a forest in ten bytes a node: all that engines are made of.
//!
//! In flow trees one after another, from a file that is being read or from an artifact; out flow their nodes in the order of files, the
//! bound of each as far as it is known, and the thresholds of each column, for [`super::asked`] to rank. Sets stay as they are.

use std::sync::atomic::AtomicU16;

use cenote_mojo::Schema;
use cenote_mojo::algo::{Forest, Node, PackedTrees, Split, Test, Tree, TreeRules};
use cenote_mojo::threads::{runs, share};

use super::codes::{AskedFor, MAX_CODES, Unfit};
use crate::layout::{SUBTREE_LEVELS, TreeSize};

/// What stands for a bound where a set is asked: no code goes so far.
pub(super) const SET: u16 = u16::MAX;

/// A node. Its left child is the next node.
#[derive(Debug, Clone, Copy)]
pub(super) struct SmallNode {
    /// The right child, counted from the root; or a leaf's value.
    word: u32,
    column: u16,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Leaf,
    MissingLeft,
    MissingRight,
}

impl SmallNode {
    pub(super) fn leaf(value: f32) -> Self {
        Self { word: value.to_bits(), column: 0, kind: Kind::Leaf }
    }

    /// The same split with another right child.
    pub(super) fn with_right(self, right: u32) -> Self {
        Self { word: right, ..self }
    }

    #[inline]
    pub(super) fn is_leaf(self) -> bool {
        self.kind == Kind::Leaf
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
        self.kind == Kind::MissingLeft
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
#[derive(Debug, Default)]
pub(super) struct TreeRun {
    /// A place of the grid each.
    pub(super) trees: Vec<Option<SmallTree>>,
    /// How many trees came, whether they fit or not.
    count: usize,
    pub(super) nodes: Vec<SmallNode>,
    /// The bound of each node; 0 where it is a rank, which is not known yet.
    bounds: Vec<u16>,
    /// Of each column of numbers the sort key of each threshold above the node it comes from.
    pub(super) thresholds: Vec<Vec<u64>>,
    asked: Vec<AskedFor>,
    unfit: Option<Unfit>,
    /// Levels above nodes whose right subtree is still to come.
    open: Vec<u32>,
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
    pub(super) runs: Vec<TreeRun>,
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
                let mut run = TreeRun::new(&levels);
                for tree in &forest.trees[places] {
                    let ordered = tree.as_ref().and_then(in_file_order);
                    run.push(&levels, forest.rules, ordered.as_ref().or(tree.as_ref()));
                }
                run
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
        let start = || TreeRun::new(&levels);
        let runs = trees.read(start, |run, tree| run.push(&levels, forest.rules, tree.map(|tree| &*tree)))?;
        Ok(Self::of_runs(runs, levels, forest))
    }

    fn of_runs(mut runs: Vec<TreeRun>, levels: Vec<Option<usize>>, forest: &Forest) -> Self {
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
        let bounds = runs.iter_mut().flat_map(|run| std::mem::take(&mut run.bounds));
        let mut all = Vec::with_capacity(nodes);
        all.extend(bounds.map(AtomicU16::new));
        let (groups, classes) = (forest.groups, forest.trees_per_group);
        let count = runs.iter().map(|run| run.count).sum();
        Self { count, levels, groups, classes, runs, bounds: all, asked, unfit }
    }

    /// Every place of the grid in order, with the first of its run's nodes among all.
    pub(super) fn places(&self) -> impl Iterator<Item = (&TreeRun, usize, Option<&SmallTree>)> {
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

/// The tree with its nodes in the order of files, if they are not.
fn in_file_order(tree: &Tree) -> Option<Tree> {
    let mut open = Vec::new();
    let is_next = |(at, node): (usize, &Node)| match node {
        Node::Leaf(_) => open.pop().map_or(tree.nodes.len(), |right| right as usize) == at + 1,
        Node::Split(split) => {
            open.push(split.right);
            split.left as usize == at + 1
        }
    };
    if tree.nodes.iter().enumerate().all(is_next) {
        return None;
    }
    let mut nodes = Vec::with_capacity(tree.nodes.len());
    // Nodes to come, and whose right child each is.
    let mut open: Vec<(u32, Option<usize>)> = vec![(0, None)];
    while let Some((node, parent)) = open.pop() {
        let here = nodes.len();
        if let Some(Node::Split(parent)) = parent.and_then(|parent: usize| nodes.get_mut(parent)) {
            parent.right = here as u32;
        }
        let mut node = tree.nodes[node as usize];
        if let Node::Split(split) = &mut node {
            open.push((split.right, Some(here)));
            open.push((split.left, None));
            split.left = here as u32 + 1;
        }
        nodes.push(node);
    }
    Some(Tree { nodes, sets: tree.sets.clone(), set_bytes: tree.set_bytes.clone(), aux: None })
}

impl TreeRun {
    fn new(levels: &[Option<usize>]) -> Self {
        // As many columns as a split can name.
        let columns = levels.len().min(usize::from(u16::MAX) + 1);
        Self {
            thresholds: vec![Vec::new(); columns],
            asked: vec![AskedFor::default(); columns],
            ..Self::default()
        }
    }

    /// Takes the tree of the next place, whose nodes are in the order of files.
    fn push(&mut self, levels: &[Option<usize>], rules: TreeRules, tree: Option<&Tree>) {
        if rules != TreeRules::V120 {
            self.unfit = Some(Unfit::OldRules);
        }
        self.count += usize::from(tree.is_some());
        let first = self.nodes.len();
        let Some(tree) = tree.filter(|_| self.unfit.is_none()) else {
            self.trees.push(None);
            return;
        };
        if u32::try_from(first + tree.nodes.len()).is_err() {
            self.unfit = Some(Unfit::TooLarge);
        }
        let mut set_splits = Vec::new();
        let (mut depth, mut deepest, mut subtrees) = (0, 0, 0);
        self.nodes.reserve(tree.nodes.len());
        self.bounds.reserve(tree.nodes.len());
        for (node, at) in tree.nodes.iter().zip(0u32..) {
            let split = match node {
                Node::Leaf(value) => {
                    self.nodes.push(SmallNode::leaf(*value));
                    self.bounds.push(0);
                    depth = self.open.pop().map_or(0, |above| above + 1);
                    continue;
                }
                Node::Split(split) => split,
            };
            self.open.push(depth);
            subtrees += usize::from(depth % SUBTREE_LEVELS == 0);
            depth += 1;
            deepest = deepest.max(depth);
            let column = usize::from(split.column);
            let is_set = matches!(split.test, Test::In(_) | Test::Range(_));
            let bound = match levels[column] {
                None if is_set => {
                    self.unfit = Some(Unfit::SetOfNumbers);
                    SET
                }
                None => {
                    let key = u64::from(sort_key(split)) << 32;
                    self.thresholds[column].push(key | (first as u64 + u64::from(at)));
                    0
                }
                // Classes of levels are in no order.
                Some(levels) if is_set || levels > MAX_CODES => {
                    set_splits.push((at, *split));
                    self.asked[column].sets = true;
                    SET
                }
                Some(levels) => {
                    self.asked[column].bounds = true;
                    match split.test {
                        // Saturates at 0 below and far above the levels above; a level is at least the threshold's ceiling.
                        Test::AtLeast(threshold) if !threshold.is_nan() => {
                            (threshold.ceil() as usize).min(levels) as u16
                        }
                        _ => levels as u16,
                    }
                }
            };
            let kind = if split.na.missing_goes_left() { Kind::MissingLeft } else { Kind::MissingRight };
            self.nodes.push(SmallNode { word: split.right, column: split.column, kind });
            self.bounds.push(bound);
        }
        let size = TreeSize { subtrees: subtrees.max(1), leaves: tree.nodes.len() / 2 + 1 };
        let sets = match set_splits.is_empty() {
            true => Tree::default(),
            false => Tree {
                nodes: Vec::new(),
                sets: tree.sets.clone(),
                set_bytes: tree.set_bytes.clone(),
                aux: None,
            },
        };
        let nodes = first..self.nodes.len();
        self.trees.push(Some(SmallTree { nodes, depth: deepest, size, sets, set_splits }));
    }
}

/// The key of what no present value reaches: a threshold that is NaN, and no threshold.
pub(super) const NEVER: u32 = u32::MAX;

/// A number that is ordered as the threshold of `split`.
fn sort_key(split: &Split) -> u32 {
    match split.test {
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
    f32::from_bits(if key >> 31 == 1 { key & !(1 << 31) } else { !key })
}
