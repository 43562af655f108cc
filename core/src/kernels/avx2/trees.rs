//! Lines to leaves, and leaves to sums.

use std::arch::x86_64::*;
use std::ops::Range;

use crate::kernels::MaskScratch;
use crate::kernels::heap::{self, Bits};
use crate::layout::{GROUP, Line, MAX_DEPTH, MaskForest, MaskTree, Sums, TILE};

impl Bits for __m256i {
    const WORDS: usize = 4;
    const MANY: bool = false;

    #[inline(always)]
    fn none() -> Self {
        // SAFETY: only used where the processor has the instruction, as for all below.
        unsafe { _mm256_setzero_si256() }
    }

    #[inline(always)]
    fn all() -> Self {
        // SAFETY: see above.
        unsafe { _mm256_set1_epi64x(-1) }
    }

    #[inline(always)]
    unsafe fn load(from: *const u64) -> Self {
        // SAFETY: see above, and the caller's promise.
        unsafe { _mm256_load_si256(from.cast()) }
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut u64) {
        // SAFETY: see above, and the caller's promise.
        unsafe { _mm256_store_si256(to.cast(), self) }
    }

    #[inline(always)]
    fn right(above: Self, at: Self, low: Self) -> Self {
        // SAFETY: see above.
        unsafe { _mm256_or_si256(above, _mm256_and_si256(at, low)) }
    }

    #[inline(always)]
    fn choose(by: Self, right: Self, left: Self) -> Self {
        // SAFETY: see above.
        unsafe { _mm256_xor_si256(left, _mm256_and_si256(by, _mm256_xor_si256(left, right))) }
    }
}

/// See [`crate::kernels::Isa::add_trees`], which checked the shapes.
#[target_feature(enable = "avx2,bmi2")]
pub(in crate::kernels) fn add_trees(
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
        for (first, sums) in sums.0[..rows.next_multiple_of(8)].as_chunks_mut::<8>().0.iter_mut().enumerate()
        {
            // SAFETY: eight indices; each is a leaf of the tree; eight sums.
            unsafe {
                let index = _mm_loadu_si128(scratch.index.as_ptr().add(first * 8).cast());
                let values = _mm256_i32gather_ps::<4>(tables.as_ptr().cast(), _mm256_cvtepu16_epi32(index));
                let low = _mm256_cvtps_pd(_mm256_castps256_ps128(values));
                let high = _mm256_cvtps_pd(_mm256_extractf128_ps::<1>(values));
                let sums = sums.as_mut_ptr();
                _mm256_storeu_pd(sums, _mm256_add_pd(_mm256_loadu_pd(sums), low));
                _mm256_storeu_pd(sums.add(4), _mm256_add_pd(_mm256_loadu_pd(sums.add(4)), high));
            }
        }
    }
}

/// The leaf's index for each row of whole tiles, to the scratch; shapes as of [`add_trees`].
#[target_feature(enable = "avx2,bmi2")]
pub(in crate::kernels) fn indices(
    forest: &MaskForest,
    tree: &MaskTree,
    lines: &[Line],
    rows: usize,
    scratch: &mut MaskScratch,
) {
    if rows <= TILE {
        return indices_of::<[u64; 1]>(forest, tree, lines, 0, rows, scratch);
    }
    for first in (0..rows).step_by(GROUP / 2) {
        indices_of::<__m256i>(forest, tree, lines, first, (rows - first).min(GROUP / 2), scratch);
    }
}

/// The same for `rows` rows from row `first` on, at most as many as `B` holds.
#[inline]
#[target_feature(enable = "avx2,bmi2")]
fn indices_of<B: Bits>(
    forest: &MaskForest,
    tree: &MaskTree,
    lines: &[Line],
    first: usize,
    rows: usize,
    scratch: &mut MaskScratch,
) {
    let depth = tree.depth as usize;
    let mut planes = [B::none(); MAX_DEPTH];
    let tests = forest.tests()[tree.first as usize..].as_ptr();
    // SAFETY: the maker of the forest checked that it has the tree's tests, and that they name its lines; the caller that
    // there are as many.
    unsafe { heap::planes(lines.as_ptr().cast::<u64>().add(first / TILE), tests, depth, &mut planes) };
    // The lowest bit first; those that fewer levels than 6 lack are 0, as leaves then stand apart.
    let top = depth.max(6) - 1;
    for run in 0..rows.div_ceil(32) {
        // Written out: the compiler keeps what a loop goes over in memory.
        let mut low = place::<1>(&planes[top], run);
        low = _mm256_or_si256(low, place::<2>(&planes[top - 1], run));
        low = _mm256_or_si256(low, place::<4>(&planes[top - 2], run));
        low = _mm256_or_si256(low, place::<8>(&planes[top - 3], run));
        low = _mm256_or_si256(low, place::<16>(&planes[top - 4], run));
        low = _mm256_or_si256(low, place::<32>(&planes[top - 5], run));
        let mut high = _mm256_setzero_si256();
        if depth > 6 {
            low = _mm256_or_si256(low, place::<64>(&planes[top - 6], run));
        }
        if depth > 7 {
            low = _mm256_or_si256(low, place::<-128>(&planes[top - 7], run));
        }
        if depth > 8 {
            high = _mm256_or_si256(high, place::<1>(&planes[top - 8], run));
        }
        if depth > 9 {
            high = _mm256_or_si256(high, place::<2>(&planes[top - 9], run));
        }
        // Interleaving works within 128-bit lanes: give each lane the rows it is to end with.
        let low = _mm256_permute4x64_epi64::<0b11_01_10_00>(low);
        let high = _mm256_permute4x64_epi64::<0b11_01_10_00>(high);
        let out = scratch.index[first + run * 32..][..32].as_mut_ptr().cast::<__m256i>();
        // SAFETY: 32 indices of 16 bits.
        unsafe {
            _mm256_storeu_si256(out, _mm256_unpacklo_epi8(low, high));
            _mm256_storeu_si256(out.add(1), _mm256_unpackhi_epi8(low, high));
        }
    }
}

/// A byte a row of run `run` of 32 rows: `BIT` where the plane has the row, else 0.
#[inline]
#[target_feature(enable = "avx2")]
fn place<const BIT: i8>(plane: &impl Bits, run: usize) -> __m256i {
    let spread = _mm256_setr_epi8(
        0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3,
    );
    let bits = _mm256_set1_epi64x(0x8040_2010_0804_0201_u64 as i64);
    // SAFETY: the plane has at least as many rows.
    let word = unsafe { *(&raw const *plane).cast::<i32>().add(run) };
    let bytes = _mm256_shuffle_epi8(_mm256_set1_epi32(word), spread);
    let set = _mm256_cmpeq_epi8(_mm256_and_si256(bytes, bits), bits);
    _mm256_and_si256(set, _mm256_set1_epi8(BIT))
}
