//! Doubles to codes, and codes to bytes.

use std::arch::x86_64::*;

use crate::kernels::{RowData, portable};
use crate::layout::{ByteColumns, Line, RankTable, RowRanks, Runs, TILE, TILES};

/// Values that are ranked by two halvings before those that need more are ranked again.
const RUN: usize = 512;

/// Values that are fetched before they are ranked.
const AHEAD: usize = 256;

/// The rank of each value; the table's ranks fit 16 bits, and the slices are as long as each other.
///
/// Two halvings rank a value whose bucket has at most three thresholds, as nearly all do. The others are ranked again one by
/// one: to ask in the loop whether there are any would cost more than the halvings (a wrong guess is found out late, when
/// a gather has come back). Where they are not few, all are halved as often as the fullest bucket needs.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub(in crate::kernels) fn ranks(table: &RankTable, values: &[f64], codes: &mut [u16]) {
    let mut all = false;
    for (values, codes) in values.chunks(RUN).zip(codes.chunks_mut(RUN)) {
        if all || table.halvings() <= 2 {
            ranks_by(table, table.halvings(), values, codes, &mut [0; RUN / 16]);
            continue;
        }
        let mut crowded = [0u16; RUN / 16];
        ranks_by(table, 2, values, codes, &mut crowded);
        for (index, mut lanes) in crowded.into_iter().enumerate() {
            while lanes != 0 {
                let at = index * 16 + lanes.trailing_zeros() as usize;
                codes[at] = table.rank(values[at]) as u16;
                lanes &= lanes - 1;
            }
        }
        all = crowded.iter().map(|lanes| lanes.count_ones()).sum::<u32>() as usize > RUN / 16;
    }
}

/// The same by `halvings` halvings, for at most [`RUN`] values; `crowded` says which of them have a bucket of more than three
/// thresholds.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn ranks_by(
    table: &RankTable,
    halvings: u32,
    values: &[f64],
    codes: &mut [u16],
    crowded: &mut [u16; RUN / 16],
) {
    let (thresholds, starts) = (table.padded(), table.starts());
    let (origin, scale) = table.line();
    let (origin, scale) = (_mm512_set1_ps(origin), _mm512_set1_ps(scale));
    let last = _mm512_set1_ps((starts.len() - 2) as f32);
    let missing = _mm512_set1_epi32(table.missing() as i32);
    let mut values = values.chunks_exact(16);
    let mut codes = codes.chunks_exact_mut(16);
    for ((values, codes), crowded) in (&mut values).zip(&mut codes).zip(crowded) {
        // A large batch comes from memory, a column after another, and hardware stops looking ahead at each page's end.
        let ahead = values.as_ptr().wrapping_add(AHEAD);
        _mm_prefetch::<_MM_HINT_T0>(ahead.cast());
        _mm_prefetch::<_MM_HINT_T0>(ahead.wrapping_add(8).cast());
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
        let bucket = unsafe { _mm512_i32gather_epi32::<2>(at, starts.as_ptr().cast()) };
        // One start and, above it, the next: their distance is how many thresholds the bucket has.
        let mut rank = _mm512_and_si512(bucket, _mm512_set1_epi32(0xffff));
        let thresholds_of = _mm512_sub_epi32(_mm512_srli_epi32::<16>(bucket), rank);
        *crowded = _mm512_cmpgt_epu32_mask(thresholds_of, _mm512_set1_epi32(3));
        for halving in (0..halvings).rev() {
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

/// See [`crate::kernels::Isa::row_ranks`], which checked the shapes: eight columns side by side.
#[target_feature(enable = "avx512f,avx512dq,avx512vl")]
pub(in crate::kernels) fn row_ranks(ranks: &RowRanks, row: &[f64], codes: &mut [u16]) {
    for (eight, codes) in ranks.eights().iter().zip(codes.chunks_exact_mut(8)) {
        let there = _mm256_movepi32_mask(ints(&eight.there));
        let missing = ints(&eight.missing);
        // SAFETY: a row has the values of columns that are there.
        let values = unsafe {
            _mm512_mask_i32gather_pd::<8>(_mm512_setzero_pd(), there, ints(&eight.features), row.as_ptr())
        };
        let value = _mm512_cvt_roundpd_ps::<{ _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC }>(values);
        let at = _mm256_mul_ps(_mm256_sub_ps(value, floats(&eight.origins)), floats(&eight.scales));
        // The second operand is the answer where the first is NaN.
        let at = _mm256_min_ps(_mm256_max_ps(at, _mm256_setzero_ps()), floats(&eight.lasts));
        let at = _mm512_slli_epi64::<1>(_mm512_cvtepi32_epi64(_mm256_cvttps_epi32(at)));
        let at = _mm512_add_epi64(words(&eight.starts), at);
        // SAFETY: a bucket's start, and after the last bucket there is one more.
        let bucket = unsafe { _mm512_mask_i64gather_epi32::<1>(missing, there, at, std::ptr::null()) };
        let mut rank = _mm256_and_si256(bucket, _mm256_set1_epi32(0xffff));
        let thresholds = words(&eight.thresholds);
        for halving in (0..eight.most).rev() {
            let asked = _mm256_cmpgt_epi32_mask(ints(&eight.halvings), _mm256_set1_epi32(halving));
            let half = _mm256_set1_epi32(1 << halving);
            let at = _mm256_sub_epi32(_mm256_add_epi32(rank, half), _mm256_set1_epi32(1));
            let at = _mm512_add_epi64(thresholds, _mm512_slli_epi64::<2>(_mm512_cvtepu32_epi64(at)));
            // SAFETY: a bucket begins at most at the number of thresholds, and `2^halvings` more can be read.
            let threshold = unsafe { _mm512_mask_i64gather_ps::<1>(value, asked, at, std::ptr::null()) };
            let reached = _mm256_mask_cmp_ps_mask::<_CMP_LE_OQ>(asked, threshold, value);
            rank = _mm256_mask_add_epi32(rank, reached, rank, half);
        }
        let rank = _mm256_mask_mov_epi32(rank, _mm256_cmp_ps_mask::<_CMP_UNORD_Q>(value, value), missing);
        // SAFETY: eight codes can be written.
        unsafe { _mm_storeu_si128(codes.as_mut_ptr().cast(), _mm256_cvtepi32_epi16(rank)) };
    }
}

/// See [`crate::kernels::Isa::row_bytes`], which checked the shapes: eight columns side by side.
#[target_feature(enable = "avx512f,avx512vl")]
pub(in crate::kernels) fn row_bytes(columns: &ByteColumns, codes: &[u16], row: &mut RowData) {
    for (eight, bytes) in columns.eights().iter().zip(row.bytes.chunks_exact_mut(8)) {
        // SAFETY: each source has a code, and one more can be read.
        let code = unsafe { _mm256_i32gather_epi32::<2>(codes.as_ptr().cast(), ints(&eight.sources)) };
        let code = _mm256_and_si256(code, _mm256_set1_epi32(0xffff));
        assert!(_mm256_cmpgt_epu32_mask(code, ints(&eight.last)) == 0);
        let at = _mm512_add_epi64(words(&eight.tables), _mm512_cvtepu32_epi64(code));
        // SAFETY: four bytes from that of a code on can be read.
        let byte = unsafe { _mm512_i64gather_epi32::<1>(at, std::ptr::null()) };
        // SAFETY: eight bytes can be written.
        unsafe { _mm_storel_epi64(bytes.as_mut_ptr().cast(), _mm256_cvtepi32_epi8(byte)) };
    }
}

/// Eight words of 32 bits.
#[inline]
#[target_feature(enable = "avx512f")]
fn ints(eight: &[i32; 8]) -> __m256i {
    // SAFETY: 32 bytes.
    unsafe { _mm256_loadu_si256(eight.as_ptr().cast()) }
}

/// Eight numbers.
#[inline]
#[target_feature(enable = "avx512f")]
fn floats(eight: &[f32; 8]) -> __m256 {
    // SAFETY: eight numbers.
    unsafe { _mm256_loadu_ps(eight.as_ptr()) }
}

/// Eight words of 64 bits.
#[inline]
#[target_feature(enable = "avx512f")]
fn words(eight: &[u64; 8]) -> __m512i {
    // SAFETY: eight words.
    unsafe { _mm512_loadu_si512(eight.as_ptr().cast()) }
}

/// See [`crate::kernels::Isa::look_up`]; `table` is a table's, and there are at most as many codes as rows of a group.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub(in crate::kernels) fn look_up(codes: &[u16], table: &[u8], bytes: &mut [Line; TILES]) {
    let last = _mm512_set1_epi32(table.len() as i32 - 1);
    let mut chunks = codes.chunks_exact(16);
    let out = bytes.as_mut_ptr().cast::<u8>();
    for (index, codes) in (&mut chunks).enumerate() {
        // SAFETY: 16 codes can be read.
        let code = _mm512_cvtepu16_epi32(unsafe { _mm256_loadu_si256(codes.as_ptr().cast()) });
        let code = _mm512_min_epu32(code, last);
        // SAFETY: four bytes from that of a code on can be read.
        let byte = _mm512_cvtepi32_epi8(unsafe { _mm512_i32gather_epi32::<1>(code, table.as_ptr().cast()) });
        // SAFETY: there are at most as many codes as bytes.
        unsafe { _mm_store_si128(out.add(index * 16).cast(), byte) };
    }
    for (index, code) in chunks.remainder().iter().enumerate() {
        let at = codes.len() / 16 * 16 + index;
        bytes[at / TILE].0[at % TILE] = table[usize::from(*code)];
    }
}

/// See [`crate::kernels::Isa::look_up`]: by runs, in registers, for whole tiles; `table` is the same as one, for the rows after
/// them. There are at most as many codes as rows of a group.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi,avx512bitalg")]
pub(in crate::kernels) fn look_up_runs(codes: &[u16], runs: &Runs, table: &[u8], bytes: &mut [Line; TILES]) {
    let long = runs.last > 8 * 128;
    let line = |line: &Line| -> __m512i {
        // SAFETY: a line.
        unsafe { _mm512_load_si512((&raw const *line).cast()) }
    };
    let base = [line(&runs.base[0]), line(&runs.base[1]), line(&runs.base[2]), line(&runs.base[3])];
    let steps = [line(&runs.steps[0]), line(&runs.steps[1]), line(&runs.steps[2]), line(&runs.steps[3])];
    // The bits of a run up to each of its codes.
    let up_to = _mm512_set1_epi64(0xff7f_3f1f_0f07_0301_u64 as i64);
    let even = line(&EVEN);
    let last = _mm512_set1_epi16(runs.last as i16);
    let byte_of_last = _mm512_set1_epi8(runs.byte_of_last as i8);
    let (tiles, rest) = codes.as_chunks::<TILE>();
    for (codes, bytes) in tiles.iter().zip(&mut *bytes) {
        // SAFETY: two halves of 64 codes.
        let (low, high) = unsafe {
            (_mm512_loadu_si512(codes.as_ptr().cast()), _mm512_loadu_si512(codes.as_ptr().add(32).cast()))
        };
        let place = _mm512_permutex2var_epi8(low, even, high);
        let run = _mm512_permutex2var_epi8(_mm512_srli_epi16::<3>(low), even, _mm512_srli_epi16::<3>(high));
        let mut found = _mm512_permutex2var_epi8(base[0], run, base[1]);
        let mut stepped = _mm512_permutex2var_epi8(steps[0], run, steps[1]);
        if long {
            let upper = _mm512_movepi8_mask(run);
            let (base, steps) = (
                _mm512_permutex2var_epi8(base[2], run, base[3]),
                _mm512_permutex2var_epi8(steps[2], run, steps[3]),
            );
            found = _mm512_mask_mov_epi8(found, upper, base);
            stepped = _mm512_mask_mov_epi8(stepped, upper, steps);
        }
        let reached = _mm512_shuffle_epi8(up_to, _mm512_and_si512(place, _mm512_set1_epi8(7)));
        let found = _mm512_add_epi8(found, _mm512_popcnt_epi8(_mm512_and_si512(stepped, reached)));
        let is_last = u64::from(_mm512_cmpeq_epi16_mask(low, last))
            | u64::from(_mm512_cmpeq_epi16_mask(high, last)) << 32;
        let found = _mm512_mask_mov_epi8(found, is_last, byte_of_last);
        // SAFETY: a line.
        unsafe { _mm512_store_si512((&raw mut *bytes).cast(), found) };
    }
    portable::look_up_from(tiles.len(), rest, table, bytes);
}

/// The lower bytes of 32 words, and of 32 more.
static EVEN: Line = {
    let mut line = [0; 64];
    let mut at = 0;
    while at < 64 {
        line[at] = (2 * at) as u8;
        at += 1;
    }
    Line(line)
};
