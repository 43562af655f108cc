//! One row through many trees: no quantisation of a batch, no allocation, trees side by side so that loads overlap.

use crate::layout::{MAX_DEPTH, MAX_ROW_COLUMNS, MaskForest, RowForest};

/// What is known of one row.
#[derive(Debug, Clone)]
#[repr(C, align(64))]
pub(crate) struct RowData {
    /// The byte of each column.
    pub(crate) bytes: [u8; MAX_ROW_COLUMNS],
    /// The answers to large sets: bit `plane % 64` of word `plane / 64`.
    pub(crate) answers: [u64; RowData::MAX_PLANES / 64],
}

impl RowData {
    /// The most planes that a row has room for.
    pub(crate) const MAX_PLANES: usize = 64 * 64;

    /// All zeros.
    #[inline]
    pub(crate) fn new() -> Self {
        Self { bytes: [0; MAX_ROW_COLUMNS], answers: [0; Self::MAX_PLANES / 64] }
    }
}

/// Calls `ask(word, bit)` for each slot whose set, as a slot of 64 to a word, sends the row right in tree `tree`.
#[inline(always)]
pub(super) fn set_answers(rows: &RowForest, tree: usize, row: &RowData, mut ask: impl FnMut(usize, u64)) {
    for test in rows.sets(tree) {
        let code = row.bytes[usize::from(test.column) % MAX_ROW_COLUMNS];
        ask(usize::from(test.slot) / 64, (test.bits >> (code & 63) & 1) << (test.slot % 64));
    }
    for test in rows.planes(tree) {
        let plane = test.plane as usize % RowData::MAX_PLANES;
        let bit = row.answers[plane / 64] >> (plane % 64) & 1;
        ask(usize::from(test.slot) / 64, bit << (test.slot % 64));
    }
}

/// See [`super::Isa::row_leaves`]: four trees side by side.
pub(super) fn leaves(forest: &MaskForest, rows: &RowForest, first: usize, row: &RowData, out: &mut [f32]) {
    const SIDE: usize = 4;
    for (chunk, out) in out.chunks_mut(SIDE).enumerate() {
        let mut sets = [[0u64; 1 << (MAX_DEPTH - 6)]; SIDE];
        let mut at = [0usize; SIDE];
        let mut deepest = 0;
        for (side, sets) in sets.iter_mut().enumerate().take(out.len()) {
            let tree = first + chunk * SIDE + side;
            set_answers(rows, tree, row, |word, bit| sets[word] |= bit);
            deepest = deepest.max(forest.trees()[tree].depth);
        }
        for level in 0..deepest {
            for (side, at) in at.iter_mut().enumerate().take(out.len()) {
                let index = first + chunk * SIDE + side;
                if level >= forest.trees()[index].depth {
                    continue;
                }
                let [columns, bounds] = &rows.slots(index)[*at / 64];
                let from = row.bytes[usize::from(columns.0[*at % 64])] >= bounds.0[*at % 64];
                let in_set = sets[side][*at / 64] >> (*at % 64) & 1;
                *at = 2 * *at + 1 + (usize::from(from) | in_set as usize);
            }
        }
        for (side, out) in out.iter_mut().enumerate() {
            let tree = &forest.trees()[first + chunk * SIDE + side];
            let leaf = (at[side] + 1 - (1 << tree.depth)) << 6u32.saturating_sub(tree.depth);
            *out = forest.leaves()[tree.table as usize + leaf / 64][leaf % 64];
        }
    }
}
