//! Walks several rows down a tree in step: plain instructions, so that the loads of one row hide those of another.
//!
//! Tried and slower: 16 lanes by AVX-512 gathers.

use crate::layout::{SET, StepForest};

/// How many rows go in step.
const ROWS: usize = 8;
/// Steps between two questions whether all have arrived.
const STRIDE: usize = 4;

/// See [`super::add_steps`], which checked that `codes` has `stride` codes for each column and `rows <= stride`, and that
/// every code is below the number that its column has.
///
/// # Safety
/// `codes` has `stride` codes for each column of `forest`, there are at most `stride` sums, and codes are below the numbers
/// that the builder was told.
pub(super) unsafe fn add<const SETS: bool>(
    forest: &StepForest,
    tree: usize,
    codes: &[u16],
    stride: usize,
    sums: &mut [f64],
) {
    let root = forest.roots()[tree];
    let mut chunks = sums.chunks_exact_mut(ROWS);
    let mut from = 0;
    for sums in &mut chunks {
        // SAFETY: the caller's promise.
        let leaves: [u32; ROWS] = unsafe { walk::<SETS, ROWS>(forest, root, codes, stride, from) };
        for (sum, leaf) in sums.iter_mut().zip(leaves) {
            // SAFETY: a node's index.
            *sum += f64::from(unsafe { *forest.values().get_unchecked(leaf as usize) });
        }
        from += ROWS;
    }
    for sum in chunks.into_remainder() {
        // SAFETY: the caller's promise.
        let [leaf] = unsafe { walk::<SETS, 1>(forest, root, codes, stride, from) };
        *sum += f64::from(forest.values()[leaf as usize]);
        from += 1;
    }
}

/// The leaves of rows `from..from + N`.
///
/// # Safety
/// See [`add`]; `from + N <= stride`.
#[inline(always)]
unsafe fn walk<const SETS: bool, const N: usize>(
    forest: &StepForest,
    root: u32,
    codes: &[u16],
    stride: usize,
    from: usize,
) -> [u32; N] {
    let nodes = forest.nodes().as_ptr();
    let codes = codes.as_ptr().wrapping_add(from);
    let mut at = [root; N];
    loop {
        let before = at;
        for _ in 0..STRIDE {
            for (row, at) in at.iter_mut().enumerate() {
                // SAFETY: the builder checked the children.
                let node = unsafe { *nodes.add(*at as usize) };
                let column = if SETS { node.column & !SET } else { node.column };
                // SAFETY: the builder checked the column, the caller the rows.
                let code = unsafe { *codes.add(usize::from(column) * stride + row) };
                let right = if SETS {
                    let asks_set = node.column & SET != 0;
                    // Both answers, so that nothing is predicted; a node without a set reads the first bit of some set.
                    let (set, bit) = if asks_set { (node.from, code) } else { (0, 0) };
                    // SAFETY: the builder checked the set, which has a bit for each code of the column.
                    let word = unsafe {
                        let start = *forest.set_starts().get_unchecked(usize::from(set)) as usize;
                        *forest.set_bits().get_unchecked(start + usize::from(bit) / 32)
                    };
                    let inside = word >> (bit % 32) & 1 == 1;
                    if asks_set { inside } else { code >= node.from }
                } else {
                    code >= node.from
                };
                *at = node.left.wrapping_add(u32::from(right));
            }
        }
        // Children come after their parents, so a node that did not change in a stride is a leaf.
        if at == before {
            return at;
        }
    }
}
