//! Takes many walks down a forest, all of them four levels before any goes further.
//!
//! A list holds the walks that are still on their way, each with the subtree that it is at: many rows in one tree, or one
//! row in many trees. A pass takes every one of them through its subtree and keeps those that go on, without a branch; so
//! nothing is predicted, walks do not wait for each other, no step is wasted on one that has arrived, and the loads of
//! different walks overlap.

use crate::layout::{MISSING, SLOTS, Subtree, SubtreeForest, WIDE_LEFT};

/// Walks that go down together.
pub(crate) const WALKS: usize = 512;

/// Room for the walks.
#[derive(Debug, Clone)]
pub(crate) struct WalkScratch {
    /// The walks on their way: the subtree, and in the upper half the number of the walk.
    going: [u64; WALKS],
    /// The leaf of each walk, once it has arrived.
    leaf: [u32; WALKS],
}

impl WalkScratch {
    /// Room.
    #[inline]
    pub(crate) fn new() -> Self {
        Self { going: [0; WALKS], leaf: [0; WALKS] }
    }
}

/// Whether a walk is a row in a tree or a tree of a row: how much further its codes begin than those of the walk before.
pub(super) trait Walks {
    /// Begins the walks.
    fn begin(&self, going: &mut [u64]);
    /// Where the codes of walk `number` begin.
    fn codes(&self, number: usize) -> usize;
    /// Whether the subtrees are so far apart that it is worth to fetch them early.
    const FAR: bool;
}

/// Rows in one tree.
pub(super) struct RowsOf {
    /// The tree's root.
    pub(super) root: u32,
    /// Codes a row.
    pub(super) stride: usize,
}

impl Walks for RowsOf {
    const FAR: bool = false;

    #[inline(always)]
    fn begin(&self, going: &mut [u64]) {
        for (row, walk) in going.iter_mut().enumerate() {
            *walk = (row as u64) << 32 | u64::from(self.root);
        }
    }

    #[inline(always)]
    fn codes(&self, number: usize) -> usize {
        number * self.stride
    }
}

/// Trees of one row.
pub(super) struct TreesOf<'a> {
    /// Their roots.
    pub(super) roots: &'a [u32],
}

impl Walks for TreesOf<'_> {
    const FAR: bool = true;

    #[inline(always)]
    fn begin(&self, going: &mut [u64]) {
        for (tree, (walk, root)) in going.iter_mut().zip(self.roots).enumerate() {
            *walk = (tree as u64) << 32 | u64::from(*root);
        }
    }

    #[inline(always)]
    fn codes(&self, _number: usize) -> usize {
        0
    }
}

/// Takes `count` walks to their leaves. `exit` says by which exit a walk leaves a subtree, from its index and the row's codes.
///
/// # Safety
/// `count` is at most [`WALKS`]; the roots are subtrees of the forest; `exit` may read the codes of every walk.
#[inline(always)]
pub(super) unsafe fn walk<W: Walks>(
    forest: &SubtreeForest,
    walks: &W,
    count: usize,
    codes: *const u16,
    scratch: &mut WalkScratch,
    exit: impl Fn(usize, &Subtree, *const u16) -> usize,
) {
    let subtrees = forest.subtrees();
    let WalkScratch { going, leaf } = scratch;
    walks.begin(&mut going[..count]);
    let mut left = count;
    while left > 0 {
        let mut kept = 0;
        for index in 0..left {
            // SAFETY: `index` is below `left`, which is at most the number of walks.
            let walk = unsafe { *going.get_unchecked(index) };
            let (number, at) = ((walk >> 32) as usize, walk as u32 as usize);
            // SAFETY: the builder checked the subtrees that exits lead to.
            let subtree = unsafe { subtrees.get_unchecked(at) };
            let (goes_on, next) = subtree.exit(exit(at, subtree, codes.wrapping_add(walks.codes(number))));
            // SAFETY: no more walks go on than there were; what is overwritten of the list was read before.
            unsafe {
                *going.get_unchecked_mut(kept) = (number as u64) << 32 | u64::from(next);
                // Of a walk that goes on this is no leaf yet, and is written again.
                *leaf.get_unchecked_mut(number) = next;
            }
            if W::FAR {
                let ends = [forest.leaves().as_ptr().cast::<u8>(), subtrees.as_ptr().cast()];
                fetch(ends[goes_on].wrapping_add((next as usize) << (2 + 4 * goes_on)));
            }
            kept += goes_on;
        }
        left = kept;
    }
}

/// Asks for a line of memory before it is needed.
#[inline(always)]
fn fetch(_at: *const u8) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a hint, which reads nothing that the program could see.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(_at.cast()) };
    }
}

/// The exit by which a row leaves a subtree, asked slot after slot: `SETS` if some slot of the forest asks a set, `WIDE` if it
/// has many columns, `GAPS` if some code may be missing.
///
/// # Safety
/// A code can be read for each column of the forest.
#[inline(always)]
pub(super) unsafe fn exit<const SETS: bool, const WIDE: bool, const GAPS: bool>(
    forest: &SubtreeForest,
    at: usize,
    subtree: &Subtree,
    codes: *const u16,
) -> usize {
    let mut slot = 0;
    for _ in 0..4 {
        // SAFETY: a slot of four levels; wide forests have columns for each subtree.
        let (bound, column, left) = unsafe {
            let (column, left) = match WIDE {
                true => {
                    let column = *forest.wide().get_unchecked(at).get_unchecked(slot);
                    (column & !WIDE_LEFT, column >> 15)
                }
                false => {
                    let column = u16::from(*subtree.columns.get_unchecked(slot));
                    (column & 127, column >> 7)
                }
            };
            (*subtree.bounds.get_unchecked(slot), usize::from(column), usize::from(left))
        };
        // SAFETY: the caller's promise.
        let code = unsafe { *codes.add(column) };
        let mut right = usize::from(code >= bound);
        if GAPS {
            right &= !(usize::from(code == MISSING) & left);
        }
        if SETS && column >= forest.sets_from() {
            right = in_set(forest, bound, code);
        }
        slot = 2 * slot + 1 + right;
    }
    slot - SLOTS
}

/// 1 if a code is in a set.
#[inline(always)]
fn in_set(forest: &SubtreeForest, set: u16, code: u16) -> usize {
    let start = forest.set_starts().get(usize::from(set)).copied().unwrap_or(0) as usize;
    let word = forest.set_bits().get(start + usize::from(code) / 32).copied().unwrap_or(0);
    (word >> (code % 32) & 1) as usize
}

/// Adds the leaves of the walks to sums.
#[inline(always)]
pub(super) fn add(forest: &SubtreeForest, scratch: &WalkScratch, sums: &mut [f64]) {
    for (sum, leaf) in sums.iter_mut().zip(&scratch.leaf) {
        // SAFETY: the builder checked the leaves that exits lead to.
        *sum += f64::from(unsafe { *forest.leaves().get_unchecked(*leaf as usize) });
    }
}

/// Adds the leaves of the walks to one sum, in order.
#[inline(always)]
pub(super) fn fold(forest: &SubtreeForest, scratch: &WalkScratch, count: usize, mut sum: f64) -> f64 {
    for leaf in &scratch.leaf[..count] {
        // SAFETY: the builder checked the leaves that exits lead to.
        sum += f64::from(unsafe { *forest.leaves().get_unchecked(*leaf as usize) });
    }
    sum
}
