//! One row through shallow trees.

use std::arch::x86_64::*;
use std::ops::Range;

use crate::kernels::RowData;
use crate::layout::{Line, MaskForest, RowForest};

/// The most byte columns of a row: two registers.
pub(in crate::kernels) const MAX_COLUMNS: usize = 128;

/// See [`crate::kernels::Isa::row_sum`]; `slots` are those of a shallow forest, which has at most [`MAX_COLUMNS`] columns.
///
/// All tests of a tree are one byte shuffle and one compare; then 16 trees walk their bits in one register. If sums are
/// `EXACT` in any order, there are 16 of them; else leaves are added in a chain of additions.
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
    let one = _mm512_set1_epi32(1);
    let even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    let tables = _mm512_slli_epi32::<5>(even);
    // The answers of many trees before any is walked: eight words that were just stored would not be there yet to load, and to
    // put them together in a register would take the port that compares.
    let mut masks = Masks([0; CHUNK]);
    let mut leaves = Leaves([0.0; SIDE]);
    let mut sums = [_mm512_setzero_pd(); 2];
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
        for (number, masks) in
            masks.0[..count.next_multiple_of(SIDE)].as_chunks::<SIDE>().0.iter().enumerate()
        {
            let first = first + number * SIDE;
            // SAFETY: 16 words, of which those past the chunk's end may be anything: a walk stays within a table.
            let (low, high) = unsafe {
                (_mm512_load_si512(masks.as_ptr().cast()), _mm512_load_si512(masks.as_ptr().add(8).cast()))
            };
            // Counted from 1, the slots below `s` are `2s` and `2s + 1`; those of the last level are the upper half.
            let (low, high) = (_mm512_slli_epi64::<1>(low), _mm512_slli_epi64::<1>(high));
            let upper = _mm512_permutex2var_epi32(low, even, high);
            let last = _mm512_permutex2var_epi32(low, _mm512_add_epi32(even, one), high);
            let mut at = one;
            for level in 0..6 {
                // The sum, or the answer's lowest bit.
                let answer = match level {
                    0..5 => _mm512_srlv_epi32(upper, at),
                    _ => _mm512_srlv_epi32(last, _mm512_sub_epi32(at, _mm512_set1_epi32(32))),
                };
                at = _mm512_ternarylogic_epi32::<0xF8>(_mm512_add_epi32(at, at), answer, one);
            }
            // Leaf 0 follows 63 slots.
            let place = _mm512_add_epi32(at, tables);
            let count = (trees.end - first).min(SIDE);
            let there = u16::MAX >> (SIDE - count);
            // SAFETY: each place is a leaf of its tree, whose table has the tree's number.
            let found = unsafe {
                let values = forest.leaves().as_ptr().add(first).cast::<f32>().wrapping_sub(64);
                _mm512_mask_i32gather_ps::<4>(_mm512_setzero_ps(), there, place, values)
            };
            let low = _mm512_cvtps_pd(_mm512_castps512_ps256(found));
            let high = _mm512_cvtps_pd(_mm512_extractf32x8_ps::<1>(found));
            if EXACT {
                sums = [_mm512_add_pd(sums[0], low), _mm512_add_pd(sums[1], high)];
                continue;
            }
            // SAFETY: 16 values are written.
            unsafe {
                _mm512_store_pd(leaves.0.as_mut_ptr(), low);
                _mm512_store_pd(leaves.0.as_mut_ptr().add(8), high);
            }
            // By way of memory, which the compiler must not see through: it would take each value out of the register, by the
            // port that shuffles.
            if count == SIDE {
                for leaf in &leaves.0 {
                    // SAFETY: a value.
                    sum += unsafe { (&raw const *leaf).read_volatile() };
                }
            } else {
                leaves.0[..count].iter().for_each(|leaf| sum += leaf);
            }
        }
    }
    if EXACT { sum + _mm512_reduce_add_pd(_mm512_add_pd(sums[0], sums[1])) } else { sum }
}

/// The leaves of trees side by side.
#[repr(C, align(64))]
struct Leaves([f64; SIDE]);

/// Trees whose answers are walked side by side.
const SIDE: usize = 16;

/// Trees whose tests are asked before their answers are walked.
const CHUNK: usize = 64;

/// The answers to the tests of each tree of a chunk.
#[repr(C, align(64))]
struct Masks([u64; CHUNK]);
