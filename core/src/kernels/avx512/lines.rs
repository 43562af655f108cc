//! Bytes and codes to lines: one bit a row for each question of a column.

use std::arch::x86_64::*;

use crate::kernels::heap;
use crate::layout::{BitRows, ColumnLines, Line, TILE, TILES};

/// See [`crate::kernels::Isa::column_lines`], which checked the shapes.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512bitalg,gfni")]
pub(in crate::kernels) fn column_lines(
    made: &ColumnLines,
    bytes: &[Line; TILES],
    tiles: usize,
    lines: &mut [Line],
) {
    if let ColumnLines::Sets { sets, .. } = made {
        for (set, line) in sets.iter().zip(lines) {
            let set = _mm512_set1_epi64(*set as i64);
            let line: *mut u64 = (&raw mut *line).cast();
            for (tile, bytes) in bytes.iter().enumerate().take(tiles) {
                // SAFETY: a line of bytes, and word `tile` of a line.
                unsafe {
                    let bytes = _mm512_load_si512((&raw const *bytes).cast());
                    *line.add(tile) = _mm512_bitshuffle_epi64_mask(set, bytes);
                }
            }
        }
        return;
    }
    let transpose = Transpose::new();
    let mut bits = [_mm512_setzero_si512(); TILES];
    for (bits, bytes) in bits.iter_mut().zip(bytes).take(tiles) {
        // SAFETY: a line of bytes.
        *bits = transpose.bits(unsafe { _mm512_load_si512((&raw const *bytes).cast()) });
    }
    transpose_words(&mut bits);
    // SAFETY: the column's lines.
    unsafe { heap::digit_lines(bits, made, lines.as_mut_ptr().cast()) };
}

/// See [`crate::kernels::Isa::bit_planes`], which checked the shapes.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,gfni")]
pub(in crate::kernels) fn bit_planes(bit_rows: &BitRows, codes: &[u16], lines: &mut [Line]) {
    let words = bit_rows.words();
    assert!(codes.iter().all(|code| usize::from(*code) < bit_rows.codes()));
    let transpose = Transpose::new();
    for (word, lines) in lines.chunks_mut(64).enumerate() {
        // Of each tile eight registers, each with the rows' answers to eight tests.
        let mut answers = [[_mm512_setzero_si512(); TILES]; 8];
        for (tile, codes) in codes.chunks(TILE).enumerate() {
            let mut rows = [_mm512_setzero_si512(); 8];
            for (row, codes) in rows.iter_mut().zip(codes.chunks(8)) {
                let mut at = [0i64; 8];
                for (at, code) in at.iter_mut().zip(codes) {
                    *at = i64::from(*code) * words as i64;
                }
                // SAFETY: eight words; `word` is one of the words of a code.
                *row = unsafe {
                    let at = _mm512_loadu_si512(at.as_ptr().cast());
                    _mm512_i64gather_epi64::<8>(at, bit_rows.bits().as_ptr().add(word).cast())
                };
                // A word is a row: make word `j` the byte `j` of each of the eight rows.
                *row = transpose.bytes(*row);
            }
            transpose_words(&mut rows);
            for (answers, rows) in answers.iter_mut().zip(rows) {
                answers[tile] = transpose.bits(rows);
            }
        }
        for (mut answers, lines) in answers.into_iter().zip(lines.chunks_mut(8)) {
            transpose_words(&mut answers);
            for (line, answers) in lines.iter_mut().zip(answers) {
                // SAFETY: a line.
                unsafe { _mm512_store_si512((&raw mut *line).cast(), answers) };
            }
        }
    }
}

/// What transposes the bits and the bytes of a register.
struct Transpose {
    reversed: __m512i,
    bytes: __m512i,
    identity: __m512i,
}

impl Transpose {
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn new() -> Self {
        // SAFETY: constant lines.
        let (reversed, bytes) = unsafe {
            (_mm512_load_si512((&raw const REVERSED).cast()), _mm512_load_si512((&raw const BYTES).cast()))
        };
        // Row `i` of the identity is bit `i`: multiplied by a word as a matrix it gives the word's transpose.
        Self { reversed, bytes, identity: _mm512_set1_epi64(0x8040_2010_0804_0201_u64 as i64) }
    }

    /// Byte `i` of word `j` becomes byte `j` of word `i`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512vbmi")]
    fn bytes(&self, words: __m512i) -> __m512i {
        _mm512_permutexvar_epi8(self.bytes, words)
    }

    /// Bit `b` of byte `r` becomes bit `r` of word `b`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512vbmi,gfni")]
    fn bits(&self, bytes: __m512i) -> __m512i {
        // The rows of a word, in reverse, are a matrix.
        let rows = _mm512_permutexvar_epi8(self.reversed, bytes);
        self.bytes(_mm512_gf2p8affine_epi64_epi8::<0>(self.identity, rows))
    }
}

/// Transposes 8 x 8 words.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn transpose_words(lines: &mut [__m512i; 8]) {
    let [a, b, c, d, e, f, g, h] = *lines;
    let low = [
        _mm512_unpacklo_epi64(a, b),
        _mm512_unpacklo_epi64(c, d),
        _mm512_unpacklo_epi64(e, f),
        _mm512_unpacklo_epi64(g, h),
    ];
    let high = [
        _mm512_unpackhi_epi64(a, b),
        _mm512_unpackhi_epi64(c, d),
        _mm512_unpackhi_epi64(e, f),
        _mm512_unpackhi_epi64(g, h),
    ];
    for (odd, [a, b, c, d]) in [low, high].into_iter().enumerate() {
        let ab_even = _mm512_shuffle_i64x2::<0b10_00_10_00>(a, b);
        let ab_odd = _mm512_shuffle_i64x2::<0b11_01_11_01>(a, b);
        let cd_even = _mm512_shuffle_i64x2::<0b10_00_10_00>(c, d);
        let cd_odd = _mm512_shuffle_i64x2::<0b11_01_11_01>(c, d);
        lines[odd] = _mm512_shuffle_i64x2::<0b10_00_10_00>(ab_even, cd_even);
        lines[odd + 4] = _mm512_shuffle_i64x2::<0b11_01_11_01>(ab_even, cd_even);
        lines[odd + 2] = _mm512_shuffle_i64x2::<0b10_00_10_00>(ab_odd, cd_odd);
        lines[odd + 6] = _mm512_shuffle_i64x2::<0b11_01_11_01>(ab_odd, cd_odd);
    }
}

/// Transposes 8 x 8 bytes.
static BYTES: Line = {
    let mut line = [0; 64];
    let mut at = 0;
    while at < 64 {
        line[at] = (at % 8 * 8 + at / 8) as u8;
        at += 1;
    }
    Line(line)
};

/// Reverses the bytes of each word.
static REVERSED: Line = {
    let mut line = [0; 64];
    let mut at = 0;
    while at < 64 {
        line[at] = (at / 8 * 8 + 7 - at % 8) as u8;
        at += 1;
    }
    Line(line)
};
