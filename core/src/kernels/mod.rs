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
pub(crate) mod exp;
mod exps;
mod heap;
mod linear;
mod pages;
mod portable;
mod rows;
mod subtrees;
#[cfg(target_arch = "x86_64")]
mod subtrees_avx512;
#[cfg(test)]
mod tests;
mod waves;
#[cfg(target_arch = "x86_64")]
mod waves_avx512;

use std::ops::Range;

pub(crate) use cpu::Isa;
pub(crate) use linear::{Slots, Terms};
pub(crate) use pages::{prefer_large_pages, reserve_large_pages};
pub(crate) use rows::RowData;
pub(crate) use subtrees::{Begin, WALKS, WalkScratch, fetch_near};
pub(crate) use waves::WaveScratch;

use self::subtrees::fetch;
use crate::layout::{
    BitRows, ByteColumns, ByteTable, CODES, CodeLine, ColumnLines, GROUP, Line, MAX_DEPTH, MAX_DIGITS,
    MAX_ROW_COLUMNS, MaskForest, NARROW, RankTable, RowForest, RowRanks, SubtreeForest, Sums, TILE, TILES,
    WAVE, WaveForest,
};

impl Isa {
    /// The rank of each value among the column's thresholds; [`RankTable::missing`] for NaN.
    ///
    /// # Panics
    /// If the slices differ in length, or a rank may not fit 16 bits.
    pub(crate) fn ranks(self, table: &RankTable, values: &[f64], codes: &mut [u16]) {
        assert!(values.len() == codes.len() && table.missing() <= usize::from(u16::MAX));
        let (starts, thresholds) = (table.starts().chunks(32), table.padded().chunks(16));
        // Line after line, since the column's table is far away; values would ask for a line here and a line there.
        if values.len() >= starts.len() + thresholds.len() {
            starts.for_each(|line| fetch_near(line.as_ptr()));
            thresholds.for_each(|line| fetch_near(line.as_ptr()));
        }
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

    /// The rank of each value of a row that has a table, as [`Self::ranks`]; codes of other columns are left with anything.
    ///
    /// # Panics
    /// If the row has too few values, or there is no room for eight codes for each eight columns.
    #[inline]
    pub(crate) fn row_ranks(self, ranks: &RowRanks, row: &[f64], codes: &mut [u16]) {
        assert!(row.len() >= ranks.features() && codes.len() >= ranks.eights().len() * 8);
        match self {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the token proves the target features; the shapes are checked above.
            Isa::Avx512(_) => unsafe { avx512::row_ranks(ranks, row, codes) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the token proves the target features; the shapes are checked above.
            Isa::Avx2(_) => unsafe { avx2::row_ranks(ranks, row, codes) },
            _ => rows::ranks(ranks, row, codes),
        }
    }

    /// The byte of each column of a row, from the codes of its sources, each of which has one; bytes of other columns are left
    /// with anything.
    ///
    /// # Panics
    /// If there are not eight more codes than sources, or more columns than [`MAX_ROW_COLUMNS`].
    #[inline]
    pub(crate) fn row_bytes(self, columns: &ByteColumns, codes: &[u16], row: &mut RowData) {
        assert!(codes.len() > columns.sources() && columns.list().len() <= MAX_ROW_COLUMNS);
        match self {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the token proves the target features; the shapes are checked above.
            Isa::Avx512(_) => unsafe { avx512::row_bytes(columns, codes, row) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the token proves the target features; the shapes are checked above.
            Isa::Avx2(_) => unsafe { avx2::row_bytes(columns, codes, row) },
            _ => rows::bytes(columns, codes, row),
        }
    }

    /// The byte of each code: row `i`'s is `table[codes[i]]`. Other rows may get anything.
    ///
    /// # Panics
    /// If there are more codes than rows of a group, or a code has no byte.
    pub(crate) fn look_up(self, codes: &[u16], table: &ByteTable, bytes: &mut [Line; TILES]) {
        assert!(codes.len() <= GROUP);
        let values = table.bytes();
        match (self, table.runs()) {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the token proves the target features; the shapes are checked above.
            (Isa::Avx512(_), Some(runs)) if codes.len() >= TILE => unsafe {
                avx512::look_up_runs(codes, runs, values, bytes)
            },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the token proves the target features; the shapes are checked above.
            (Isa::Avx512(_), _) => unsafe { avx512::look_up(codes, values, bytes) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the token proves the target features; the shapes are checked above.
            (Isa::Avx2(_), _) => unsafe { avx2::look_up(codes, values, bytes) },
            _ => portable::look_up(codes, values, bytes),
        }
    }

    /// Makes the lines of a byte column for the first `rows` rows of a group; other rows of them may be anything.
    ///
    /// # Panics
    /// If there are not as many lines, or more rows than [`GROUP`].
    pub(crate) fn column_lines(
        self,
        made: &ColumnLines,
        bytes: &[Line; TILES],
        rows: usize,
        lines: &mut [Line],
    ) {
        assert!(lines.len() == made.lines().len() && rows <= GROUP);
        let tiles = rows.div_ceil(TILE);
        match self {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the token proves the target features; the shapes are checked above.
            Isa::Avx512(_) => unsafe { avx512::column_lines(made, bytes, tiles, lines) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the token proves the target features; the shapes are checked above.
            Isa::Avx2(_) => unsafe { avx2::column_lines(made, bytes, tiles, lines) },
            _ => portable::column_lines(made, bytes, tiles, lines),
        }
    }

    /// Makes the lines of the tests of `bit_rows` from the codes of a group; other rows of them may be anything.
    ///
    /// # Panics
    /// If there are more codes than rows of a group, a code has no bits, or there are not as many lines as tests.
    pub(crate) fn bit_planes(self, bit_rows: &BitRows, codes: &[u16], lines: &mut [Line]) {
        assert!(codes.len() <= GROUP && lines.len() == bit_rows.tests());
        match self {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the token proves the target features; the shapes are checked above.
            Isa::Avx512(_) => unsafe { avx512::bit_planes(bit_rows, codes, lines) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the token proves the target features; the shapes are checked above.
            Isa::Avx2(_) => unsafe { avx2::bit_planes(bit_rows, codes, lines) },
            _ => portable::bit_planes(bit_rows, codes, lines),
        }
    }

    /// Adds the leaf that each row of a group falls into, tree after tree, to the row's sum.
    ///
    /// Sums are in the order that [`Self::read_sums`] knows; those of rows past the group's are left with anything.
    ///
    /// # Panics
    /// If the group lacks lines, has more rows than [`GROUP`], or there are no such trees, or their leaves are not laid out
    /// where they [must be](Self::looks_up_bytes).
    pub(crate) fn add_trees(
        self,
        forest: &MaskForest,
        trees: Range<usize>,
        lines: &[Line],
        rows: usize,
        scratch: &mut MaskScratch,
        sums: &mut Sums,
    ) {
        assert!(lines.len() >= forest.lines() && trees.end <= forest.trees().len() && rows <= GROUP);
        match self {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the token proves the target features; the shapes are checked above.
            Isa::Avx512(_) => unsafe { avx512::add_trees(forest, trees, lines, rows, scratch, sums) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the token proves the target features; the shapes are checked above.
            Isa::Avx2(_) => unsafe { avx2::add_trees(forest, trees, lines, rows, scratch, sums) },
            _ => portable::add_trees(forest, trees, lines, rows, scratch, sums),
        }
    }

    /// Whether [`Self::add_trees`] needs leaves to be [laid out](MaskForest::lay_out_leaves).
    pub(crate) fn looks_up_bytes(self) -> bool {
        matches!(self, Isa::Avx512(_))
    }

    /// The leaf's index, in tree `tree`, for each of the first rows of a group.
    ///
    /// # Panics
    /// If the group lacks lines, there are more rows than [`GROUP`], or there is no such tree.
    pub(crate) fn indices(
        self,
        forest: &MaskForest,
        tree: usize,
        lines: &[Line],
        scratch: &mut MaskScratch,
        indices: &mut [u16],
    ) {
        let rows = indices.len();
        assert!(lines.len() >= forest.lines() && tree < forest.trees().len() && rows <= GROUP);
        let tree = &forest.trees()[tree];
        match self {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the token proves the target features; the shapes are checked above.
            Isa::Avx512(_) => unsafe { avx512::indices(forest, tree, lines, rows, scratch) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the token proves the target features; the shapes are checked above.
            Isa::Avx2(_) => unsafe { avx2::indices(forest, tree, lines, rows, scratch) },
            _ => portable::indices(forest, tree, lines, rows, scratch),
        }
        indices.copy_from_slice(&scratch.index[..rows]);
    }

    /// Adds the leaf that each row falls into in tree `tree` to the row's sum.
    ///
    /// A row begins where its entry says: twice a node's index, and one more if that is a leaf. `codes` has [`WAVE`] codes
    /// for each column and two more; those of rows that have a sum are below the number of codes that the forest was
    /// built for.
    ///
    /// # Panics
    /// If `codes` or `entries` is too short, an entry names no node, or wrongly, there is no such tree, or there are more sums than
    /// [`WAVE`].
    pub(crate) fn add_waves(
        self,
        forest: &WaveForest,
        tree: usize,
        codes: &[u16],
        entries: &[u32],
        scratch: &mut WaveScratch,
        sums: &mut [f64],
    ) {
        assert!(
            codes.len() >= forest.columns() * WAVE + 2
                && codes.len() < i32::MAX as usize
                && sums.len() <= WAVE
        );
        let nodes = forest.tree(tree);
        let named = |entry: u32| {
            nodes.get((entry >> 1) as usize).is_some_and(|node| node.is_leaf() == (entry & 1 == 1))
        };
        assert!(entries.len() >= sums.len() && entries[..sums.len()].iter().all(|entry| named(*entry)));
        // SAFETY: the shapes are checked above; the token proves the target features.
        unsafe {
            match (self, forest.has_sets()) {
                #[cfg(target_arch = "x86_64")]
                (Isa::Avx512(_), true) => {
                    waves_avx512::add::<true>(forest, tree, codes, entries, scratch, sums)
                }
                #[cfg(target_arch = "x86_64")]
                (Isa::Avx512(_), false) => {
                    waves_avx512::add::<false>(forest, tree, codes, entries, scratch, sums)
                }
                (_, true) => waves::add::<true>(forest, tree, codes, entries, scratch, sums),
                (_, false) => waves::add::<false>(forest, tree, codes, entries, scratch, sums),
            }
        }
    }

    /// Adds the leaf that each row falls into to the row's sum. Rows begin at entries, of those that
    /// [`crate::layout::SubtreeForest::entry`] names. `codes` has as many lines for each row as hold the forest's columns;
    /// some code is [`crate::layout::MISSING`] only if `gaps`.
    ///
    /// # Panics
    /// If an entry is none of the forest's, there are not as many rows as sums, or more than [`WALKS`], or too few codes.
    pub(crate) fn add_rows(
        self,
        forest: &SubtreeForest,
        from: Begin<'_>,
        (codes, gaps): (&[CodeLine], bool),
        scratch: &mut WalkScratch,
        sums: &mut [f64],
    ) {
        assert!(from.walks() == sums.len() && sums.len() * forest.lines() <= codes.len());
        // SAFETY: each row has as many codes as the lines hold.
        unsafe { self.walk(forest, from, (codes, gaps), forest.lines() * CODES, scratch) };
        subtrees::add(forest, scratch, sums);
    }

    /// Adds the leaves that one row falls into in each of `trees` to `sum`, in order; codes as of [`Self::add_rows`].
    ///
    /// # Panics
    /// If there are no such trees, or more than [`WALKS`], or too few codes.
    pub(crate) fn add_row(
        self,
        forest: &SubtreeForest,
        trees: Range<usize>,
        (codes, gaps): (&[CodeLine], bool),
        scratch: &mut WalkScratch,
        sum: &mut f64,
    ) {
        assert!(forest.lines() <= codes.len());
        let walks = trees.len();
        // SAFETY: all walks have the same codes.
        unsafe { self.walk(forest, Begin::Trees(trees), (codes, gaps), 0, scratch) };
        *sum = subtrees::fold(forest, scratch, walks, *sum);
    }

    /// Whether there is a kernel that asks all slots of a subtree at once, for a forest of so many columns, with sets or without.
    pub(crate) fn asks_at_once(self, columns: usize, sets: bool) -> bool {
        matches!(self, Isa::Avx512(_)) && !sets && columns <= 2 * CODES
    }

    /// Takes walks to their leaves.
    ///
    /// # Panics
    /// If the forest was made for another kernel, an entry is none of the forest's, or there are more than [`WALKS`].
    ///
    /// # Safety
    /// Each walk's codes are [`SubtreeForest::lines`] lines of `codes`, which begin `stride` codes after those of the one before.
    #[inline(always)]
    unsafe fn walk(
        self,
        forest: &SubtreeForest,
        from: Begin<'_>,
        (codes, gaps): (&[CodeLine], bool),
        stride: usize,
        scratch: &mut WalkScratch,
    ) {
        use subtrees::walk;
        assert!(from.walks() <= WALKS);
        let codes = codes.as_ptr().cast::<u16>();
        let sets = forest.sets_from() < forest.columns();
        assert!(forest.for_vectors() == self.asks_at_once(forest.columns(), sets));
        #[cfg(target_arch = "x86_64")]
        if forest.for_vectors() {
            use subtrees_avx512::walk;
            // SAFETY: the caller's promise; the token proves the target features.
            return unsafe {
                match (stride / CODES, forest.lines(), gaps) {
                    (0, 2, false) => walk::<0, true, false>(forest, from, codes, scratch),
                    (0, 2, true) => walk::<0, true, true>(forest, from, codes, scratch),
                    (0, _, false) => walk::<0, false, false>(forest, from, codes, scratch),
                    (0, _, true) => walk::<0, false, true>(forest, from, codes, scratch),
                    (_, 2, false) => walk::<6, true, false>(forest, from, codes, scratch),
                    (_, 2, true) => walk::<6, true, true>(forest, from, codes, scratch),
                    (_, _, false) => walk::<5, false, false>(forest, from, codes, scratch),
                    (_, _, true) => walk::<5, false, true>(forest, from, codes, scratch),
                }
            };
        }
        // SAFETY: the caller's promise.
        unsafe {
            match (stride > 0, sets, forest.columns() > NARROW, gaps) {
                (_, _, true, _) => walk::<true, true, true, true>(forest, from, codes, stride, scratch),
                (_, true, _, _) => walk::<true, true, false, true>(forest, from, codes, stride, scratch),
                (true, _, _, false) => {
                    walk::<true, false, false, false>(forest, from, codes, stride, scratch)
                }
                (true, _, _, true) => walk::<true, false, false, true>(forest, from, codes, stride, scratch),
                (false, _, _, false) => walk::<false, false, false, false>(forest, from, codes, 0, scratch),
                (false, _, _, true) => walk::<false, false, false, true>(forest, from, codes, 0, scratch),
            }
        }
    }

    /// Whether there are vector kernels for one row through these trees.
    pub(crate) fn takes_rows(self, rows: &RowForest) -> bool {
        let columns = match self {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512(_) => avx512::MAX_ROW_COLUMNS,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2(_) => avx2::MAX_ROW_COLUMNS,
            _ => return false,
        };
        rows.shallow().is_some() && rows.columns() <= columns
    }

    /// `sum` and, in order, the leaves that one row falls into in `trees`. If `exact`, no sum of some of these is ever rounded,
    /// so that they may be added in any order; `sum` is then not `-0.0`.
    ///
    /// # Panics
    /// If there are no such trees.
    #[inline]
    pub(crate) fn row_sum(
        self,
        forest: &MaskForest,
        rows: &RowForest,
        trees: Range<usize>,
        row: &RowData,
        sum: f64,
        exact: bool,
    ) -> f64 {
        assert!(trees.end <= forest.trees().len().min(rows.trees()));
        match (self, rows.shallow()) {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the token proves the target features; the trees are checked above.
            (Isa::Avx512(_), Some(slots)) if self.takes_rows(rows) => unsafe {
                match exact {
                    true => avx512::row_sum::<true>(forest, rows, slots, trees, row, sum),
                    false => avx512::row_sum::<false>(forest, rows, slots, trees, row, sum),
                }
            },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the token proves the target features; the trees are checked above.
            (Isa::Avx2(_), Some(slots)) if self.takes_rows(rows) => unsafe {
                match exact {
                    true => avx2::row_sum::<true>(forest, rows, slots, trees, row, sum),
                    false => avx2::row_sum::<false>(forest, rows, slots, trees, row, sum),
                }
            },
            _ => rows::sum(forest, rows, trees, row, sum),
        }
    }

    /// The sums in the order of rows.
    pub(crate) fn read_sums(self, sums: &Sums, out: &mut [f64]) {
        let order = match self {
            Isa::Avx512(_) => &INTERLEAVED,
            Isa::Avx2(_) => &TRANSPOSED,
            Isa::Portable => return out.copy_from_slice(&sums.0[..out.len()]),
        };
        for (out, sums) in out.chunks_mut(TILE).zip(sums.0.as_chunks::<TILE>().0) {
            for (out, at) in out.iter_mut().zip(order) {
                *out = sums[usize::from(*at) % TILE];
            }
        }
    }
}

/// Where AVX-512 has the sum of each row of a tile: byte `at` is in a 128-bit lane, a quarter of it, and a place in the quarter.
static INTERLEAVED: [u8; TILE] = {
    let mut order = [0; TILE];
    let mut at = 0;
    while at < TILE {
        order[at] = (at / 4 % 4 * 16 + at / 16 * 4 + at % 4) as u8;
        at += 1;
    }
    order
};

/// Where AVX2 has it: register `at % 8`, byte `at / 8` of its word.
static TRANSPOSED: [u8; TILE] = {
    let mut order = [0; TILE];
    let mut at = 0;
    while at < TILE {
        order[at] = (at % 8 * 8 + at / 8) as u8;
        at += 1;
    }
    order
};

/// Trees whose leaves are found before they are added.
const CHUNK: usize = 16;

/// Room for the leaves of some trees for one group of rows.
#[derive(Debug, Clone)]
#[repr(C, align(64))]
pub(crate) struct MaskScratch {
    /// For each tree the lowest six bits of the leaf's index, a byte a row.
    bytes: [[Line; TILES]; CHUNK],
    /// For each tree the further bits, the lowest first, a word a tile.
    uppers: [[[u64; TILES]; MAX_DEPTH - 6]; CHUNK],
    /// The leaf's index for each row, of one tree.
    index: [u16; GROUP],
    /// The leaves of a tile.
    values: [[f32; 16]; 4],
    /// Of each tile and digit, the sums of digits: of words of two rows, and of the upper of them; zeros between runs of trees.
    digits: [[[Line; 2]; MAX_DIGITS]; TILES],
}

impl MaskScratch {
    /// Room, on the heap.
    pub(crate) fn new() -> Box<Self> {
        Box::new(Self {
            bytes: [[Line::ZERO; TILES]; CHUNK],
            uppers: [[[0; TILES]; MAX_DEPTH - 6]; CHUNK],
            index: [0; GROUP],
            values: [[0.0; 16]; 4],
            digits: [[[Line::ZERO; 2]; MAX_DIGITS]; TILES],
        })
    }
}
