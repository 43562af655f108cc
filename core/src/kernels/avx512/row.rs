//! One row through shallow trees.

use std::arch::x86_64::*;
use std::ops::Range;

use crate::kernels::RowData;
use crate::layout::{Line, MaskForest, RowForest};

/// The most byte columns of a row: two registers.
pub(in crate::kernels) const MAX_COLUMNS: usize = 128;

/// See [`crate::kernels::Isa::row_sum`]; `slots` are those of a shallow forest, which has at most [`MAX_COLUMNS`] columns.
///
/// All tests of a tree are one byte shuffle and one compare; then eight trees walk their bits in one register. If sums are
/// `EXACT` in any order, there are eight of them; else leaves are added in a chain of additions.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,bmi2")]
pub(in crate::kernels) fn row_sum<const EXACT: bool>(
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
    let mut leaves = Leaves([0.0; 8]);
    let mut sums = _mm512_setzero_pd();
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
            // Counted from 1, the slots below `s` are `2s` and `2s + 1`.
            let answers = _mm512_slli_epi64::<1>(answers);
            let mut at = one;
            for _ in 0..6 {
                // The sum, or the answer's lowest bit.
                let answer = _mm512_srlv_epi64(answers, at);
                at = _mm512_ternarylogic_epi64::<0xF8>(_mm512_add_epi64(at, at), answer, one);
            }
            // Leaf 0 follows 63 slots.
            let place = _mm512_add_epi64(at, tables);
            let there = u8::MAX >> (8 - masks.len());
            // SAFETY: each place is a leaf of its tree, whose table has the tree's number.
            let found = unsafe {
                let values = forest.leaves().as_ptr().add(first).cast::<f32>().wrapping_sub(64);
                _mm512_mask_i64gather_ps::<4>(_mm256_setzero_ps(), there, place, values)
            };
            let found = _mm512_cvtps_pd(found);
            if EXACT {
                sums = _mm512_add_pd(sums, found);
                continue;
            }
            // SAFETY: eight values are written.
            unsafe { _mm512_store_pd(leaves.0.as_mut_ptr(), found) };
            // By way of memory, which the compiler must not see through: it would take each value out of the register, by the
            // port that shuffles.
            if masks.len() == 8 {
                for leaf in &leaves.0 {
                    // SAFETY: a value.
                    sum += unsafe { (&raw const *leaf).read_volatile() };
                }
            } else {
                leaves.0[..masks.len()].iter().for_each(|leaf| sum += leaf);
            }
        }
    }
    if EXACT { sum + _mm512_reduce_add_pd(sums) } else { sum }
}

/// The leaves of eight trees.
#[repr(C, align(64))]
struct Leaves([f64; 8]);

/// Trees whose tests are asked before their answers are walked.
const CHUNK: usize = 64;

/// The answers to the tests of each tree of a chunk.
#[repr(C, align(64))]
struct Masks([u64; CHUNK]);
