//! The kernels for AVX2.
//!
//! A tree is asked as in the AVX-512 twin, 32 rows an instruction: a compare, and a move of 32 sign bits to a general
//! register, which is what bounds it (one a cycle). Leaves are looked up by scalar loads from the widened table.

use std::arch::x86_64::*;
use std::ops::Range;

use super::{Group, MaskScratch, portable};
use crate::layout::{GROUP, Line, MAX_DEPTH, MaskForest, MaskTree, PLANES, RankTable, Sums, TILE, TILES};

/// The rank of each value; the table's ranks fit 16 bits, and the slices are as long as each other.
#[target_feature(enable = "avx2")]
pub(super) fn ranks(table: &RankTable, values: &[f64], codes: &mut [u16]) {
    let (thresholds, starts) = (table.padded(), table.starts());
    let (origin, scale) = table.line();
    let (origin, scale) = (_mm256_set1_ps(origin), _mm256_set1_ps(scale));
    let last = _mm256_set1_ps((starts.len() - 2) as f32);
    let missing = _mm256_set1_epi32(table.missing() as i32);
    let mut values = values.chunks_exact(8);
    let mut codes = codes.chunks_exact_mut(8);
    for (values, codes) in (&mut values).zip(&mut codes) {
        // SAFETY: eight values can be read.
        let (low, high) =
            unsafe { (_mm256_loadu_pd(values.as_ptr()), _mm256_loadu_pd(values.as_ptr().add(4))) };
        let value = _mm256_set_m128(floor32(high), floor32(low));
        let at = _mm256_mul_ps(_mm256_sub_ps(value, origin), scale);
        // The second operand is the answer where the first is NaN.
        let at = _mm256_min_ps(_mm256_max_ps(at, _mm256_setzero_ps()), last);
        // SAFETY: the index is from 0 to `starts.len() - 2`.
        let rank = unsafe { _mm256_i32gather_epi32::<2>(starts.as_ptr().cast(), _mm256_cvttps_epi32(at)) };
        // One start and, above it, the next.
        let mut rank = _mm256_and_si256(rank, _mm256_set1_epi32(0xffff));
        for halving in (0..table.halvings()).rev() {
            let half = 1 << halving;
            let at = _mm256_add_epi32(rank, _mm256_set1_epi32(half - 1));
            // SAFETY: a bucket begins at most at the number of thresholds, and `2^halvings` more can be read.
            let threshold = unsafe { _mm256_i32gather_ps::<4>(thresholds.as_ptr(), at) };
            let reached = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_LE_OQ>(threshold, value));
            rank = _mm256_add_epi32(rank, _mm256_and_si256(reached, _mm256_set1_epi32(half)));
        }
        let is_nan = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_UNORD_Q>(value, value));
        let rank = _mm256_blendv_epi8(rank, missing, is_nan);
        let words = _mm_packus_epi32(_mm256_castsi256_si128(rank), _mm256_extracti128_si256::<1>(rank));
        // SAFETY: eight codes can be written.
        unsafe { _mm_storeu_si128(codes.as_mut_ptr().cast(), words) };
    }
    portable::ranks(table, values.remainder(), codes.into_remainder());
}

/// `values` rounded to `f32` toward minus infinity, as the portable kernel does.
#[inline]
#[target_feature(enable = "avx2")]
fn floor32(values: __m256d) -> __m128 {
    let near = _mm256_cvtpd_ps(values);
    let above = _mm256_castpd_si256(_mm256_cmp_pd::<_CMP_GT_OQ>(_mm256_cvtps_pd(near), values));
    // The low words of the four answers: -1 where a step down is due.
    let low = _mm_castsi128_ps(_mm256_castsi256_si128(above));
    let high = _mm_castsi128_ps(_mm256_extracti128_si256::<1>(above));
    let above = _mm_castps_si128(_mm_shuffle_ps::<0b10_00_10_00>(low, high));
    let bits = _mm_castps_si128(near);
    // -1 for positive bits, 1 for negative ones.
    let down = _mm_or_si128(_mm_xor_si128(_mm_srai_epi32::<31>(bits), _mm_set1_epi32(-1)), _mm_set1_epi32(1));
    _mm_castsi128_ps(_mm_add_epi32(bits, _mm_and_si128(down, above)))
}

/// See [`super::Isa::look_up`]; `table` is longer than 3, and there are at most as many codes as rows of a group.
#[target_feature(enable = "avx2")]
pub(super) fn look_up(codes: &[u16], table: &[u8], bytes: &mut [Line; TILES]) {
    // Four bytes are read for each; so that the last ones stay within the table, they begin earlier and are shifted.
    let last = _mm256_set1_epi32(table.len() as i32 - 4);
    let lowest = _mm256_setr_epi8(
        0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, 0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1,
        -1, -1, -1, -1, -1,
    );
    let mut chunks = codes.chunks_exact(8);
    let out = bytes.as_mut_ptr().cast::<u8>();
    for (index, codes) in (&mut chunks).enumerate() {
        // SAFETY: eight codes can be read.
        let code = _mm256_cvtepu16_epi32(unsafe { _mm_loadu_si128(codes.as_ptr().cast()) });
        let at = _mm256_min_epu32(code, last);
        let shift = _mm256_slli_epi32::<3>(_mm256_sub_epi32(code, at));
        // SAFETY: four bytes from `at <= len - 4` on can be read.
        let four = unsafe { _mm256_i32gather_epi32::<1>(table.as_ptr().cast(), at) };
        let byte = _mm256_shuffle_epi8(_mm256_srlv_epi32(four, shift), lowest);
        let byte = _mm_unpacklo_epi32(_mm256_castsi256_si128(byte), _mm256_extracti128_si256::<1>(byte));
        // SAFETY: there are at most as many codes as bytes.
        unsafe { _mm_storel_epi64(out.add(index * 8).cast(), byte) };
    }
    for (index, code) in chunks.remainder().iter().enumerate() {
        let at = codes.len() / 8 * 8 + index;
        bytes[at / TILE].0[at % TILE] = table[usize::from(*code)];
    }
}

/// See [`super::Isa::add_trees`], which checked the shapes: `group` has what the tests of `forest` name, and `trees` are trees of it.
#[target_feature(enable = "avx2,bmi2")]
pub(super) fn add_trees(
    forest: &MaskForest,
    trees: Range<usize>,
    group: Group<'_>,
    scratch: &mut MaskScratch,
    sums: &mut Sums,
) {
    for tree in &forest.trees()[trees] {
        tree_indices(forest, tree, group, scratch);
        let MaskScratch { index, leaves, .. } = &mut *scratch;
        let tables = &forest.leaves()[tree.table as usize..][..1 << tree.depth.saturating_sub(6)];
        for (leaf, value) in leaves.iter_mut().zip(tables.as_flattened()) {
            *leaf = f64::from(*value);
        }
        add_leaves(index, leaves, group.rows, sums);
    }
}

/// The leaf's index for each row, to the scratch; shapes as above.
#[target_feature(enable = "avx2,bmi2")]
pub(super) fn tree_indices(
    forest: &MaskForest,
    tree: &MaskTree,
    group: Group<'_>,
    scratch: &mut MaskScratch,
) {
    let MaskScratch { masks, planes, index, .. } = scratch;
    if group.rows > GROUP / 2 {
        compare::<16>(forest, tree, group, masks);
    } else if group.rows > 64 {
        compare::<8>(forest, tree, group, masks);
    } else {
        compare::<2>(forest, tree, group, masks);
    }
    let halves = if group.rows > GROUP / 2 { 2 } else { 1 };
    for half in 0..halves {
        fold(masks, tree.depth as usize, half, planes);
    }
    let depth = tree.depth as usize;
    if depth < 6 {
        planes[PLANES - 6 + depth..].fill(Line::ZERO);
    }
    indices(planes, depth.max(6), group.rows, index);
}

/// Asks every test of `tree`: bit `r` of `masks[slot]` says whether row `r` goes right there. `N` runs of 32 rows.
#[inline]
#[target_feature(enable = "avx2")]
fn compare<const N: usize>(
    forest: &MaskForest,
    tree: &MaskTree,
    group: Group<'_>,
    masks: &mut [Line; 1 << MAX_DEPTH],
) {
    let column =
        |column: u16| group.columns.as_ptr().wrapping_add(usize::from(column) * TILES).cast::<__m256i>();
    // SAFETY (of all reads and writes below): the builder checked that each test names a slot of a heap of at most
    // `MAX_DEPTH` levels and a column of the forest, and the caller that there are `TILES` lines for each column, which
    // are 16 runs; `N` is at most 16.
    for test in &forest.rank_tests()[tree.rank.0 as usize..tree.rank.1 as usize] {
        let below = _mm256_set1_epi32(test.below as i32);
        let bytes = column(test.column);
        let out = masks.as_mut_ptr().wrapping_add(usize::from(test.slot)).cast::<i32>();
        for run in 0..N {
            // SAFETY: see above.
            unsafe {
                let above = _mm256_cmpgt_epi8(_mm256_load_si256(bytes.add(run)), below);
                *out.add(run) = _mm256_movemask_epi8(above);
            }
        }
    }
    let seven = _mm256_set1_epi8(7);
    let bit_of = _mm256_set1_epi64x(0x8040_2010_0804_0201_u64 as i64);
    for test in &forest.small_tests()[tree.small.0 as usize..tree.small.1 as usize] {
        let set = _mm256_set1_epi64x(test.bits as i64);
        let bytes = column(test.column);
        let out = masks.as_mut_ptr().wrapping_add(usize::from(test.slot)).cast::<i32>();
        for run in 0..N {
            // SAFETY: see above.
            unsafe {
                let slot = _mm256_load_si256(bytes.add(run));
                let bit = _mm256_shuffle_epi8(bit_of, _mm256_and_si256(slot, seven));
                let high = _mm256_and_si256(_mm256_srli_epi16::<3>(slot), seven);
                let found = _mm256_and_si256(_mm256_shuffle_epi8(set, high), bit);
                *out.add(run) = _mm256_movemask_epi8(_mm256_cmpeq_epi8(found, bit));
            }
        }
    }
    for test in &forest.plane_tests()[tree.plane.0 as usize..tree.plane.1 as usize] {
        let out = masks.as_mut_ptr().wrapping_add(usize::from(test.slot)).cast::<u64>();
        for (tile, planes) in group.answers.chunks_exact(forest.planes()).take(N / 2).enumerate() {
            // SAFETY: see above; the builder checked the plane.
            unsafe { *out.add(tile) = *planes.get_unchecked(test.plane as usize) };
        }
    }
}

/// `right` where the bit of `by` is set, else `left`.
#[inline]
#[target_feature(enable = "avx2")]
fn choose(by: __m256i, right: __m256i, left: __m256i) -> __m256i {
    _mm256_xor_si256(left, _mm256_and_si256(by, _mm256_xor_si256(left, right)))
}

/// The bits of the leaf's index for half a group, to `planes`, the last level's in the last line or, of fewer levels than 6, as far before it.
#[inline]
#[target_feature(enable = "avx2")]
fn fold(masks: &[Line; 1 << MAX_DEPTH], depth: usize, half: usize, planes: &mut [Line; PLANES]) {
    let mut above = [_mm256_setzero_si256(); PLANES];
    for level in 0..depth {
        let slots = masks[(1 << level) - 1..].as_ptr().cast::<__m256i>().wrapping_add(half);
        // SAFETY (of all): a heap of `depth <= MAX_DEPTH` levels has slots `2^level - 1 .. 2^(level + 1) - 1`, two
        // halves each.
        above[level] = match level {
            // SAFETY: see above.
            0 => unsafe { fold_slots::<0>(slots, &above, 0) },
            // SAFETY: see above.
            1 => unsafe { fold_slots::<1>(slots, &above, 0) },
            // SAFETY: see above.
            2 => unsafe { fold_slots::<2>(slots, &above, 0) },
            // SAFETY: see above.
            3 => unsafe { fold_slots::<3>(slots, &above, 0) },
            _ => {
                let upper = level - 4;
                let mut chunks = [_mm256_setzero_si256(); 1 << (MAX_DEPTH - 5)];
                for (index, chunk) in chunks[..1 << upper].iter_mut().enumerate() {
                    // SAFETY: see above; chunks are 16 slots each.
                    *chunk = unsafe { fold_slots::<4>(slots.add(index * 32), &above, upper) };
                }
                for by in (0..upper).rev() {
                    for index in 0..1 << by {
                        chunks[index] = choose(above[by], chunks[2 * index + 1], chunks[2 * index]);
                    }
                }
                chunks[0]
            }
        };
        let line = planes.as_mut_ptr().wrapping_add(PLANES - depth.max(6) + level).cast::<__m256i>();
        // SAFETY: half of one of the `PLANES` lines.
        unsafe { _mm256_store_si256(line.add(half), above[level]) };
    }
}

/// Folds `2^L` half lines, each a line after the other, into one by the planes `above[from..from + L]`.
///
/// # Safety
/// `2^L` half lines, a line apart, can be read at `slots`, and `from + L <= PLANES`.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn fold_slots<const L: usize>(
    slots: *const __m256i,
    above: &[__m256i; PLANES],
    from: usize,
) -> __m256i {
    // SAFETY: the caller's promise.
    let line = |index: usize| unsafe { _mm256_load_si256(slots.add(index * 2)) };
    if L == 0 {
        return line(0);
    }
    let mut kept = [_mm256_setzero_si256(); 8];
    for (index, kept) in kept[..1 << (L - 1)].iter_mut().enumerate() {
        *kept = choose(above[from + L - 1], line(2 * index + 1), line(2 * index));
    }
    for by in (0..L - 1).rev() {
        for index in 0..1 << by {
            kept[index] = choose(above[from + by], kept[2 * index + 1], kept[2 * index]);
        }
    }
    kept[0]
}

/// Bit planes to leaf indices, 32 rows at a time.
#[inline]
#[target_feature(enable = "avx2")]
fn indices(planes: &[Line; PLANES], depth: usize, rows: usize, index: &mut [u16; GROUP]) {
    let spread = _mm256_setr_epi8(
        0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3,
    );
    let bit = _mm256_set1_epi64x(0x8040_2010_0804_0201_u64 as i64);
    let words = planes.as_ptr().cast::<i32>();
    for run in 0..rows.div_ceil(32) {
        let mut halves = [_mm256_setzero_si256(); 2];
        for level in 0..depth {
            // SAFETY: one of 16 words of one of the `PLANES` lines.
            let word = unsafe { *words.add((PLANES - 1 - level) * 16 + run) };
            let bytes = _mm256_shuffle_epi8(_mm256_set1_epi32(word), spread);
            let set = _mm256_cmpeq_epi8(_mm256_and_si256(bytes, bit), bit);
            let value = _mm256_and_si256(set, _mm256_set1_epi8(1i8 << (level % 8)));
            halves[level / 8] = _mm256_or_si256(halves[level / 8], value);
        }
        // Interleaving works within 128-bit lanes: give each lane the rows it is to end with.
        let low = _mm256_permute4x64_epi64::<0b11_01_10_00>(halves[0]);
        let high = _mm256_permute4x64_epi64::<0b11_01_10_00>(halves[1]);
        let out = index[run * 32..][..32].as_mut_ptr().cast::<__m256i>();
        // SAFETY: 32 indices of 16 bits.
        unsafe {
            _mm256_storeu_si256(out, _mm256_unpacklo_epi8(low, high));
            _mm256_storeu_si256(out.add(1), _mm256_unpackhi_epi8(low, high));
        }
    }
}

/// Adds the leaf of each row.
#[inline]
#[target_feature(enable = "avx2")]
fn add_leaves(index: &[u16; GROUP], leaves: &[f64; 1 << MAX_DEPTH], rows: usize, sums: &mut Sums) {
    // An index has at most `MAX_DEPTH` bits; the mask tells the compiler so.
    let leaf = |row: usize| &raw const leaves[usize::from(index[row]) & ((1 << MAX_DEPTH) - 1)];
    for row in (0..rows.next_multiple_of(4)).step_by(4) {
        // SAFETY: leaves and sums of this row and the next three.
        unsafe {
            let low = _mm_loadh_pd(_mm_load_sd(leaf(row)), leaf(row + 1));
            let high = _mm_loadh_pd(_mm_load_sd(leaf(row + 2)), leaf(row + 3));
            let sum = sums.0.as_mut_ptr().add(row);
            _mm256_store_pd(sum, _mm256_add_pd(_mm256_load_pd(sum), _mm256_set_m128d(high, low)));
        }
    }
}
