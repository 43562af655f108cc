//! Takes a wave of rows down a tree, all of them one level before any goes further.
//!
//! A list holds the rows that are still on their way, with the node that each is at. A pass takes every entry one level
//! down and keeps those that have not arrived, without a branch; so nothing is predicted, rows do not wait for each other,
//! no step is wasted on a row that has arrived, and a level's nodes, which lie together, stay in the first cache.

use crate::layout::{WAVE, WaveForest, WaveNode};

/// Room for a wave's lists, and for a vector after their ends.
#[derive(Debug, Clone)]
pub(crate) struct WaveScratch {
    /// The node of each entry on its way.
    pub(super) at: [u32; WAVE + 16],
    /// The row of each entry on its way.
    pub(super) row: [u32; WAVE + 16],
    /// The leaf of each entry that has arrived.
    pub(super) done_at: [u32; WAVE + 16],
    /// The row of each entry that has arrived.
    pub(super) done_row: [u32; WAVE + 16],
}

impl WaveScratch {
    /// Room, on the heap.
    pub(crate) fn new() -> Box<Self> {
        const LIST: [u32; WAVE + 16] = [0; WAVE + 16];
        Box::new(Self { at: LIST, row: LIST, done_at: LIST, done_row: LIST })
    }
}

/// See [`super::Isa::add_waves`].
///
/// # Safety
/// `codes` has [`WAVE`] codes for each column of `forest`, of which those of the first `sums.len()` rows are below the
/// numbers that the builder was told; there are at most [`WAVE`] sums and as many entries, which name nodes of the tree.
pub(super) unsafe fn add<const SETS: bool>(
    forest: &WaveForest,
    tree: usize,
    codes: &[u16],
    entries: &[u32],
    scratch: &mut WaveScratch,
    sums: &mut [f64],
) {
    let nodes = forest.tree(tree);
    let WaveScratch { at: going_at, row: going_row, done_at, done_row } = scratch;
    let (mut left, mut arrived) = (0, 0);
    for (row, entry) in entries[..sums.len()].iter().enumerate() {
        let leaf = (entry & 1) as usize;
        (going_at[left], going_row[left]) = (entry >> 1, row as u32);
        (done_at[arrived], done_row[arrived]) = (entry >> 1, row as u32);
        left += 1 - leaf;
        arrived += leaf;
    }
    while left > 0 {
        let mut kept = 0;
        for index in 0..left {
            // SAFETY: `index` is below `left`, which is at most the number of rows.
            let (at, row) = unsafe { (*going_at.get_unchecked(index), *going_row.get_unchecked(index)) };
            // SAFETY: the builder checked the children.
            let node = unsafe { *nodes.get_unchecked(at as usize) };
            // SAFETY: the caller's promise.
            let code = unsafe { *codes.get_unchecked(node.column() * WAVE + row as usize) };
            // SAFETY: the caller's promise.
            let right = unsafe { goes_right::<SETS>(forest, node, code) };
            let (child, leaf) = node.child(right);
            // SAFETY: no more entries go on or arrive than there are rows; the lists have room for more.
            unsafe {
                *going_at.get_unchecked_mut(kept) = child as u32;
                *going_row.get_unchecked_mut(kept) = row;
                *done_at.get_unchecked_mut(arrived) = child as u32;
                *done_row.get_unchecked_mut(arrived) = row;
            }
            kept += 1 - leaf as usize;
            arrived += leaf as usize;
        }
        left = kept;
    }
    // SAFETY: every row has arrived once, at a leaf of the tree.
    unsafe { finish(nodes, &done_at[..arrived], &done_row[..arrived], sums) };
}

/// Adds the values of leaves to the sums of rows.
///
/// # Safety
/// Each entry of `at` is a node's index, each of `rows` a sum's.
pub(super) unsafe fn finish(nodes: &[WaveNode], at: &[u32], rows: &[u32], sums: &mut [f64]) {
    for (at, row) in at.iter().zip(rows) {
        // SAFETY: the caller's promise.
        unsafe {
            *sums.get_unchecked_mut(*row as usize) += f64::from(nodes.get_unchecked(*at as usize).value());
        }
    }
}

/// # Safety
/// `code` is below the number of codes that the builder was told of the node's column.
#[inline(always)]
unsafe fn goes_right<const SETS: bool>(forest: &WaveForest, node: WaveNode, code: u16) -> u64 {
    // The sign of a difference: a comparison would become a branch.
    let reached = (i64::from(node.from()) - i64::from(code) - 1) as u64 >> 63;
    if !SETS {
        return reached;
    }
    // Both answers, so that nothing is predicted; a node without a set reads the first bit of some set.
    let asks_set = node.asks_set();
    let mask = asks_set.wrapping_neg();
    let place = u64::from(code) & mask;
    // SAFETY: the builder checked the set, which has a bit for each code of the column.
    let word = unsafe {
        let start = *forest.set_starts().get_unchecked((u64::from(node.from()) & mask) as usize);
        *forest.set_bits().get_unchecked((u64::from(start) + place / 32) as usize)
    };
    let inside = u64::from(word) >> (place % 32);
    (inside & mask | reached & !mask) & 1
}
