//! The AVX-512 twin of [`super::subtrees`]: all 15 questions of a subtree are one shuffle of the row's codes and one compare.

use std::arch::x86_64::*;

use super::subtrees::{WalkScratch, Walks, walk};
use crate::layout::{SLOTS, Subtree, SubtreeForest};

/// By which way a row leaves the upper three levels, from their answers: 7 more than the exit's number.
static UPPER: [u8; 128] = {
    let mut exits = [0; 128];
    let mut answers = 0;
    while answers < 128 {
        let mut slot = 0;
        while slot < 7 {
            slot = 2 * slot + 1 + (answers >> slot & 1);
        }
        exits[answers] = slot as u8;
        answers += 1;
    }
    exits
};

/// [`walk`] through a forest without sets, whose columns are at most 32, or, if `TWO`, 64.
///
/// # Safety
/// As of [`walk`]; 32 codes, or, if `TWO`, 64, can be read for each walk.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) unsafe fn walk_lines<W: Walks, const TWO: bool, const GAPS: bool>(
    forest: &SubtreeForest,
    walks: &W,
    count: usize,
    codes: *const u16,
    scratch: &mut WalkScratch,
) {
    let exit = |_: usize, subtree: &Subtree, codes: *const u16| {
        // SAFETY: 16 columns and 16 bounds.
        let (columns, bounds) = unsafe {
            (
                _mm_load_si128(subtree.columns.as_ptr().cast()),
                _mm256_load_si256(subtree.bounds.as_ptr().cast()),
            )
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
        let mut answers = _mm256_cmpge_epu16_mask(asked, bounds);
        if GAPS {
            let missing = _mm256_cmpeq_epi16_mask(asked, _mm256_set1_epi16(-1));
            answers &= !(missing & _mm_movepi8_mask(columns));
        }
        let answers = usize::from(answers);
        let slot = usize::from(UPPER[answers & 127]);
        2 * slot + 1 + (answers >> slot & 1) - SLOTS
    };
    // SAFETY: the caller's promise.
    unsafe { walk(forest, walks, count, codes, scratch, exit) };
}
