//! Trees as heaps of questions, for kernels that ask a tree's every question of a group of rows at a time.
//!
//! In flow, by [`mask_forest`], trees as tests on byte columns; out flows a [`MaskForest`] in which every column,
//! line, table and leaf that a test or a tree names exists, so that kernels may index without asking.
//!
//! **Lines.** What a group of rows answers to a question is one bit a row: a line. A byte column of `n` bounds would need `n`
//! lines. Instead a byte is two digits of 4 bits, and there are lines only for `digit >= i`: a byte is at least `16h + l` where
//! its high digit is above `h`, or is `h` and its low digit is at least `l`. So 32 lines answer 254 questions, one
//! three-operand instruction each. Columns of few bounds have a line a bound, sets of levels a line a set.
//!
//! **Heaps.** A tree of depth `d` is a heap of `2^d - 1` slots: slot 0 is the root, the children of slot `s` are `2s + 1` (left)
//! and `2s + 2` (right), and there are `2^d` leaves in that order. A subtree that ends early leaves slots that every row
//! answers with left, and stands as equal leaves under them. Leaves stand in tables of 64; those of a tree of fewer levels
//! than 6 stand as far apart as if every further answer were left.

use std::collections::HashMap;
use std::ops::Range;

use super::exact::{DigitTables, MAX_DIGIT_TREES, SumRange};
use super::lines::{Line, TILES};

/// The deepest tree that has a heap.
pub(crate) const MAX_DEPTH: usize = 10;
/// The highest byte of a rank column.
pub(crate) const MAX_BYTE: u8 = 254;
/// The most lines of a forest: where one begins is told in words of 64 rows, in 16 bits.
pub(crate) const MAX_LINES: usize = u16::MAX as usize / TILES;
/// Up to this byte a column has a line a bound; above it digits take fewer lines.
const MAX_DIRECT: u8 = 18;
/// The line on which every row has a bit; the line after it has none.
const ALL: usize = 0;

/// Where the lines of a test begin, in words of 64 rows: right where `high + 1 | high & low`, line for line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct LineTest {
    /// The line of its high digit; the line after it is that of the next digit.
    pub(crate) high: u16,
    /// The line of its low digit.
    pub(crate) low: u16,
}

impl LineTest {
    /// Right where the row has a bit on `line`.
    fn of(line: usize) -> Self {
        Self { high: word(ALL), low: word(line) }
    }

    /// Always left.
    fn left() -> Self {
        Self::of(ALL + 1)
    }
}

fn word(line: usize) -> u16 {
    (line * TILES) as u16
}

/// How the lines of a byte column are made; `first` is the first of them.
#[derive(Debug, Clone)]
pub(crate) enum ColumnLines {
    /// Line `first + i`: the byte is at least `i + 1`, for each byte up to `top`.
    Direct { first: usize, top: u8 },
    /// Lines `first..=first + top / 16 + 1`: the high digit is at least 0, 1, ..., the last of which no row has; then 15
    /// lines: the low digit is at least 1, 2, ..., 15.
    Digits { first: usize, top: u8 },
    /// Line `first + i`: the bit of set `i` that the byte (below 64) names is set.
    Sets { first: usize, sets: Vec<u64> },
}

impl ColumnLines {
    /// How many lines a column needs whose bytes go up to `top`.
    pub(crate) fn needed(top: u8) -> usize {
        if top <= MAX_DIRECT { usize::from(top) } else { usize::from(top / 16) + 2 + 15 }
    }

    /// Where its lines are.
    pub(crate) fn lines(&self) -> Range<usize> {
        match self {
            ColumnLines::Direct { first, top } | ColumnLines::Digits { first, top } => {
                *first..first + Self::needed(*top)
            }
            ColumnLines::Sets { first, sets } => *first..first + sets.len(),
        }
    }

    /// The test that a byte is at least `bound`.
    fn from(&self, bound: u8) -> LineTest {
        match self {
            ColumnLines::Direct { first, top } if (1..=*top).contains(&bound) => {
                LineTest::of(first + usize::from(bound) - 1)
            }
            ColumnLines::Digits { first, top } if (1..=*top).contains(&bound) => {
                let (high, low) = (usize::from(bound / 16), usize::from(bound % 16));
                let lows = first + usize::from(top / 16) + 2;
                LineTest { high: word(first + high), low: word(if low == 0 { ALL } else { lows + low - 1 }) }
            }
            _ => panic!("bound {bound} of {self:?}"),
        }
    }
}

/// One tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MaskTree {
    /// Levels of the heap, 0 to [`MAX_DEPTH`].
    pub(crate) depth: u32,
    /// The first of its tests in [`MaskForest::tests`], slot after slot.
    pub(crate) first: u32,
    /// The first of its leaf tables (of 64 leaves each; `2^(depth - 6)` of them, at least one).
    pub(crate) table: u32,
}

/// Trees whose leaves were laid out together.
#[derive(Debug, Clone)]
struct LeafRun {
    trees: Range<usize>,
    leaves: LeafTables,
}

/// The leaves of a run of trees in lines of bytes.
#[derive(Debug, Clone)]
pub(crate) enum LeafTables {
    /// For each table of 64 values a line of their lowest bytes, then one of the second, and so on.
    Bytes(Vec<[Line; 4]>),
    /// Whole numbers by digits.
    Digits(DigitTables),
}

/// The bytes of 64 values.
fn byte_lines(values: &[f32; 64]) -> [Line; 4] {
    std::array::from_fn(|byte| Line(values.map(|value| value.to_le_bytes()[byte])))
}

/// Trees over one set of byte columns and planes.
#[derive(Debug, Clone)]
pub(crate) struct MaskForest {
    columns: Vec<ColumnLines>,
    planes: usize,
    lines: usize,
    trees: Vec<MaskTree>,
    tests: Vec<LineTest>,
    leaves: Vec<[f32; 64]>,
    runs: Vec<LeafRun>,
}

impl MaskForest {
    /// How the lines of each byte column are made.
    pub(crate) fn columns(&self) -> &[ColumnLines] {
        &self.columns
    }

    /// The lines of the planes, the answers to sets too large for a byte.
    pub(crate) fn planes(&self) -> Range<usize> {
        self.lines - self.planes..self.lines
    }

    /// Lines of a group.
    pub(crate) fn lines(&self) -> usize {
        self.lines
    }

    /// The trees in order.
    pub(crate) fn trees(&self) -> &[MaskTree] {
        &self.trees
    }

    /// The tests, slot after slot of tree after tree.
    pub(crate) fn tests(&self) -> &[LineTest] {
        &self.tests
    }

    /// The leaf values, in tables of 64.
    pub(crate) fn leaves(&self) -> &[[f32; 64]] {
        &self.leaves
    }

    /// The tables of the leaves of a tree.
    pub(crate) fn leaves_of(&self, tree: &MaskTree) -> &[[f32; 64]] {
        &self.leaves[tree.table as usize..][..1 << tree.depth.saturating_sub(6)]
    }

    /// Lays out the leaves of a run of trees for kernels that look up bytes; `range` is that of all sums that they add to.
    ///
    /// # Panics
    /// If there are no such trees.
    pub(crate) fn lay_out_leaves(&mut self, trees: Range<usize>, range: &SumRange) {
        let of_run = &self.trees[trees.clone()];
        let tables = match (of_run.first(), of_run.last()) {
            (Some(first), Some(last)) => {
                first.table as usize..last.table as usize + self.leaves_of(last).len()
            }
            _ => 0..0,
        };
        let shallow = of_run.iter().all(|tree| tree.depth <= 6);
        let digits = (shallow && of_run.len() <= MAX_DIGIT_TREES).then(|| {
            let trees = of_run.iter().zip(&self.leaves[tables.clone()]);
            DigitTables::new(trees.map(|(tree, leaves)| (leaves, 64 >> tree.depth)), range)
        });
        let leaves = match digits.flatten() {
            Some(digits) => LeafTables::Digits(digits),
            None => LeafTables::Bytes(self.leaves[tables].iter().map(byte_lines).collect()),
        };
        self.runs.push(LeafRun { trees, leaves });
    }

    /// The leaves of a run of trees as [`Self::lay_out_leaves`] laid them out.
    ///
    /// # Panics
    /// If it did not.
    pub(crate) fn leaf_tables(&self, trees: &Range<usize>) -> &LeafTables {
        let run = self.runs.iter().find(|run| run.trees == *trees);
        &run.expect("a run that was laid out").leaves
    }

    /// The leaf values of tree `tree`, by their indices, as bits: what heads of trees hold in place of values.
    ///
    /// # Panics
    /// If there is no such tree.
    pub(crate) fn exits(&self, tree: usize, indices: &[u16], exits: &mut [u32]) {
        let tree = &self.trees[tree];
        let tables = self.leaves_of(tree).as_flattened();
        let last = tables.len() - 1;
        for (exit, index) in exits.iter_mut().zip(indices) {
            *exit = tables[usize::from(*index).min(last)].to_bits();
        }
    }

    /// Readies lines of a group: those that are the same for all rows.
    pub(crate) fn constant_lines(&self, lines: &mut [Line]) {
        lines[ALL] = Line([u8::MAX; 64]);
        lines[ALL + 1] = Line::ZERO;
    }
}

/// What is asked of a row; `true` sends it right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ask {
    /// Whether the byte of `column` is at least `bound` (1 to [`MAX_BYTE`]).
    From { column: u16, bound: u8 },
    /// Whether bit `b` of `bits` is set, `b` being the byte of `column` (below 64).
    Set { column: u16, bits: u64 },
    /// Whether the row's bit of `plane` is set, which was found before, from [`BitRows`].
    Plane { plane: u32 },
}

/// A tree on its way: its questions by slot, and its leaves.
#[derive(Debug, Clone)]
pub(crate) struct Heap {
    /// Levels, 0 to [`MAX_DEPTH`].
    pub(crate) depth: usize,
    /// The questions of its slots, each at most once; what is not asked is answered with left.
    pub(crate) asks: Vec<(u16, Ask)>,
    /// `2^depth` leaves, left to right.
    pub(crate) leaves: Vec<f32>,
}

/// Lays out `heaps` over byte columns and `planes` planes; `tops` has the highest byte of each rank column and `None` for
/// a column that is asked for sets.
///
/// # Panics
/// If a tree is too deep, leaves are too few or many, a question names a slot, column, bound or plane that is not there, or
/// there would be more than [`MAX_LINES`] lines.
pub(crate) fn mask_forest(heaps: &[Heap], tops: &[Option<u8>], planes: usize) -> MaskForest {
    let mut next = ALL + 2;
    let mut sets: HashMap<(u16, u64), usize> = HashMap::new();
    let mut of_column: Vec<Vec<u64>> = vec![Vec::new(); tops.len()];
    for (_, ask) in heaps.iter().flat_map(|heap| &heap.asks) {
        let Ask::Set { column, bits } = *ask else { continue };
        let list = &mut of_column[usize::from(column)];
        sets.entry((column, bits)).or_insert_with(|| {
            list.push(bits);
            list.len() - 1
        });
    }
    let columns: Vec<ColumnLines> = tops
        .iter()
        .zip(of_column)
        .map(|(top, sets)| {
            let first = next;
            let lines = match *top {
                Some(top) if top <= MAX_DIRECT => ColumnLines::Direct { first, top },
                Some(top) => ColumnLines::Digits { first, top },
                None => ColumnLines::Sets { first, sets },
            };
            next = lines.lines().end;
            lines
        })
        .collect();
    let first_plane = next;
    let lines = first_plane + planes;
    assert!(lines <= MAX_LINES, "{lines} lines");
    let mut forest = MaskForest {
        columns,
        planes,
        lines,
        trees: Vec::new(),
        tests: Vec::new(),
        leaves: Vec::new(),
        runs: Vec::new(),
    };
    for Heap { depth, asks, leaves } in heaps {
        let depth = *depth;
        assert!(depth <= MAX_DEPTH && leaves.len() == 1 << depth, "{depth} levels, {} leaves", leaves.len());
        let (first, table) = (forest.tests.len(), forest.leaves.len() as u32);
        forest.tests.resize(first + (1 << depth) - 1, LineTest::left());
        for (slot, ask) in asks {
            let test = match *ask {
                Ask::From { column, bound } => forest.columns[usize::from(column)].from(bound),
                Ask::Set { column, bits } => {
                    let first = forest.columns[usize::from(column)].lines().start;
                    assert!(tops[usize::from(column)].is_none());
                    LineTest::of(first + sets[&(column, bits)])
                }
                Ask::Plane { plane } => {
                    assert!((plane as usize) < planes);
                    LineTest::of(first_plane + plane as usize)
                }
            };
            forest.tests[first..][usize::from(*slot)] = test;
        }
        for chunk in leaves.chunks(64) {
            let mut values = [0.0; 64];
            for (value, leaf) in values.iter_mut().step_by(64 / chunk.len()).zip(chunk) {
                *value = *leaf;
            }
            forest.leaves.push(values);
        }
        forest.trees.push(MaskTree { depth: depth as u32, first: first as u32, table });
    }
    forest.tests.shrink_to_fit();
    forest.leaves.shrink_to_fit();
    forest
}

/// For each code of a column, one bit for each of a number of tests: the answers to sets too large for a register.
#[derive(Debug, Clone)]
pub(crate) struct BitRows {
    tests: usize,
    words: usize,
    bits: Vec<u64>,
}

impl BitRows {
    /// Room for the answers of `tests` tests to `codes` codes, all left.
    pub(crate) fn new(codes: usize, tests: usize) -> Self {
        let words = tests.div_ceil(64);
        Self { tests, words, bits: vec![0; codes * words] }
    }

    /// Sets the answer of `test` to `code`: right.
    pub(crate) fn set(&mut self, code: usize, test: usize) {
        assert!(test < self.tests);
        self.bits[code * self.words + test / 64] |= 1 << (test % 64);
    }

    /// How many tests there are.
    pub(crate) fn tests(&self) -> usize {
        self.tests
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
