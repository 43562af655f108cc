//! Bytes to lines: one bit a row for each question of a column.

use std::arch::x86_64::*;

use crate::kernels::{heap, portable};
use crate::layout::{BitRows, ColumnLines, Line, TILES};

/// See [`crate::kernels::Isa::bit_planes`], which checked the shapes.
#[target_feature(enable = "avx2")]
pub(in crate::kernels) fn bit_planes(bit_rows: &BitRows, codes: &[u16], lines: &mut [Line]) {
    portable::bit_planes(bit_rows, codes, lines);
}

/// See [`crate::kernels::Isa::column_lines`], which checked the shapes.
#[target_feature(enable = "avx2")]
pub(in crate::kernels) fn column_lines(
    made: &ColumnLines,
    bytes: &[Line; TILES],
    tiles: usize,
    lines: &mut [Line],
) {
    if let ColumnLines::Sets { sets, .. } = made {
        let seven = _mm256_set1_epi8(7);
        let bit_of = _mm256_set1_epi64x(0x8040_2010_0804_0201_u64 as i64);
        for at in 0..tiles * 2 {
            // SAFETY: one of the halves of each tile.
            let slot = unsafe { _mm256_load_si256(bytes.as_ptr().cast::<__m256i>().add(at)) };
            let bit = _mm256_shuffle_epi8(bit_of, _mm256_and_si256(slot, seven));
            let byte = _mm256_and_si256(_mm256_srli_epi16::<3>(slot), seven);
            for (set, line) in sets.iter().zip(&mut *lines) {
                let set = _mm256_set1_epi64x(*set as i64);
                let found = _mm256_and_si256(_mm256_shuffle_epi8(set, byte), bit);
                let line: *mut i32 = (&raw mut *line).cast();
                // SAFETY: one of the 16 halves of a line's words.
                unsafe { *line.add(at) = _mm256_movemask_epi8(_mm256_cmpeq_epi8(found, bit)) };
            }
        }
        return;
    }
    let (halves, _) = bytes.as_chunks::<{ TILES / 2 }>();
    for (half, bytes) in halves.iter().enumerate().take(tiles.div_ceil(TILES / 2)) {
        let mut bits = by_eights(bytes);
        transpose(&mut bits);
        // SAFETY: the column's lines.
        unsafe { heap::digit_lines(bits, made, lines.as_mut_ptr().cast::<u64>().add(half * 4)) };
    }
}

/// The bytes of 256 rows: byte `b` of register `r` is that of row `8b + r`.
#[inline]
#[target_feature(enable = "avx2")]
fn by_eights(bytes: &[Line; TILES / 2]) -> [__m256i; 8] {
    let bytes = bytes.as_ptr().cast::<__m128i>();
    let pairs =
        _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15));
    // Of 16 rows, and those 128 further, the bytes of rows `r` and `r + 8` side by side.
    let rows = |at: usize| {
        // SAFETY: twice 16 of 256 bytes.
        let (low, high) = unsafe { (_mm_load_si128(bytes.add(at)), _mm_load_si128(bytes.add(8 + at))) };
        _mm256_shuffle_epi8(_mm256_set_m128i(high, low), pairs)
    };
    let low = fours([rows(0), rows(1), rows(2), rows(3)]);
    let high = fours([rows(4), rows(5), rows(6), rows(7)]);
    let [(a, b), (c, d), (e, f), (g, h)] =
        [join(low[0], high[0]), join(low[1], high[1]), join(low[2], high[2]), join(low[3], high[3])];
    [a, b, c, d, e, f, g, h]
}

/// Of four registers the first words of 16 bits side by side, then the second ones, and so on, in each lane.
#[inline]
#[target_feature(enable = "avx2")]
fn fours([a, b, c, d]: [__m256i; 4]) -> [__m256i; 4] {
    let (ab, ab2) = (_mm256_unpacklo_epi16(a, b), _mm256_unpackhi_epi16(a, b));
    let (cd, cd2) = (_mm256_unpacklo_epi16(c, d), _mm256_unpackhi_epi16(c, d));
    [
        _mm256_unpacklo_epi32(ab, cd),
        _mm256_unpackhi_epi32(ab, cd),
        _mm256_unpacklo_epi32(ab2, cd2),
        _mm256_unpackhi_epi32(ab2, cd2),
    ]
}

/// The lower halves of the lanes of two registers, and the upper ones.
#[inline]
#[target_feature(enable = "avx2")]
fn join(low: __m256i, high: __m256i) -> (__m256i, __m256i) {
    (_mm256_unpacklo_epi64(low, high), _mm256_unpackhi_epi64(low, high))
}

/// Bit `r` of byte `b` of register `i` becomes bit `i` of byte `b` of register `r`: of bit planes the bytes of rows `8b + r`, in
/// word `w` those of tile `w`; and of such bytes the bit planes.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn transpose(registers: &mut [__m256i; 8]) {
    let [a, b, c, d, e, f, g, h] = *registers;
    let low = _mm256_set1_epi8(0x0f);
    let (a, e) = swap::<4>(a, e, low);
    let (b, f) = swap::<4>(b, f, low);
    let (c, g) = swap::<4>(c, g, low);
    let (d, h) = swap::<4>(d, h, low);
    let low = _mm256_set1_epi8(0x33);
    let (a, c) = swap::<2>(a, c, low);
    let (b, d) = swap::<2>(b, d, low);
    let (e, g) = swap::<2>(e, g, low);
    let (f, h) = swap::<2>(f, h, low);
    let low = _mm256_set1_epi8(0x55);
    let (a, b) = swap::<1>(a, b, low);
    let (c, d) = swap::<1>(c, d, low);
    let (e, f) = swap::<1>(e, f, low);
    let (g, h) = swap::<1>(g, h, low);
    *registers = [a, b, c, d, e, f, g, h];
}

/// The upper bits of `a`, `BY` above the `low` ones of each byte, change places with the lower ones of `b`.
#[inline]
#[target_feature(enable = "avx2")]
fn swap<const BY: i32>(a: __m256i, b: __m256i, low: __m256i) -> (__m256i, __m256i) {
    let changed = _mm256_and_si256(_mm256_xor_si256(_mm256_srli_epi64::<BY>(a), b), low);
    (_mm256_xor_si256(a, _mm256_slli_epi64::<BY>(changed)), _mm256_xor_si256(b, changed))
}
