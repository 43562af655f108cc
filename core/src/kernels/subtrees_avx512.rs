//! The AVX-512 twin of [`super::subtrees`]: all 15 questions of a subtree are one shuffle of the row's codes and one
//! compare; then 16 walks find their ways out in one register.
//!
//! A pass asks first, for the whole list, and then resolves: in one loop, a walk that waits for its line would fill the
//! processor's queue with all that is to be done with its answers, so that few walks overlap.

use std::arch::x86_64::*;

use super::subtrees::{WalkScratch, Walks, begin, fetch};
use crate::layout::{Subtree, SubtreeForest};

/// [`super::subtrees::walk`] through a forest without sets, whose columns are at most 32, or, if `TWO`, 64.
///
/// # Safety
/// As of [`super::subtrees::walk`]; 32 codes, or, if `TWO`, 64, can be read for each walk.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) unsafe fn walk<W: Walks, const TWO: bool, const GAPS: bool>(
    forest: &SubtreeForest,
    walks: &W,
    codes: *const u16,
    scratch: &mut WalkScratch,
) {
    begin(walks, scratch);
    let mut left = walks.count();
    while left > 0 {
        for index in 0..left {
            // SAFETY: as many are in the list.
            let (at, number) =
                unsafe { (*scratch.at.get_unchecked(index), *scratch.number.get_unchecked(index)) };
            // SAFETY: the builder checked the subtrees that exits lead to.
            let subtree = unsafe { forest.subtrees().get_unchecked(at as usize) };
            // SAFETY: the caller's promise.
            let answers = unsafe { answers::<TWO, GAPS>(subtree, codes.add(walks.codes(number as usize))) };
            // SAFETY: as many walks have room.
            unsafe {
                *scratch.answers.get_unchecked_mut(index) = answers;
                *scratch.exits.get_unchecked_mut(index) = subtree.exits;
            }
        }
        left = resolve(scratch, left);
        for at in &scratch.at[..left] {
            fetch(forest.subtrees().as_ptr().wrapping_add(*at as usize));
        }
    }
}

/// The answers of a subtree's slots to a row, a bit each.
///
/// # Safety
/// 32 codes, or, if `TWO`, 64, can be read.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn answers<const TWO: bool, const GAPS: bool>(subtree: &Subtree, codes: *const u16) -> u16 {
    // SAFETY: 16 columns and 16 bounds.
    let (columns, bounds) = unsafe {
        (_mm_load_si128(subtree.columns.as_ptr().cast()), _mm256_load_si256(subtree.bounds.as_ptr().cast()))
    };
    // The shuffles take as many bits of a column as they need.
    let places = _mm512_castsi256_si512(_mm256_cvtepu8_epi16(columns));
    // SAFETY: the caller's promise.
    let asked = unsafe {
        let low = _mm512_loadu_si512(codes.cast());
        match TWO {
            true => _mm512_permutex2var_epi16(low, places, _mm512_loadu_si512(codes.add(32).cast())),
            false => _mm512_permutexvar_epi16(places, low),
        }
    };
    let asked = _mm512_castsi512_si256(asked);
    let answers = _mm256_cmpge_epu16_mask(asked, bounds);
    if !GAPS {
        return answers;
    }
    let missing = _mm256_cmpeq_epi16_mask(asked, _mm256_set1_epi16(-1));
    answers & !(missing & _mm_movepi8_mask(columns))
}

/// Takes the walks of the list where their answers lead; returns how many go on.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn resolve(scratch: &mut WalkScratch, left: usize) -> usize {
    let one = _mm512_set1_epi32(1);
    let mut kept = 0;
    for index in (0..left).step_by(16) {
        let present = if left - index < 16 { u16::MAX >> (16 - (left - index)) } else { u16::MAX };
        // SAFETY: 16 more can be read from an index below the number of walks, which is a multiple of 16.
        let (number, answers, exits) = unsafe {
            let exits = scratch.exits.as_ptr().add(index);
            (
                _mm512_loadu_si512(scratch.number.as_ptr().add(index).cast()),
                _mm256_loadu_si256(scratch.answers.as_ptr().add(index).cast()),
                [
                    _mm512_loadu_si512(exits.cast()),
                    _mm512_loadu_si512(exits.add(4).cast()),
                    _mm512_loadu_si512(exits.add(8).cast()),
                    _mm512_loadu_si512(exits.add(12).cast()),
                ],
            )
        };
        let (low_ranks, high_ranks) = (field::<0>(exits), field::<1>(exits));
        let (leaves, subtrees) = (field::<2>(exits), field::<3>(exits));
        // Counted from 1, the slots below `s` are `2s` and `2s + 1`.
        let answers = _mm512_slli_epi32::<1>(_mm512_cvtepu16_epi32(answers));
        let mut slot = one;
        for _ in 0..4 {
            let answer = _mm512_srlv_epi32(answers, slot);
            // The sum, or the answer's lowest bit.
            slot = _mm512_ternarylogic_epi32::<0xF8>(_mm512_add_epi32(slot, slot), answer, one);
        }
        let in_high = _mm512_test_epi32_mask(slot, _mm512_set1_epi32(8));
        let ranks = _mm512_mask_mov_epi32(low_ranks, in_high, high_ranks);
        let place = _mm512_and_si512(_mm512_slli_epi32::<2>(slot), _mm512_set1_epi32(28));
        let rank = _mm512_and_si512(_mm512_srlv_epi32(ranks, place), _mm512_set1_epi32(15));
        let goes_on = _mm512_cmplt_epu32_mask(rank, _mm512_and_si512(subtrees, _mm512_set1_epi32(31)));
        let first = _mm512_mask_srli_epi32::<5>(leaves, goes_on, subtrees);
        let next = _mm512_add_epi32(first, rank);
        let goes_on = goes_on & present;
        // SAFETY: no more walks go on than there were, and the lists have room for 16 more; what is overwritten of them was
        // read before. Each number is that of a walk.
        unsafe {
            _mm512_mask_i32scatter_epi32::<4>(
                scratch.leaf.as_mut_ptr().cast(),
                present & !goes_on,
                number,
                next,
            );
            _mm512_storeu_si512(
                scratch.at.as_mut_ptr().add(kept).cast(),
                _mm512_maskz_compress_epi32(goes_on, next),
            );
            _mm512_storeu_si512(
                scratch.number.as_mut_ptr().add(kept).cast(),
                _mm512_maskz_compress_epi32(goes_on, number),
            );
        }
        kept += goes_on.count_ones() as usize;
    }
    kept
}

/// A field of the exits of 16 walks, which come four by four.
#[inline]
#[target_feature(enable = "avx512f")]
fn field<const FIELD: i32>(exits: [__m512i; 4]) -> __m512i {
    let eight = _mm512_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28, 0, 4, 8, 12, 16, 20, 24, 28);
    let eight = _mm512_add_epi32(eight, _mm512_set1_epi32(FIELD));
    let low = _mm512_permutex2var_epi32(exits[0], eight, exits[1]);
    let high = _mm512_permutex2var_epi32(exits[2], eight, exits[3]);
    _mm512_shuffle_i64x2::<0b01_00_01_00>(low, high)
}
