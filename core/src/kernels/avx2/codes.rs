//! Doubles to codes, and codes to bytes.

use std::arch::x86_64::*;

use crate::kernels::{RowData, portable};
use crate::layout::{ByteColumns, Line, RankTable, RowRanks, TILE, TILES};

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

/// See [`crate::kernels::Isa::row_ranks`], which checked the shapes: four columns side by side.
#[target_feature(enable = "avx2")]
pub(in crate::kernels) fn row_ranks(ranks: &RowRanks, row: &[f64], codes: &mut [u16]) {
    for (four, codes) in codes.chunks_exact_mut(4).enumerate().take(ranks.eights().len() * 2) {
        let (eight, half) = (&ranks.eights()[four / 2], four % 2);
        let there = ints(&eight.there, half);
        let missing = ints(&eight.missing, half);
        // SAFETY: a row has the values of columns that are there.
        let values = unsafe {
            let there = _mm256_castsi256_pd(_mm256_cvtepi32_epi64(there));
            let features = ints(&eight.features, half);
            _mm256_mask_i32gather_pd::<8>(_mm256_setzero_pd(), row.as_ptr(), features, there)
        };
        let value = floor32(values);
        let at = _mm_mul_ps(_mm_sub_ps(value, floats(&eight.origins, half)), floats(&eight.scales, half));
        // The second operand is the answer where the first is NaN.
        let at = _mm_min_ps(_mm_max_ps(at, _mm_setzero_ps()), floats(&eight.lasts, half));
        let at = _mm256_slli_epi64::<1>(_mm256_cvtepi32_epi64(_mm_cvttps_epi32(at)));
        let at = _mm256_add_epi64(words(&eight.starts, half), at);
        // SAFETY: a bucket's start, and after the last bucket there is one more.
        let bucket = unsafe { _mm256_mask_i64gather_epi32::<1>(missing, std::ptr::null(), at, there) };
        let mut rank = _mm_and_si128(bucket, _mm_set1_epi32(0xffff));
        let thresholds = words(&eight.thresholds, half);
        for halving in (0..eight.most).rev() {
            let asked = _mm_cmpgt_epi32(ints(&eight.halvings, half), _mm_set1_epi32(halving));
            let at = _mm_add_epi32(rank, _mm_set1_epi32((1 << halving) - 1));
            let at = _mm256_add_epi64(thresholds, _mm256_slli_epi64::<2>(_mm256_cvtepu32_epi64(at)));
            // SAFETY: a bucket begins at most at the number of thresholds, and `2^halvings` more can be read.
            let threshold = unsafe {
                _mm256_mask_i64gather_ps::<1>(value, std::ptr::null(), at, _mm_castsi128_ps(asked))
            };
            let reached = _mm_and_si128(asked, _mm_castps_si128(_mm_cmple_ps(threshold, value)));
            rank = _mm_add_epi32(rank, _mm_and_si128(reached, _mm_set1_epi32(1 << halving)));
        }
        let rank = _mm_blendv_epi8(rank, missing, _mm_castps_si128(_mm_cmpunord_ps(value, value)));
        // SAFETY: four codes can be written.
        unsafe { _mm_storel_epi64(codes.as_mut_ptr().cast(), _mm_packus_epi32(rank, rank)) };
    }
}

/// See [`crate::kernels::Isa::row_bytes`], which checked the shapes: four columns side by side.
#[target_feature(enable = "avx2")]
pub(in crate::kernels) fn row_bytes(columns: &ByteColumns, codes: &[u16], row: &mut RowData) {
    let lowest = _mm_setr_epi8(0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1);
    for (four, bytes) in row.bytes.chunks_exact_mut(4).enumerate().take(columns.eights().len() * 2) {
        let (eight, half) = (&columns.eights()[four / 2], four % 2);
        // SAFETY: each source has a code, and one more can be read.
        let code = unsafe { _mm_i32gather_epi32::<2>(codes.as_ptr().cast(), ints(&eight.sources, half)) };
        let code = _mm_and_si128(code, _mm_set1_epi32(0xffff));
        assert!(_mm_movemask_epi8(_mm_cmpgt_epi32(code, ints(&eight.last, half))) == 0);
        let at = _mm256_add_epi64(words(&eight.tables, half), _mm256_cvtepu32_epi64(code));
        // SAFETY: four bytes from that of a code on can be read.
        let byte = _mm_shuffle_epi8(unsafe { _mm256_i64gather_epi32::<1>(std::ptr::null(), at) }, lowest);
        // SAFETY: four bytes can be written.
        unsafe { _mm_storeu_si32(bytes.as_mut_ptr(), byte) };
    }
}

/// Four of eight words of 32 bits.
#[inline]
#[target_feature(enable = "avx2")]
fn ints(eight: &[i32; 8], half: usize) -> __m128i {
    // SAFETY: 16 bytes.
    unsafe { _mm_loadu_si128(eight.as_chunks::<4>().0[half].as_ptr().cast()) }
}

/// Four of eight numbers.
#[inline]
#[target_feature(enable = "avx2")]
fn floats(eight: &[f32; 8], half: usize) -> __m128 {
    // SAFETY: four numbers.
    unsafe { _mm_loadu_ps(eight.as_chunks::<4>().0[half].as_ptr()) }
}

/// Four of eight words of 64 bits.
#[inline]
#[target_feature(enable = "avx2")]
fn words(eight: &[u64; 8], half: usize) -> __m256i {
    // SAFETY: four words.
    unsafe { _mm256_loadu_si256(eight.as_chunks::<4>().0[half].as_ptr().cast()) }
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

/// See [`crate::kernels::Isa::look_up`]; `table` is a table's, and there are at most as many codes as rows of a group.
#[target_feature(enable = "avx2")]
pub(in crate::kernels) fn look_up(codes: &[u16], table: &[u8], bytes: &mut [Line; TILES]) {
    let last = _mm256_set1_epi32(table.len() as i32 - 1);
    let lowest = _mm256_setr_epi8(
        0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, 0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1,
        -1, -1, -1, -1, -1,
    );
    let mut chunks = codes.chunks_exact(8);
    let out = bytes.as_mut_ptr().cast::<u8>();
    for (index, codes) in (&mut chunks).enumerate() {
        // SAFETY: eight codes can be read.
        let code = _mm256_cvtepu16_epi32(unsafe { _mm_loadu_si128(codes.as_ptr().cast()) });
        let code = _mm256_min_epu32(code, last);
        // SAFETY: four bytes from that of a code on can be read.
        let byte = unsafe { _mm256_i32gather_epi32::<1>(table.as_ptr().cast(), code) };
        let byte = _mm256_shuffle_epi8(byte, lowest);
        let byte = _mm_unpacklo_epi32(_mm256_castsi256_si128(byte), _mm256_extracti128_si256::<1>(byte));
        // SAFETY: there are at most as many codes as bytes.
        unsafe { _mm_storel_epi64(out.add(index * 8).cast(), byte) };
    }
    for (index, code) in chunks.remainder().iter().enumerate() {
        let at = codes.len() / 8 * 8 + index;
        bytes[at / TILE].0[at % TILE] = table[usize::from(*code)];
    }
}
