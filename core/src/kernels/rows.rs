//! One row through many trees: no quantisation of a batch, no allocation, trees side by side so that loads overlap.
//!
//! Leaves are added in order, in a chain of additions that nothing can shorten; it goes on while the next trees are asked.

use std::ops::Range;

use super::fetch;
use crate::layout::{
    BitRows, ByteColumns, Deposit, MAX_DEPTH, MAX_ROW_COLUMNS, MAX_ROW_PLANES, MaskForest, RowForest,
    RowRanks, floor32,
};

/// What is known of one row.
#[derive(Debug, Clone)]
#[repr(C, align(64))]
pub(crate) struct RowData {
    /// The byte of each column.
    pub(crate) bytes: [u8; MAX_ROW_COLUMNS],
    /// The answers to sets: bit `plane % 64` of word `plane / 64`. One word more, so that any eight bytes can be read.
    answers: [u64; MAX_ROW_PLANES / 64 + 1],
}

impl RowData {
    /// All zeros.
    #[inline]
    pub(crate) fn new() -> Self {
        Self { bytes: [0; MAX_ROW_COLUMNS], answers: [0; MAX_ROW_PLANES / 64 + 1] }
    }

    /// Forgets the answers to the first `planes` planes.
    ///
    /// # Panics
    /// If there is no room for so many.
    #[inline]
    pub(crate) fn clear(&mut self, planes: usize) {
        assert!(planes <= MAX_ROW_PLANES);
        self.answers[..planes.div_ceil(64)].fill(0);
    }

    /// Adds the answers of `code` as planes from `first` on.
    ///
    /// # Panics
    /// If there is no such code, or no room.
    #[inline]
    pub(crate) fn answer(&mut self, first: usize, answers: &BitRows, code: usize) {
        let (words, shift) = (answers.words(), first % 64);
        let bits = &answers.bits()[code * words..][..words];
        for (word, bits) in (first / 64..).zip(bits) {
            self.answers[word] |= bits << shift;
            // In two steps, since a word can't be shifted by 64.
            self.answers[word + 1] |= bits >> 1 >> (63 - shift);
        }
    }

    /// Whether the row is in the set of `plane`.
    #[cfg(test)]
    pub(crate) fn has(&self, plane: usize) -> bool {
        self.answers[plane / 64] >> (plane % 64) & 1 == 1
    }

    /// The answers from that of `deposit`'s first plane on: at least as many as a deposit takes.
    #[inline(always)]
    pub(super) fn answers(&self, deposit: &Deposit) -> u64 {
        let plane = usize::from(deposit.plane) % MAX_ROW_PLANES;
        // SAFETY: eight bytes from a byte of the words before the last one on.
        let word =
            unsafe { self.answers.as_ptr().cast::<u8>().add(plane / 8).cast::<u64>().read_unaligned() };
        u64::from_le(word) >> (plane % 8)
    }
}

/// See [`super::Isa::row_ranks`]. Tables lie beyond the first cache, so that what each step reads of some of them is asked for
/// before any of it is read.
pub(super) fn ranks(ranks: &RowRanks, row: &[f64], codes: &mut [u16]) {
    const SOME: usize = 32;
    let (mut values, mut begins) = ([0.0; SOME], [0; SOME]);
    for (tables, codes) in ranks.tables().chunks(SOME).zip(codes.chunks_mut(SOME)) {
        for (table, (begin, value)) in tables.iter().zip(begins.iter_mut().zip(&mut values)) {
            let Some((feature, table)) = table else { continue };
            *value = floor32(row[*feature]);
            *begin = table.bucket(*value);
            fetch(&table.starts()[*begin]);
        }
        for (table, begin) in tables.iter().zip(&mut begins) {
            let Some((_, table)) = table else { continue };
            *begin = usize::from(table.starts()[*begin]);
            fetch(&table.padded()[*begin]);
        }
        for ((table, code), (begin, value)) in tables.iter().zip(codes).zip(begins.iter().zip(&values)) {
            let Some((_, table)) = table else { continue };
            let rank = table.rank_from(*begin, *value);
            *code = if value.is_nan() { table.missing() } else { rank } as u16;
        }
    }
}

/// See [`super::Isa::row_bytes`].
pub(super) fn bytes(columns: &ByteColumns, codes: &[u16], row: &mut RowData) {
    for (byte, (source, table)) in row.bytes.iter_mut().zip(columns.list()) {
        *byte = table.bytes()[usize::from(codes[usize::from(*source)])];
    }
}

/// Bit `i` of `bits` to the place of the `i`-th bit of `slots`.
fn deposit(mut bits: u64, mut slots: u64) -> u64 {
    let mut found = 0;
    while slots != 0 {
        let lowest = slots & slots.wrapping_neg();
        found |= lowest * (bits & 1);
        bits >>= 1;
        slots ^= lowest;
    }
    found
}

/// See [`super::Isa::row_sum`]: four trees side by side.
pub(super) fn sum(
    forest: &MaskForest,
    rows: &RowForest,
    trees: Range<usize>,
    row: &RowData,
    mut sum: f64,
) -> f64 {
    const SIDE: usize = 4;
    for first in trees.clone().step_by(SIDE) {
        let count = SIDE.min(trees.end - first);
        let mut sets = [[0u64; 1 << (MAX_DEPTH - 6)]; SIDE];
        let mut at = [0usize; SIDE];
        let mut deepest = 0;
        for (side, sets) in sets.iter_mut().enumerate().take(count) {
            for of_sets in rows.deposits(first + side) {
                sets[usize::from(of_sets.word)] |= deposit(row.answers(of_sets), of_sets.slots);
            }
            deepest = deepest.max(forest.trees()[first + side].depth);
        }
        for level in 0..deepest {
            for (side, at) in at.iter_mut().enumerate().take(count) {
                if level >= forest.trees()[first + side].depth {
                    continue;
                }
                let [columns, bounds] = &rows.slots(first + side)[*at / 64];
                let from = row.bytes[usize::from(columns.0[*at % 64])] >= bounds.0[*at % 64];
                let in_set = sets[side][*at / 64] >> (*at % 64) & 1;
                *at = 2 * *at + 1 + (usize::from(from) | in_set as usize);
            }
        }
        for (side, at) in at.iter().enumerate().take(count) {
            let tree = &forest.trees()[first + side];
            let leaf = (at + 1 - (1 << tree.depth)) << 6u32.saturating_sub(tree.depth);
            sum += f64::from(forest.leaves()[tree.table as usize + leaf / 64][leaf % 64]);
        }
    }
    sum
}
