//! The kernels in plain Rust: what the vector twins must equal, and what other processors run.

use std::ops::Range;

use super::MaskScratch;
use super::heap::{self, Bits};
use crate::layout::{
    BitRows, ColumnLines, Line, MAX_DEPTH, MaskForest, MaskTree, RankTable, Sums, TILE, TILES,
};

pub(super) fn ranks(table: &RankTable, values: &[f64], codes: &mut [u16]) {
    for (code, value) in codes.iter_mut().zip(values) {
        *code = table.rank(*value) as u16;
    }
}

pub(super) fn look_up(codes: &[u16], table: &[u8], bytes: &mut [Line; TILES]) {
    look_up_from(0, codes, table, bytes);
}

/// The same from tile `first` on.
pub(super) fn look_up_from(first: usize, codes: &[u16], table: &[u8], bytes: &mut [Line; TILES]) {
    for (codes, bytes) in codes.chunks(TILE).zip(&mut bytes[first..]) {
        for (code, byte) in codes.iter().zip(&mut bytes.0) {
            *byte = table[usize::from(*code)];
        }
    }
}

pub(super) fn column_lines(made: &ColumnLines, bytes: &[Line; TILES], tiles: usize, lines: &mut [Line]) {
    if let ColumnLines::Sets { sets, .. } = made {
        for (set, line) in sets.iter().zip(lines) {
            for (tile, bytes) in bytes.iter().enumerate().take(tiles) {
                let right = |row: usize| set >> (bytes.0[row] & 63) & 1;
                put(line, tile, (0..TILE).fold(0, |word, row| word | right(row) << row));
            }
        }
        return;
    }
    for (tile, bytes) in bytes.iter().enumerate().take(tiles) {
        let mut bits = [[0u64]; 8];
        for (index, rows) in bytes.0.as_chunks::<8>().0.iter().enumerate() {
            for (bits, byte) in bits.iter_mut().zip(transpose8(*rows)) {
                bits[0] |= u64::from(byte) << (8 * index);
            }
        }
        assert!(lines.len() == made.lines().len() && tile < TILES);
        // SAFETY: word `tile` of each of the column's lines.
        unsafe { heap::digit_lines(bits, made, lines.as_mut_ptr().cast::<u64>().add(tile)) };
    }
}

/// Bit `r` of byte `b` is bit `b` of row `r`.
fn transpose8(rows: [u8; 8]) -> [u8; 8] {
    let mut x = u64::from_le_bytes(rows);
    for (shift, mask) in
        [(7, 0x00aa_00aa_00aa_00aa), (14, 0x0000_cccc_0000_cccc), (28, 0x0000_0000_f0f0_f0f0)]
    {
        let swapped = (x ^ x >> shift) & mask;
        x ^= swapped ^ swapped << shift;
    }
    x.to_le_bytes()
}

/// Sets word `tile` of a line.
fn put(line: &mut Line, tile: usize, word: u64) {
    line.0.as_chunks_mut::<8>().0[tile] = word.to_ne_bytes();
}

/// Part of the AVX2 twin too, which does the same with more at a time.
#[inline(always)]
pub(super) fn bit_planes(bit_rows: &BitRows, codes: &[u16], lines: &mut [Line]) {
    let words = bit_rows.words();
    for (tile, codes) in codes.chunks(TILE).enumerate() {
        for (number, lines) in lines.chunks_mut(64).enumerate() {
            let mut square = [0; 64];
            for (row, code) in square.iter_mut().zip(codes) {
                *row = bit_rows.bits()[usize::from(*code) * words + number];
            }
            transpose(&mut square);
            lines.iter_mut().zip(square).for_each(|(line, bits)| put(line, tile, bits));
        }
    }
}

/// Transposes 64 x 64 bits: bit `j` of word `i` becomes bit `i` of word `j`. Blocks are swapped, then blocks in blocks.
#[inline(always)]
fn transpose(square: &mut [u64; 64]) {
    swap_blocks::<32>(square, u64::MAX / 0x1_0000_0001);
    swap_blocks::<16>(square, u64::MAX / 0x1_0001);
    swap_blocks::<8>(square, u64::MAX / 0x101);
    swap_blocks::<4>(square, u64::MAX / 0x11);
    swap_blocks::<2>(square, u64::MAX / 5);
    swap_blocks::<1>(square, u64::MAX / 3);
}

/// Swaps the upper right and the lower left quarter of each block of two times `SIDE` rows and bits; `low` are the lower bits
/// of blocks.
#[inline(always)]
fn swap_blocks<const SIDE: usize>(square: &mut [u64; 64], low: u64) {
    for block in square.chunks_exact_mut(2 * SIDE) {
        let (upper, lower) = block.split_at_mut(SIDE);
        for (upper, lower) in upper.iter_mut().zip(lower) {
            let swapped = (*upper >> SIDE ^ *lower) & low;
            *upper ^= swapped << SIDE;
            *lower ^= swapped;
        }
    }
}

pub(super) fn add_trees(
    forest: &MaskForest,
    trees: Range<usize>,
    lines: &[Line],
    rows: usize,
    scratch: &mut MaskScratch,
    sums: &mut Sums,
) {
    for tree in &forest.trees()[trees] {
        indices(forest, tree, lines, rows, scratch);
        let tables = forest.leaves_of(tree);
        let leaves = tables.as_flattened();
        for (sum, index) in sums.0.iter_mut().zip(&scratch.index[..rows]) {
            *sum += f64::from(leaves[usize::from(*index)]);
        }
    }
}

/// The leaf's index for each row, to the scratch.
pub(super) fn indices(
    forest: &MaskForest,
    tree: &MaskTree,
    lines: &[Line],
    rows: usize,
    scratch: &mut MaskScratch,
) {
    type Pair = [u64; 2];
    let (depth, tests) = (tree.depth as usize, &forest.tests()[tree.first as usize..]);
    assert!(tests.len() >= (1 << depth) - 1 && lines.len() >= forest.lines());
    for pair in 0..rows.div_ceil(TILE * Pair::WORDS) {
        let mut planes = [Pair::none(); MAX_DEPTH];
        let words = lines.as_ptr().cast::<u64>().wrapping_add(pair * Pair::WORDS);
        // SAFETY: a tree's tests name lines of the forest, as its maker checked, and a line has four pairs of words.
        unsafe { heap::planes(words, tests.as_ptr(), depth, &mut planes) };
        for tile in 0..Pair::WORDS {
            let first = (pair * Pair::WORDS + tile) * TILE;
            for (at, index) in scratch.index[first..][..TILE].as_chunks_mut::<8>().0.iter_mut().enumerate() {
                *index = [0; 8];
                for (level, plane) in planes[..depth].iter().enumerate() {
                    let place = depth.max(6) - 1 - level;
                    for (index, bit) in index.iter_mut().zip(spread((plane[tile] >> (8 * at)) as u8)) {
                        *index |= u16::from(bit) << place;
                    }
                }
            }
        }
    }
}

/// The bits of `byte`, the lowest first.
fn spread(byte: u8) -> [u8; 8] {
    let ones = 0x0101_0101_0101_0101;
    let bits = (u64::from(byte) * ones) & 0x8040_2010_0804_0201;
    ((bits + 0x7f * ones) >> 7 & ones).to_le_bytes()
}
