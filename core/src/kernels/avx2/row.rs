//! One row through shallow trees.

use std::arch::x86_64::*;
use std::ops::Range;

use crate::kernels::RowData;
use crate::layout::{Line, MaskForest, RowForest};

/// The most byte columns of a row: four registers of 16.
pub(in crate::kernels) const MAX_COLUMNS: usize = 64;

/// See [`crate::kernels::Isa::row_sum`]; `slots` are those of a shallow forest, which has at most [`MAX_COLUMNS`] columns.
///
/// The tests of half a tree are a byte shuffle for each 16 columns and a compare; then four trees walk their bits in one
/// register.
#[target_feature(enable = "avx2,bmi2")]
pub(in crate::kernels) fn row_sum(
    forest: &MaskForest,
    rows: &RowForest,
    slots: &[[Line; 2]],
    trees: Range<usize>,
    row: &RowData,
    mut sum: f64,
) -> f64 {
    let mut columns = [_mm256_setzero_si256(); MAX_COLUMNS / 16];
    for (columns, bytes) in columns.iter_mut().zip(row.bytes.as_chunks::<16>().0) {
        // SAFETY: 16 bytes.
        *columns = _mm256_broadcastsi128_si256(unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) });
    }
    let used = rows.columns().div_ceil(16);
    let one = _mm256_set1_epi64x(1);
    let tables = _mm256_setr_epi64x(0, 64, 128, 192);
    for first in trees.clone().step_by(4) {
        let count = 4.min(trees.end - first);
        let mut masks = [0u64; 4];
        for (index, (mask, [places, bounds])) in
            masks.iter_mut().zip(&slots[first..first + count]).enumerate()
        {
            *mask = u64::from(half(&columns[..used], places, bounds, 0))
                | u64::from(half(&columns[..used], places, bounds, 1)) << 32;
            for of_sets in rows.deposits(first + index) {
                *mask |= _pdep_u64(row.answers(of_sets), of_sets.slots);
            }
        }
        let [a, b, c, d] = masks;
        let masks = _mm256_setr_epi64x(a as i64, b as i64, c as i64, d as i64);
        let mut at = _mm256_setzero_si256();
        for _ in 0..6 {
            let right = _mm256_and_si256(_mm256_srlv_epi64(masks, at), one);
            at = _mm256_add_epi64(_mm256_add_epi64(at, at), _mm256_add_epi64(right, one));
        }
        // Leaf 0 follows 63 slots.
        let mut places = [0u64; 4];
        // SAFETY: four words.
        unsafe { _mm256_storeu_si256(places.as_mut_ptr().cast(), _mm256_add_epi64(at, tables)) };
        for place in &places[..count] {
            let leaf = *place as usize - 63;
            sum += f64::from(forest.leaves()[first + leaf / 64][leaf % 64]);
        }
    }
    sum
}

/// The answers to half the tests of a tree.
#[inline]
#[target_feature(enable = "avx2")]
fn half(columns: &[__m256i], places: &Line, bounds: &Line, half: usize) -> u32 {
    // SAFETY: half a line each.
    let (places, bounds) = unsafe {
        (
            _mm256_load_si256((&raw const *places).cast::<__m256i>().add(half)),
            _mm256_load_si256((&raw const *bounds).cast::<__m256i>().add(half)),
        )
    };
    let mut bytes = _mm256_setzero_si256();
    for (index, columns) in columns.iter().enumerate() {
        // Places of other registers get the highest bit, which makes the shuffle give 0; those of this one keep their low four.
        let place = _mm256_sub_epi8(places, _mm256_set1_epi8(16 * index as i8));
        let place = _mm256_adds_epu8(place, _mm256_set1_epi8(0x70));
        bytes = _mm256_or_si256(bytes, _mm256_shuffle_epi8(*columns, place));
    }
    _mm256_movemask_epi8(_mm256_cmpeq_epi8(_mm256_max_epu8(bytes, bounds), bytes)) as u32
}
