//! The AVX-512 twin of [`super::waves`]: 16 rows a vector, by gathers, the rows that go on packed together again.

use std::arch::x86_64::*;

use super::waves::{WaveScratch, finish};
use crate::layout::{WAVE, WaveForest};

/// See [`super::Isa::add_waves`].
///
/// # Safety
/// As of [`super::waves::add`]; also, two more codes can be read.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) unsafe fn add<const SETS: bool>(
    forest: &WaveForest,
    tree: usize,
    codes: &[u16],
    entries: &[u32],
    scratch: &mut WaveScratch,
    sums: &mut [f64],
) {
    let nodes = forest.tree(tree);
    let WaveScratch { at, row, done_at, done_row } = scratch;
    let (going_at, going_row) = (at.as_mut_ptr().cast::<i32>(), row.as_mut_ptr().cast::<i32>());
    let (done_at, done_row) = (done_at.as_mut_ptr().cast::<i32>(), done_row.as_mut_ptr().cast::<i32>());
    let one = _mm512_set1_epi32(1);
    let lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    let (mut left, mut arrived) = (0, 0);
    for (index, entries) in entries[..sums.len()].chunks(16).enumerate() {
        let present = u16::MAX >> (16 - entries.len());
        // SAFETY: as many entries can be read as the mask says; the lists have room for 16 more than a wave.
        unsafe {
            let entry = _mm512_maskz_loadu_epi32(present, entries.as_ptr().cast());
            let (node, row) = (
                _mm512_srli_epi32::<1>(entry),
                _mm512_add_epi32(lanes, _mm512_set1_epi32(index as i32 * 16)),
            );
            let leaf = _mm512_mask_test_epi32_mask(present, entry, one);
            let on = present & !leaf;
            _mm512_storeu_si512(going_at.add(left).cast(), _mm512_maskz_compress_epi32(on, node));
            _mm512_storeu_si512(going_row.add(left).cast(), _mm512_maskz_compress_epi32(on, row));
            _mm512_storeu_si512(done_at.add(arrived).cast(), _mm512_maskz_compress_epi32(leaf, node));
            _mm512_storeu_si512(done_row.add(arrived).cast(), _mm512_maskz_compress_epi32(leaf, row));
            left += on.count_ones() as usize;
            arrived += leaf.count_ones() as usize;
        }
    }
    let low16 = _mm512_set1_epi32(0xffff);
    let even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    let odd = _mm512_add_epi32(even, one);
    while left > 0 {
        let mut kept = 0;
        for index in (0..left).step_by(16) {
            let present = if left - index < 16 { u16::MAX >> (16 - (left - index)) } else { u16::MAX };
            // SAFETY: the lists have room for 16 more than a wave; lanes past the end of the list are zeroed, and node 0
            // and row 0 are there.
            let (at, row) = unsafe {
                (
                    _mm512_maskz_loadu_epi32(present, going_at.add(index)),
                    _mm512_maskz_loadu_epi32(present, going_row.add(index)),
                )
            };
            // SAFETY: the builder checked the children.
            let (first, second) = unsafe {
                let base = nodes.as_ptr().cast();
                (
                    _mm512_i32gather_epi64::<8>(_mm512_castsi512_si256(at), base),
                    _mm512_i32gather_epi64::<8>(_mm512_extracti64x4_epi64::<1>(at), base),
                )
            };
            let asked = _mm512_permutex2var_epi32(first, even, second);
            let next = _mm512_permutex2var_epi32(first, odd, second);
            let bound = _mm512_and_si512(asked, low16);
            let column = _mm512_srli_epi32::<17>(_mm512_slli_epi32::<1>(asked));
            let place = _mm512_add_epi32(_mm512_slli_epi32::<{ WAVE.trailing_zeros() }>(column), row);
            // SAFETY: the caller's promise; two codes are read for one.
            let code = unsafe { _mm512_i32gather_epi32::<2>(place, codes.as_ptr().cast()) };
            let code = _mm512_and_si512(code, low16);
            let mut right = _mm512_cmpge_epu32_mask(code, bound);
            if SETS {
                let is_set = _mm512_movepi32_mask(asked);
                if is_set != 0 {
                    let zero = _mm512_setzero_si512();
                    // SAFETY: the builder checked the set, which has a bit for each code of the column.
                    let word = unsafe {
                        let starts = forest.set_starts().as_ptr().cast();
                        let start = _mm512_mask_i32gather_epi32::<4>(zero, is_set, bound, starts);
                        let place = _mm512_add_epi32(start, _mm512_srli_epi32::<5>(code));
                        _mm512_mask_i32gather_epi32::<4>(
                            zero,
                            is_set,
                            place,
                            forest.set_bits().as_ptr().cast(),
                        )
                    };
                    let bit = _mm512_sllv_epi32(one, _mm512_and_si512(code, _mm512_set1_epi32(31)));
                    right = (right & !is_set) | _mm512_mask_test_epi32_mask(is_set, word, bit);
                }
            }
            let child = _mm512_srli_epi32::<2>(next);
            let child = _mm512_mask_add_epi32(child, right, child, one);
            let leaf_bit = _mm512_mask_add_epi32(one, right, one, one);
            let leaf = _mm512_mask_test_epi32_mask(present, next, leaf_bit);
            let on = present & !leaf;
            // SAFETY: no more entries go on or arrive than there are rows; room for 16 more. What is overwritten of the
            // list was read before.
            unsafe {
                _mm512_storeu_si512(going_at.add(kept).cast(), _mm512_maskz_compress_epi32(on, child));
                _mm512_storeu_si512(going_row.add(kept).cast(), _mm512_maskz_compress_epi32(on, row));
                _mm512_storeu_si512(done_at.add(arrived).cast(), _mm512_maskz_compress_epi32(leaf, child));
                _mm512_storeu_si512(done_row.add(arrived).cast(), _mm512_maskz_compress_epi32(leaf, row));
            }
            kept += on.count_ones() as usize;
            arrived += leaf.count_ones() as usize;
        }
        left = kept;
    }
    // SAFETY: every row has arrived once, at a leaf of the tree.
    unsafe { finish(nodes, &scratch.done_at[..arrived], &scratch.done_row[..arrived], sums) };
}
