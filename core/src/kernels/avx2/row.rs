//! One row through shallow trees.

use std::arch::x86_64::*;
use std::ops::Range;

use crate::kernels::RowData;
use crate::layout::{Line, MaskForest, RowForest};

/// The most byte columns of a row: four registers of 16.
pub(in crate::kernels) const MAX_COLUMNS: usize = 64;
/// Trees whose tests are asked before their answers are walked.
const CHUNK: usize = 64;

/// See [`crate::kernels::Isa::row_sum`]; `slots` are those of a shallow forest, which has at most [`MAX_COLUMNS`] columns.
///
/// The tests of half a tree are a byte shuffle for each 16 columns and a compare; then four trees walk their bits in one
/// register. If sums are `EXACT` in any order, there are four of them; else leaves are added in a chain of additions.
#[target_feature(enable = "avx2,bmi2")]
pub(in crate::kernels) fn row_sum<const EXACT: bool>(
    forest: &MaskForest,
    rows: &RowForest,
    slots: &[[Line; 2]],
    trees: Range<usize>,
    row: &RowData,
    mut sum: f64,
) -> f64 {
    let mut masks = [0u64; CHUNK];
    let mut sums = _mm256_setzero_pd();
    for first in trees.clone().step_by(CHUNK) {
        let count = CHUNK.min(trees.end - first);
        let slots = &slots[first..first + count];
        if rows.columns() <= 32 {
            ask::<2>(slots, row, &mut masks);
        } else {
            ask::<4>(slots, row, &mut masks);
        }
        if rows.has_sets() {
            for (index, mask) in masks[..count].iter_mut().enumerate() {
                for of_sets in rows.deposits(first + index) {
                    *mask |= _pdep_u64(row.answers(of_sets), of_sets.slots);
                }
            }
        }
        for (number, masks) in masks[..count].chunks(4).enumerate() {
            let found = walk(forest, first + number * 4, masks);
            if EXACT && masks.len() == 4 {
                sums = _mm256_add_pd(sums, found);
                continue;
            }
            let mut leaves = [0.0; 4];
            // SAFETY: four values are written.
            unsafe { _mm256_storeu_pd(leaves.as_mut_ptr(), found) };
            match masks.len() {
                // By way of memory, which the compiler must not see through: it would take each value out of the register.
                4 => leaves.iter().for_each(|leaf| {
                    // SAFETY: a value.
                    sum += unsafe { (&raw const *leaf).read_volatile() };
                }),
                count => leaves[..count].iter().for_each(|leaf| sum += leaf),
            }
        }
    }
    if EXACT {
        let pair = _mm_add_pd(_mm256_castpd256_pd128(sums), _mm256_extractf128_pd::<1>(sums));
        sum += _mm_cvtsd_f64(pair) + _mm_cvtsd_f64(_mm_unpackhi_pd(pair, pair));
    }
    sum
}

/// The leaves of at most four trees from `first` on, by the answers to their tests.
#[inline]
#[target_feature(enable = "avx2")]
fn walk(forest: &MaskForest, first: usize, masks: &[u64]) -> __m256d {
    let one = _mm256_set1_epi64x(1);
    let mut answers = [0; 4];
    answers[..masks.len()].copy_from_slice(masks);
    let [a, b, c, d] = answers;
    let answers = _mm256_setr_epi64x(a as i64, b as i64, c as i64, d as i64);
    // Counted from 1, the slots below `s` are `2s` and `2s + 1`.
    let answers = _mm256_slli_epi64::<1>(answers);
    let mut at = one;
    for _ in 0..6 {
        let right = _mm256_and_si256(_mm256_srlv_epi64(answers, at), one);
        at = _mm256_or_si256(_mm256_add_epi64(at, at), right);
    }
    // Leaf 0 follows 63 slots. A tree that is not there has the place of the last one that is.
    let last = masks.len() as i64 - 1;
    let tables = _mm256_setr_epi64x(0, 64 * last.min(1), 64 * last.min(2), 64 * last.min(3));
    // SAFETY: each place is a leaf of one of the trees, whose table has the tree's number.
    let found = unsafe {
        let values = forest.leaves().as_ptr().add(first).cast::<f32>().wrapping_sub(64);
        _mm256_i64gather_ps::<4>(values, _mm256_add_epi64(at, tables))
    };
    _mm256_cvtps_pd(found)
}

/// Asks every test of each tree; the row's columns fill `N` registers of 16, of which there are 2 or 4.
#[inline]
#[target_feature(enable = "avx2")]
fn ask<const N: usize>(slots: &[[Line; 2]], row: &RowData, masks: &mut [u64; CHUNK]) {
    // SAFETY: the first 64 bytes of a row.
    let [a, b, c, d] = unsafe {
        let bytes = row.bytes.as_ptr().cast::<__m128i>();
        [
            _mm256_broadcastsi128_si256(_mm_loadu_si128(bytes)),
            _mm256_broadcastsi128_si256(_mm_loadu_si128(bytes.add(1))),
            _mm256_broadcastsi128_si256(_mm_loadu_si128(bytes.add(2))),
            _mm256_broadcastsi128_si256(_mm_loadu_si128(bytes.add(3))),
        ]
    };
    for ([places, bounds], mask) in slots.iter().zip(masks) {
        let mut halves = [0; 2];
        for (half, answers) in halves.iter_mut().enumerate() {
            // SAFETY: half a line each.
            let (places, bounds) = unsafe {
                (
                    _mm256_load_si256((&raw const *places).cast::<__m256i>().add(half)),
                    _mm256_load_si256((&raw const *bounds).cast::<__m256i>().add(half)),
                )
            };
            let mut bytes = _mm256_or_si256(shuffle(a, places, 0), shuffle(b, places, 16));
            if N > 2 {
                bytes = _mm256_or_si256(bytes, shuffle(c, places, 32));
                bytes = _mm256_or_si256(bytes, shuffle(d, places, 48));
            }
            let from = _mm256_cmpeq_epi8(_mm256_max_epu8(bytes, bounds), bytes);
            *answers = _mm256_movemask_epi8(from) as u32;
        }
        *mask = u64::from(halves[0]) | u64::from(halves[1]) << 32;
    }
}

/// The bytes at `places` of the 16 columns from `first` on; 0 for places of others.
#[inline]
#[target_feature(enable = "avx2")]
fn shuffle(columns: __m256i, places: __m256i, first: i8) -> __m256i {
    // Places of others get the highest bit, which makes the shuffle give 0; those of these columns keep their low four.
    let place = _mm256_adds_epu8(_mm256_sub_epi8(places, _mm256_set1_epi8(first)), _mm256_set1_epi8(0x70));
    _mm256_shuffle_epi8(columns, place)
}
