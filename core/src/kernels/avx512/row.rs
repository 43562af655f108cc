//! One row through heaps of any depth.

use std::arch::x86_64::*;
use std::ops::Range;

use crate::kernels::RowData;
use crate::layout::{Line, MAX_DEPTH, MaskForest, RowForest};

/// See [`crate::kernels::Isa::row_sum`]; `slots` are those of a shallow forest, which has at most 128 columns.
///
/// All tests of a tree are one byte shuffle and one compare; then eight trees walk their bits in one register.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,bmi2")]
pub(in crate::kernels) fn row_sum(
    forest: &MaskForest,
    rows: &RowForest,
    slots: &[[Line; 2]],
    trees: Range<usize>,
    row: &RowData,
    mut sum: f64,
) -> f64 {
    // SAFETY: the first 128 bytes of a row.
    let (low, high) = unsafe {
        (_mm512_load_si512(row.bytes.as_ptr().cast()), _mm512_load_si512(row.bytes.as_ptr().add(64).cast()))
    };
    let wide = rows.columns() > 64;
    let one = _mm512_set1_epi64(1);
    let tables = _mm512_setr_epi64(0, 64, 128, 192, 256, 320, 384, 448);
    // The answers of many trees before any is walked: eight words that were just stored would not be there yet to load, and to
    // put them together in a register would take the port that compares.
    let mut masks = Masks([0; CHUNK]);
    for first in trees.clone().step_by(CHUNK) {
        let count = CHUNK.min(trees.end - first);
        for ([columns, bounds], mask) in slots[first..first + count].iter().zip(&mut masks.0) {
            // SAFETY: two lines.
            let (columns, bounds) = unsafe {
                (
                    _mm512_load_si512((&raw const *columns).cast()),
                    _mm512_load_si512((&raw const *bounds).cast()),
                )
            };
            let bytes = if wide {
                _mm512_permutex2var_epi8(low, columns, high)
            } else {
                _mm512_permutexvar_epi8(columns, low)
            };
            *mask = _mm512_cmpge_epu8_mask(bytes, bounds);
        }
        if rows.has_sets() {
            for (index, mask) in masks.0[..count].iter_mut().enumerate() {
                for of_sets in rows.deposits(first + index) {
                    *mask |= _pdep_u64(row.answers(of_sets), of_sets.slots);
                }
            }
        }
        for (number, masks) in masks.0[..count].chunks(8).enumerate() {
            let first = first + number * 8;
            // SAFETY: eight words, of which those past the chunk's end may be anything: a walk stays within a table.
            let answers = unsafe { _mm512_load_si512(masks.as_ptr().cast()) };
            let mut at = _mm512_setzero_si512();
            for _ in 0..6 {
                let right = _mm512_and_si512(_mm512_srlv_epi64(answers, at), one);
                at = _mm512_add_epi64(_mm512_add_epi64(at, at), _mm512_add_epi64(right, one));
            }
            // Leaf 0 follows 63 slots.
            let place = _mm512_add_epi64(at, tables);
            let there = u8::MAX >> (8 - masks.len());
            let mut leaves = [0f32; 8];
            // SAFETY: each place is a leaf of its tree, whose table has the tree's number; eight values are written.
            unsafe {
                let values = forest.leaves().as_ptr().add(first).cast::<f32>().wrapping_sub(63);
                let found = _mm512_mask_i64gather_ps::<4>(_mm256_setzero_ps(), there, place, values);
                _mm256_storeu_ps(leaves.as_mut_ptr(), found);
            }
            if masks.len() == 8 {
                for leaf in leaves {
                    sum += f64::from(leaf);
                }
            } else {
                for leaf in &leaves[..masks.len()] {
                    sum += f64::from(*leaf);
                }
            }
        }
    }
    sum
}

/// The words of answers of a chunk of deeper trees: eight of the deepest.
const WORDS: usize = 8 << (MAX_DEPTH - 6);

/// See [`crate::kernels::Isa::row_sum`], for at most 128 columns: as [`row_sum`], where a tree of more than 6 levels has
/// several words of answers, of which the deeper levels are gathered.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,bmi2")]
pub(in crate::kernels) fn row_sum_deep(
    forest: &MaskForest,
    rows: &RowForest,
    trees: Range<usize>,
    row: &RowData,
    mut sum: f64,
) -> f64 {
    // SAFETY: the first 128 bytes of a row.
    let (low, high) = unsafe {
        (_mm512_load_si512(row.bytes.as_ptr().cast()), _mm512_load_si512(row.bytes.as_ptr().add(64).cast()))
    };
    let one = _mm512_set1_epi64(1);
    let mut masks = [0u64; WORDS];
    let mut first = trees.start;
    while first < trees.end {
        // Of each tree its levels, its first word, and the place of slot 0 before the leaves of its last level.
        let (mut levels, mut words, mut leaves) = ([0i64; CHUNK], [0i64; CHUNK], [0i64; CHUNK]);
        let (mut count, mut next) = (0, 0);
        while count < CHUNK && first + count < trees.end {
            let (tree, slots) = (&forest.trees()[first + count], rows.slots(first + count));
            if next + slots.len() > WORDS {
                break;
            }
            for (mask, [columns, bounds]) in masks[next..].iter_mut().zip(slots) {
                // SAFETY: two lines.
                let (columns, bounds) = unsafe {
                    (
                        _mm512_load_si512((&raw const *columns).cast()),
                        _mm512_load_si512((&raw const *bounds).cast()),
                    )
                };
                *mask = _mm512_cmpge_epu8_mask(_mm512_permutex2var_epi8(low, columns, high), bounds);
            }
            for of_sets in rows.deposits(first + count) {
                masks[next + usize::from(of_sets.word)] |= _pdep_u64(row.answers(of_sets), of_sets.slots);
            }
            let depth = tree.depth.max(6);
            (levels[count], words[count]) = (i64::from(depth), next as i64);
            leaves[count] = 64 * i64::from(tree.table) + 1 - (1 << depth);
            (count, next) = (count + 1, next + slots.len());
        }
        for from in (0..count).step_by(8) {
            let there = u8::MAX >> (8 - 8.min(count - from));
            // SAFETY: eight of `CHUNK` words each, since `from` is a multiple of 8 below it.
            let (levels, words, leaves) = unsafe {
                (
                    _mm512_loadu_si512(levels.as_ptr().add(from).cast()),
                    _mm512_loadu_si512(words.as_ptr().add(from).cast()),
                    _mm512_loadu_si512(leaves.as_ptr().add(from).cast()),
                )
            };
            let mut at = _mm512_setzero_si512();
            let mut level = 0;
            loop {
                let going = _mm512_mask_cmpgt_epi64_mask(there, levels, _mm512_set1_epi64(level));
                if going == 0 {
                    break;
                }
                let word = _mm512_add_epi64(words, _mm512_srli_epi64::<6>(at));
                // SAFETY: a tree of `d` levels has the words of `2^d - 1` slots.
                let answers =
                    unsafe { _mm512_mask_i64gather_epi64::<8>(at, going, word, masks.as_ptr().cast()) };
                let bit = _mm512_and_si512(at, _mm512_set1_epi64(63));
                let right = _mm512_and_si512(_mm512_srlv_epi64(answers, bit), one);
                let below = _mm512_add_epi64(_mm512_add_epi64(at, at), _mm512_add_epi64(right, one));
                at = _mm512_mask_mov_epi64(at, going, below);
                level += 1;
            }
            let mut found = [0f32; 8];
            // SAFETY: each place is a leaf of its tree; eight values are written.
            unsafe {
                let values = forest.leaves().as_ptr().cast();
                let place = _mm512_add_epi64(at, leaves);
                let values = _mm512_mask_i64gather_ps::<4>(_mm256_setzero_ps(), there, place, values);
                _mm256_storeu_ps(found.as_mut_ptr(), values);
            }
            found[..8.min(count - from)].iter().for_each(|leaf| sum += f64::from(*leaf));
        }
        first += count;
    }
    sum
}

/// Trees whose tests are asked before their answers are walked.
const CHUNK: usize = 64;

/// The answers to the tests of each tree of a chunk.
#[repr(C, align(64))]
struct Masks([u64; CHUNK]);
