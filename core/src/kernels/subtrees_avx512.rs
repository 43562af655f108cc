//! The AVX-512 twin of [`super::subtrees`]: all 15 questions of a subtree are one shuffle of the row's codes and one
//! compare; then 16 walks find their ways out in one register.
//!
//! A pass asks first, for the whole list, and then resolves: in one loop, a walk that waits for its line would fill the
//! processor's queue with all that is to be done with its answers, so that few walks overlap.

use std::arch::x86_64::*;

use super::subtrees::{Begin, WalkScratch, begin, fetch};
use crate::layout::{Exits, Subtree, SubtreeForest};

/// What [`WalkScratch::at`] holds of a subtree is shifted left by so many bits: an eighth of a line, as addresses take it.
const AT: u32 = 3;

/// [`super::subtrees::walk`] through a forest without sets, for rows of one line of codes if `NUMBER` is 5, or of two lines if
/// it is 6; for many trees of one row if it is 0, which has two lines if `TWO`. [`WalkScratch::number`] is shifted left by so
/// many bits: where a row's codes begin.
///
/// # Safety
/// As of [`super::subtrees::walk`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,popcnt")]
pub(super) unsafe fn walk<const NUMBER: u32, const TWO: bool, const GAPS: bool>(
    forest: &SubtreeForest,
    from: Begin<'_>,
    codes: *const u16,
    scratch: &mut WalkScratch,
) {
    let subtrees = forest.subtrees().as_ptr().cast::<u64>();
    let mut left = begin::<AT, NUMBER>(forest, from.clone(), scratch);
    if let Begin::Tree(tree, walks) = from {
        // By value, so that it stays in registers.
        let root = forest.subtrees()[forest.roots()[tree] as usize];
        for (walk, of_walk) in scratch.answers[..walks].iter_mut().enumerate() {
            // SAFETY: the caller's promise.
            *of_walk = unsafe { answers::<TWO, GAPS>(&root, codes.add(walk << NUMBER)) };
        }
        left = resolve::<NUMBER, true>(scratch, walks, &root.exits);
    }
    // Lists are read in whole vectors: where they were never as long, there is the first walk of the first subtree.
    scratch.at[left..left + 16].fill(0);
    scratch.number[left..left + 16].fill(0);
    while left > 0 {
        let whole = left / 16 * 16;
        for first in (0..whole).step_by(16) {
            for column in 0..4 {
                for row in 0..4 {
                    // SAFETY: as many are in the list.
                    unsafe { ask::<NUMBER, TWO, GAPS>(subtrees, codes, scratch, first, row, column) };
                }
            }
        }
        for row in 0..(left - whole).div_ceil(4) {
            for column in 0..4 {
                // SAFETY: as many are in the list, or have room after its end.
                unsafe { ask::<NUMBER, TWO, GAPS>(subtrees, codes, scratch, whole, row, column) };
            }
        }
        left = resolve::<NUMBER, false>(scratch, left, &Exits::NONE);
        for at in &scratch.at[..left] {
            fetch(subtrees.wrapping_add(*at as usize));
        }
    }
}

/// Asks the subtree of walk `4 * row + column` from `first` on. Exits lie so that four registers of them, transposed, are in the
/// order of the list.
///
/// # Safety
/// The list names a subtree and a row there, with as many codes as of [`answers`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,popcnt")]
unsafe fn ask<const NUMBER: u32, const TWO: bool, const GAPS: bool>(
    subtrees: *const u64,
    codes: *const u16,
    scratch: &mut WalkScratch,
    first: usize,
    row: usize,
    column: usize,
) {
    let (index, place) = (first + 4 * row + column, first + 4 * column + row);
    // SAFETY: the caller's promise.
    let (at, number) = unsafe { (*scratch.at.get_unchecked(index), *scratch.number.get_unchecked(index)) };
    // SAFETY: see above.
    let subtree = unsafe { &*subtrees.add(at as usize).cast::<Subtree>() };
    // SAFETY: see above.
    let answers =
        unsafe { answers::<TWO, GAPS>(subtree, codes.add(if NUMBER == 0 { 0 } else { number as usize })) };
    // SAFETY: as many walks have room.
    unsafe {
        *scratch.answers.get_unchecked_mut(index) = answers;
        *scratch.exits.get_unchecked_mut(place) = subtree.exits;
    }
}

/// The answers of a subtree's slots to a row, a bit each.
///
/// # Safety
/// 32 codes, or, if `TWO`, 64, can be read.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,popcnt")]
unsafe fn answers<const TWO: bool, const GAPS: bool>(subtree: &Subtree, codes: *const u16) -> u16 {
    // SAFETY: 16 columns and 16 bounds.
    let (columns, bounds) = unsafe {
        (_mm_load_si128(subtree.columns.as_ptr().cast()), _mm256_load_si256(subtree.bounds.as_ptr().cast()))
    };
    // Words of the first eight columns, and of the others. The shuffles take as many bits as they need.
    let words = _mm256_srlv_epi16(
        _mm256_broadcastsi128_si256(columns),
        _mm256_setr_epi16(0, 0, 0, 0, 0, 0, 0, 0, 8, 8, 8, 8, 8, 8, 8, 8),
    );
    let places = _mm512_castsi256_si512(words);
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
    answers & !(missing & _mm256_movepi16_mask(_mm256_slli_epi16::<8>(words)))
}

/// Takes the `left` walks of the list where their answers lead, by the exits of each, or, if `SHARED`, by those that
/// they share; returns how many go on.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,popcnt")]
fn resolve<const NUMBER: u32, const SHARED: bool>(
    scratch: &mut WalkScratch,
    left: usize,
    shared: &Exits,
) -> usize {
    let one = _mm512_set1_epi32(1);
    let mut kept = 0;
    for index in (0..left).step_by(16) {
        let present = if left - index < 16 { u16::MAX >> (16 - (left - index)) } else { u16::MAX };
        // SAFETY: 16 more can be read from an index below the number of walks, which is a multiple of 16.
        let (number, answers) = unsafe {
            (
                _mm512_loadu_si512(scratch.number.as_ptr().add(index).cast()),
                _mm256_loadu_si256(scratch.answers.as_ptr().add(index).cast()),
            )
        };
        let [low_ranks, high_ranks, leaves, subtrees] = match SHARED {
            true => exits_of_all(shared),
            // SAFETY: as above.
            false => unsafe { exits_of_each(scratch.exits.as_ptr().add(index)) },
        };
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
        let (goes_on, arrives) = (goes_on & present, !goes_on & present);
        // Far up in a tree hardly any does.
        if arrives != 0 {
            let number = _mm512_srli_epi32::<NUMBER>(number);
            // SAFETY: each number is that of a walk.
            unsafe {
                let leaf = scratch.leaf.as_mut_ptr().cast();
                _mm512_mask_i32scatter_epi32::<4>(leaf, arrives, number, next);
            }
        }
        let at = _mm512_slli_epi32::<AT>(next);
        // SAFETY: no more walks go on than there were, and the lists have room for 16 more; what is overwritten of them was
        // read before.
        unsafe {
            _mm512_storeu_si512(
                scratch.at.as_mut_ptr().add(kept).cast(),
                _mm512_maskz_compress_epi32(goes_on, at),
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

/// The fields of the same exits for 16 walks.
#[inline]
#[target_feature(enable = "avx512f")]
fn exits_of_all(exits: &Exits) -> [__m512i; 4] {
    // SAFETY: 16 bytes.
    let exits = unsafe { _mm512_broadcast_i32x4(_mm_load_si128((&raw const *exits).cast())) };
    [
        _mm512_shuffle_epi32::<0b00_00_00_00>(exits),
        _mm512_shuffle_epi32::<0b01_01_01_01>(exits),
        _mm512_shuffle_epi32::<0b10_10_10_10>(exits),
        _mm512_shuffle_epi32::<0b11_11_11_11>(exits),
    ]
}

/// The fields of the exits of 16 walks: element `j` of part `i` is of the `4j + i`-th exits.
///
/// # Safety
/// So many can be read.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn exits_of_each(exits: *const Exits) -> [__m512i; 4] {
    // SAFETY: four by four.
    let exits = unsafe {
        [
            _mm512_loadu_si512(exits.cast()),
            _mm512_loadu_si512(exits.add(4).cast()),
            _mm512_loadu_si512(exits.add(8).cast()),
            _mm512_loadu_si512(exits.add(12).cast()),
        ]
    };
    let [a, b, c, d] = exits;
    let (ab_low, ab_high) = (_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    let (cd_low, cd_high) = (_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
    [
        _mm512_unpacklo_epi64(ab_low, cd_low),
        _mm512_unpackhi_epi64(ab_low, cd_low),
        _mm512_unpacklo_epi64(ab_high, cd_high),
        _mm512_unpackhi_epi64(ab_high, cd_high),
    ]
}
