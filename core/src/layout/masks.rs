//! Trees as lists of tests, for kernels that ask a tree's every question of 64 rows at a time.
//!
//! In flow, by [`MaskForestBuilder`], trees as tests on byte columns; out flows a [`MaskForest`] in which every column,
//! slot, table and leaf that a test or a tree names exists, so that kernels may index without asking.
//!
//! A tree of depth `d` is a heap of `2^d - 1` slots: slot 0 is the root, the children of slot `s` are `2s + 1` (left)
//! and `2s + 2` (right), and there are `2^d` leaves in that order. A subtree that ends early leaves slots without a
//! test, whose bits may be anything, and stands as equal leaves under them. Leaves stand in tables of 64; those of a tree
//! of fewer levels than 6 stand as far apart as if every further answer were left.

use super::lines::TILES;

/// The deepest tree that has a heap.
pub(crate) const MAX_DEPTH: usize = 10;
/// Planes of leaf index bits: one a level.
pub(crate) const PLANES: usize = MAX_DEPTH;

/// Right where the byte of `column`, as `i8`, is above `below`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct RankTest {
    /// The bound, in each of four bytes: a broadcast of 32 bits costs a load and no shuffle.
    pub(crate) below: u32,
    /// Which byte column is asked.
    pub(crate) column: u16,
    /// Where in the tree's heap the answer belongs.
    pub(crate) slot: u16,
}

/// Right where bit `b` of `bits` is set, `b` being the byte of `column` (below 64).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct SmallSetTest {
    /// The set.
    pub(crate) bits: u64,
    /// Which byte column is asked.
    pub(crate) column: u16,
    /// Where in the tree's heap the answer belongs.
    pub(crate) slot: u16,
}

/// Right where the row's bit of a plane is set that was computed before, from [`BitRows`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct PlaneTest {
    /// Which plane.
    pub(crate) plane: u32,
    /// Where in the tree's heap the answer belongs.
    pub(crate) slot: u16,
}

/// One tree: where its tests and leaves end; they begin where those of the tree before it end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MaskTree {
    /// Levels of the heap, 0 to [`MAX_DEPTH`].
    pub(crate) depth: u32,
    /// Begin and end of its tests in [`MaskForest::rank_tests`].
    pub(crate) rank: (u32, u32),
    /// Begin and end of its tests in [`MaskForest::small_tests`].
    pub(crate) small: (u32, u32),
    /// Begin and end of its tests in [`MaskForest::plane_tests`].
    pub(crate) plane: (u32, u32),
    /// The first of its leaf tables (of 64 leaves each; `2^(depth - 6)` of them, at least one).
    pub(crate) table: u32,
}

/// Trees over one set of byte columns.
#[derive(Debug, Clone)]
pub(crate) struct MaskForest {
    columns: usize,
    trees: Vec<MaskTree>,
    rank_tests: Vec<RankTest>,
    small_tests: Vec<SmallSetTest>,
    plane_tests: Vec<PlaneTest>,
    planes: usize,
    leaves: Vec<[f32; 64]>,
}

impl MaskForest {
    /// How many byte columns the tests ask.
    pub(crate) fn columns(&self) -> usize {
        self.columns
    }

    /// Lines of byte columns that a group of rows has: [`TILES`] a column.
    pub(crate) fn lines(&self) -> usize {
        self.columns * TILES
    }

    /// The trees in order.
    pub(crate) fn trees(&self) -> &[MaskTree] {
        &self.trees
    }

    /// The tests on ranks, tree after tree.
    pub(crate) fn rank_tests(&self) -> &[RankTest] {
        &self.rank_tests
    }

    /// The tests on sets of up to 64, tree after tree.
    pub(crate) fn small_tests(&self) -> &[SmallSetTest] {
        &self.small_tests
    }

    /// The tests on planes, tree after tree.
    pub(crate) fn plane_tests(&self) -> &[PlaneTest] {
        &self.plane_tests
    }

    /// How many planes the tests ask: for each tile of a group as many words.
    pub(crate) fn planes(&self) -> usize {
        self.planes
    }

    /// The leaf values, in tables of 64.
    pub(crate) fn leaves(&self) -> &[[f32; 64]] {
        &self.leaves
    }

    /// Bytes that tree `index` makes a kernel read.
    pub(crate) fn tree_bytes(&self, index: usize) -> usize {
        let tree = &self.trees[index];
        (tree.rank.1 - tree.rank.0) as usize * size_of::<RankTest>()
            + (tree.small.1 - tree.small.0) as usize * size_of::<SmallSetTest>()
            + (tree.plane.1 - tree.plane.0) as usize * (size_of::<PlaneTest>() + TILES * 8)
            + (256 << tree.depth.saturating_sub(6))
    }
}

/// Collects the tests and leaves of one tree after another.
#[derive(Debug)]
pub(crate) struct MaskForestBuilder {
    forest: MaskForest,
}

impl MaskForestBuilder {
    /// No trees yet.
    ///
    /// # Panics
    /// If `columns` is above 65536.
    pub(crate) fn new(columns: usize, planes: usize) -> Self {
        assert!(columns <= 1 << 16);
        Self {
            forest: MaskForest {
                columns,
                trees: Vec::new(),
                rank_tests: Vec::new(),
                small_tests: Vec::new(),
                plane_tests: Vec::new(),
                planes,
                leaves: Vec::new(),
            },
        }
    }

    /// Adds a test to the tree that the next [`Self::tree`] ends: right where `column`, as `i8`, is above `below`.
    pub(crate) fn rank_test(&mut self, slot: u16, column: u16, below: i8) {
        let below = u32::from_le_bytes([below as u8; 4]);
        self.forest.rank_tests.push(RankTest { below, column, slot });
    }

    /// Adds a test to the tree that the next [`Self::tree`] ends: right where bit `column` of `bits` is set.
    pub(crate) fn small_set_test(&mut self, slot: u16, column: u16, bits: u64) {
        self.forest.small_tests.push(SmallSetTest { bits, column, slot });
    }

    /// Adds a test to the tree that the next [`Self::tree`] ends: right where the bit of `plane` is set.
    pub(crate) fn plane_test(&mut self, slot: u16, plane: u32) {
        self.forest.plane_tests.push(PlaneTest { plane, slot });
    }

    /// Ends a tree of `depth` levels with its `2^depth` leaves, left to right.
    ///
    /// # Panics
    /// If it is too deep, leaves are too few or many, or a test of it names a slot or column that is not there.
    pub(crate) fn tree(&mut self, depth: usize, leaves: &[f32]) {
        assert!(
            depth <= MAX_DEPTH && leaves.len() == 1 << depth,
            "a heap of {depth} levels, {} leaves",
            leaves.len()
        );
        let forest = &mut self.forest;
        let last = forest.trees.last();
        let tree = MaskTree {
            depth: depth as u32,
            rank: (last.map_or(0, |tree| tree.rank.1), forest.rank_tests.len() as u32),
            small: (last.map_or(0, |tree| tree.small.1), forest.small_tests.len() as u32),
            plane: (last.map_or(0, |tree| tree.plane.1), forest.plane_tests.len() as u32),
            table: forest.leaves.len() as u32,
        };
        let slots = (1usize << depth) - 1;
        let has = |slot: u16, column: u16| usize::from(slot) < slots && usize::from(column) < forest.columns;
        assert!(forest.rank_tests[tree.rank.0 as usize..].iter().all(|test| has(test.slot, test.column)));
        assert!(forest.small_tests[tree.small.0 as usize..].iter().all(|test| has(test.slot, test.column)));
        let planes = &forest.plane_tests[tree.plane.0 as usize..];
        assert!(
            planes.iter().all(|test| usize::from(test.slot) < slots && (test.plane as usize) < forest.planes)
        );
        for chunk in leaves.chunks(64) {
            let mut values = [0.0; 64];
            for (value, leaf) in values.iter_mut().step_by(64 / chunk.len()).zip(chunk) {
                *value = *leaf;
            }
            forest.leaves.push(values);
        }
        forest.trees.push(tree);
    }

    /// The trees so far.
    pub(crate) fn finish(mut self) -> MaskForest {
        let forest = &mut self.forest;
        forest.trees.shrink_to_fit();
        forest.rank_tests.shrink_to_fit();
        forest.small_tests.shrink_to_fit();
        forest.plane_tests.shrink_to_fit();
        forest.leaves.shrink_to_fit();
        self.forest
    }
}

/// For each code of a column, one bit for each of a number of tests: the answers to sets too large for a register.
#[derive(Debug, Clone)]
pub(crate) struct BitRows {
    words: usize,
    bits: Vec<u64>,
}

impl BitRows {
    /// Room for the answers of `tests` tests to `codes` codes, all left.
    pub(crate) fn new(codes: usize, tests: usize) -> Self {
        let words = tests.div_ceil(64);
        Self { words, bits: vec![0; codes * words] }
    }

    /// Sets the answer of `test` to `code`: right.
    pub(crate) fn set(&mut self, code: usize, test: usize) {
        assert!(test < self.words * 64);
        self.bits[code * self.words + test / 64] |= 1 << (test % 64);
    }

    /// How many words a code has.
    pub(crate) fn words(&self) -> usize {
        self.words
    }

    /// How many codes there are.
    pub(crate) fn codes(&self) -> usize {
        self.bits.len().checked_div(self.words).unwrap_or(0)
    }

    /// The words, code after code.
    pub(crate) fn bits(&self) -> &[u64] {
        &self.bits
    }
}
