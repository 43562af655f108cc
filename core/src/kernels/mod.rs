//! The innermost loops: portable, AVX2 and AVX-512 twins of one signature each, and the only unsafe code of the crate.
//!
//! In flow slices and the structs of [`crate::layout`], whose makers checked every index; out flow bytes, codes and sums.
//! A kernel knows no model, no thread and no error. Twins give bit-equal results, which `tests` checks for each set that
//! the processor has. No kernel changes the rounding mode or flushes denormals.
#![expect(
    unsafe_code,
    reason = "vector loads and unchecked indices; the one module of the workspace that may"
)]

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod cpu;
mod linear;
mod portable;
mod rows;
mod subtrees;
#[cfg(target_arch = "x86_64")]
mod subtrees_avx512;
#[cfg(test)]
mod tests;

use std::ops::Range;

pub(crate) use cpu::Isa;
pub(crate) use linear::{Products, Slots, TERMS};
pub(crate) use rows::RowData;
pub(crate) use subtrees::{WALKS, WalkScratch};

use crate::layout::{
    BitRows, GROUP, Line, MaskForest, NARROW, RankTable, RowForest, SubtreeForest, Sums, TILE, TILES,
};

impl Isa {
    /// The rank of each value among the column's thresholds; [`RankTable::missing`] for NaN.
    ///
    /// # Panics
    /// If the slices differ in length, or a rank may not fit 16 bits.
    pub(crate) fn ranks(self, table: &RankTable, values: &[f64], codes: &mut [u16]) {
        assert!(values.len() == codes.len() && table.missing() <= usize::from(u16::MAX));
        match self {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the token proves the target features.
            Isa::Avx512(_) => unsafe { avx512::ranks(table, values, codes) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the token proves the target features.
            Isa::Avx2(_) => unsafe { avx2::ranks(table, values, codes) },
            _ => portable::ranks(table, values, codes),
        }
    }

    /// The byte of each code: row `i`'s is `table[codes[i]]`. Other rows keep what they have.
    ///
    /// # Panics
    /// If there are more codes than rows of a group, or a code has no byte.
    pub(crate) fn look_up(self, codes: &[u16], table: &[u8], bytes: &mut [Line; TILES]) {
        assert!(codes.len() <= GROUP && !table.is_empty());
        match self {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the token proves the target features; the shapes are checked above.
            Isa::Avx512(_) if table.len() > 3 => unsafe { avx512::look_up(codes, table, bytes) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the token proves the target features; the shapes are checked above.
            Isa::Avx2(_) if table.len() > 3 => unsafe { avx2::look_up(codes, table, bytes) },
            _ => portable::look_up(codes, table, bytes),
        }
    }

    /// The answers of `bit_rows` to the codes of a group, a word a tile and test: the tests are planes `first..` of
    /// `stride` to a tile.
    ///
    /// # Panics
    /// If there are more codes than rows of a group, a code has no bits, or `planes` is too short.
    pub(crate) fn bit_planes(
        self,
        bit_rows: &BitRows,
        codes: &[u16],
        first: usize,
        stride: usize,
        planes: &mut [u64],
    ) {
        let tiles = codes.len().div_ceil(TILE);
        assert!(tiles <= TILES && first + bit_rows.words() * 64 <= stride && tiles * stride <= planes.len());
        match self {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the token proves the target features; the shapes are checked above.
            Isa::Avx512(_) => unsafe { avx512::bit_planes(bit_rows, codes, first, stride, planes) },
            _ => portable::bit_planes(bit_rows, codes, first, stride, planes),
        }
    }

    /// Adds the leaf that each row of a group falls into, tree after tree, to the row's sum.
    ///
    /// Sums are in the order that [`Self::read_sums`] knows; those of rows past the group's are left with anything.
    ///
    /// # Panics
    /// If the group lacks what the forest asks, has more rows than [`GROUP`], or there are no such trees.
    pub(crate) fn add_trees(
        self,
        forest: &MaskForest,
        trees: Range<usize>,
        group: Group<'_>,
        scratch: &mut MaskScratch,
        sums: &mut Sums,
    ) {
        let Group { columns, answers, rows } = group;
        assert!(columns.len() == forest.lines() && answers.len() >= forest.planes() * rows.div_ceil(TILE));
        assert!(trees.end <= forest.trees().len() && rows <= GROUP);
        match self {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the token proves the target features; the shapes are checked above.
            Isa::Avx512(_) => unsafe { avx512::add_trees(forest, trees, group, scratch, sums) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the token proves the target features; the shapes are checked above.
            Isa::Avx2(_) => unsafe { avx2::add_trees(forest, trees, group, scratch, sums) },
            _ => portable::add_trees(forest, trees, group, scratch, sums),
        }
    }

    /// Adds the leaf that each row falls into in tree `tree` to the row's sum; `codes` has `stride` codes a row.
    ///
    /// # Panics
    /// If there is no such tree, there are more sums than [`WALKS`], or too few codes.
    pub(crate) fn add_tree(
        self,
        forest: &SubtreeForest,
        tree: usize,
        (codes, gaps): (&[u16], bool),
        stride: usize,
        scratch: &mut WalkScratch,
        sums: &mut [f64],
    ) {
        assert!(forest.columns() <= stride && sums.len() * stride <= codes.len() && sums.len() <= WALKS);
        let rows = subtrees::RowsOf { root: forest.roots()[tree], stride, rows: sums.len() };
        // SAFETY: each row has `stride` codes, and there are as many roots as trees.
        unsafe { self.walk(forest, &rows, (codes.as_ptr(), stride, gaps), scratch) };
        subtrees::add(forest, scratch, sums);
    }

    /// Adds the leaves that one row falls into in each of `trees` to `sum`, in order.
    ///
    /// # Panics
    /// If there are no such trees, or more than [`WALKS`], or too few codes.
    pub(crate) fn add_row(
        self,
        forest: &SubtreeForest,
        trees: Range<usize>,
        (codes, gaps): (&[u16], bool),
        scratch: &mut WalkScratch,
        sum: &mut f64,
    ) {
        assert!(forest.columns() <= codes.len() && trees.len() <= WALKS);
        let trees = subtrees::TreesOf(&forest.roots()[trees]);
        // SAFETY: all walks have the same codes.
        unsafe { self.walk(forest, &trees, (codes.as_ptr(), codes.len(), gaps), scratch) };
        *sum = subtrees::fold(forest, scratch, trees.0.len(), *sum);
    }

    /// Takes walks to their leaves; some code is [`crate::layout::MISSING`] only if `gaps`.
    ///
    /// # Safety
    /// `readable` codes can be read for each of the walks, and at least one for each column; there are at most [`WALKS`]
    /// walks, and their roots are subtrees of the forest.
    #[inline(always)]
    unsafe fn walk<W: subtrees::Walks>(
        self,
        forest: &SubtreeForest,
        walks: &W,
        (codes, readable, gaps): (*const u16, usize, bool),
        scratch: &mut WalkScratch,
    ) {
        use subtrees::walk;
        let (sets, columns) = (forest.sets_from() < forest.columns(), forest.columns());
        #[cfg(target_arch = "x86_64")]
        if matches!(self, Isa::Avx512(_))
            && !sets
            && columns <= 64
            && readable >= columns.next_multiple_of(32)
        {
            use subtrees_avx512::walk;
            // SAFETY: the caller's promise; the token proves the target features.
            return unsafe {
                match (columns > 32, gaps) {
                    (false, false) => walk::<W, false, false>(forest, walks, codes, scratch),
                    (false, true) => walk::<W, false, true>(forest, walks, codes, scratch),
                    (true, false) => walk::<W, true, false>(forest, walks, codes, scratch),
                    (true, true) => walk::<W, true, true>(forest, walks, codes, scratch),
                }
            };
        }
        // SAFETY: the caller's promise.
        unsafe {
            match (sets, columns > NARROW, gaps) {
                (_, true, _) => walk::<W, true, true, true>(forest, walks, codes, scratch),
                (true, false, _) => walk::<W, true, false, true>(forest, walks, codes, scratch),
                (false, false, false) => walk::<W, false, false, false>(forest, walks, codes, scratch),
                (false, false, true) => walk::<W, false, false, true>(forest, walks, codes, scratch),
            }
        }
    }

    /// The leaf that one row falls into, in each tree from `first` on.
    ///
    /// # Panics
    /// If there are not so many trees.
    #[inline]
    pub(crate) fn row_leaves(
        self,
        forest: &MaskForest,
        rows: &RowForest,
        first: usize,
        row: &RowData,
        out: &mut [f32],
    ) {
        assert!(first + out.len() <= forest.trees().len().min(rows.trees()));
        match (self, rows.shallow()) {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the token proves the target features; the trees are checked above.
            (Isa::Avx512(_), Some(slots)) if forest.columns() <= 128 => unsafe {
                avx512::row_leaves(forest, slots, first, row, out)
            },
            _ => rows::leaves(forest, rows, first, row, out),
        }
    }

    /// The sums in the order of rows.
    pub(crate) fn read_sums(self, sums: &Sums, out: &mut [f64]) {
        match self {
            Isa::Avx512(_) => {
                for (row, out) in out.iter_mut().enumerate() {
                    let (tile, at) = (row / TILE, row % TILE);
                    // Byte `at` of a tile: 128-bit lane, then quarter of it, then place in the quarter.
                    let (lane, quarter, place) = (at / 16, at / 4 % 4, at % 4);
                    *out = sums.0[tile * TILE + quarter * 16 + lane * 4 + place];
                }
            }
            _ => out.copy_from_slice(&sums.0[..out.len()]),
        }
    }
}

/// What is known of the rows of a group.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Group<'a> {
    /// [`MaskForest::lines`] lines: [`GROUP`] bytes a column.
    pub(crate) columns: &'a [Line],
    /// [`MaskForest::planes`] words a tile: the answers to large sets.
    pub(crate) answers: &'a [u64],
    /// How many rows there are.
    pub(crate) rows: usize,
}

/// Room for the answers of one tree for one group of rows.
#[derive(Debug, Clone)]
#[repr(C, align(64))]
pub(crate) struct MaskScratch {
    /// One bit a row for each slot of the heap.
    masks: [Line; 1 << crate::layout::MAX_DEPTH],
    /// One bit a row for each level: the leaf's index, highest bit first, the last level last.
    planes: [Line; crate::layout::PLANES],
    /// The leaf's index for each row.
    index: [u16; GROUP],
    /// The bytes of the leaves, the lowest of 64 leaves first.
    tables: [[Line; 4]; 1 << (crate::layout::MAX_DEPTH - 6)],
    /// The leaves widened.
    leaves: [f64; 1 << crate::layout::MAX_DEPTH],
}

impl MaskScratch {
    /// Room, on the heap.
    pub(crate) fn new() -> Box<Self> {
        Box::new(Self {
            masks: [Line::ZERO; 1 << crate::layout::MAX_DEPTH],
            planes: [Line::ZERO; crate::layout::PLANES],
            index: [0; GROUP],
            tables: [[Line::ZERO; 4]; 1 << (crate::layout::MAX_DEPTH - 6)],
            leaves: [0.0; 1 << crate::layout::MAX_DEPTH],
        })
    }
}
