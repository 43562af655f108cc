//! Doubles to codes, and codes to bytes.

use std::arch::x86_64::*;

use crate::kernels::portable;
use crate::layout::{Line, RankTable, TILE, TILES};

/// The rank of each value; the table's ranks fit 16 bits, and the slices are as long as each other.
#[target_feature(enable = "avx2")]
pub(in crate::kernels) fn ranks(table: &RankTable, values: &[f64], codes: &mut [u16]) {
    let (thresholds, starts) = (table.padded(), table.starts());
    let (origin, scale) = table.line();
    let (origin, scale) = (_mm256_set1_ps(origin), _mm256_set1_ps(scale));
    let last = _mm256_set1_ps((starts.len() - 2) as f32);
    let missing = _mm256_set1_epi32(table.missing() as i32);
    let mut values = values.chunks_exact(8);
    let mut codes = codes.chunks_exact_mut(8);
    for (values, codes) in (&mut values).zip(&mut codes) {
        // SAFETY: eight values can be read.
        let (low, high) =
            unsafe { (_mm256_loadu_pd(values.as_ptr()), _mm256_loadu_pd(values.as_ptr().add(4))) };
        let value = _mm256_set_m128(floor32(high), floor32(low));
        let at = _mm256_mul_ps(_mm256_sub_ps(value, origin), scale);
        // The second operand is the answer where the first is NaN.
        let at = _mm256_min_ps(_mm256_max_ps(at, _mm256_setzero_ps()), last);
        // SAFETY: the index is from 0 to `starts.len() - 2`.
        let rank = unsafe { _mm256_i32gather_epi32::<2>(starts.as_ptr().cast(), _mm256_cvttps_epi32(at)) };
        // One start and, above it, the next.
        let mut rank = _mm256_and_si256(rank, _mm256_set1_epi32(0xffff));
        for halving in (0..table.halvings()).rev() {
            let half = 1 << halving;
            let at = _mm256_add_epi32(rank, _mm256_set1_epi32(half - 1));
            // SAFETY: a bucket begins at most at the number of thresholds, and `2^halvings` more can be read.
            let threshold = unsafe { _mm256_i32gather_ps::<4>(thresholds.as_ptr(), at) };
            let reached = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_LE_OQ>(threshold, value));
            rank = _mm256_add_epi32(rank, _mm256_and_si256(reached, _mm256_set1_epi32(half)));
        }
        let is_nan = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_UNORD_Q>(value, value));
        let rank = _mm256_blendv_epi8(rank, missing, is_nan);
        let words = _mm_packus_epi32(_mm256_castsi256_si128(rank), _mm256_extracti128_si256::<1>(rank));
        // SAFETY: eight codes can be written.
        unsafe { _mm_storeu_si128(codes.as_mut_ptr().cast(), words) };
    }
    portable::ranks(table, values.remainder(), codes.into_remainder());
}

/// `values` rounded to `f32` toward minus infinity, as the portable kernel does.
#[inline]
#[target_feature(enable = "avx2")]
fn floor32(values: __m256d) -> __m128 {
    let near = _mm256_cvtpd_ps(values);
    let above = _mm256_castpd_si256(_mm256_cmp_pd::<_CMP_GT_OQ>(_mm256_cvtps_pd(near), values));
    // The low words of the four answers: -1 where a step down is due.
    let low = _mm_castsi128_ps(_mm256_castsi256_si128(above));
    let high = _mm_castsi128_ps(_mm256_extracti128_si256::<1>(above));
    let above = _mm_castps_si128(_mm_shuffle_ps::<0b10_00_10_00>(low, high));
    let bits = _mm_castps_si128(near);
    // -1 for positive bits, 1 for negative ones.
    let down = _mm_or_si128(_mm_xor_si128(_mm_srai_epi32::<31>(bits), _mm_set1_epi32(-1)), _mm_set1_epi32(1));
    _mm_castsi128_ps(_mm_add_epi32(bits, _mm_and_si128(down, above)))
}

/// See [`crate::kernels::Isa::look_up`]; `table` is longer than 3, and there are at most as many codes as rows of a group.
#[target_feature(enable = "avx2")]
pub(in crate::kernels) fn look_up(codes: &[u16], table: &[u8], bytes: &mut [Line; TILES]) {
    // Four bytes are read for each; so that the last ones stay within the table, they begin earlier and are shifted.
    let last = _mm256_set1_epi32(table.len() as i32 - 4);
    let lowest = _mm256_setr_epi8(
        0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, 0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1,
        -1, -1, -1, -1, -1,
    );
    let mut chunks = codes.chunks_exact(8);
    let out = bytes.as_mut_ptr().cast::<u8>();
    for (index, codes) in (&mut chunks).enumerate() {
        // SAFETY: eight codes can be read.
        let code = _mm256_cvtepu16_epi32(unsafe { _mm_loadu_si128(codes.as_ptr().cast()) });
        let at = _mm256_min_epu32(code, last);
        let shift = _mm256_slli_epi32::<3>(_mm256_sub_epi32(code, at));
        // SAFETY: four bytes from `at <= len - 4` on can be read.
        let four = unsafe { _mm256_i32gather_epi32::<1>(table.as_ptr().cast(), at) };
        let byte = _mm256_shuffle_epi8(_mm256_srlv_epi32(four, shift), lowest);
        let byte = _mm_unpacklo_epi32(_mm256_castsi256_si128(byte), _mm256_extracti128_si256::<1>(byte));
        // SAFETY: there are at most as many codes as bytes.
        unsafe { _mm_storel_epi64(out.add(index * 8).cast(), byte) };
    }
    for (index, code) in chunks.remainder().iter().enumerate() {
        let at = codes.len() / 8 * 8 + index;
        bytes[at / TILE].0[at % TILE] = table[usize::from(*code)];
    }
}
