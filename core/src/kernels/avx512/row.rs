//! One row through shallow trees.

use std::arch::x86_64::*;

use crate::kernels::RowData;
use crate::kernels::rows as row;
use crate::layout::{Line, MaskForest, RowForest};

/// See [`crate::kernels::Isa::row_leaves`]; `slots` are those of a shallow forest, which has at most 128 columns.
///
/// All tests of a tree are one byte shuffle and one compare; then eight trees walk their bits in one register.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi")]
pub(in crate::kernels) fn row_leaves(
    forest: &MaskForest,
    rows: &RowForest,
    slots: &[[Line; 2]],
    first: usize,
    data: &RowData,
    out: &mut [f32],
) {
    // SAFETY: the first 128 bytes of a row.
    let (low, high) = unsafe {
        (_mm512_load_si512(data.bytes.as_ptr().cast()), _mm512_load_si512(data.bytes.as_ptr().add(64).cast()))
    };
    let wide = rows.columns() > 64;
    let has_sets = rows.has_sets();
    let one = _mm512_set1_epi64(1);
    let tables = _mm512_setr_epi64(0, 64, 128, 192, 256, 320, 384, 448);
    for (chunk, out) in out.chunks_mut(8).enumerate() {
        let first = first + chunk * 8;
        // Put together in registers: eight stores and then one load of them all would wait for the stores.
        let mut masks = _mm512_setzero_si512();
        for (index, [columns, bounds]) in slots[first..first + out.len()].iter().enumerate() {
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
            let mut mask = _mm512_cmpge_epu8_mask(bytes, bounds);
            if has_sets {
                row::set_answers(rows, first + index, data, |_, bit| mask |= bit);
            }
            masks = _mm512_mask_set1_epi64(masks, 1 << index, mask as i64);
        }
        let mut at = _mm512_setzero_si512();
        for _ in 0..6 {
            let right = _mm512_and_si512(_mm512_srlv_epi64(masks, at), one);
            at = _mm512_add_epi64(_mm512_add_epi64(at, at), _mm512_add_epi64(right, one));
        }
        // Leaf 0 follows 63 slots.
        let place = _mm512_add_epi64(at, tables);
        let there = u8::MAX >> (8 - out.len());
        // SAFETY: each place is a leaf of its tree, whose table has the tree's number; as many values are written as the
        // mask says.
        unsafe {
            let values = forest.leaves().as_ptr().add(first).cast::<f32>().wrapping_sub(63);
            let leaves = _mm512_mask_i64gather_ps::<4>(_mm256_setzero_ps(), there, place, values);
            _mm256_mask_storeu_ps(out.as_mut_ptr(), there, leaves);
        }
    }
}
