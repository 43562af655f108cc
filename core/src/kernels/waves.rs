//! Takes a wave of rows down a tree, all of them one level before any goes further.
//!
//! A list holds the rows that are still on their way, with the node that each is at. A pass takes every entry one level
//! down and keeps those that have not arrived, without a branch; so nothing is predicted, rows do not wait for each other,
//! no step is wasted on a row that has arrived, and a level's nodes, which lie together, stay in the first cache.

use crate::layout::{WAVE, WaveForest, WaveNode};

/// Room for a wave's lists.
#[derive(Debug, Clone)]
pub(crate) struct WaveScratch {
    /// The entries on their way: the node above, the row below.
    pub(super) going: [u64; WAVE],
    /// The entries that have arrived.
    pub(super) done: [u64; WAVE],
}

impl WaveScratch {
    /// Room, on the heap.
    pub(crate) fn new() -> Box<Self> {
        Box::new(Self { going: [0; WAVE], done: [0; WAVE] })
    }
}

/// See [`super::Isa::add_waves`].
///
/// # Safety
/// `codes` has [`WAVE`] codes for each column of `forest`, of which those of the first `sums.len()` rows are below the
/// numbers that the builder was told; there are at most [`WAVE`] sums.
pub(super) unsafe fn add<const SETS: bool>(
    forest: &WaveForest,
    tree: usize,
    codes: &[u16],
    scratch: &mut WaveScratch,
    sums: &mut [f64],
) {
    let nodes = forest.tree(tree);
    if nodes.len() == 1 {
        let value = f64::from(nodes[0].value());
        return sums.iter_mut().for_each(|sum| *sum += value);
    }
    let WaveScratch { going, done, .. } = scratch;
    for (row, entry) in going[..sums.len()].iter_mut().enumerate() {
        *entry = row as u64;
    }
    let (mut left, mut arrived) = (sums.len(), 0);
    while left > 0 {
        let mut kept = 0;
        for index in 0..left {
            // SAFETY: `index` is below `left`, which is at most the number of rows.
            let entry = unsafe { *going.get_unchecked(index) };
            let (at, row) = ((entry >> 32) as usize, entry as u32);
            // SAFETY: the builder checked the children.
            let node = unsafe { *nodes.get_unchecked(at) };
            // SAFETY: the caller's promise.
            let code = unsafe { *codes.get_unchecked(node.column() * WAVE + row as usize) };
            // SAFETY: the caller's promise.
            let right = unsafe { goes_right::<SETS>(forest, node, code) };
            let (child, is_leaf) = node.child(right);
            let entry = child << 32 | u64::from(row);
            // SAFETY: no more entries are kept or have arrived than there are rows.
            unsafe {
                *going.get_unchecked_mut(kept) = entry;
                *done.get_unchecked_mut(arrived.min(WAVE - 1)) = entry;
            }
            kept += 1 - is_leaf as usize;
            arrived += is_leaf as usize;
        }
        left = kept;
    }
    for entry in &done[..arrived] {
        // SAFETY: an entry's row is below the number of sums, its node one of the tree's.
        unsafe {
            *sums.get_unchecked_mut(*entry as u32 as usize) +=
                f64::from(nodes.get_unchecked((entry >> 32) as usize).value());
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
