//! Doubles to codes, and codes to bytes.

use std::arch::x86_64::*;

use crate::kernels::portable;
use crate::layout::{Line, RankTable, TILE, TILES};

/// The rank of each value; the table's ranks fit 16 bits, and the slices are as long as each other.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(in crate::kernels) fn ranks(table: &RankTable, values: &[f64], codes: &mut [u16]) {
    let (thresholds, starts) = (table.padded(), table.starts());
    let (origin, scale) = table.line();
    let (origin, scale) = (_mm512_set1_ps(origin), _mm512_set1_ps(scale));
    let last = _mm512_set1_ps((starts.len() - 2) as f32);
    let missing = _mm512_set1_epi32(table.missing() as i32);
    let mut values = values.chunks_exact(16);
    let mut codes = codes.chunks_exact_mut(16);
    for (values, codes) in (&mut values).zip(&mut codes) {
        // SAFETY: 16 values can be read.
        let (low, high) =
            unsafe { (_mm512_loadu_pd(values.as_ptr()), _mm512_loadu_pd(values.as_ptr().add(8))) };
        let low = _mm512_cvt_roundpd_ps::<{ _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC }>(low);
        let high = _mm512_cvt_roundpd_ps::<{ _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC }>(high);
        let value = _mm512_insertf32x8::<1>(_mm512_castps256_ps512(low), high);
        let at = _mm512_mul_ps(_mm512_sub_ps(value, origin), scale);
        // The second operand is the answer where the first is NaN.
        let at = _mm512_min_ps(_mm512_max_ps(at, _mm512_setzero_ps()), last);
        let at = _mm512_cvttps_epi32(at);
        // SAFETY: `at` is from 0 to `starts.len() - 2`.
        let rank = unsafe { _mm512_i32gather_epi32::<2>(at, starts.as_ptr().cast()) };
        // One start and, above it, the next.
        let mut rank = _mm512_and_si512(rank, _mm512_set1_epi32(0xffff));
        for halving in (0..table.halvings()).rev() {
            let half = _mm512_set1_epi32(1 << halving);
            let at = _mm512_sub_epi32(_mm512_add_epi32(rank, half), _mm512_set1_epi32(1));
            // SAFETY: a bucket begins at most at the number of thresholds, and `2^halvings` more can be read.
            let threshold = unsafe { _mm512_i32gather_ps::<4>(at, thresholds.as_ptr()) };
            let reached = _mm512_cmp_ps_mask::<_CMP_LE_OQ>(threshold, value);
            rank = _mm512_mask_add_epi32(rank, reached, rank, half);
        }
        let rank = _mm512_mask_mov_epi32(rank, _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(value, value), missing);
        // SAFETY: 16 codes can be written.
        unsafe { _mm256_storeu_si256(codes.as_mut_ptr().cast(), _mm512_cvtepi32_epi16(rank)) };
    }
    portable::ranks(table, values.remainder(), codes.into_remainder());
}

/// See [`crate::kernels::Isa::look_up`]; `table` is longer than 3, and there are at most as many codes as rows of a group.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(in crate::kernels) fn look_up(codes: &[u16], table: &[u8], bytes: &mut [Line; TILES]) {
    // Four bytes are read for each; so that the last ones stay within the table, they begin earlier and are shifted.
    let last = _mm512_set1_epi32(table.len() as i32 - 4);
    let mut chunks = codes.chunks_exact(16);
    let out = bytes.as_mut_ptr().cast::<u8>();
    for (index, codes) in (&mut chunks).enumerate() {
        // SAFETY: 16 codes can be read.
        let code = _mm512_cvtepu16_epi32(unsafe { _mm256_loadu_si256(codes.as_ptr().cast()) });
        let at = _mm512_min_epu32(code, last);
        let shift = _mm512_slli_epi32::<3>(_mm512_sub_epi32(code, at));
        // SAFETY: four bytes from `at <= len - 4` on can be read.
        let four = unsafe { _mm512_i32gather_epi32::<1>(at, table.as_ptr().cast()) };
        let byte = _mm512_cvtepi32_epi8(_mm512_srlv_epi32(four, shift));
        // SAFETY: there are at most as many codes as bytes.
        unsafe { _mm_store_si128(out.add(index * 16).cast(), byte) };
    }
    for (index, code) in chunks.remainder().iter().enumerate() {
        let at = codes.len() / 16 * 16 + index;
        bytes[at / TILE].0[at % TILE] = table[usize::from(*code)];
    }
}
