//! The plain engine: every tree in one array of small nodes, walked a row at a time.
//!
//! In flows a [`Forest`]; out flow sums, or the leaf that a row ends in. A node's left child is the next node. All of
//! H2O's rules are resolved to one kind a node, so that a walk asks no question twice; it fits every forest and is the
//! fall-back of the faster engines.

use std::sync::LazyLock;

use cenote_mojo::Schema;
use cenote_mojo::algo::{Forest, NaSplit, Node, Split, Test, Tree, TreeRules};

use super::{Block, Engine};

/// What a node asks. A value that is `NaN` goes the missing way before any of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ask {
    /// Nothing: the row ends here.
    Leaf,
    /// Nothing: a present value goes left.
    Present,
    /// A present value goes left; one outside of a range of codes is missing.
    PresentWithin,
    /// Right at or above the threshold.
    AtLeast,
    /// The same of a code, which past its column's levels is missing.
    CodeAtLeast,
    /// Right if in the set; outside of its range missing.
    Within,
    /// Right if in the set (MOJO 1.00: outside of its range not in it).
    Contains,
}

#[derive(Debug, Clone, Copy)]
struct FlatNode {
    /// The threshold, or a leaf's value.
    value: f32,
    /// The right child; the left one is the next node.
    right: u32,
    /// Index into the ranges, where one is asked for.
    range: u32,
    column: u16,
    ask: Ask,
    missing_goes_left: bool,
}

/// Codes from `offset`, `bits` many, whose bits begin at byte `start`.
#[derive(Debug, Clone, Copy)]
struct Range {
    offset: i32,
    bits: u32,
    start: usize,
}

/// The plain engine of a model, made when something first needs it: most models are never asked.
pub(crate) type LateFlat = LazyLock<FlatForest, Box<dyn FnOnce() -> FlatForest + Send>>;

/// Every tree of a forest, flat.
#[derive(Debug)]
pub(crate) struct FlatForest {
    nodes: Vec<FlatNode>,
    ranges: Vec<Range>,
    bits: Vec<u8>,
    /// The root of each tree in H2O's grid, class by class; `None` where a tree is absent.
    roots: Vec<Option<u32>>,
    groups: usize,
    classes: usize,
    /// The number of levels of each column, at and past which a code is missing; `i64::MAX` where there is no such rule.
    domains: Vec<i64>,
    /// Columns at whose sets MOJO 1.00 refuses a negative code.
    refuses_negative: Vec<u16>,
}

/// Nothing that the walk could go on with: MOJO 1.00 asks a set for a negative code, where Java throws.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Halt {
    /// The code.
    pub(crate) code: i32,
}

impl FlatForest {
    pub(crate) fn new(forest: &Forest, schema: &Schema) -> Self {
        let has_domain_rule = forest.rules == TreeRules::V120;
        let domains = schema
            .features
            .iter()
            .map(|column| match &column.domain {
                Some(domain) if has_domain_rule => domain.len() as i64,
                _ => i64::MAX,
            })
            .collect();
        let mut flat = Self {
            nodes: Vec::with_capacity(forest.trees.iter().flatten().map(|tree| tree.nodes.len()).sum()),
            ranges: Vec::new(),
            bits: Vec::new(),
            roots: Vec::with_capacity(forest.trees.len()),
            groups: forest.groups,
            classes: forest.trees_per_group,
            domains,
            refuses_negative: Vec::new(),
        };
        for tree in &forest.trees {
            let root = tree.as_ref().map(|tree| flat.push_tree(tree, forest.rules));
            flat.roots.push(root);
        }
        flat.refuses_negative.sort_unstable();
        flat.refuses_negative.dedup();
        flat
    }

    /// Lays a tree out, left children next to their parents, and returns its root.
    fn push_tree(&mut self, tree: &Tree, rules: TreeRules) -> u32 {
        let root = self.nodes.len() as u32;
        let base = self.bits.len();
        self.bits.extend_from_slice(&tree.set_bytes);
        // Nodes to lay out, and whose right child each is.
        let mut open: Vec<(u32, Option<u32>)> = vec![(0, None)];
        while let Some((at, parent)) = open.pop() {
            let place = self.nodes.len() as u32;
            if let Some(parent) = parent {
                self.nodes[parent as usize].right = place;
            }
            let node = match &tree.nodes[at as usize] {
                Node::Leaf(value) => leaf(*value),
                Node::Split(split) => {
                    open.push((split.right, Some(place)));
                    open.push((split.left, None));
                    self.split(tree, split, base, rules)
                }
            };
            self.nodes.push(node);
        }
        root
    }

    fn split(&mut self, tree: &Tree, split: &Split, base: usize, rules: TreeRules) -> FlatNode {
        let mut node = FlatNode {
            value: 0.0,
            right: 0,
            range: 0,
            column: split.column,
            ask: Ask::Present,
            missing_goes_left: split.na.missing_goes_left(),
        };
        let mut range = |offset: u32, bits: u32, start: usize| {
            self.ranges.push(Range { offset: offset as i32, bits, start });
            self.ranges.len() as u32 - 1
        };
        match split.test {
            _ if split.na == NaSplit::NaVsRest && rules == TreeRules::V100 => {}
            Test::Range(set) => {
                let set = tree.sets[set as usize];
                node.ask = Ask::PresentWithin;
                node.range = range(set.offset, set.bits, 0);
            }
            Test::None => {}
            Test::AtLeast(threshold) => {
                let limited = self.domains[usize::from(split.column)] != i64::MAX;
                node.ask = if limited { Ask::CodeAtLeast } else { Ask::AtLeast };
                node.value = threshold;
            }
            Test::In(set) => {
                let set = tree.sets[set as usize];
                node.ask = if rules == TreeRules::V100 { Ask::Contains } else { Ask::Within };
                node.range = range(set.offset, set.bits, base + set.start as usize);
                if rules == TreeRules::V100 {
                    self.refuses_negative.push(split.column);
                }
            }
        }
        node
    }

    /// How many trees the grid has room for.
    pub(crate) fn tree_count(&self) -> usize {
        self.roots.len()
    }

    /// Where the trees of a class are summed: `[class][group]`, class by class.
    pub(crate) fn grid(&self) -> (usize, usize) {
        (self.classes, self.groups)
    }

    /// The root of the tree at an index of the grid.
    pub(crate) fn root(&self, tree: usize) -> Option<u32> {
        self.roots[tree]
    }

    /// What a leaf adds.
    pub(crate) fn value(&self, leaf: u32) -> f32 {
        self.nodes[leaf as usize].value
    }

    /// The children of a node, or `None` if it is a leaf.
    pub(crate) fn children(&self, node: u32) -> Option<(u32, u32)> {
        let flat = &self.nodes[node as usize];
        (flat.ask != Ask::Leaf).then_some((node + 1, flat.right))
    }

    /// Whether a walk of this row may come to where Java throws; if not, [`check`](Self::check) need not be asked.
    pub(crate) fn may_halt(&self, feature: impl Fn(usize) -> f64) -> bool {
        self.refuses_negative.iter().any(|column| feature(usize::from(*column)) <= -1.0)
    }

    /// Walks every tree to see whether Java throws on this row.
    pub(crate) fn check(&self, feature: impl Fn(usize) -> f64 + Copy) -> Result<(), Halt> {
        for root in self.roots.iter().flatten() {
            let mut at = *root;
            while let Some((left, right)) = self.children(at) {
                let node = &self.nodes[at as usize];
                let value = feature(usize::from(node.column));
                if node.ask == Ask::Contains && value <= -1.0 {
                    return Err(Halt { code: value as i32 });
                }
                at = if self.goes_right(node, value) { right } else { left };
            }
        }
        Ok(())
    }

    /// The leaf that a row ends in, from a root.
    #[inline]
    pub(crate) fn leaf(&self, root: u32, feature: impl Fn(usize) -> f64) -> u32 {
        let mut at = root;
        loop {
            let node = &self.nodes[at as usize];
            if node.ask == Ask::Leaf {
                return at;
            }
            let right = self.goes_right(node, feature(usize::from(node.column)));
            at = if right { node.right } else { at + 1 };
        }
    }

    #[inline]
    fn goes_right(&self, node: &FlatNode, value: f64) -> bool {
        // Most nodes of most forests are of this kind.
        if node.ask == Ask::AtLeast {
            return value >= f64::from(node.value) || (value.is_nan() && !node.missing_goes_left);
        }
        let code = value as i32;
        let missing = !node.missing_goes_left;
        if value.is_nan() || self.domains[usize::from(node.column)] <= i64::from(code) {
            return missing;
        }
        match node.ask {
            Ask::Leaf | Ask::Present => false,
            Ask::AtLeast | Ask::CodeAtLeast => value >= f64::from(node.value),
            Ask::PresentWithin => self.bit(node.range, code).is_none() && missing,
            Ask::Within => self.bit(node.range, code).map_or(missing, |range| self.is_set(range)),
            Ask::Contains => self.bit(node.range, code).is_some_and(|range| self.is_set(range)),
        }
    }

    /// Where a code's bit is: byte and bit; `None` if the range does not have it.
    #[inline]
    fn bit(&self, range: u32, code: i32) -> Option<(usize, u32)> {
        let Range { offset, bits, start } = self.ranges[range as usize];
        let bit = u32::try_from(code.wrapping_sub(offset)).ok().filter(|bit| *bit < bits)?;
        Some((start + (bit >> 3) as usize, bit & 7))
    }

    #[inline]
    fn is_set(&self, (byte, bit): (usize, u32)) -> bool {
        self.bits[byte] >> bit & 1 == 1
    }
}

fn leaf(value: f32) -> FlatNode {
    FlatNode { value, right: 0, range: 0, column: 0, ask: Ask::Leaf, missing_goes_left: false }
}

impl Engine for FlatForest {
    fn name(&self) -> &'static str {
        "flat"
    }

    fn sums(&self, block: &Block<'_>, out: &mut [f64]) {
        out.fill(0.0);
        for (trees, sums) in self.roots.chunks(self.groups.max(1)).zip(out.chunks_mut(block.rows.max(1))) {
            for root in trees.iter().flatten() {
                for (row, sum) in sums.iter_mut().enumerate() {
                    *sum += f64::from(self.value(self.leaf(*root, |column| block.columns[column][row])));
                }
            }
        }
    }

    fn row_sums(&self, row: &[f64], out: &mut [f64]) {
        for (trees, sum) in self.roots.chunks(self.groups.max(1)).zip(out) {
            *sum = 0.0;
            for root in trees.iter().flatten() {
                *sum += f64::from(self.value(self.leaf(*root, |column| row[column])));
            }
        }
    }
}
