//! Takes many walks down a forest, all of them through one subtree before any goes further.
//!
//! A list holds the walks that are still on their way, each with the subtree that it is at: many rows in one tree, or one
//! row in many trees. A pass takes every one of them through its subtree and keeps those that go on, without a branch; so
//! nothing is predicted, walks do not wait for each other, no step is wasted on one that has arrived, and the loads of
//! different walks overlap.

use std::ops::Range;

use crate::layout::{Exits, MISSING, SLOTS, SubtreeForest, WIDE_LEFT};

/// Walks that go down together.
pub(crate) const WALKS: usize = 256;

/// Walks side by side in one loop, so that their loads overlap.
const SIDE: usize = 4;

/// Room for the walks, and for a vector after the ends of lists.
#[derive(Debug, Clone)]
#[repr(C, align(64))]
pub(crate) struct WalkScratch {
    /// The subtree of each walk on its way.
    pub(super) at: [u32; WALKS + 16],
    /// The number of each walk on its way.
    pub(super) number: [u32; WALKS + 16],
    /// The leaf of each walk, once it has arrived.
    pub(super) leaf: [u32; WALKS],
    /// The answers of the subtree of each walk on its way, a bit a slot.
    pub(super) answers: [u16; WALKS],
    /// Its exits.
    pub(super) exits: [Exits; WALKS],
}

impl WalkScratch {
    /// Room.
    #[inline]
    pub(crate) fn new() -> Self {
        const LIST: [u32; WALKS + 16] = [0; WALKS + 16];
        Self { at: LIST, number: LIST, leaf: [0; WALKS], answers: [0; WALKS], exits: [Exits::NONE; WALKS] }
    }
}

/// Where walks begin.
#[derive(Debug, Clone)]
pub(crate) enum Begin<'a> {
    /// So many at the root of a tree.
    Tree(usize, usize),
    /// Each at the root of one of these trees.
    Trees(Range<usize>),
    /// Each at its own entry.
    Each(&'a [u32]),
}

impl Begin<'_> {
    /// How many walks there are.
    pub(crate) fn walks(&self) -> usize {
        match self {
            Begin::Tree(_, walks) => *walks,
            Begin::Trees(trees) => trees.len(),
            Begin::Each(entries) => entries.len(),
        }
    }
}

/// Takes walks from where they begin to their leaves; the codes of each begin `stride` after those of the one before
/// if `ROWS`, or are the same. `SETS` if
/// some slot of the forest asks a set, `WIDE` if it has many columns, `GAPS` if some code may be missing.
///
/// # Safety
/// There are at most [`WALKS`] walks; a code can be read for each column of each.
///
/// # Panics
/// If an entry is none of the forest's.
pub(super) unsafe fn walk<const ROWS: bool, const SETS: bool, const WIDE: bool, const GAPS: bool>(
    forest: &SubtreeForest,
    from: Begin<'_>,
    codes: *const u16,
    stride: usize,
    scratch: &mut WalkScratch,
) {
    let mut left = begin::<0, 0>(forest, from, scratch);
    while left > 0 {
        let mut kept = 0;
        let mut index = 0;
        while index + SIDE <= left {
            // SAFETY: as many are left.
            kept =
                unsafe { pass::<SIDE, ROWS, SETS, WIDE, GAPS>(forest, codes, stride, scratch, index, kept) };
            index += SIDE;
        }
        while index < left {
            // SAFETY: one is left.
            kept = unsafe { pass::<1, ROWS, SETS, WIDE, GAPS>(forest, codes, stride, scratch, index, kept) };
            index += 1;
        }
        left = kept;
    }
}

/// Puts every walk at its beginning, which may be its end. Returns how many go on. What lists hold of subtrees and of numbers is
/// shifted left by `AT` and `NUMBER` bits.
#[inline(always)]
pub(super) fn begin<const AT: u32, const NUMBER: u32>(
    forest: &SubtreeForest,
    from: Begin<'_>,
    scratch: &mut WalkScratch,
) -> usize {
    let entries = match from {
        Begin::Tree(tree, walks) => {
            scratch.at[..walks].fill(forest.roots()[tree] << AT);
            scratch.number[..walks].iter_mut().zip(0..).for_each(|(number, walk)| *number = walk << NUMBER);
            return walks;
        }
        Begin::Trees(trees) => {
            let roots = &forest.roots()[trees];
            for ((at, number), (walk, root)) in
                scratch.at.iter_mut().zip(&mut scratch.number).zip((0..).zip(roots))
            {
                (*at, *number) = (root << AT, walk << NUMBER);
            }
            return roots.len();
        }
        Begin::Each(entries) => entries,
    };
    let ends = [forest.subtrees().len(), forest.leaves().len()];
    let (mut left, mut there) = (0, true);
    for (number, entry) in entries.iter().enumerate() {
        let (place, leaf) = (entry >> 1, (entry & 1) as usize);
        there &= (place as usize) < ends[leaf];
        (scratch.at[left], scratch.number[left]) = (place << AT, (number as u32) << NUMBER);
        // Of a walk that goes on this is no leaf yet, and is written again.
        scratch.leaf[number] = place;
        left += 1 - leaf;
    }
    assert!(there, "an entry of another forest");
    left
}

/// Takes the `N` walks of the list from `index` on through their subtrees; those that go on are put into the list from
/// `kept` on. Returns the list's end.
///
/// # Safety
/// As of [`walk`]; there are so many walks in the list, and `kept` is at most `index`.
#[inline(always)]
unsafe fn pass<const N: usize, const ROWS: bool, const SETS: bool, const WIDE: bool, const GAPS: bool>(
    forest: &SubtreeForest,
    codes: *const u16,
    stride: usize,
    scratch: &mut WalkScratch,
    index: usize,
    mut kept: usize,
) -> usize {
    let subtrees = forest.subtrees();
    let mut number = [0; N];
    let mut subtree = [subtrees.as_ptr(); N];
    let mut row = [codes; N];
    for walk in 0..N {
        // SAFETY: as many are in the list.
        let (at, of) =
            unsafe { (*scratch.at.get_unchecked(index + walk), *scratch.number.get_unchecked(index + walk)) };
        subtree[walk] = subtree[walk].wrapping_add(at as usize);
        row[walk] = if ROWS { codes.wrapping_add(of as usize * stride) } else { codes };
        number[walk] = of;
    }
    let mut slot = [0; N];
    // Level by level, so that the chains of loads of all walks run side by side.
    for _ in 0..4 {
        for walk in 0..N {
            // SAFETY: the builder checked the subtrees that exits lead to.
            let asked = unsafe { &*subtree[walk] };
            // SAFETY: a slot of four levels.
            let (bound, narrow) = unsafe {
                (*asked.bounds.get_unchecked(slot[walk]), *asked.columns.get_unchecked(slot[walk]))
            };
            let (column, left) = if WIDE {
                let at = scratch.at[index + walk] as usize;
                let column = forest.wide()[at][slot[walk]];
                (usize::from(column & !WIDE_LEFT), usize::from(column >> 15))
            } else {
                (usize::from(narrow & 127), usize::from(narrow >> 7))
            };
            // SAFETY: the caller's promise.
            let code = unsafe { *row[walk].add(column) };
            let mut right = usize::from(code >= bound);
            if GAPS {
                right &= !(usize::from(code == MISSING) & left);
            }
            // Both answers without a branch were slower: most slots ask no set.
            if SETS && column >= forest.sets_from() {
                right = in_set(forest, bound, code);
            }
            slot[walk] = 2 * slot[walk] + 1 + right;
        }
    }
    for walk in 0..N {
        // SAFETY: see above.
        let exits = unsafe { &(*subtree[walk]).exits };
        let (goes_on, next) = exits.follow(slot[walk] - SLOTS);
        // SAFETY: no more walks go on than there were.
        unsafe {
            *scratch.at.get_unchecked_mut(kept) = next;
            *scratch.number.get_unchecked_mut(kept) = number[walk];
            // Of a walk that goes on this is no leaf yet, and is written again.
            *scratch.leaf.get_unchecked_mut(number[walk] as usize) = next;
        }
        // The next pass comes to it after all other walks. A large forest lies in the third cache.
        let ends = [forest.leaves().as_ptr().cast::<u8>(), subtrees.as_ptr().cast()];
        fetch(ends[goes_on].wrapping_add((next as usize) << (2 + 4 * goes_on)));
        kept += goes_on;
    }
    kept
}

/// Asks for the line of memory where something stands before it is needed. Nothing need stand there.
#[inline(always)]
pub(super) fn fetch<T>(_at: *const T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a hint, which reads nothing that the program could see.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(_at.cast()) };
    }
}

/// The same, into the second cache.
#[inline(always)]
pub(crate) fn fetch_near<T>(_at: *const T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        // SAFETY: a hint, which reads nothing that the program could see.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(_at.cast()) };
    }
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
        // SAFETY: the builder checked the leaves that exits lead to, `begin` those that are entries.
        *sum += f64::from(unsafe { *forest.leaves().get_unchecked(*leaf as usize) });
    }
}

/// Adds the leaves of the walks to one sum, in order.
#[inline(always)]
pub(super) fn fold(forest: &SubtreeForest, scratch: &WalkScratch, count: usize, mut sum: f64) -> f64 {
    for leaf in &scratch.leaf[..count] {
        // SAFETY: see above.
        sum += f64::from(unsafe { *forest.leaves().get_unchecked(*leaf as usize) });
    }
    sum
}
