//! Leaves as whole numbers, added digit by digit: for trees whose sums are exact in any order.
//!
//! A shuffle looks up one digit of 64 rows' leaves. Those of four trees add up in bytes, which then add up in words of 16 bits;
//! these become numbers once for all trees of a run. An `f32` would take four shuffles, eight more to put its bytes together,
//! and eight conversions.

use std::arch::x86_64::*;

use crate::kernels::MaskScratch;
use crate::layout::{DIGIT, DigitTables, Line, Sums, TILE};

/// Trees whose digits add up in bytes.
const FEW: usize = 4;

/// Adds the digits of the leaves of the rows of `tile` to what the scratch has of their sums, as it has the leaves' indices for
/// `count` trees from tree `first` of a run on.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
pub(super) fn add_digits(
    tables: &DigitTables,
    first: usize,
    count: usize,
    tile: usize,
    scratch: &mut MaskScratch,
) {
    let MaskScratch { bytes, digits: sums, .. } = scratch;
    let bytes = &bytes[..count];
    let digits = tables.digits();
    let lines = &tables.lines()[first * digits..][..count * digits];
    let look_up = |index: &Line, digit: &Line| {
        // SAFETY: lines.
        let (index, digit) = unsafe {
            (_mm512_load_si512((&raw const *index).cast()), _mm512_load_si512((&raw const *digit).cast()))
        };
        _mm512_permutexvar_epi8(index, digit)
    };
    for (digit, [all, odd]) in sums[tile][..digits].iter_mut().enumerate() {
        // SAFETY: lines.
        let (mut all_sums, mut odd_sums) = unsafe {
            (_mm512_load_si512((&raw const *all).cast()), _mm512_load_si512((&raw const *odd).cast()))
        };
        let mut add = |few: __m512i| {
            // The words of 16 bits, of which the lower bytes are those of even rows, and the upper bytes of those.
            all_sums = _mm512_add_epi16(all_sums, few);
            odd_sums = _mm512_add_epi16(odd_sums, _mm512_srli_epi16::<8>(few));
        };
        let mut rest = 0;
        for (at, few) in bytes.as_chunks::<FEW>().0.iter().enumerate() {
            let lines = &lines[at * FEW * digits..][..FEW * digits];
            let [a, b, c, d] = few;
            let first =
                _mm512_add_epi8(look_up(&a[tile], &lines[digit]), look_up(&b[tile], &lines[digits + digit]));
            let last = _mm512_add_epi8(
                look_up(&c[tile], &lines[2 * digits + digit]),
                look_up(&d[tile], &lines[3 * digits + digit]),
            );
            add(_mm512_add_epi8(first, last));
            rest = (at + 1) * FEW;
        }
        for (at, bytes) in bytes.iter().enumerate().skip(rest) {
            add(look_up(&bytes[tile], &lines[at * digits + digit]));
        }
        // SAFETY: lines.
        unsafe {
            _mm512_store_si512((&raw mut *all).cast(), all_sums);
            _mm512_store_si512((&raw mut *odd).cast(), odd_sums);
        }
    }
}

/// Adds the sums of digits of the rows of `tile` to their sums, in the order that [`super::super::Isa::read_sums`] knows, and
/// clears them.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq")]
pub(super) fn flush(tables: &DigitTables, tile: usize, scratch: &mut MaskScratch, sums: &mut Sums) {
    const TOGETHER: usize = 3;
    let none = _mm512_setzero_si512();
    let out = sums.0[tile * TILE..][..TILE].as_mut_ptr();
    // So many digits together are a number of 32 bits; what these are worth.
    let mut worth = tables.unit;
    let mut least = tables.least;
    for digits in scratch.digits[tile][..tables.digits()].chunks_mut(TOGETHER) {
        let [mut a, mut b, mut c, mut d] = [none; 4];
        for [all, odd] in digits.iter_mut().rev() {
            // SAFETY: lines.
            let (all_sums, odd) = unsafe {
                (_mm512_load_si512((&raw const *all).cast()), _mm512_load_si512((&raw const *odd).cast()))
            };
            let even = _mm512_sub_epi16(all_sums, _mm512_slli_epi16::<8>(odd));
            let (low, high) = (_mm512_unpacklo_epi16(even, odd), _mm512_unpackhi_epi16(even, odd));
            let next = |sum, digit| _mm512_add_epi32(_mm512_slli_epi32::<DIGIT>(sum), digit);
            a = next(a, _mm512_unpacklo_epi16(low, none));
            b = next(b, _mm512_unpackhi_epi16(low, none));
            c = next(c, _mm512_unpacklo_epi16(high, none));
            d = next(d, _mm512_unpackhi_epi16(high, none));
        }
        digits.fill([Line::ZERO; 2]);
        for (quarter, sum) in [a, b, c, d].into_iter().enumerate() {
            for (half, sum) in
                [_mm512_castsi512_si256(sum), _mm512_extracti64x4_epi64::<1>(sum)].into_iter().enumerate()
            {
                // SAFETY: eight of 64 sums.
                unsafe {
                    let out = out.add(quarter * 16 + half * 8);
                    let sum = _mm512_mul_pd(_mm512_cvtepu32_pd(sum), _mm512_set1_pd(worth));
                    let sum = _mm512_add_pd(sum, _mm512_set1_pd(least));
                    _mm512_store_pd(out, _mm512_add_pd(_mm512_load_pd(out), sum));
                }
            }
        }
        worth *= f64::from(1 << (DIGIT * TOGETHER as u32));
        least = 0.0;
    }
}
