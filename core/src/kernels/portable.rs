//! The kernels in plain Rust: what the vector twins must equal, and what other processors run.

use std::ops::Range;

use super::{Group, MaskScratch};
use crate::layout::{BitRows, Line, MaskForest, MaskTree, RankTable, Sums, TILE, TILES};

pub(super) fn ranks(table: &RankTable, values: &[f64], codes: &mut [u16]) {
    for (code, value) in codes.iter_mut().zip(values) {
        *code = table.rank(*value) as u16;
    }
}

pub(super) fn look_up(codes: &[u16], table: &[u8], bytes: &mut [Line; TILES]) {
    for (codes, bytes) in codes.chunks(TILE).zip(bytes) {
        for (code, byte) in codes.iter().zip(&mut bytes.0) {
            *byte = table[usize::from(*code)];
        }
    }
}

pub(super) fn bit_planes(bit_rows: &BitRows, codes: &[u16], first: usize, stride: usize, planes: &mut [u64]) {
    let words = bit_rows.words();
    for (tile, codes) in codes.chunks(TILE).enumerate() {
        for word in 0..words {
            let mut square = [0; 64];
            for (row, code) in square.iter_mut().zip(codes) {
                *row = bit_rows.bits()[usize::from(*code) * words + word];
            }
            transpose(&mut square);
            planes[tile * stride + first + word * 64..][..64].copy_from_slice(&square);
        }
    }
}

/// Transposes 64 x 64 bits: bit `j` of word `i` becomes bit `i` of word `j`. Blocks are swapped, then blocks in blocks.
fn transpose(square: &mut [u64; 64]) {
    let mut side = 32;
    let mut low = u64::MAX >> 32;
    while side > 0 {
        for at in (0..64).filter(|at| at & side == 0) {
            let swapped = (square[at] >> side ^ square[at + side]) & low;
            square[at] ^= swapped << side;
            square[at + side] ^= swapped;
        }
        side /= 2;
        low ^= low << side;
    }
}

pub(super) fn add_trees(
    forest: &MaskForest,
    trees: Range<usize>,
    group: Group<'_>,
    scratch: &mut MaskScratch,
    sums: &mut Sums,
) {
    for tree in &forest.trees()[trees] {
        indices(forest, tree, group, scratch);
        for (sum, index) in sums.0.iter_mut().zip(&scratch.index[..group.rows]) {
            *sum += f64::from(
                forest.leaves()[tree.table as usize + usize::from(*index) / 64][usize::from(*index) % 64],
            );
        }
    }
}

/// The leaf's index for each row, to the scratch.
pub(super) fn indices(forest: &MaskForest, tree: &MaskTree, group: Group<'_>, scratch: &mut MaskScratch) {
    let Group { columns, answers, rows } = group;
    let MaskScratch { masks, index, .. } = scratch;
    for tile in 0..rows.div_ceil(TILE) {
        let line = |column: u16| &columns[usize::from(column) * TILES + tile].0;
        let mut put = |slot: u16, bits: u64| {
            masks[usize::from(slot)].0[tile * 8..][..8].copy_from_slice(&bits.to_le_bytes());
        };
        for test in &forest.rank_tests()[tree.rank.0 as usize..tree.rank.1 as usize] {
            let below = test.below as u8 as i8;
            put(test.slot, bits(line(test.column), |byte| byte as i8 > below));
        }
        for test in &forest.small_tests()[tree.small.0 as usize..tree.small.1 as usize] {
            put(test.slot, bits(line(test.column), |byte| test.bits >> (byte & 63) & 1 == 1));
        }
        for test in &forest.plane_tests()[tree.plane.0 as usize..tree.plane.1 as usize] {
            put(test.slot, answers[tile * forest.planes() + test.plane as usize]);
        }
    }
    index[..rows].fill(0);
    for _ in 0..tree.depth {
        for (row, at) in index[..rows].iter_mut().enumerate() {
            let bit = masks[usize::from(*at)].0[row / 8] >> (row % 8) & 1;
            *at = 2 * *at + 1 + u16::from(bit);
        }
    }
    let first = (1u16 << tree.depth) - 1;
    index[..rows].iter_mut().for_each(|at| *at = (*at - first) << 6u32.saturating_sub(tree.depth));
}

fn bits(bytes: &[u8; 64], test: impl Fn(u8) -> bool) -> u64 {
    bytes.iter().enumerate().fold(0, |mask, (row, byte)| mask | u64::from(test(*byte)) << row)
}
