//! Decision trees as plain data: what a `trees/tCC_GGG.bin` entry says.
//!
//! In flow tree blobs; out flows a [`Forest`] whose child indices are in range, point forward, and whose splits name
//! existing columns, so that a walk from node 0 ends. Nothing here predicts.
//!
//! Sources of the format: `SharedTreeMojoModel.scoreTree`, `scoreTree0`, `scoreTree1` of h2o-genmodel.

use super::Aux;

/// Where a missing value goes at a split. Mirrors `NaSplitDir`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NaSplit {
    /// A missing value goes right, every present value left; the split carries no test.
    NaVsRest,
    /// Missing goes left; seen in training.
    NaLeft,
    /// Missing goes right; seen in training.
    NaRight,
    /// Missing goes left; training had none.
    Left,
    /// Missing goes right; training had none.
    Right,
}

impl NaSplit {
    /// Whether a missing value goes left.
    pub fn missing_goes_left(self) -> bool {
        matches!(self, NaSplit::NaLeft | NaSplit::Left)
    }
}

/// A set of levels: bit `level - offset` of the bits at `start` in [`Tree::set_bytes`], lowest bit of a byte first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LevelSet {
    /// The level of the first bit.
    pub offset: u32,
    /// How many levels the set ranges over.
    pub bits: u32,
    /// Index of the first byte in [`Tree::set_bytes`]; `start + bits.div_ceil(8)` is in range.
    pub start: u32,
}

/// The question a split asks of a present value. `true` sends the row right.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Test {
    /// No question: a present value goes left ([`NaSplit::NaVsRest`]).
    None,
    /// No question either, but outside of the range of this set of [`Tree::sets`] a value counts as missing: genmodel keeps
    /// the last set that it read on the way down, and asks it again at a bitset-typed [`NaSplit::NaVsRest`] node.
    Range(u32),
    /// `value >= threshold`, compared as `f64` with the threshold widened.
    AtLeast(f32),
    /// The level is in this set of [`Tree::sets`]. Outside its range the value counts as missing (in MOJO 1.00 it goes left).
    In(u32),
}

/// An inner node.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Split {
    /// Index into [`Schema::features`](crate::Schema::features).
    pub column: u16,
    /// Where missing values go.
    pub na: NaSplit,
    /// The question.
    pub test: Test,
    /// Index of the left child, greater than this node's.
    pub left: u32,
    /// Index of the right child, greater than this node's.
    pub right: u32,
}

/// A node of a tree.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Node {
    /// An end with the value it adds.
    Leaf(f32),
    /// A question with two children.
    Split(Split),
}

/// One tree.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Tree {
    /// Nodes in file order (a split, its left subtree, its right subtree); the root is node 0. Never empty.
    pub nodes: Vec<Node>,
    /// The sets that [`Test`]s name by their index.
    pub sets: Vec<LevelSet>,
    /// The bytes of every level set of the tree.
    pub set_bytes: Vec<u8>,
    /// The auxiliary records, one a split in file order; `None` where the file has none (MOJO 1.00).
    pub aux: Option<Aux>,
}

impl Tree {
    /// Whether `level` is in `set`; `None` when the set does not range over it.
    pub fn contains(&self, set: LevelSet, level: i64) -> Option<bool> {
        let bit = level - i64::from(set.offset);
        if bit < 0 || bit >= i64::from(set.bits) {
            return None;
        }
        let byte = self.set_bytes[set.start as usize + (bit >> 3) as usize];
        Some(byte >> (bit & 7) & 1 == 1)
    }
}

/// Which frozen rules decide a walk. Mirrors the three `scoreTree` methods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TreeRules {
    /// MOJO 1.00: outside a set's range means "not in the set"; a domain's length is not asked.
    V100,
    /// MOJO 1.10: outside a set's range means missing; a domain's length is not asked.
    V110,
    /// MOJO 1.20 and later: outside a set's range, or at or past the domain's length, means missing.
    V120,
}

/// Trees in H2O's grid.
#[derive(Debug, Clone, PartialEq)]
pub struct Forest {
    /// Trees a class: `n_trees` of the file.
    pub groups: usize,
    /// Trees a group: 1, or one a class.
    pub trees_per_group: usize,
    /// `class * groups + group`; `None` where the file has no such tree, which counts as 0.
    pub trees: Vec<Option<Tree>>,
    /// Which walk the version of the file asks for.
    pub rules: TreeRules,
}
